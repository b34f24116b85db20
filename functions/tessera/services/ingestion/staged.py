"""An accepted row between validation and the profile store.

It carries the judgement with the body, so that applying neither repeats the work nor, after a deployment in
between, judges otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from tessera.domain.identity import Identity
from tessera.domain.place import batch_place
from tessera.domain.rows import PlacedRow, Row
from tessera.domain.upsert import Action, Path


def written(position: int, row: Row) -> bytes:
    """Write a row as a JSON line; ``position`` is its byte offset or row number in its file."""
    return orjson.dumps(
        [
            position,
            row.body,
            [[row.primary.namespace, row.primary.value], *([item.namespace, item.value] for item in row.linked)],
            row.event_id,
            row.timestamp_ms,
            row.custom_date_ms,
            list(row.namespaces) if len(row.namespaces) == 1 else sorted(row.namespaces),
            *_update(row),
        ]
    )


def _update(row: Row) -> list[object]:
    """Write what a row says of updating, if it says anything."""
    if row.action is Action.CREATE and not row.links_as:
        return []
    return [row.action, sorted(row.appends), row.links_as]


def placed(lines: Iterable[bytes], completed_ms: int, batch_id: str, file_index: int) -> Iterator[PlacedRow]:
    """Read rows back, each at its place. The line of a row that was erased is empty, so lines can be counted."""
    for line in lines:
        if line.isspace():
            continue
        position, body, identities, event_id, timestamp_ms, custom_date_ms, namespaces, *update = orjson.loads(line)
        primary, *linked = [Identity(namespace, value) for namespace, value in identities]
        yield PlacedRow(
            batch_place(completed_ms, batch_id, file_index, position),
            Row(
                body,
                primary,
                tuple(linked),
                frozenset(namespaces),
                event_id,
                timestamp_ms,
                custom_date_ms,
                *(_read_update(*update) if update else ()),
            ),
        )


def _read_update(action: str, appends: list[list[str]], links_as: str) -> tuple[Action, frozenset[Path], str]:
    return Action(action), frozenset(tuple(path) for path in appends), links_as
