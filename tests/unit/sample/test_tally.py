"""Counting, against a small obvious model: a list of all persons, and what can be said of it by looking."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.configuration import DatasetKind
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.sample.insight import store_report
from tessera.domain.sample.job import Scope
from tessera.domain.sample.reports import KnownDataset, Names, Reports, apportioned
from tessera.domain.sample.size import Census
from tessera.domain.sample.tally import EXPIRY_DAYS, SILENT_DAYS, Measured, Piece, SampledPerson, StoredItem, Tally
from tessera.domain.times import DAY_MS

TODAY = 20_000
NOW_MS = TODAY * DAY_MS + 1000
CODES = {"email": "Email", "ecid": "ECID", "crmid": "crmid"}
DATASETS = {
    "a": KnownDataset("A", "", "", DatasetKind.RECORD),
    "b": KnownDataset("B", "", "", DatasetKind.RECORD),
    "v": KnownDataset("V", "", "", DatasetKind.EVENT),
}
NAMES = Names(DATASETS, {lower: (code, number) for number, (lower, code) in enumerate(CODES.items())})

pieces = st.builds(
    Piece,
    dataset_id=st.sampled_from(sorted(DATASETS)),
    namespace=st.sampled_from(sorted(CODES)),
    last_active_day=st.integers(TODAY - 200, TODAY),
)


@st.composite
def everybody(draw: st.DrawFn) -> list[tuple[SampledPerson, list[int], list[StoredItem]]]:
    """Persons, the times of their events, and their items."""
    found = []
    for _ in range(draw(st.integers(0, 12))):
        its = draw(st.lists(pieces, max_size=3))
        more = draw(st.sets(st.sampled_from(sorted(CODES)), min_size=1))
        events = draw(st.lists(st.integers(NOW_MS - 400 * DAY_MS, NOW_MS), max_size=4))
        if not any(one.dataset_id == "v" for one in its):
            events = []
        items = [StoredItem("events", "v", 100 + number) for number in range(len(events))]
        found.append((SampledPerson(frozenset(more | {one.namespace for one in its}), tuple(its)), events, items))
    return found


def tally_of(persons: Any) -> Tally:
    tally = Tally()
    for person, events, items in persons:
        tally.add_person(person, TODAY)
        tally.add_measured(person, Measured(items, [("v", time) for time in events]), NOW_MS)
    return tally


def scope(shards: int = 256, measured: int = 256) -> Scope:
    return Scope(MergePolicy("", ""), NOW_MS, 1, shards, measured, Census(1, 0, 0))


@given(everybody(), st.data())
def test_shares_add_up_in_any_order_and_division(persons: Any, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(persons))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(persons)), max_size=3)))
    total = Tally()
    for start, end in zip([0, *cuts], [*cuts, len(persons)], strict=True):
        total.merge(Tally.from_document(tally_of(shuffled[start:end]).to_document()))
    assert total.to_document() == tally_of(persons).to_document()


@given(everybody())
def test_the_reports_say_what_looking_says(everyone: Any) -> None:
    reports = Reports(tally_of(everyone), scope(), NAMES, NOW_MS)
    said = {name: report["data"] for name, report in reports.all().items()}
    persons = [one for one in everyone if one[0].pieces]
    assert reports.sampled == reports.profiles == len(persons)
    for row in said["dataset"]:
        has = [one for one, _, _ in persons if any(piece.dataset_id == row["value"] for piece in one.pieces)]
        assert row["sampleCount"] == row["fullIDsCount"] == len(has) > 0
        assert row["samplePercentage"] == round(len(has) / len(persons), 6)
    assert {row["value"] for row in said["dataset"]} == {
        piece.dataset_id for one, _, _ in persons for piece in one.pieces
    }
    for row in said["namespace"]:
        lower = row["code"].lower()
        assert row["sampleCount"] == sum(lower in one.namespaces for one, _, _ in persons)
        assert row["fullIDsFragmentCount"] == sum(
            piece.namespace == lower for one, _, _ in persons for piece in one.pieces
        )
    for name, combination in {
        "dataset/overlap": lambda one: sorted({piece.dataset_id for piece in one.pieces}),
        "namespace/overlap": lambda one: sorted(CODES[code] for code in one.namespaces),
    }.items():
        expected: dict[str, int] = {}
        for one, _, _ in persons:
            key = ",".join(combination(one))
            expected[key] = expected.get(key, 0) + 1
        assert said[name] == expected
        assert list(said[name]) == sorted(said[name])
    unstitched = said["unstitchedProfiles"]
    assert unstitched["totalNumberOfEvents"] == sum(len(events) for _, events, _ in persons)
    for days in SILENT_DAYS:
        silent = [
            (one, events)
            for one, events, _ in persons
            if len(one.pieces) == 1 and one.pieces[0].last_active_day <= TODAY - days
        ]
        window = unstitched["unstitchedProfiles"][f"{days}days"]
        assert window["countOfProfiles"] == len(silent)
        assert window["eventsAssociated"] == sum(len(events) for _, events in silent)
        for code, part in window["nsDistribution"].items():
            mine = [events for one, events in silent if CODES[one.pieces[0].namespace] == code]
            assert part == {"countOfProfiles": len(mine), "eventsAssociated": sum(map(len, mine))}
        assert sum(part["countOfProfiles"] for part in window["nsDistribution"].values()) == len(silent)
    for row in said["dataset_stats"]:
        times = [time for _, events, _ in persons for time in events] if row["datasetId"] == "v" else []
        for days in EXPIRY_DAYS:
            assert row[f"{days}days"] == sum(time > NOW_MS - days * DAY_MS for time in times)
        if row["datasetId"] == "v":
            assert (row["datasetType"], row["records"]) == ("ExperienceEvents", len(times))
        else:
            assert (row["datasetType"], row["records"]) == ("Profiles", row["profileFragments"])


@given(everybody(), st.integers(1, 256), st.data())
def test_a_sample_made_larger_keeps_what_must_add_up(persons: Any, shards: int, data: st.DataObject) -> None:
    measured = data.draw(st.integers(1, shards))
    reports = Reports(tally_of(persons), scope(shards, measured), NAMES, NOW_MS)
    said = {name: report["data"] for name, report in reports.all().items()}
    assert abs(reports.profiles - reports.sampled * 256 / shards) <= 0.5
    for name in ("dataset/overlap", "namespace/overlap"):
        assert sum(said[name].values()) == reports.profiles
    windows = said["unstitchedProfiles"]["unstitchedProfiles"].values()
    for window in windows:
        for what in ("countOfProfiles", "eventsAssociated"):
            assert window[what] == sum(part[what] for part in window["nsDistribution"].values())
    for shorter, longer in zip(list(windows), list(windows)[1:], strict=False):
        assert longer["countOfProfiles"] <= shorter["countOfProfiles"]


@given(everybody())
def test_items_and_bytes_are_all_there(persons: Any) -> None:
    data = store_report(tally_of(persons), scope(), NAMES, NOW_MS)["data"]
    items = [item for person, _, its in persons if person.pieces for item in its]
    assert data["items"]["events"] == {"items": len(items), "bytes": sum(item.bytes for item in items)}
    assert sum(row["bytes"] for row in data["datasets"]) == sum(item.bytes for item in items)
    assert data["monthlyCost"]["total"] >= 0


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 50)), st.integers(0, 500))
def test_what_is_apportioned_adds_up_and_is_never_off_by_one(counts: dict[str, int], total: int) -> None:
    made = apportioned(counts, total)
    counted = sum(counts.values())
    if not counted:
        assert made == {}
        return
    assert sum(made.values()) == total
    for name, count in counts.items():
        assert abs(made.get(name, 0) - count * total / counted) < 1
