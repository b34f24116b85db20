"""What a tally says, report by report, with the odd types of the contract (profile-api §4.2, §4.3).

Of a sample, ``sample…`` is what was counted and all else what that makes of the whole store. Parts that add up to the
whole, as combinations do, still add up to it after they are made larger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tessera.domain.batch import Batch
from tessera.domain.configuration import DatasetKind
from tessera.domain.merge_policy import GraphType, MergePolicy
from tessera.domain.sample.job import Cause, SampleJob, Scope
from tessera.domain.sample.tally import EXPIRY_DAYS, SILENT_DAYS, Figure, Tally, named, parts_of
from tessera.domain.times import iso_ms

FINISHED = "TASK_FINISHED"
_DIGITS = 6
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A dataset as its description has it."""

    name: str
    description: str
    created_user: str
    kind: DatasetKind


@dataclass(frozen=True, slots=True)
class Names:
    """How datasets, by id, and namespaces, by code in lower case, are called; of these also the number."""

    datasets: Mapping[str, KnownDataset]
    namespaces: Mapping[str, tuple[str, int]]

    def code(self, namespace: str) -> str:
        """Return the code of a namespace as it was registered."""
        return self.namespaces[namespace][0] if namespace in self.namespaces else namespace


class Reports:
    """The reports of one job. ``at_ms`` is when it was done, in milliseconds since 1970."""

    def __init__(self, tally: Tally, scope: Scope, names: Names, at_ms: int) -> None:
        self._tally = tally
        self._scope = scope
        self._names = names
        self._at = iso_ms(at_ms).removesuffix("Z")
        self.sampled = tally.total(Figure.PERSONS)
        self.profiles = round(self.sampled * scope.per_sampled)

    def all(self) -> dict[str, Report]:
        """Return the reports of the contract by the ends of their paths."""
        return {
            "dataset": self.dataset(),
            "namespace": self.namespace(),
            "dataset/overlap": self._report(self._overlap(Figure.DATASET_SETS)),
            "namespace/overlap": self._report(self._namespace_overlap()),
            "unstitchedProfiles": self._report(self._unstitched()),
            "dataset_stats": self._report(self._dataset_stats()),
        }

    @property
    def events(self) -> int:
        """How many events are alive."""
        return sum(self._all_events().values())

    @property
    def fragments(self) -> int:
        """How many fragments are alive: records, and streams of events."""
        return sum(self._sampled(Figure.PIECES).values())

    @property
    def documents(self) -> int:
        """How many records and events are alive."""
        kinds = self._names.datasets
        records = sum(
            count
            for dataset_id, count in self._sampled(Figure.DATASET_PIECES).items()
            if dataset_id in kinds and kinds[dataset_id].kind is not DatasetKind.EVENT
        )
        return records + self.events

    def dataset(self) -> Report:
        """Tell how many persons have something from each dataset."""
        rows = []
        for dataset_id, counts in self._shares(Figure.DATASETS):
            known = self._names.datasets.get(dataset_id)
            rows.append(
                {
                    **counts,
                    "name": known.name if known else "",
                    "description": known.description if known else "",
                    "value": dataset_id,
                    "streamingIngestionEnabled": "",
                    "createdUser": known.created_user if known else "",
                    "reportTimestamp": self._at,
                }
            )
        return self._report(rows)

    def namespace(self) -> Report:
        """Tell how many persons have an identity of each namespace."""
        fragments = self._sampled(Figure.PIECES)
        rows = [
            {
                **counts,
                "reportTimestamp": self._at,
                "fullIDsFragmentCount": fragments.get(namespace, 0),
                "code": self._names.code(namespace),
                "value": str(self._names.namespaces[namespace][1]) if namespace in self._names.namespaces else "",
            }
            for namespace, counts in self._shares(Figure.NAMESPACES)
        ]
        return self._report(rows)

    def _shares(self, figure: Figure) -> Iterable[tuple[str, dict[str, Any]]]:
        counted, full = self._tally.of(figure), self._sampled(figure)
        for name in sorted(counted, key=lambda name: (-counted[name], name)):
            yield (
                name,
                {
                    "sampleCount": counted[name],
                    "samplePercentage": _ratio(counted[name], self.sampled),
                    "fullIDsCount": full[name],
                    "fullIDsPercentage": _ratio(full[name], self.profiles),
                },
            )

    def _overlap(self, figure: Figure) -> dict[str, int]:
        return dict(sorted(apportioned(self._tally.of(figure), self.profiles).items()))

    def _namespace_overlap(self) -> dict[str, int]:
        """Name the combinations by the registered codes, in the order of their characters: capitals first."""
        found = self._overlap(Figure.NAMESPACE_SETS)
        return dict(
            sorted((",".join(sorted(map(self._names.code, names.split(",")))), count) for names, count in found.items())
        )

    def _unstitched(self) -> Report:
        persons = self._sampled(Figure.UNSTITCHED)
        events = _scaled(self._tally.of(Figure.UNSTITCHED_EVENTS), self._scope.per_measured)
        windows = {}
        for days in SILENT_DAYS:
            split = {
                self._names.code(namespace): {
                    "countOfProfiles": count,
                    "eventsAssociated": events.get(name, 0),
                }
                for name, count in sorted(persons.items())
                for window, namespace in [parts_of(name)]
                if window == str(days)
            }
            windows[f"{days}days"] = {
                "countOfProfiles": sum(one["countOfProfiles"] for one in split.values()),
                "eventsAssociated": sum(one["eventsAssociated"] for one in split.values()),
                "nsDistribution": split,
            }
        return {
            "totalNumberOfProfiles": self.profiles,
            "totalNumberOfEvents": self.events,
            "unstitchedProfiles": windows,
        }

    def _dataset_stats(self) -> list[Report]:
        persons, pieces = self._sampled(Figure.DATASETS), self._sampled(Figure.DATASET_PIECES)
        events = self._all_events()
        left = _scaled(self._tally.of(Figure.REMAINING), self._scope.per_measured)
        rows = []
        for dataset_id in sorted(persons):
            known = self._names.datasets.get(dataset_id)
            of_events = known is not None and known.kind is DatasetKind.EVENT
            rows.append(
                {
                    **{f"{days}days": left.get(named(days, dataset_id), 0) for days in EXPIRY_DAYS},
                    "datasetId": dataset_id,
                    "datasetType": "ExperienceEvents" if of_events else "Profiles",
                    "percentEvents": _percent(events.get(dataset_id, 0), self.events),
                    "percentProfiles": _percent(persons[dataset_id], self.profiles),
                    "profileFragments": pieces[dataset_id],
                    "records": events.get(dataset_id, 0) if of_events else pieces[dataset_id],
                    "totalProfiles": persons[dataset_id],
                }
            )
        return rows

    def _sampled(self, figure: Figure) -> dict[str, int]:
        return _scaled(self._tally.of(figure), self._scope.per_sampled)

    def _all_events(self) -> dict[str, int]:
        return _scaled(self._tally.of(Figure.EVENTS), self._scope.per_measured)

    def _report(self, data: Any) -> Report:
        return {"data": data, "reportTimestamp": self._at}


def status_of(reports: Reports, job: SampleJob, policy: MergePolicy, batch: Batch | None, at_ms: int) -> Report:
    """Describe a job that is done; whether another one runs is added when it is asked for (contract: §4.2).

    ``batch`` is the last one that was ingested, if any was.
    """
    documents = _quoted(str(reports.documents))
    strategy = f"{policy.attribute_merge.value}_{'auto' if policy.graph is GraphType.PRIVATE else policy.graph.value}"
    return {
        "numRowsToRead": str(reports.sampled),
        "docCount": documents,
        "cosmosDocCount": documents,
        "totalFragmentCount": reports.fragments,
        "lastSuccessfulBatchTimestamp": _quoted("null" if batch is None else moment(batch.finished_ms)),
        "streamingDriven": _quoted("true" if job.cause is Cause.STREAM else "false"),
        "totalRows": str(reports.profiles),
        "lastBatchId": _quoted("null" if batch is None else batch.id),
        "status": FINISHED,
        "samplingRatio": _ratio(reports.sampled, reports.profiles) if reports.profiles else 1.0,
        "mergeStrategy": strategy,
        "lastSampledTimestamp": moment(at_ms),
    }


def moment(milliseconds: int) -> str:
    """Write milliseconds since 1970 as ``2026-03-04 09:00:00.0``."""
    return f"{iso_ms(milliseconds)[:19].replace('T', ' ')}.0"


def apportioned(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """Make counts larger in proportion so that they add up to ``total``: the largest remainders are rounded up."""
    counted = sum(counts.values())
    if not counted:
        return {}
    whole = Counter({name: count * total // counted for name, count in counts.items()})
    missing = total - whole.total()
    for name in sorted(counts, key=lambda name: (-(counts[name] * total % counted), name))[:missing]:
        whole[name] += 1
    return dict(whole)


def _scaled(counts: Mapping[str, int], factor: float) -> dict[str, int]:
    return {name: round(count * factor) for name, count in counts.items()}


def _ratio(part: int, whole: int) -> float:
    return round(part / whole, _DIGITS) if whole else 0.0


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, _DIGITS) if whole else 0.0


def _quoted(text: str) -> str:
    return f'"{text}"'
