"""Erasing persons: absent once accepted, whatever was in flight; swept until a round finds nothing (law 7)."""

from __future__ import annotations

from typing import Any

import pytest

from tessera.domain.deletion import JobStatus
from tessera.domain.erasure import Outcome, Source
from tessera.domain.erasure_list import Entry
from tessera.domain.errors import NotFoundError
from tessera.domain.identity import Identity
from tessera.domain.place import GRACE_MS, batch_place, cutoff_place
from tessera.domain.profile import Event
from tessera.domain.rows import HELD, PlacedRow
from tessera.services.erasure import accepting, sweeping
from tessera.services.profile_writer import ProfileWriter
from tessera.services.write_report import WriteReport
from tessera.storage import aws
from tessera.storage.profile_items import event_key
from tessera.storage.profile_table import KeyPage, ProfileTable
from tests.integration.conftest import empty_profile_table
from tests.integration.erasing import ErasingWorld, everything
from tests.integration.executors import Inline
from tests.integration.hostile import CrashError, HostileClient, Life
from tests.integration.test_person_delete import (
    BATCH,
    CRM,
    CRM_ID,
    DEVICE,
    EMAIL,
    LOYALTY,
    ONLY_HEADS,
    PERSON,
    WEB,
    T,
    at,
    dalia,
    event,
    row,
)

PHONE = Identity("phone", "+15550100")
FRIEND = Identity("email", "friend@ex.org")
STRANGER = Identity("email", "stranger@ex.org")


@pytest.fixture
def world(cloud: None) -> ErasingWorld:
    return ErasingWorld()


def outcomes(world: ErasingWorld, part: int = 0) -> list[Outcome]:
    return [outcome for _, outcome, _ in world.lake.lines(world.tenant, world.erasure().id, part)]


def test_a_person_is_absent_once_accepted_and_then_swept(world: ErasingWorld) -> None:
    asked = world.now_ms
    erasure = world.erase(EMAIL)
    assert (erasure.status, erasure.parts, erasure.reached) == (JobStatus.IN_PROGRESS, 1, 3)
    assert erasure.accepted_ms == asked + GRACE_MS + 1 == world.now_ms
    assert {head.cutoff for head in world.heads().values()} == {cutoff_place(asked + GRACE_MS)}
    assert world.gone()
    assert len(world.stored()) == 3 + 2 + 1 + 5
    world.work()
    settled = world.erasure()
    assert set(world.stored()) == ONLY_HEADS
    assert settled.counts == {"records": 2, "streams": 1, "events": 5}
    assert (settled.status, settled.swept.round, settled.caller) == (JobStatus.SUCCESS, 2, "officer")
    assert settled.swept_ms and settled.finished_ms
    assert outcomes(world) == [Outcome.ERASED]
    assert set(world.erasures.sources(world.tenant, settled.id)) == {
        Source(dataset_id, BATCH) for dataset_id in (CRM, LOYALTY, WEB)
    }


def test_one_person_named_twice_and_others_who_are_nobody(world: ErasingWorld) -> None:
    entries = [
        Entry(1, EMAIL),
        Entry(2, reason="no"),
        Entry(3, CRM_ID),
        Entry(4, STRANGER),
        Entry(5, xid=world.xid(DEVICE)),
    ]
    acceptance = world.acceptance()
    erasure = acceptance.begin(world.tenant, entries, world.machine, hold=False, caller="officer")
    assert erasure.identities == {"erased": 3, "invalid": 1, "notFound": 1}
    assert erasure.reached == 3
    assert world.lake.lines(world.tenant, erasure.id, 0)[1] == (2, Outcome.INVALID, "no")
    # Nothing was noted of who is not known, and nobody is named in plain any more.
    assert not world.table.heads(world.tenant, [world.xid(STRANGER)])
    assert not [name for name, text in everything().items() if STRANGER.value in text]


def test_events_of_the_future_go_too(world: ErasingWorld) -> None:
    ahead = row(WEB, at(T + 50), DEVICE, _id="later", timestamp="2033-03-04T08:00:00Z", n=1)
    world.put(ahead)
    assert "later" in world.events()
    world.erase(EMAIL)
    assert world.gone()
    world.put(ahead)
    assert world.gone()
    world.work()
    assert set(world.stored()) == ONLY_HEADS


def test_what_was_accepted_before_and_comes_after_stays_away(world: ErasingWorld) -> None:
    world.erase(EMAIL)
    late = at(T + 900)
    rows = [row(CRM, late, CRM_ID, EMAIL, city="Oslo"), event(7, late), event(1, late), *world.rows]
    world.put(*rows)
    assert world.gone()
    world.work()
    world.put(*rows)
    assert world.gone()
    assert set(world.stored()) == ONLY_HEADS


@pytest.mark.parametrize("swept", [False, True])
def test_somebody_whom_a_link_in_flight_joins_is_part_of_it(world: ErasingWorld, swept: bool) -> None:
    # Accepted before the erasure, and processed after it: as if it had been processed in time.
    own = row(LOYALTY, at(T + 100), PHONE, tier="silver")
    joining = row(CRM, at(T + 200), PHONE, EMAIL, city="Ghent")
    afterwards = row(LOYALTY, at(world.now_ms + 10_000), PHONE, tier="gold")
    world.put(own)
    world.erase(EMAIL)
    if swept:
        world.work()
    world.put(joining, afterwards)
    assert world.visible(PHONE, *PERSON) == {(PHONE, LOYALTY, afterwards[1].place)}
    world.work()
    assert world.visible(PHONE, *PERSON) == {(PHONE, LOYALTY, afterwards[1].place)}
    assert world.erasure().reached == 3
    if not swept:
        # The sweep found whom it joined, and the row that nobody reads is gone.
        (job,) = world.machine.started
        assert world.xid(PHONE) in world.lake.reached(world.tenant, job, 0)


def test_somebody_who_is_joined_later_keeps_what_they_had(world: ErasingWorld) -> None:
    own = row(LOYALTY, at(T + 100), PHONE, tier="silver")
    world.put(own)
    world.erase(EMAIL)
    joining = row(CRM, at(world.now_ms + 10_000), PHONE, EMAIL, city="Ghent")
    world.put(joining)
    assert world.visible(PHONE, *PERSON) == {(PHONE, LOYALTY, own[1].place), (PHONE, CRM, joining[1].place)}


def test_of_a_graph_that_has_collapsed_the_identity_alone(world: ErasingWorld) -> None:
    others = [Identity("email", f"{number}@ex.org") for number in range(105)]
    for start in range(0, 105, 15):
        world.put(row(LOYALTY, at(T + 100 + start), EMAIL, *others[start : start + 15]))
    assert world.heads()[world.xid(EMAIL)].collapsed
    erasure = world.erase(EMAIL)
    assert erasure.identities == {"alone": 1}
    assert world.lake.lines(world.tenant, erasure.id, 0) == [(1, Outcome.ALONE, accepting.ALONE)]
    assert not world.visible(EMAIL)
    assert world.visible(CRM_ID)


def test_a_graph_too_large_to_be_looked_up_is_erased_as_a_whole(world: ErasingWorld) -> None:
    others = [Identity("email", f"{number}@ex.org") for number in range(75)]
    for start in range(0, 75, 15):
        world.put(row(LOYALTY, at(T + 100 + start), EMAIL, *others[start : start + 15]))
    world.put(row(CRM, at(T + 300), others[-1], city="Oslo"))
    assert world.erase(others[0]).reached == 78
    assert not world.visible(*PERSON, *others)


class TestHolds:
    def test_a_fresh_upload_is_refused_with_the_reason_and_leaves_no_trace(self, world: ErasingWorld) -> None:
        world.erase(EMAIL, hold=True)
        world.work()
        fresh = at(world.now_ms + 10_000)
        rows = [row(CRM, fresh, CRM_ID, EMAIL, city="Oslo"), event(1, fresh), row(CRM, fresh, FRIEND, EMAIL, city="X")]
        for dataset, placed in rows:
            report = apply(world, dataset, placed)
            assert [(place, error.code) for place, error in report.refused.items()] == [(fresh, HELD)]
            assert (report.written, report.unchanged) == (0, 0)
        assert world.gone()
        assert set(world.stored()) == ONLY_HEADS
        # Who was named beside somebody who is held is not known by that.
        assert not world.table.heads(world.tenant, [world.xid(FRIEND)])

    def test_somebody_never_seen_can_be_held(self, world: ErasingWorld) -> None:
        erasure = world.erase(STRANGER, hold=True)
        assert (erasure.identities, erasure.reached) == ({"notFound": 1}, 1)
        report = apply(world, *row(CRM, at(world.now_ms + 1000), STRANGER, city="Oslo"))
        assert list(report.refused)
        assert not world.visible(STRANGER)
        world.work()
        hold = world.holds().of(world.tenant, world.xid(STRANGER))
        assert hold.head.held
        assert [(one["action"], one["clientId"], one["jobId"]) for one in hold.history] == [
            ("held", "officer", erasure.id)
        ]

    def test_an_xid_never_seen_cannot_be_held(self, world: ErasingWorld) -> None:
        entries = [Entry(1, xid=world.xid(STRANGER))]
        erasure = world.acceptance().begin(world.tenant, entries, world.machine, hold=True, caller="officer")
        assert world.lake.lines(world.tenant, erasure.id, 0) == [(1, Outcome.INVALID, accepting.UNSEEN_XID)]

    def test_once_lifted_rows_are_taken_again_and_those_that_came_before_are_not(self, world: ErasingWorld) -> None:
        world.erase(EMAIL, hold=True)
        world.work()
        during = row(CRM, at(world.now_ms + 1000), CRM_ID, EMAIL, city="Oslo")
        world.now_ms += 10_000
        world.lift(CRM_ID)
        after = row(LOYALTY, at(world.now_ms + 1), EMAIL, tier="gold")
        world.put(after, during, *world.rows)
        assert world.visible(*PERSON) == {(EMAIL, LOYALTY, after[1].place)}
        assert world.find(CRM_ID).entity()["tier"] == "gold"
        report = apply(world, *during)
        assert list(report.refused)
        for identity in PERSON:
            hold = world.holds().of(world.tenant, world.xid(identity))
            assert not hold.head.held
            assert [one["action"] for one in hold.history] == ["held", "lifted"]
        before = world.heads()
        world.lift(EMAIL)
        assert world.heads() == before
        with pytest.raises(NotFoundError):
            world.lift(STRANGER)

    def test_a_lift_while_the_sweep_runs_loses_nothing_new(self, world: ErasingWorld) -> None:
        world.erase(EMAIL, hold=True)
        world.now_ms += 1000
        world.lift(EMAIL)
        after = row(CRM, at(world.now_ms + 1), CRM_ID, EMAIL, city="Lund")
        world.put(after, event(6, after[1].place))
        world.work()
        assert world.find(EMAIL).entity()["city"] == "Lund"
        assert world.events() == ["e6"]

    def test_somebody_whom_a_link_in_flight_joins_is_held_too(self, world: ErasingWorld) -> None:
        joining = row(CRM, at(T + 200), PHONE, EMAIL, city="Ghent")
        world.erase(EMAIL, hold=True)
        meanwhile = row(LOYALTY, at(world.now_ms + 1000), PHONE, tier="silver")
        world.put(meanwhile)
        assert world.visible(PHONE)
        world.now_ms += 5000
        writer = ProfileWriter(world.configurations, world.table, Inline(), clock_ms=lambda: world.now_ms)
        writer.apply(world.tenant, joining[0], [joining[1]])
        assert not world.visible(PHONE, *PERSON)
        assert list(apply(world, *row(LOYALTY, at(world.now_ms + 5000), PHONE, tier="gold")).refused)
        world.now_ms += 10_000
        world.lift(EMAIL)
        world.put(meanwhile)
        assert not world.visible(PHONE, *PERSON)
        after = row(LOYALTY, at(world.now_ms + 1), PHONE, tier="gold")
        world.put(after)
        assert world.visible(PHONE, *PERSON) == {(PHONE, LOYALTY, after[1].place)}

    def test_who_is_held_is_listed_page_by_page(self, world: ErasingWorld) -> None:
        world.erase(EMAIL, STRANGER, hold=True)
        world.erase(EMAIL, hold=True)
        holds = world.holds()
        found, after = [], None
        while True:
            page = holds.page(world.tenant, after, 2)
            found += [one.head.identity for one in page.holds]
            after = page.next
            if after is None:
                break
        assert sorted(found, key=str) == sorted([*PERSON, STRANGER], key=str)
        world.lift(EMAIL)
        assert [one.head.identity for one in holds.page(world.tenant, None, 10).holds] == [STRANGER]


def apply(world: ErasingWorld, dataset: str, placed: PlacedRow) -> WriteReport:
    return ProfileWriter(world.configurations, world.table, Inline()).apply(world.tenant, dataset, [placed])


class TestLists:
    def test_a_long_list_is_accepted_by_the_machine(self, world: ErasingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(accepting, "LINES_PER_PART", 2)
        world.put(row(CRM, at(T + 60), FRIEND, city="Bruges"))
        erasure = world.erase(STRANGER, EMAIL, FRIEND, CRM_ID, DEVICE)
        assert (erasure.parts, erasure.accepted_ms, erasure.status) == (3, 0, JobStatus.NEW)
        assert world.visible(FRIEND, EMAIL)
        world.work()
        done = world.erasure()
        assert done.identities == {"notFound": 1, "erased": 4}
        assert done.counts == {"records": 3, "streams": 1, "events": 5}
        assert done.status is JobStatus.SUCCESS
        assert not world.visible(FRIEND, *PERSON)
        assert [outcomes(world, part) for part in range(3)] == [
            [Outcome.NOT_FOUND, Outcome.ERASED],
            [Outcome.ERASED, Outcome.ERASED],
            [Outcome.ERASED],
        ]
        # Heads keep identities; the list does not.
        names = [name for name, text in everything().items() if FRIEND.value in text]
        assert names == [f"profiles:{world.tenant.key}#{world.xid(FRIEND)}:H"]

    def test_a_worker_stops_in_time_and_goes_on(self, world: ErasingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(accepting, "LINES_PER_PART", 1)
        world.erase(STRANGER, EMAIL)
        job = world.erasure()
        ticks = iter(range(0, 100_000, 300))
        acceptance = world.acceptance()
        acceptance._clock = lambda: float(next(ticks))
        assert acceptance.accept(world.tenant, job.id).accepted_parts == 1
        assert world.visible(EMAIL)
        assert acceptance.accept(world.tenant, job.id).accepted_ms
        assert world.gone()


def test_a_sweep_stops_after_its_share_and_goes_on(world: ErasingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "_PAGE", 2)
    monkeypatch.setattr(sweeping, "MAX_ITEMS", 3)
    world.erase(EMAIL)
    assert not world.erasure_sweep().sweep(world.tenant, world.erasure().id)
    world.work()
    assert world.erasure().counts == {"records": 2, "streams": 1, "events": 5}
    assert set(world.stored()) == ONLY_HEADS


@pytest.mark.parametrize("accepted", [False, True])
def test_one_that_failed_is_ended_by_whoever_asks_again(
    world: ErasingWorld, monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    people = (EMAIL, STRANGER, FRIEND)
    world.put(row(CRM, at(T + 60), FRIEND, city="Bruges"))
    with monkeypatch.context() as patched:
        patched.setattr(accepting, "LINES_PER_PART", 1000 if accepted else 2)
        patched.setattr(sweeping, "_PAGE", 2)
        patched.setattr(sweeping, "MAX_ITEMS", 3)
        first = world.erase(*people, hold=True)
        if accepted:
            assert not world.erasure_sweep().sweep(world.tenant, first.id)
    world.acceptance().fail(world.tenant, first.id, "storage was throttled")
    world.machine.started.clear()
    world.now_ms += 60_000
    again = world.erase(*people, hold=True)
    world.work()
    assert {job: world.erasures.get(world.tenant, job).status for job in (first.id, again.id)} == {
        first.id: JobStatus.FAILED,
        again.id: JobStatus.SUCCESS,
    }
    assert (world.erasure().reached, world.erasure().found) == (5, 0)
    world.people = (*world.people, *people)
    assert {sort for _, sort in world.stored()} == {"H"}
    assert all(world.holds().of(world.tenant, world.xid(one)).head.held for one in (*PERSON, *people))


def test_sources_are_of_what_was_left_to_sweep(world: ErasingWorld) -> None:
    """The batch of a record that a later one replaced is not known any more; receipts say so."""
    later = "01J00000000000000000000001"
    world.put(row(LOYALTY, batch_place(T + 500, later, 0, 0), EMAIL, tier="platinum"))
    world.erase(EMAIL)
    world.work()
    sources = set(world.erasures.sources(world.tenant, world.erasure().id))
    assert sources == {Source(CRM, BATCH), Source(WEB, BATCH), Source(LOYALTY, later)}


def test_a_round_that_finds_something_is_followed_by_another(world: ErasingWorld) -> None:
    class Behind(ProfileTable):
        """Writes an event below the cutoff when the first round has passed."""

        written = False

        def keys_at_or_below(self, *args: Any, **options: Any) -> KeyPage:
            if not self.written and world.erasure().swept.round == 2:
                self.written = True
                _, late = event(9, at(T + 40))
                key = event_key(late.row.timestamp_ms, WEB, "e9")
                self.put_event(world.tenant, Event(world.xid(DEVICE), key, WEB, late.place, late.row.body), None)
            return super().keys_at_or_below(*args, **options)

    world.erase(EMAIL)
    table = Behind(aws.dynamodb(), aws.profile_table())
    assert world.erasure_sweep(table=table).sweep(world.tenant, world.erasure().id)
    assert set(world.stored()) == ONLY_HEADS
    assert world.erasure().counts == {"records": 2, "streams": 1, "events": 6}
    assert (world.erasure().swept.round, world.erasure().found) == (3, 0)


def outcome(world: ErasingWorld) -> Any:
    erasure = world.erasure()
    kept = (erasure.status, erasure.identities, erasure.reached, erasure.counts, erasure.found)
    sources = set(world.erasures.sources(world.tenant, erasure.id))
    lists = [name for name in everything(f"jobs/{world.tenant.key}/") if "/list/" in name]
    holds = {identity: head.held for identity in PERSON if (head := world.heads().get(world.xid(identity)))}
    return set(world.stored()), kept, sources, lists, holds


# A list of one part dies at every call; one of several, which takes more of them, at some.
@pytest.mark.parametrize(("lines", "stride"), [(1000, 1), (2, 7)])
def test_dying_anywhere_the_machine_ends_what_was_begun(
    cloud: None, monkeypatch: pytest.MonkeyPatch, lines: int, stride: int
) -> None:
    monkeypatch.setattr(sweeping, "_PAGE", 2)
    monkeypatch.setattr(accepting, "LINES_PER_PART", lines)

    def play(calls_to_live: int | None) -> tuple[ErasingWorld, bool]:
        empty_profile_table()
        crm, _, first, _, linking, *_ = dalia()
        world = ErasingWorld(rows=[crm, linking, first], people=(*PERSON, STRANGER))
        life = Life(calls_to_live)
        client = HostileClient(aws.dynamodb(), calls_to_live or 0, conflict_rate=0.0, life=life)
        s3 = HostileClient(aws.s3(), 0, conflict_rate=0.0, life=life)
        died = False
        for step in (
            lambda: world.erase(EMAIL, STRANGER, CRM_ID, hold=True, client=client, s3=s3),
            lambda: world.work(client, s3),
        ):
            try:
                step()
            except CrashError:
                died = True
                break
        if not world.machine.started:
            # Nothing was accepted, and the caller asks again.
            assert world.visible(CRM_ID)
            world.erase(EMAIL, STRANGER, CRM_ID, hold=True)
        world.now_ms += 60_000
        world.work()
        return world, died

    def without_lists(found: Any) -> Any:
        # What a call left behind that died before it started anything is nobody's job; the lake drops it.
        return found[:3] + found[4:]

    expected = outcome(play(None)[0])
    assert expected[0] == {*ONLY_HEADS, (STRANGER, "H")}
    # A person who is named in two parts of the list is reached by both.
    assert expected[1][2:] == (4 if lines > 2 else 7, {"records": 1, "streams": 1, "events": 2}, 0)
    assert expected[3] == []
    assert set(expected[4].values()) == {True}
    deaths = 0
    for calls_to_live in range(0, 400, stride):
        world, died = play(calls_to_live)
        assert without_lists(outcome(world)) == without_lists(expected), calls_to_live
        if not died:
            break
        deaths += 1
    assert deaths > 60 / stride


def test_conflicts_and_short_pages_change_nothing(cloud: None) -> None:
    for seed in range(5):
        world = ErasingWorld(people=(*PERSON, STRANGER))
        client = HostileClient(aws.dynamodb(), seed, conflict_rate=0.5)
        world.erase(EMAIL, STRANGER, hold=True, client=client)
        world.work(client)
        assert set(world.stored()) == {*ONLY_HEADS, (STRANGER, "H")}
        assert world.erasure().counts == {"records": 2, "streams": 1, "events": 5}
