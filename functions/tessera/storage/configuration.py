"""Where a sandbox's configuration is kept: immutable versions, and a pointer in replicas that names the current one.

A change writes the next version, every replica of the pointer and the documents it belongs to in one
transaction, conditional on the version it started from:

    time | writer A                        | writer B
    -----|---------------------------------|-----------------------------------------
      1  | reads pointer = 7               |
      2  |                                 | reads pointer = 7
      3  | writes body 8, pointers 7 -> 8  |
      4  |                                 | writes body 8, pointers 7 -> 8: cancelled
      5  |                                 | reads pointer = 8, decides anew, writes 9

Readers take any one replica, strongly consistent: they see version 8 from the moment A's write is answered.

A body names the batches of streamed rows that are being deleted; which rows these are is read from the lake, with the
body, once per process.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tessera.domain.configuration import Configuration, from_document, rows_named_in, to_document
from tessera.domain.errors import NotFoundError
from tessera.domain.place_set import PlaceSet
from tessera.domain.tenant import Tenant
from tessera.storage import aws
from tessera.storage.codec import FORMAT_VERSION
from tessera.storage.registry import LostRaceError, Registry
from tessera.storage.streamed_rows import StreamedRows

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

POINTER_REPLICAS = 4
_CACHED_SANDBOXES = 512
_READ_AT_ONCE = 16
_MAX_LOST_RACES = 50


class UnknownSandboxError(NotFoundError):
    """The organisation has no sandbox of that name."""

    def __init__(self, sandbox: str) -> None:
        super().__init__(f"Sandbox '{sandbox}' does not exist in this organisation")


def _of_the_process() -> StreamedRows:
    return StreamedRows(aws.s3(), aws.lake_bucket())


class ConfigurationStore:
    """Reads and changes the configuration of sandboxes.

    ``streamed`` makes what reads the rows of batches. It is called when there are any to read: mostly there are none.
    """

    def __init__(
        self, client: DynamoDBClient, table: str, streamed: Callable[[], StreamedRows] = _of_the_process
    ) -> None:
        self._client = client
        self._registry = Registry(client, table)
        self._streamed = streamed
        self._cache: OrderedDict[str, Configuration] = OrderedDict()

    def current(self, tenant: Tenant) -> Configuration:
        """Read the configuration that is in force now; one round trip when its version has been seen before.

        Raises UnknownSandboxError.
        """
        answer = self._client.get_item(
            TableName=self._registry.table,
            Key=_pointer_key(tenant, random.randrange(POINTER_REPLICAS)),  # noqa: S311 - spreads load
            ConsistentRead=True,
        )
        if "Item" not in answer:
            raise UnknownSandboxError(tenant.sandbox)
        return self._version(tenant, int(answer["Item"]["current"]["N"]))

    def create(self, tenant: Tenant, configuration: Configuration) -> bool:
        """Write the first configuration of a sandbox; tells whether it was there already."""
        try:
            self._registry.write(self._writes(tenant, configuration, previous=None))
        except LostRaceError:
            return False
        return True

    def change(
        self,
        tenant: Tenant,
        mutate: Callable[[Configuration], Configuration],
        also: Callable[[], Sequence[TransactWriteItemTypeDef]] = tuple,
    ) -> Configuration:
        """Make the next version, atomically together with the registry writes of ``also``.

        ``mutate`` and ``also`` may run several times; what they raise is passed on. Raises UnknownSandboxError, and
        LostRaceError when a condition of ``also`` keeps failing.
        """
        for attempt in range(_MAX_LOST_RACES):
            before = self.current(tenant)
            after = mutate(before)
            extra = list(also())
            if after is before and not extra:
                return before
            after = replace(after, version=before.version + 1)
            try:
                self._registry.write([*self._writes(tenant, after, previous=before.version), *extra])
            except LostRaceError:
                time.sleep(random.uniform(0, min(0.5, 0.01 * 2**attempt)))  # noqa: S311 - jitter
            else:
                return after
        raise LostRaceError

    def _version(self, tenant: Tenant, version: int) -> Configuration:
        cached = self._cache.get(tenant.key)
        if cached is not None and cached.version == version:
            return cached
        document = self._registry.get(*_body_key(tenant, version))
        if document is None:
            raise RuntimeError(f"configuration version {version} is missing")
        found = self._cache[tenant.key] = from_document(document, self._rows(tenant, document, cached))
        if len(self._cache) > _CACHED_SANDBOXES:
            self._cache.popitem(last=False)
        return found

    def _rows(
        self, tenant: Tenant, document: Mapping[str, Any], before: Configuration | None
    ) -> dict[tuple[str, str], PlaceSet]:
        """Return the streamed rows that a body says are being deleted; those that the one before named are known."""
        known = {
            (dataset.id, batch_id): rows
            for dataset in (before.datasets.values() if before is not None else ())
            for batch_id, rows in dataset.deleted_rows.items()
        }
        named = rows_named_in(document)
        missing = [name for name in named if name not in known]
        if missing:
            streamed = self._streamed()
            with ThreadPoolExecutor(min(_READ_AT_ONCE, len(missing))) as pool:
                for name, rows in zip(
                    missing, pool.map(lambda name: streamed.get(tenant, *name), missing), strict=True
                ):
                    if rows is None:
                        raise RuntimeError(f"it is not known which rows batch {name[1]} has, which is being deleted")
                    known[name] = rows
        return {name: known[name] for name in named}

    def _writes(
        self, tenant: Tenant, configuration: Configuration, previous: int | None
    ) -> list[TransactWriteItemTypeDef]:
        body = self._registry.putting(
            *_body_key(tenant, configuration.version), to_document(configuration), only_new=True
        )
        return [
            body,
            *(self._pointing(tenant, replica, configuration.version, previous) for replica in range(POINTER_REPLICAS)),
        ]

    def _pointing(self, tenant: Tenant, replica: int, version: int, previous: int | None) -> TransactWriteItemTypeDef:
        item = {
            **_pointer_key(tenant, replica),
            "v": {"N": str(FORMAT_VERSION)},
            "current": {"N": str(version)},
        }
        if previous is None:
            return {
                "Put": {
                    "TableName": self._registry.table,
                    "Item": item,
                    "ConditionExpression": "attribute_not_exists(pk)",
                }
            }
        return {
            "Put": {
                "TableName": self._registry.table,
                "Item": item,
                "ConditionExpression": "#current = :previous",
                "ExpressionAttributeNames": {"#current": "current"},
                "ExpressionAttributeValues": {":previous": {"N": str(previous)}},
            }
        }


def _pointer_key(tenant: Tenant, replica: int) -> dict[str, dict[str, str]]:
    return {"pk": {"S": f"{tenant.key}#pointer#{replica}"}, "sk": {"S": "pointer"}}


def _body_key(tenant: Tenant, version: int) -> tuple[str, str]:
    return f"{tenant.key}#configuration", f"{version:010d}"
