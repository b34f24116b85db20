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
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tessera.domain.configuration import Configuration, from_document, to_document
from tessera.domain.errors import NotFoundError
from tessera.domain.tenant import Tenant
from tessera.storage.codec import FORMAT_VERSION
from tessera.storage.registry import LostRaceError, Registry

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

POINTER_REPLICAS = 4
_CACHED_VERSIONS = 512
_MAX_LOST_RACES = 50


class UnknownSandboxError(NotFoundError):
    """The organisation has no sandbox of that name."""

    def __init__(self, sandbox: str) -> None:
        super().__init__(f"Sandbox '{sandbox}' does not exist in this organisation")


class ConfigurationStore:
    """Reads and changes the configuration of sandboxes."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._registry = Registry(client, table)
        self._cache: OrderedDict[tuple[str, int], Configuration] = OrderedDict()

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
        key = (tenant.key, version)
        cached = self._cache.get(key)
        if cached is None:
            document = self._registry.get(*_body_key(tenant, version))
            if document is None:
                raise RuntimeError(f"configuration version {version} is missing")
            cached = self._cache[key] = from_document(document)
            if len(self._cache) > _CACHED_VERSIONS:
                self._cache.popitem(last=False)
        return cached

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
