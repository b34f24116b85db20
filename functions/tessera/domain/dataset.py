"""Datasets: what their description must say, and what the profile store needs of it (contract: data-and-pql §4.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tessera.domain.configuration import DatasetKind, DatasetSettings, SchemaSettings
from tessera.domain.errors import InvalidRequestError
from tessera.domain.expiry import days_of
from tessera.domain.place import Place, cutoff_place

SCHEMA_CLASSES: Mapping[str, DatasetKind] = {
    "https://ns.adobe.com/xdm/context/profile": DatasetKind.RECORD,
    "https://ns.adobe.com/xdm/context/experienceevent": DatasetKind.EVENT,
    "https://ns.adobe.com/xdm/context/profile__union": DatasetKind.UNION,
}
PROFILE_TAG = "unifiedProfile"
IDENTITY_TAG = "unifiedIdentity"
VALIDATION_TAG = "acp_validationContext"

# Written by the service alone; a caller may send them back as they were read, and nothing comes of it.
SERVER_OWNED = frozenset(
    {
        "created",
        "createdClient",
        "createdUser",
        "files",
        "id",
        "imsOrg",
        "sandboxId",
        "updated",
        "updatedUser",
        "version",
        "viewId",
    }
)

CLOCKS_APART_MS = 250

_BEGINNING = Place("")
# No row waits to be processed for as long as it takes to switch a dataset off and on so often.
_SPANS_KEPT = 20
_SWITCH = re.compile(r"\s*([^\s:]+)\s*:\s*(.*?)\s*\Z", re.DOTALL)
_SWITCHES = frozenset({"enabled", "isUpsert"})


def normalised_tags(tags: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Write the Profile and Identity switches the one way they are read: ``enabled:true``, without a space.

    Raises InvalidRequestError for a switch that is neither true nor false, or both.
    """
    return {
        name: _switches(name, values) if name in {PROFILE_TAG, IDENTITY_TAG} else list(values)
        for name, values in tags.items()
    }


def _switches(tag: str, values: list[str]) -> list[str]:
    normalised: dict[str, None] = {}
    for value in values:
        match = _SWITCH.match(value)
        if match is None:
            raise InvalidRequestError(f"tags.{tag}: '{value[:64]}' is not of the form name:value")
        name, setting = match.groups()
        if name in _SWITCHES:
            setting = setting.lower()
            if setting not in {"true", "false"}:
                raise InvalidRequestError(f"tags.{tag}: {name} must be true or false")
        normalised[f"{name}:{setting}"] = None
    for name in sorted(_SWITCHES):
        if {f"{name}:true", f"{name}:false"} <= normalised.keys():
            raise InvalidRequestError(f"tags.{tag}: {name} cannot be both true and false")
    return list(normalised)


def settings_of(
    dataset_id: str,
    description: Mapping[str, Any],
    before: DatasetSettings | None,
    now_ms: int,
    schemas: Mapping[str, SchemaSettings],
) -> DatasetSettings:
    """Read off a dataset's description what the profile store needs; ``before`` is what it needed until now.

    Of a registered schema, the Profile switch only counts if the schema itself is enabled for Profile (contract: §4.1).
    Raises InvalidRequestError for a schema that cannot be used, or one other than before: rows that were accepted
    as records cannot become events. So does a TTL that is not one, or not of events; which is in force is changed
    elsewhere (contract: profile-api §10).
    """
    schema_id = (description.get("schemaRef") or {}).get("id", "")
    schema = schemas.get(schema_id)
    kind = schema.kind if schema is not None else SCHEMA_CLASSES.get(schema_id)
    if kind is None:
        raise InvalidRequestError(
            f"schemaRef.id must be one of {', '.join(SCHEMA_CLASSES)}, or a schema of the sandbox"
        )
    registered = schema_id if schema is not None else ""
    if before is not None and (before.kind is not kind or before.schema != registered):
        raise InvalidRequestError("schemaRef.id cannot be changed: create a dataset for the other schema")
    tags = description.get("tags") or {}
    profile, identity = tags.get(PROFILE_TAG, ()), tags.get(IDENTITY_TAG, ())
    upsert = "isUpsert:true" in profile
    if upsert and kind is not DatasetKind.RECORD:
        raise InvalidRequestError(f"tags.{PROFILE_TAG}: isUpsert is for datasets of records, not of {kind.value}s")
    if days_of(description) is not None and kind is not DatasetKind.EVENT:
        raise InvalidRequestError(f"extensions.adobe_unifiedProfile.rowExpiration is for events, not for {kind.value}s")
    enabled = "enabled:true" in profile and (schema is None or schema.profiled)
    return DatasetSettings(
        dataset_id,
        kind,
        profile_enabled=enabled,
        identity_enabled="enabled:true" in identity,
        upsert=upsert,
        cutoff=before.cutoff if before is not None else None,
        deleted=before.deleted if before is not None else (),
        deleted_rows=before.deleted_rows if before is not None else {},
        off=_spans_off(before, enabled, now_ms),
        schema=registered,
        # Rows of an upsert dataset hold what changes, not all that there is (contract: data-and-pql §4.6).
        partial_rows=schema is not None and (upsert or "disabled" in tags.get(VALIDATION_TAG, ())),
        expiry=before.expiry if before is not None else None,
    )


def _spans_off(before: DatasetSettings | None, enabled: bool, now_ms: int) -> tuple[tuple[Place, Place | None], ...]:
    """Return the spans of places in which profiles are switched off: rows accepted there never go into profiles.

    A dataset that was never enabled has none: nothing of it is in any profile. Contract: data-and-pql §4.1.
    """
    if before is None or before.profile_enabled == enabled:
        return before.off if before is not None else ()
    if not enabled:
        return (*before.off, (cutoff_place(now_ms), None))[-_SPANS_KEPT:]
    *closed, (start, _) = before.off or ((_BEGINNING, None),)
    # A row that a slower clock places too early is rather let in than lost.
    end = cutoff_place(now_ms - CLOCKS_APART_MS)
    return (*closed, (start, end)) if start < end else tuple(closed)
