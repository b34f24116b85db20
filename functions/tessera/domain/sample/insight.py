"""Insight into a store (ours): graphs by size, items and bytes by dataset, and what a sandbox costs in a month."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tessera.domain import prices
from tessera.domain.configuration import DatasetKind
from tessera.domain.sample.job import Scope
from tessera.domain.sample.reports import Names
from tessera.domain.sample.tally import GRAPH_SIZES, Figure, Tally, parts_of
from tessera.domain.times import iso_ms

HEADS, RECORDS, STREAMS, EVENTS, COPIES = KINDS = ("heads", "records", "streams", "events", "copies")
# What DynamoDB adds to each item, also in an index, and what the keys of ours take there.
ITEM_OVERHEAD = 100
INDEX_KEYS = 160
_GB = 1e9
_DIGITS = 6
ESTIMATES = (
    "Bytes are those of the items of persons that a sample looks at, and what DynamoDB adds to each.",
    "Free tiers, requests, and what is in the lake and the registry are left out.",
    "What was deleted and is not yet swept is not among the items.",
)


def store_report(tally: Tally, scope: Scope, names: Names, at_ms: int) -> dict[str, Any]:
    """Tell what is in a store, how large it is, and what keeping it costs."""
    sampled, measured = scope.per_sampled, scope.per_measured
    items, size = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for figure, into in ((Figure.ITEMS, items), (Figure.BYTES, size)):
        for name, count in tally.of(figure).items():
            into[parts_of(name)] = round(count * measured)
    by_kind = {
        kind: {
            "items": sum(count for (one, _), count in items.items() if one == kind),
            "bytes": sum(count for (one, _), count in size.items() if one == kind),
        }
        for kind in KINDS
    }
    persons, graphs = tally.of(Figure.DATASETS), tally.of(Figure.GRAPHS)
    datasets = []
    for dataset_id in sorted({dataset_id for _, dataset_id in items if dataset_id}):
        known = names.datasets.get(dataset_id)
        mine = {kind: items[kind, dataset_id] for kind in (RECORDS, STREAMS, EVENTS, COPIES)}
        datasets.append(
            {
                "value": dataset_id,
                "name": known.name if known else "",
                "datasetType": "ExperienceEvents" if known and known.kind is DatasetKind.EVENT else "Profiles",
                "profiles": round(persons.get(dataset_id, 0) * sampled),
                **mine,
                "items": sum(mine.values()),
                "bytes": sum(count for (_, one), count in size.items() if one == dataset_id),
            }
        )
    leaders = sum(count for name, count in graphs.items() if name != GRAPH_SIZES[0]) * sampled
    entries = by_kind[RECORDS]["items"] + by_kind[STREAMS]["items"] + round(leaders)
    return {
        "data": {
            "profiles": round(tally.total(Figure.PERSONS) * sampled),
            "graphs": {
                "sizes": {name: round(graphs.get(name, 0) * sampled) for name in GRAPH_SIZES},
                "overLimit": round(tally.total(Figure.OVER_LIMIT) * sampled),
                "collapsedIdentities": round(tally.total(Figure.COLLAPSED) * sampled),
            },
            "items": by_kind,
            "datasets": datasets,
            "monthlyCost": _cost(
                sum(one["items"] for one in by_kind.values()), sum(one["bytes"] for one in by_kind.values()), entries
            ),
            "sampledShards": scope.shards,
            "measuredShards": scope.measured,
        },
        "reportTimestamp": iso_ms(at_ms).removesuffix("Z"),
    }


def _cost(items: int, size: int, entries: int) -> dict[str, Any]:
    table = (size + items * ITEM_OVERHEAD) / _GB
    index = entries * (INDEX_KEYS + ITEM_OVERHEAD) / _GB
    parts = {
        "tableStorage": table * prices.DYNAMODB_PER_GB_MONTH,
        "indexStorage": index * prices.DYNAMODB_PER_GB_MONTH,
        "pointInTimeRecovery": table * prices.DYNAMODB_RECOVERY_PER_GB_MONTH,
    }
    return {
        "currency": "USD",
        "total": round(sum(parts.values()), _DIGITS),
        **{name: round(dollars, _DIGITS) for name, dollars in parts.items()},
        "pricesOf": prices.AS_OF,
        "estimates": list(ESTIMATES),
    }
