"""Whose rows are taken out of the lake, and how it is told that a row is theirs.

Every identity counts that a row names, whatever ingestion thought of the row: those in its identityMap, and in fields
that are identities by the schema of its batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tessera.domain.identity import Xid, Xids
from tessera.domain.schema.identity_field import IdentityField
from tessera.domain.tenant import Tenant


class Wanted:
    """The erased identities, each with the time up to which its rows go, in milliseconds since 1970."""

    def __init__(self, tenant: Tenant, until_ms: Mapping[Xid, int]) -> None:
        self._until_ms = until_ms
        self._xids = Xids(tenant, until_ms)

    def has(self, code: str, value: str, at_ms: int) -> bool:
        """Tell whether a row of this identity goes that was accepted at a time."""
        xid = self._xids.find(code, value)
        return xid is not None and self._until_ms[xid] >= at_ms


@dataclass(frozen=True, slots=True)
class Concerned:
    """Tells which rows go of some that were accepted at a time; ``fields`` are those of them that are identities."""

    wanted: Wanted
    at_ms: int
    fields: Sequence[IdentityField] = ()

    def row(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a row goes."""
        return any(self.wanted.has(code, value, self.at_ms) for code, value in identities_of(row, self.fields))

    @property
    def columns(self) -> list[str]:
        """The fields at the top of a row that identities are in."""
        return list(dict.fromkeys(["identityMap", *(one.path[0] for one in self.fields)]))


def identities_of(row: Mapping[str, Any], fields: Sequence[IdentityField]) -> Iterator[tuple[str, str]]:
    """Walk the identities that a row names: codes of namespaces, and values, as they are spelled."""
    identity_map = row.get("identityMap")
    if isinstance(identity_map, dict):
        for code, items in identity_map.items():
            for item in items if isinstance(items, list) else ():
                if isinstance(item, dict) and (value := _text(item.get("id"))):
                    yield code, value
    for one in fields:
        if value := _text(one.value(row)):
            yield one.namespace, value


def _text(value: Any) -> str:
    """Write a value as ingestion does that converts it to a text."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return orjson.dumps(value).decode()
    return ""
