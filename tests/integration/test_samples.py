"""Samples count what was ingested: each person once, as look-ups see them (contract: profile-api §4)."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import boto3
import pytest
from aepp.customerprofile import Profile

from api import preview_sample_status as preview
from jobs import ingest, stream
from tessera.domain.expiry import Expiry
from tessera.domain.identity import shard_of
from tessera.domain.merge_policy import AttributeMerge, GraphType, MergePolicy
from tessera.domain.sample.job import Cause
from tessera.domain.times import DAY_MS, iso_ms
from tessera.services.sample import planning
from tests.integration import export_machine, sample_machine
from tests.integration.adobe import signed_in
from tests.integration.conftest import CLIENT_ID, Answer, Caller, client_document
from tests.integration.documented import Documented
from tests.integration.test_export import APP, CRM, HOUR, LOYALTY, NOW, SHOP, TENANT, World, who

PATH = preview.PATH
REPORTS = (
    "dataset",
    "namespace",
    "dataset/overlap",
    "namespace/overlap",
    "unstitchedProfiles",
    "dataset_stats",
    "store",
)
MINUTE = 60_000
OTHER_BATCH = "01J00000000000000000000001"


class Clock:
    """The time that everybody sees, in milliseconds since 1970."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        monkeypatch.setattr(time, "time_ns", lambda: self.now * 1_000_000)


class Sampled(World):
    """A sandbox whose samples are taken and read over HTTP; every answer is what the OpenAPI document says."""

    def get(self, path: str = "", **query: str) -> Answer:
        return Documented(self.call)(preview.handler, "GET", PATH + path, query=query)

    def ask_for_one(self) -> Answer:
        return Documented(self.call)(preview.handler, "POST", PATH)

    def sample(self) -> dict[str, Any]:
        """Take a sample; return all reports, and the status under ""."""
        answer = self.ask_for_one()
        assert answer.status == 202, answer.text
        assert sample_machine.run(answer.json()["id"]) == "done"
        return self.reports()

    def reports(self) -> dict[str, Any]:
        answers = {name: self.get(f"/report/{name}") for name in REPORTS} | {"": self.get()}
        assert {answer.status for answer in answers.values()} == {200}
        return {name: answer.json() for name, answer in answers.items()}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def world(call: Caller, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Sampled:
    export_machine.created_machine(monkeypatch)
    sample_machine.created_machine(monkeypatch)
    world = Sampled(call)
    world.change(lambda known: known.with_namespaces(["crmid"]))
    return world


def event(number: int, at_ms: int = NOW - 2 * HOUR, **more: Any) -> dict[str, Any]:
    return {"_id": f"e{number}", "timestamp": iso_ms(at_ms), **more}


def test_before_the_first_sample_there_is_nothing(world: Sampled) -> None:
    for path in ("", *(f"/report/{name}" for name in REPORTS)):
        answer = world.get(path)
        assert answer.status == 404
        assert answer.json()["status"] == 404


def test_the_status_to_the_letter(world: Sampled) -> None:
    world.write(CRM, *(([who(number)], {"x": number}) for number in range(3)))
    world.write(SHOP, ([who(2)], event(1)), ([who(3)], event(2)), ([who(3)], event(3)))
    assert world.sample()[""] == {
        "numRowsToRead": "4",
        "sampleJobRunning": {"status": False, "submissionTimestamp": "2025-06-18 15:00:00.0"},
        "docCount": '"6"',
        "cosmosDocCount": '"6"',
        "totalFragmentCount": 5,
        "lastSuccessfulBatchTimestamp": '"null"',
        "streamingDriven": '"false"',
        "totalRows": "4",
        "lastBatchId": '"null"',
        "status": "TASK_FINISHED",
        "samplingRatio": 1.0,
        "mergeStrategy": "timestampOrdered_auto",
        "lastSampledTimestamp": "2025-06-18 15:00:00.0",
    }


def test_the_reports_to_the_letter(world: Sampled) -> None:
    world.write(CRM, ([who(1), who(1, "email")], {"x": 1}), ([who(2)], {"x": 1}))
    world.write(LOYALTY, ([who(1, "email")], {"x": 1}))
    world.write(SHOP, ([who(7, "aaid")], event(1)), ([who(2)], event(2)))
    reports = world.sample()
    at = "2025-06-18T15:00:00.000"
    assert {one["reportTimestamp"] for name, one in reports.items() if name} == {at}
    assert reports["dataset"]["data"][0] == {
        "sampleCount": 2,
        "samplePercentage": 0.666667,
        "fullIDsCount": 2,
        "fullIDsPercentage": 0.666667,
        "name": "",
        "description": "",
        "value": CRM,
        "streamingIngestionEnabled": "",
        "createdUser": "",
        "reportTimestamp": at,
    }
    by_code = {row["code"]: row for row in reports["namespace"]["data"]}
    assert by_code["Email"] == {
        "sampleCount": 1,
        "samplePercentage": 0.333333,
        "reportTimestamp": at,
        "fullIDsFragmentCount": 1,
        "fullIDsCount": 1,
        "fullIDsPercentage": 0.333333,
        "code": "Email",
        "value": "6",
    }
    assert by_code["AAID"]["value"] == "10"
    assert by_code["shopper"]["fullIDsFragmentCount"] == 3
    assert reports["dataset/overlap"]["data"] == {"crm,loyalty": 1, "crm,shop": 1, "shop": 1}
    assert reports["namespace/overlap"]["data"] == {"AAID": 1, "Email,shopper": 1, "shopper": 1}
    assert reports["dataset_stats"]["data"][2] == {
        **{f"{days}days": 2 for days in (7, 14, 30, 60, 90, 120, 365)},
        "datasetId": SHOP,
        "datasetType": "ExperienceEvents",
        "percentEvents": 100.0,
        "percentProfiles": 66.666667,
        "profileFragments": 2,
        "records": 2,
        "totalProfiles": 2,
    }
    assert reports["dataset_stats"]["data"][0] == {
        **{f"{days}days": 0 for days in (7, 14, 30, 60, 90, 120, 365)},
        "datasetId": CRM,
        "datasetType": "Profiles",
        "percentEvents": 0.0,
        "percentProfiles": 66.666667,
        "profileFragments": 2,
        "records": 2,
        "totalProfiles": 2,
    }


def test_scenario_35(world: Sampled) -> None:
    """Who has two fragments is never unstitched; a silent visitor is, in the windows shorter than the silence."""
    world.write(CRM, ([who(4217, "crmid"), who(1, "email")], {"x": 1}), at_ms=NOW - 200 * DAY_MS)
    world.write(LOYALTY, ([who(1, "email")], {"x": 1}), at_ms=NOW - 200 * DAY_MS)
    world.write(SHOP, *(([who(9, "aaid")], event(n)) for n in range(3)), at_ms=NOW - 10 * DAY_MS)
    world.write(SHOP, ([who(8, "aaid")], event(10)), at_ms=NOW - 100 * DAY_MS)
    world.write(APP, ([who(7)], event(11)), at_ms=NOW - HOUR)
    world.write(CRM, ([who(6)], {"x": 1}), at_ms=NOW - 35 * DAY_MS)
    data = world.sample()["unstitchedProfiles"]["data"]
    assert (data["totalNumberOfProfiles"], data["totalNumberOfEvents"]) == (5, 5)
    assert data["unstitchedProfiles"] == {
        "7days": {
            "countOfProfiles": 3,
            "eventsAssociated": 4,
            "nsDistribution": {
                "AAID": {"countOfProfiles": 2, "eventsAssociated": 4},
                "shopper": {"countOfProfiles": 1, "eventsAssociated": 0},
            },
        },
        "30days": {
            "countOfProfiles": 2,
            "eventsAssociated": 1,
            "nsDistribution": {
                "AAID": {"countOfProfiles": 1, "eventsAssociated": 1},
                "shopper": {"countOfProfiles": 1, "eventsAssociated": 0},
            },
        },
        **{
            window: {
                "countOfProfiles": 1,
                "eventsAssociated": 1,
                "nsDistribution": {"AAID": {"countOfProfiles": 1, "eventsAssociated": 1}},
            }
            for window in ("60days", "90days")
        },
        "120days": {"countOfProfiles": 0, "eventsAssociated": 0, "nsDistribution": {}},
    }


def test_what_would_be_left_of_events_that_expired(world: Sampled) -> None:
    ages = (1, 7, 8, 13, 20, 45, 75, 100, 300, 400)
    world.write(SHOP, *(([who(age)], event(age, NOW - age * DAY_MS + 1)) for age in ages))
    (row,) = world.sample()["dataset_stats"]["data"]
    for days in (7, 14, 30, 60, 90, 120, 365):
        assert row[f"{days}days"] == sum(age <= days for age in ages)


def written(world: Sampled, seed: int) -> None:
    """Write what chance wants: persons of several identities, records, events, repeats."""
    chance = random.Random(seed)
    for step in range(30):
        number = chance.randrange(8)
        identities = [who(number, chance.choice(["shopper", "email"]))]
        if chance.random() < 0.3:
            identities.append(who(chance.randrange(8), chance.choice(["email", "crmid"])))
        dataset = chance.choice([CRM, LOYALTY, SHOP, APP])
        at_ms = NOW - chance.randrange(1, 150) * DAY_MS
        body: Any = {"x": step}
        if dataset in {SHOP, APP}:
            body = event(chance.randrange(40), at_ms)
        world.write(dataset, (identities, body), at_ms=at_ms)
    world.delete_person(chance.choice(sorted(world.known, key=str)))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("merge", AttributeMerge)
@pytest.mark.parametrize("graph", GraphType)
def test_the_totals_are_those_of_all_look_ups(
    world: Sampled, seed: int, merge: AttributeMerge, graph: GraphType
) -> None:
    """An independent count: everybody is looked up over HTTP, and their events are read."""
    order = (LOYALTY, SHOP, APP) if merge is AttributeMerge.DATASET_PRECEDENCE else ()
    policy = MergePolicy("p", "p", graph=graph, attribute_merge=merge, order=order, default=True)
    world.change(lambda known: replace(known, policies={"p": policy}))
    written(world, seed)
    reports = world.sample()
    persons = [profile for profile in world.look_ups("p", events=True) if has_fragment(profile)]
    namespaces, overlaps, events = Counter[str](), Counter[str](), 0
    for profile in persons:
        codes = {code_of(code) for code in profile["entity"]["identityMap"]}
        namespaces.update(codes)
        overlaps[",".join(sorted(codes))] += 1
        events += len(profile["entity"]["eventList"])
    status = reports[""]
    assert status["numRowsToRead"] == status["totalRows"] == str(len(persons))
    assert {row["code"]: row["fullIDsCount"] for row in reports["namespace"]["data"]} == namespaces
    assert reports["namespace/overlap"]["data"] == overlaps
    assert sum(reports["dataset/overlap"]["data"].values()) == len(persons)
    of_records = Counter(dataset for profile in persons for dataset in profile["sources"] if dataset)
    stats = {row["datasetId"]: row for row in reports["dataset_stats"]["data"]}
    assert {name: row["totalProfiles"] for name, row in stats.items() if row["datasetType"] == "Profiles"} == of_records
    assert {row["value"]: row["sampleCount"] for row in reports["dataset"]["data"]} == {
        name: row["totalProfiles"] for name, row in stats.items()
    }
    counted = sum(row["records"] for row in stats.values() if row["datasetType"] == "ExperienceEvents")
    assert counted == reports["unstitchedProfiles"]["data"]["totalNumberOfEvents"] == events
    windows = reports["unstitchedProfiles"]["data"]["unstitchedProfiles"]
    for shorter, longer in itertools.pairwise(windows.values()):
        assert longer["countOfProfiles"] <= shorter["countOfProfiles"]
    for window in windows.values():
        for what in ("countOfProfiles", "eventsAssociated"):
            assert window[what] == sum(one[what] for one in window["nsDistribution"].values())
    if graph is GraphType.PRIVATE:
        # Who has links only is exported, and no profile.
        job = world.export(filter={"emptyProfiles": True}, mergePolicy={"id": "p"})
        assert job["metrics"]["totalExportedProfileCounter"] == len(list(world.look_ups("p")))


def has_fragment(profile: dict[str, Any]) -> bool:
    return any(profile["sources"]) or bool(profile["entity"]["eventList"])


def code_of(namespace: str) -> str:
    return {"email": "Email"}.get(namespace, namespace)


def test_what_was_deleted_is_not_counted(world: Sampled) -> None:
    world.write(CRM, *(([who(number)], {"x": 1}) for number in range(4)))
    world.write(LOYALTY, ([who(0)], {"x": 1}))
    world.write(SHOP, ([who(1)], event(1)), ([who(5)], event(2)))
    world.delete_person(who(3))
    world.change(lambda known: known.without_dataset(SHOP))
    reports = world.sample()
    assert reports[""]["totalRows"] == "3"
    assert reports["dataset/overlap"]["data"] == {"crm": 2, "crm,loyalty": 1}
    assert reports["unstitchedProfiles"]["data"]["totalNumberOfEvents"] == 0


def test_expired_events_are_not_counted(world: Sampled, clock: Clock) -> None:
    world.write(SHOP, ([who(1)], event(1, NOW - 3 * DAY_MS)), ([who(1)], event(2)))
    assert world.sample()["unstitchedProfiles"]["data"]["totalNumberOfEvents"] == 2
    world.change(lambda known: known.with_dataset(replace(known.datasets[SHOP], expiry=Expiry(days=2))))
    assert world.sample()["unstitchedProfiles"]["data"]["totalNumberOfEvents"] == 1


def raw_items() -> list[Any]:
    return list(client().scan(TableName="profiles")["Items"])


def client() -> Any:
    return boto3.client("dynamodb")


def test_the_same_event_under_two_identities_of_a_person_counts_once(world: Sampled) -> None:
    world.write(CRM, ([who(1), who(1, "email")], {"x": 1}))
    world.write(SHOP, ([who(1)], event(1)), ([who(1, "email")], event(1)))
    reports = world.sample()
    (row,) = [row for row in reports["dataset_stats"]["data"] if row["datasetId"] == SHOP]
    assert (row["records"], row["profileFragments"], row["totalProfiles"]) == (1, 2, 1)


def test_insight_into_the_store(world: Sampled) -> None:
    world.write(CRM, ([who(0)], {"x": 1}), ([who(1), who(1, "email")], {"x": 1}))
    world.write(SHOP, ([who(0)], event(1)), ([who(0)], event(2)))
    world.write(SHOP, ([who(0)], event(1)), batch=OTHER_BATCH)
    world.write(CRM, *(([who(100), who(number, "crmid")], {"x": 1}) for number in range(55)))
    world.write(CRM, *(([who(200), who(1000 + number, "crmid")], {"x": 1}) for number in range(110)))
    data = world.sample()["store"]["data"]
    assert data["graphs"]["sizes"] == {
        "1": 1,
        "2": 1,
        **dict.fromkeys(("3", "4", "5", "6-10", "11-20", "21-50"), 0),
        "51+": 1,
    }
    assert data["graphs"]["overLimit"] == 1
    assert data["graphs"]["collapsedIdentities"] == 111
    assert data["profiles"] == 2
    assert {row["value"]: (row["records"], row["streams"], row["events"]) for row in data["datasets"]} == {
        CRM: (2, 0, 0),
        SHOP: (0, 1, 2),
    }
    assert {row["value"]: row["copies"] for row in data["datasets"]} == {CRM: 0, SHOP: 1}
    assert {kind: its["items"] for kind, its in data["items"].items()} == {
        "heads": 3,
        "records": 2,
        "streams": 1,
        "events": 2,
        "copies": 1,
    }
    assert all(row["bytes"] > 100 for row in data["datasets"])
    cost = data["monthlyCost"]
    parts = cost["tableStorage"] + cost["indexStorage"] + cost["pointInTimeRecovery"]
    assert cost["total"] == pytest.approx(parts, abs=2e-6)
    assert cost["currency"] == "USD"


def test_of_a_large_store_some_shards_are_counted(
    world: Sampled, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the shards, in several shares; the items of who is in the first quarter are looked at."""
    monkeypatch.setattr(planning, "estimated_identities", lambda *_: 1000)
    monkeypatch.setattr("tessera.domain.sample.size.FULL_BELOW", 500)
    monkeypatch.setattr(sample_machine.sample, "Planner", partial(planning.Planner, measured_persons=250))
    monkeypatch.setattr("tessera.domain.export.share.PERSONS_PER_SHARE", 100)
    people = [who(number) for number in range(60)]
    world.write(CRM, *(([one], {"x": 1}) for one in people))
    world.write(SHOP, *(([one], event(number)) for number, one in enumerate(people)))
    reports = world.sample()
    sampled = sum(shard_of(one.xid(TENANT)) < 128 for one in people)
    measured = sum(shard_of(one.xid(TENANT)) < 64 for one in people)
    assert 0 < measured < sampled < 60
    status = reports[""]
    assert (status["numRowsToRead"], status["totalRows"]) == (str(sampled), str(2 * sampled))
    assert status["samplingRatio"] == 0.5
    row = reports["dataset"]["data"][0]
    assert (row["sampleCount"], row["fullIDsCount"]) == (sampled, 2 * sampled)
    assert (row["samplePercentage"], row["fullIDsPercentage"]) == (1.0, 1.0)
    assert reports["dataset/overlap"]["data"] == {"crm,shop": 2 * sampled}
    assert reports["unstitchedProfiles"]["data"]["totalNumberOfEvents"] == 4 * measured
    assert status["docCount"] == f'"{2 * sampled + 4 * measured}"'
    # The same shards are looked at again: nothing has changed.
    assert due(clock, "batch") == "not due"


# When a sample is taken


def test_a_sample_asked_for_twice_at_once_runs_once(world: Sampled) -> None:
    world.write(CRM, ([who(1)], {"x": 1}))
    first, second = world.ask_for_one().json(), world.ask_for_one().json()
    assert first == second
    assert first["sampleJobRunning"] == {"status": True, "submissionTimestamp": "2025-06-18 15:00:00.0"}
    assert [name for name in sample_machine.started() if "-" not in name] == [first["id"]]
    assert sample_machine.run(first["id"]) == "done"
    assert world.get().json()["sampleJobRunning"]["status"] is False
    third = world.ask_for_one().json()
    assert third["id"] != first["id"]
    # While it runs the last one is shown.
    shown = world.get().json()
    assert (shown["sampleJobRunning"]["status"], shown["totalRows"]) == (True, "1")
    # The first execution started over changes nothing.
    assert sample_machine.run(first["id"]) == "not due"


def test_scenario_33(world: Sampled, clock: Clock) -> None:
    """After 2 % more there is no new sample; after 4 % by streaming one at the next hourly check."""
    world.write(CRM, *(([who(number)], {"x": 1}) for number in range(90)))
    world.write(SHOP, *(([who(1000 + number)], event(number)) for number in range(10)))
    assert world.sample()[""]["totalRows"] == "100"
    world.write(CRM, *(([who(200 + number)], {"x": 1}) for number in range(2)))
    assert due(clock, "stream") == "not due"
    assert world.get().json()["totalRows"] == "100"
    world.write(SHOP, *(([who(300 + number)], event(100 + number)) for number in range(2)))
    assert due(clock, "stream") == "done"
    status = world.get().json()
    assert (status["totalRows"], status["streamingDriven"]) == ("104", '"true"')


def due(clock: Clock, cause: str) -> str:
    """Start the execution of the next check of a kind as the functions do, wait as long as it does, and run it."""
    before = set(sample_machine.started())
    checks = ingest._checks() if cause == "batch" else stream._checks()
    look = checks.after_batch if cause == "batch" else checks.while_streaming
    look(TENANT)
    look(TENANT)
    (name,) = set(sample_machine.started()) - before
    wait_s = sample_machine.started()[name]["wait_s"]
    assert 0 < wait_s <= (900 if cause == "batch" else 3660)
    clock.now += wait_s * 1000
    return sample_machine.run(name, cause)


def test_fewer_profiles_are_a_change_too(world: Sampled, clock: Clock) -> None:
    world.write(CRM, *(([who(number)], {"x": 1}) for number in range(50)))
    world.sample()
    for item in raw_items():
        if item["pk"]["S"].endswith(tuple(who(number).xid(TENANT) for number in range(2))):
            client().delete_item(TableName="profiles", Key={"pk": item["pk"], "sk": item["sk"]})
    assert due(clock, "batch") == "done"
    assert world.get().json()["totalRows"] == "48"


def test_stitching_makes_fewer_profiles(world: Sampled, clock: Clock) -> None:
    world.write(CRM, *(([who(number), who(number, "email")], {"x": 1}) for number in range(20)))
    world.write(LOYALTY, *(([who(number, "email")], {"x": 1}) for number in range(20)))
    world.write(LOYALTY, *(([who(100 + number)], {"x": 1}) for number in range(20)))
    assert world.sample()[""]["totalRows"] == "40"
    # More of the same shape is more profiles, and neither more identities nor more graphs are by themselves.
    world.write(CRM, ([who(50), who(50, "email")], {"x": 1}))
    world.write(LOYALTY, ([who(50, "email")], {"x": 1}))
    assert due(clock, "batch") == "not due"
    # Six persons become three.
    world.write(APP, *(([who(100 + 2 * number), who(101 + 2 * number)], event(number)) for number in range(3)))
    assert due(clock, "batch") == "done"
    assert world.get().json()["totalRows"] == "38"


def test_a_threshold_of_one_s_own(world: Sampled, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write(CRM, *(([who(number)], {"x": 1}) for number in range(20)))
    world.sample()
    world.write(CRM, ([who(20)], {"x": 1}))
    monkeypatch.setenv("SAMPLE_THRESHOLD_PERCENT", "6")
    assert due(clock, "batch") == "not due"
    monkeypatch.setenv("SAMPLE_THRESHOLD_PERCENT", "4")
    assert due(clock, "batch") == "done"


def test_without_a_change_a_sample_is_taken_in_a_week(world: Sampled, clock: Clock) -> None:
    world.write(CRM, ([who(1)], {"x": 1}))
    world.sample()
    ((name, asked),) = [(name, its) for name, its in sample_machine.started().items() if its["cause"] == Cause.WEEK]
    assert asked["wait_s"] == 7 * 24 * 3600
    clock.now += 3 * DAY_MS
    world.sample()
    clock.now += 4 * DAY_MS
    # Another one was taken meanwhile, which has a week of its own.
    assert sample_machine.run(name, "week") == "not due"
    (later,) = [one for one, its in sample_machine.started().items() if its["cause"] == Cause.WEEK and one != name]
    clock.now += 3 * DAY_MS
    assert sample_machine.run(later, "week") == "done"
    assert world.get().json()["lastSampledTimestamp"] == "2025-06-28 15:00:00.0"


def test_a_change_while_a_sample_is_taken_is_looked_at_afterwards(world: Sampled, clock: Clock) -> None:
    world.write(CRM, ([who(1)], {"x": 1}))
    job = world.ask_for_one().json()["id"]
    walk = sample_machine.walking(sample_machine.input_of(job))
    assert next(walk) == "plan"
    assert due(clock, "batch") == "not due"
    clock.now += 16 * MINUTE
    before = set(sample_machine.started())
    assert list(walk)[-1] == "done"
    new = {name: its["cause"] for name, its in sample_machine.started().items() if name not in before}
    assert sorted(new.values()) == ["batch", "week"]


# Reports of days


def test_reports_of_a_day(world: Sampled, clock: Clock) -> None:
    world.write(CRM, ([who(1)], {"x": 1}))
    world.sample()
    world.write(CRM, ([who(2)], {"x": 1}))
    clock.now += HOUR
    world.sample()
    clock.now += 5 * DAY_MS
    world.write(CRM, ([who(3)], {"x": 1}))
    world.sample()

    def rows(**query: str) -> Any:
        answer = world.get("/report/dataset", **query)
        assert answer.status == 200
        return answer.json()["data"][0]["fullIDsCount"]

    # The last of the day, with and without zeros.
    assert rows(date="2025-06-18") == rows(date="2025-6-18") == 2
    assert rows(date="2025-06-23") == rows() == rows(date="") == 3
    for name in REPORTS:
        missing = world.get(f"/report/{name}", date="2025-06-19")
        assert (missing.status, missing.json()["status"]) == (404, 404)
        assert world.get(f"/report/{name}", date="2025-06-18").status == 200
    for bad in ("yesterday", "2025-13-01", "2025-02-30", "18-06-2025", "2025-06-18T00:00:00Z", "0000-01-01"):
        refused = world.get("/report/namespace", date=bad)
        assert (refused.status, refused.json()["status"]) == (400, 400), bad


def test_tenants_never_meet(world: Sampled) -> None:
    world.write(CRM, ([who(1)], {"x": 1}))
    world.sample()
    other = world.call(preview.handler, "GET", PATH, headers={"x-sandbox-name": "prod"})
    assert other.status == 404


def test_who_may_only_read_cannot_ask(world: Sampled) -> None:
    world.call.registry.put(f"client#{CLIENT_ID}", "client", client_document(permissions=["read"]))
    assert world.ask_for_one().status == 403


def test_adobe_s_client(world: Sampled, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write(CRM, ([who(1), who(1, "email")], {"x": 1}))
    world.write(SHOP, ([who(1)], event(1)))
    world.sample()
    profiles = Profile(**signed_in(world.call, monkeypatch, preview.handler))
    assert profiles.getPreviewStatus()["totalRows"] == "1"
    assert {row["value"] for row in profiles.getPreviewDataSet()} == {CRM, SHOP}
    assert profiles.getPreviewDataSetOverlap() == {"crm,shop": 1}
    assert {row["code"] for row in profiles.getPreviewNamespace()} == {"Email", "shopper"}
