"""Streaming connections and the inlets they open, as the Flow Service has them (contract: data-and-pql §4.5).

A connection is one document of the registry: the Flow Service finds it by tenant and connection id, the streaming
endpoint by the inlet's id, from which both follow. So what is changed holds for the next message.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol
from uuid import uuid4

from tessera.domain.errors import InvalidRequestError, NotFoundError, RateLimitError, TesseraError
from tessera.domain.inlet import SECRET_BYTES, Inlet, connection_id_of, new_inlet_id, tenant_key_of
from tessera.domain.tenant import Tenant

MAX_CONNECTIONS = 1000
SYNCHRONOUS_PER_MINUTE = 60
CONNECTION_SPEC = {"id": "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb", "version": "1.0"}
AUTH_SPEC = "Streaming Connection"

_MINUTE_S = 60
_ID = re.compile(r"[0-9a-f-]{36}\Z")

Connection = dict[str, Any]


class Documents(Protocol):
    """Where connections are kept: ``storage.registry.Registry``."""

    def get(self, partition: str, sort: str) -> dict[str, Any] | None:
        """Read one document."""

    def each(self, partition: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Walk a partition in order."""

    def put(self, partition: str, sort: str, document: Mapping[str, Any], *, only_new: bool = False) -> None:
        """Write one document."""

    def change(
        self, partition: str, sort: str, mutate: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any] | None:
        """Change one document atomically; ``None`` if it is not there."""

    def delete(self, partition: str, sort: str) -> bool:
        """Delete one document; ``False`` if it was not there."""


class Limiter(Protocol):
    """What counts requests: ``storage.rate_limits.RateLimiter``."""

    def take(self, tenant: Tenant, what: str, window_s: int, length_s: int, most: int) -> bool:
        """Count one more in a window unless it is full."""


class ConnectionNotFoundError(NotFoundError):
    """The sandbox has no connection of that id, whatever others have."""

    def __init__(self, connection_id: str) -> None:
        super().__init__(f"Connection '{connection_id[:64]}' does not exist in this sandbox")


class InletNotFoundError(NotFoundError):
    """No connection has an inlet of that id, or it is disabled; which of them is not said."""

    def __init__(self) -> None:
        super().__init__("There is no such inlet, or it is disabled: `inletUrl` of a connection says where to send to")


class EtagMismatchError(TesseraError):
    """The connection was changed since the caller read it."""

    def __init__(self) -> None:
        super().__init__("The connection has another etag by now: read it again, then change it")


class Inlets:
    """Creates, reads, changes and deletes connections, and admits what comes in by their inlets.

    ``clock_ms`` gives milliseconds since 1970.
    """

    def __init__(
        self, documents: Documents, limiter: Limiter, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._documents = documents
        self._limiter = limiter
        self._clock_ms = clock_ms

    def create(self, tenant: Tenant, sandbox_id: str, caller: str, fields: Mapping[str, Any]) -> Connection:
        """Create a connection of ``name``, ``description``, ``state`` and ``params``.

        ``params`` are ``sourceId``, ``name`` and ``authenticationRequired``. Raises InvalidRequestError.
        """
        if sum(1 for _ in self.each(tenant)) >= MAX_CONNECTIONS:
            raise InvalidRequestError(f"a sandbox can have at most {MAX_CONNECTIONS} connections: delete some first")
        inlet_id = new_inlet_id(tenant, secrets.token_bytes(SECRET_BYTES))
        now = self._clock_ms()
        connection = {
            "id": connection_id_of(inlet_id),
            "createdAt": now,
            "createdBy": caller,
            "createdClient": caller,
            "imsOrgId": tenant.org_id,
            "sandboxId": sandbox_id,
            "sandboxName": tenant.sandbox,
            "connectionSpec": CONNECTION_SPEC,
            **_said(fields, inlet_id),
            **_stamp(now, caller),
        }
        self._documents.put(_partition(tenant.key), connection["id"], connection, only_new=True)
        return connection

    def get(self, tenant: Tenant, connection_id: str) -> Connection:
        """Read a connection.

        Raises ConnectionNotFoundError.
        """
        _expect_id(connection_id)
        connection = self._documents.get(_partition(tenant.key), connection_id)
        if connection is None:
            raise ConnectionNotFoundError(connection_id)
        return connection

    def each(self, tenant: Tenant) -> Iterator[Connection]:
        """Walk the sandbox's connections in no order that means anything."""
        for _, connection in self._documents.each(_partition(tenant.key)):
            yield connection

    def change(
        self,
        tenant: Tenant,
        connection_id: str,
        caller: str,
        edit: Callable[[Connection], Mapping[str, Any]],
        if_etag: str | None = None,
    ) -> Connection:
        """Change a connection: ``edit`` gets all of it and returns the fields that ``create`` takes.

        ``edit`` may run several times; what it raises is passed on and nothing is changed. Raises
        ConnectionNotFoundError, and EtagMismatchError unless the etag is ``if_etag`` or that is ``None``.
        """

        def mutate(before: Connection) -> Connection:
            if if_etag not in {None, before["etag"].strip('"')}:
                raise EtagMismatchError
            said = _said(edit(before), before["auth"]["params"]["inletId"])
            kept = {name: value for name, value in before.items() if name != "description"}
            return {**kept, **said, **_stamp(self._clock_ms(), caller)}

        _expect_id(connection_id)
        changed = self._documents.change(_partition(tenant.key), connection_id, mutate)
        if changed is None:
            raise ConnectionNotFoundError(connection_id)
        return changed

    def delete(self, tenant: Tenant, connection_id: str) -> None:
        """Delete a connection: its inlet takes nothing any more, and no other will ever have its id.

        Raises ConnectionNotFoundError.
        """
        _expect_id(connection_id)
        if not self._documents.delete(_partition(tenant.key), connection_id):
            raise ConnectionNotFoundError(connection_id)

    def find(self, inlet_id: str) -> Inlet:
        """Find an inlet that takes messages, by its id alone, in one strongly consistent read.

        Raises InletNotFoundError.
        """
        tenant_key = tenant_key_of(inlet_id)
        if tenant_key is None:
            raise InletNotFoundError
        connection = self._documents.get(_partition(tenant_key), connection_id_of(inlet_id))
        if connection is None:
            raise InletNotFoundError
        params = connection["auth"]["params"]
        inlet = Inlet(
            id=params["inletId"],
            tenant=Tenant(connection["imsOrgId"], connection["sandboxName"]),
            sandbox_id=connection["sandboxId"],
            connection_id=connection["id"],
            name=params["name"],
            source_id=params["sourceId"],
            authentication_required=params["authenticationRequired"],
            enabled=connection["state"] == "enabled",
        )
        if not inlet.enabled or inlet.id != inlet_id or inlet.tenant.key != tenant_key:
            raise InletNotFoundError
        return inlet

    def admit_synchronous(self, inlet: Inlet) -> None:
        """Count a request that is answered only when all is done; there may be 60 in a minute of the clock.

        Raises RateLimitError.
        """
        now_s = self._clock_ms() // 1000
        minute_s = now_s - now_s % _MINUTE_S
        if not self._limiter.take(inlet.tenant, inlet.connection_id, minute_s, _MINUTE_S, SYNCHRONOUS_PER_MINUTE):
            raise RateLimitError(
                f"This connection had its {SYNCHRONOUS_PER_MINUTE} synchronous requests of this minute: "
                "send without syncValidation, or later",
                retry_after_s=minute_s + _MINUTE_S - now_s,
            )


def _expect_id(connection_id: str) -> None:
    """Raise ConnectionNotFoundError for what cannot be an id, and may be too long for a key."""
    if not _ID.match(connection_id):
        raise ConnectionNotFoundError(connection_id)


def _partition(tenant_key: str) -> str:
    return f"{tenant_key}#connection"


def _said(fields: Mapping[str, Any], inlet_id: str) -> Connection:
    """Write what a caller may say of a connection as it is kept."""
    own = {name: fields[name] for name in ("name", "description", "state") if fields.get(name) is not None}
    params = {**fields["params"], "dataType": "xdm", "inletId": inlet_id}
    return {"state": "enabled", **own, "auth": {"specName": AUTH_SPEC, "params": params}}


def _stamp(now_ms: int, caller: str) -> Connection:
    return {"updatedAt": now_ms, "updatedBy": caller, "updatedClient": caller, "etag": f'"{uuid4()}"'}
