"""Streamed messages: what can be told of one without looking at its row (contract: data-and-pql §4.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.dataset import SCHEMA_CLASSES
from tessera.domain.expiry import BEGINNING_MS
from tessera.domain.place import Place, accepted_ms, is_of_message
from tessera.domain.tenant import Tenant

WRONG_ORGANISATION = "Message has an absent or wrong ims org in the header"
UNKNOWN_FORMAT = "Message has unknown xdm format"

_CLASS_OF_KIND = {kind: schema_id for schema_id, kind in SCHEMA_CLASSES.items()}


class MessageError(ValueError):
    """A message is refused as it arrives: in the contract's words, and in ours what exactly is wrong."""

    def __init__(self, message: str, detail: str) -> None:
        super().__init__(message)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was received, at its place in history.

    ``schema``, ``partial_rows`` and ``upsert`` are what its dataset says of rows at that moment, and ``horizon_ms`` is
    up to when events had expired: however late and often the message is processed, it is judged the same.
    """

    tenant: Tenant
    dataset_id: str
    place: Place
    header: Mapping[str, Any]
    body: Mapping[str, Any]
    schema: str = ""
    partial_rows: bool = False
    upsert: bool = False
    horizon_ms: int = BEGINNING_MS

    def to_document(self) -> dict[str, Any]:
        """Write the message as the JSON document that is queued."""
        return {
            "tenant": [self.tenant.org_id, self.tenant.sandbox],
            "dataset": self.dataset_id,
            "place": self.place,
            "header": self.header,
            "body": self.body,
            "judgedBy": [self.schema, self.partial_rows, self.upsert, self.horizon_ms],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a message from its queued document.

        Raises ValueError for what is none: nothing of it may get among the messages that are processed with it.
        """
        match document:
            case {
                "tenant": [str(org_id), str(sandbox)],
                "dataset": str(dataset_id),
                "place": str(place),
                "header": dict(header),
                "body": dict(body),
                "judgedBy": [str(schema), bool(partial_rows), bool(upsert), int(horizon_ms)],
            } if is_of_message(place):
                tenant = Tenant(org_id, sandbox)
                judged_by = (schema, partial_rows, upsert, horizon_ms)
                return cls(tenant, dataset_id, Place(place), header, body, *judged_by)
        raise ValueError("this is no message")


def received(sent: object, tenant: Tenant, place: Place, configuration: Configuration) -> Message:
    """Look at a message as it was sent to a sandbox: whether it is for it, and for a dataset of it.

    An organisation that is not named is the inlet's (§6, D-37). Raises MessageError.
    """
    header = sent.get("header") if isinstance(sent, dict) else None
    if not isinstance(sent, dict) or not isinstance(header, dict):
        raise MessageError(UNKNOWN_FORMAT, "a message is an object with a header and a body")
    if header.get("imsOrgId") not in (None, tenant.org_id):
        raise MessageError(WRONG_ORGANISATION, "header.imsOrgId is not the organisation of this inlet")
    body = sent.get("body")
    if not isinstance(body, dict):
        raise MessageError(UNKNOWN_FORMAT, "the message has no body")
    dataset = _dataset(header, configuration)
    schema_id = dataset.schema or _CLASS_OF_KIND[dataset.kind]
    for where, holder in (("header", header), ("body.xdmMeta", body.get("xdmMeta"))):
        reference = holder.get("schemaRef") if isinstance(holder, dict) else None
        found = reference.get("id") if isinstance(reference, dict) else None
        if found is None:
            raise MessageError(UNKNOWN_FORMAT, f"{where}.schemaRef.id is missing")
        if found != schema_id:
            raise MessageError(UNKNOWN_FORMAT, f"{where}.schemaRef.id is not the schema of the dataset, {schema_id}")
    schema = configuration.schemas.get(dataset.schema)
    return Message(
        tenant,
        dataset.id,
        place,
        header,
        body,
        schema.version if schema is not None else "",
        dataset.partial_rows,
        dataset.upsert,
        dataset.horizon_ms(accepted_ms(place)),
    )


def _dataset(header: Mapping[str, Any], configuration: Configuration) -> DatasetSettings:
    dataset_id = header.get("datasetId")
    dataset = configuration.datasets.get(dataset_id) if isinstance(dataset_id, str) else None
    if dataset is None:
        raise MessageError(UNKNOWN_FORMAT, "header.datasetId names no dataset of this sandbox")
    if dataset.kind is DatasetKind.UNION:
        raise MessageError(UNKNOWN_FORMAT, "the dataset is of the union schema: it receives exports only")
    return dataset
