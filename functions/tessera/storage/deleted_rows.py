"""Which batches of streamed rows were deleted, for as long as a message of theirs may be delivered again.

| partition | sort | holds |
|---|---|---|
| ``<tenant>#deleted-rows#<dataset>`` | last place of the batch ``#`` its id | its id, its first place; with ``ttl`` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tessera.domain.place import Place
from tessera.domain.place_set import PlaceSet
from tessera.domain.tenant import Tenant
from tessera.storage.registry import Registry

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef


class DeletedRows:
    """Notes and finds them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def noting(
        self, tenant: Tenant, dataset_id: str, batch_id: str, places: PlaceSet, until_s: int
    ) -> list[TransactWriteItemTypeDef]:
        """Describe the noting of a batch, to be part of a transaction; it is forgotten after ``until_s`` since 1970."""
        document = {"batch": batch_id, "low": places.low}
        sort = f"{places.high}#{batch_id}"
        return [self._registry.putting(_partition(tenant, dataset_id), sort, document, expires_s=until_s)]

    def around(self, tenant: Tenant, dataset_id: str, low: Place, high: Place) -> list[str]:
        """List the batches of a dataset that have a row at or above ``low``, and one at or below ``high``."""
        behind = self._registry.each(_partition(tenant, dataset_id), after=low)
        return [document["batch"] for _, document in behind if document["low"] <= high]


def _partition(tenant: Tenant, dataset_id: str) -> str:
    return f"{tenant.key}#deleted-rows#{dataset_id}"
