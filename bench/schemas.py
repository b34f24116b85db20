"""V1: what judging rows by a schema costs in CPU, next to parsing them."""

from __future__ import annotations

from typing import Any

import orjson

from bench.table import Line
from bench.timing import compare, enough
from tessera.domain.schema.compiled import CompiledSchema, for_rows
from tessera.domain.schema.composition import compose

_FIELDS: tuple[tuple[dict[str, Any], Any, Any], ...] = (
    ({"type": "string"}, "some text", "some text"),
    ({"type": "integer", "minimum": 0, "meta:xdmType": "int"}, 42, "42"),
    ({"type": "number"}, 4.25, "4.25"),
    ({"type": "string", "format": "date-time"}, "2026-03-04T08:55:27.000Z", 1_772_614_527_000),
    ({"type": "string", "enum": ["a", "b", "c"]}, "b", "b"),
)


def measure(rounds: int = 7) -> list[Line]:
    """Compare for rows that are right as they come, and for rows of which every second value must be converted."""
    lines = []
    for count in (20, 100):
        judge = CompiledSchema(for_rows(compose(_schema(count), _no_resource)), ())
        for what, place in (("right as they come", 1), ("to be converted", 2)):
            raw = orjson.dumps(_row(count, place))
            lines.append(_line(judge, raw, f"{count} fields, {what}", rounds))
    return lines


def _line(judge: CompiledSchema, raw: bytes, what: str, rounds: int) -> Line:
    def judged() -> object:
        return judge.conform(orjson.loads(raw))

    def parsed() -> object:
        return orjson.loads(raw)

    compared = compare(judged, parsed, times=enough(judged), rounds=rounds)
    own = compared.ours_ms - compared.floor_ms
    floor = f"{compared.floor_ms * 1000:.1f} µs"
    return Line("V1", f"{what}: {own * 1000:.1f} µs of CPU per row", floor, f"{own / compared.floor_ms:.2f}")


def _schema(count: int) -> dict[str, Any]:
    groups = {
        f"g{group}": {"properties": {f"f{n}": _FIELDS[n % len(_FIELDS)][0] for n in range(10)}, "required": ["f0"]}
        for group in range(count // 10)
    }
    return {"properties": groups, "required": ["g0"]}


def _row(count: int, place: int) -> dict[str, Any]:
    return {f"g{group}": {f"f{n}": _FIELDS[n % len(_FIELDS)][place] for n in range(10)} for group in range(count // 10)}


def _no_resource(_: str) -> None:
    return None
