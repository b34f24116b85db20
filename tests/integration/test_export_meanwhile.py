"""What an export shows of a store that changes while it runs: only what a look-up could have answered then."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations, product
from typing import Any

import boto3
import pytest

from api import entities, export_jobs
from tessera.domain.errors import EntityNotFoundError
from tessera.domain.identity import Identity, Xid, shard_of
from tessera.domain.merge_policy import AttributeMerge, GraphType, MergePolicy
from tessera.domain.profile import IdentityItems
from tessera.services.export import gathering
from tessera.services.profile_reader import members_of, seen
from tessera.storage import aws
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tests.integration import export_machine
from tests.integration.test_export import CRM, HOUR, LOYALTY, NOW, TENANT, UNION, World, who, world
from tests.integration.test_export_jobs_api import active, delete

__all__ = ["world"]


def before_reads(monkeypatch: pytest.MonkeyPatch, happens: Callable[[Xid], None]) -> None:
    """Let something happen before a worker reads an identity; what reads meanwhile is let alone."""
    read, busy = ProfileTable.identity, [False]

    def reading(table: ProfileTable, tenant: Any, xid: Xid) -> IdentityItems | None:
        if not busy[0]:
            busy[0] = True
            happens(xid)
            busy[0] = False
        return read(table, tenant, xid)

    monkeypatch.setattr(ProfileTable, "identity", reading)


def asking(identity: Identity) -> dict[str, str]:
    return {"schema.name": "_xdm.context.profile", "entityId": identity.value, "entityIdNS": identity.namespace}


def gathered(job: dict[str, Any]) -> None:
    of_job = export_machine.input_of(job["id"])
    (share,) = export_machine.items(export_machine.call("plan", of_job), "shares_key", "shares")
    assert export_machine.call("gather", {"job": of_job, "share": share})["done"]


def test_who_is_linked_between_two_reads_of_a_page_is_in_one_row_as_they_are_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The one that will lead stands before the other in the index too, and the first of a page is read last.
    one, other = next(
        pair
        for pair in permutations(map(who, range(9)), 2)
        if pair[0].xid(TENANT) < pair[1].xid(TENANT) and shard_of(pair[0].xid(TENANT)) < shard_of(pair[1].xid(TENANT))
    )
    for identity in (one, other):
        world.write(CRM, ([identity], {identity.value: "before"}))
    job = world.ask()
    reads: list[Xid] = []

    def happens(xid: Xid) -> None:
        # The first read, of the other one, is over.
        if len(reads) == 1:
            world.write(LOYALTY, ([other, one], {"linked": True}))
            world.write(CRM, ([other], {other.value: "after"}))
            world.write(CRM, ([one], {one.value: "after"}))
        reads.append(xid)

    with monkeypatch.context() as patched:
        before_reads(patched, happens)
        gathered(job)
    assert reads[0] == other.xid(TENANT)
    assert export_machine.run(job["id"]) == "done"
    (row,) = world.rows(job["destination"]["batchId"])
    assert (row[one.value], row[other.value], row["linked"]) == ("after", "after", True)


class History:
    """Everything that was ever to be read of identities, and all that look-ups could have made of it."""

    def __init__(self, world: World, people: int) -> None:
        self.world = world
        self.xids = [who(number).xid(TENANT) for number in range(people)]
        self._states: dict[Xid, list[IdentityItems | None]] = defaultdict(list)

    def note(self) -> None:
        for xid in self.xids:
            self._states[xid].append(self.world.table.identity(TENANT, xid))

    def look_ups(self, policy: MergePolicy) -> Iterator[dict[str, Any]]:
        """Whoever is asked for is read first, at any moment; the others then or later, each at a moment of its own."""
        configuration = self.world.configurations.current(TENANT)
        for xid in self.xids:
            for moment, asked in enumerate(self._states[xid]):
                if asked is None:
                    continue
                later = [self._distinct(other, moment) for other in asked.head.members]
                for others in product(*later):
                    read = {xid: asked} | {items.head.xid: items for items in others if items is not None}
                    try:
                        members = members_of(xid, read, policy)
                        yield seen(TENANT, xid, members, policy, configuration, NOW).entity()
                    except EntityNotFoundError:
                        continue

    def _distinct(self, xid: Xid, since: int) -> list[IdentityItems | None]:
        found: list[IdentityItems | None] = []
        for state in self._states[xid][since:]:
            if not found or repr(state) != repr(found[-1]):
                found.append(state)
        return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("page", [2, 100])
def test_every_row_is_what_a_look_up_could_have_answered_while_it_ran(
    world: World, monkeypatch: pytest.MonkeyPatch, seed: int, page: int
) -> None:
    chance, people = random.Random(seed), 8
    history = History(world, people)
    world.write(CRM, *(([who(number)], {"crm": 0, f"only{number}": 0}) for number in range(people)))
    history.note()
    versions = iter(range(1, 1000))

    def happens(_: Xid) -> None:
        for _ in range(chance.randrange(4)):
            number, version = chance.randrange(people), next(versions)
            linked = [who(number ^ 1)] if chance.random() < 0.3 else []
            dataset = chance.choice([CRM, LOYALTY])
            world.write(
                dataset, ([who(number), *linked], {dataset: version, f"only{number}": version}), at_ms=NOW - HOUR
            )
            history.note()

    monkeypatch.setattr(gathering, "_PAGE", page)
    job = world.ask(fields="")
    with monkeypatch.context() as patched:
        before_reads(patched, happens)
        gathered(job)
    assert next(versions) > 4
    assert export_machine.run(job["id"]) == "done"
    rows = world.rows(job["destination"]["batchId"])
    policy = world.configurations.current(TENANT).policies[job["mergePolicy"]["id"]]
    possible = list(history.look_ups(policy))
    assert all(row in possible for row in rows)
    # Nobody is missing but who joined somebody that was read already.
    exported = {one["id"] for row in rows for one in row["identityMap"]["shopper"]}
    for number in range(people):
        answer = world.call(entities.handler, "GET", entities.PATH, query=asking(who(number)))
        (profile,) = answer.json().values()
        assert exported & {one["id"] for one in profile["entity"]["identityMap"]["shopper"]}


def test_the_policy_is_the_one_of_the_beginning_whatever_becomes_of_it(world: World) -> None:
    world.write(CRM, ([who(1)], {"x": "crm"}))
    world.write(LOYALTY, ([who(1)], {"x": "loyalty"}))
    policies = export_jobs.MergePolicies(world.configurations, Registry(aws.dynamodb(), aws.registry_table()))
    precedence = MergePolicy(
        "p", "", attribute_merge=AttributeMerge.DATASET_PRECEDENCE, order=(CRM,), graph=GraphType.NONE
    )
    created = policies.create(TENANT, precedence)
    jobs = [world.ask(mergePolicy={"id": created.id}) for _ in range(2)]
    policies.change(TENANT, created.id, lambda known: replace(known, order=(LOYALTY,)))
    gathered(jobs[0])
    policies.delete(TENANT, created.id)
    for job in jobs:
        assert export_machine.run(job["id"]) == "done"
        assert [row["x"] for row in world.rows(job["destination"]["batchId"])] == ["crm"]
        assert world.job(job)["mergePolicy"] == {"id": created.id, "version": 1}


def test_cancelling_stops_a_worker_in_the_middle_of_its_share(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write(CRM, *(([who(number)], {"x": number}) for number in range(9)))
    job = world.ask()
    monkeypatch.setattr(gathering, "_PAGE", 2)
    monkeypatch.setattr(gathering, "MAX_JOB_SECONDS", -1.0)
    reads: list[Xid] = []

    def happens(xid: Xid) -> None:
        reads.append(xid)
        if len(reads) == 3:
            assert delete(world, job).status == 200

    with monkeypatch.context() as patched:
        before_reads(patched, happens)
        gathered(job)
    assert len(reads) == 4
    written = [item["Key"] for item in boto3.client("s3").list_objects_v2(Bucket="lake")["Contents"]]
    assert not [key for key in written if "/rows/" in key]
    assert export_machine.run(job["id"]) == "over"
    assert world.job(job)["status"] == "FAILED"
    assert active(world) == []
    assert UNION not in str(written)


def test_what_is_configured_meanwhile_shows_on_the_next_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset whose rows are deleted while a share is gathered is absent from then on."""
    people = [who(number) for number in range(6)]
    world.write(CRM, *(([one], {"crm": 1}) for one in people))
    world.write(LOYALTY, *(([one], {"loyalty": 1}) for one in people))
    job = world.ask()
    monkeypatch.setattr(gathering, "_PAGE", 2)
    monkeypatch.setattr(gathering, "MAX_CONFIGURATION_SECONDS", -1.0)
    reads: list[Xid] = []

    def happens(xid: Xid) -> None:
        reads.append(xid)
        if len(reads) == 4:
            world.change(lambda known: known.without_dataset(LOYALTY))

    with monkeypatch.context() as patched:
        before_reads(patched, happens)
        gathered(job)
    assert export_machine.run(job["id"]) == "done"
    rows = world.rows(job["destination"]["batchId"])
    assert sorted("loyalty" in row for row in rows) == [False, False, True, True, True, True]
