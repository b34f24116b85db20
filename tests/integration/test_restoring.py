"""What was deleted stays so in tables that are restored to an instant before: the journal is replayed into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import orjson
import pytest

from api import erasure_documents
from ops import journal
from tessera.domain.errors import EntityNotFoundError
from tessera.domain.identity import NAMELESS, Identity
from tessera.domain.merge_policy import GraphType
from tessera.services.deletion import Deletions
from tessera.services.erasure import accepting
from tessera.services.linking import Linker
from tessera.services.links import Links
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.erasures import HoldRegister
from tessera.storage.jobs import DeletionStore
from tessera.storage.journal import Journal
from tessera.storage.registry import Registry
from tests.integration.conftest import forget
from tests.integration.erasing import ErasingWorld
from tests.integration.executors import Inline
from tests.integration.hostile import CrashError, HostileClient
from tests.integration.purging_world import CRM, PEOPLE, SHOP, TENANT, TIERS, Nothing, World, bought
from tests.integration.test_person_delete import CRM_ID, EMAIL, LOYALTY, PERSON, T, at, row
from tests.integration.test_purge_laws import world

__all__ = ["world"]


def restored(table: str) -> str:
    """Make a new table with what is in another one."""
    client = boto3.client("dynamodb")
    told: Any = client.describe_table(TableName=table)["Table"]
    indexes = [
        {name: index[name] for name in ("IndexName", "KeySchema", "Projection")}
        for index in told.get("GlobalSecondaryIndexes", ())
    ]
    client.create_table(
        TableName=f"{table}-restored",
        KeySchema=told["KeySchema"],
        AttributeDefinitions=told["AttributeDefinitions"],
        BillingMode="PAY_PER_REQUEST",
        **({"GlobalSecondaryIndexes": indexes} if indexes else {}),
    )
    for item in client.scan(TableName=table)["Items"]:
        client.put_item(TableName=f"{table}-restored", Item=item)
    return f"{table}-restored"


def test_it_is_hidden_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other, third = PEOPLE
    world.apply(world.bring(CRM, *[(who, {"city": "Ghent"}) for who in PEOPLE]))
    world.apply(world.bring(TIERS, *[(who, {"tier": "gold"}) for who in PEOPLE]))
    kept = world.bring(SHOP, (one, bought(world, "kept", 1)))
    batch = world.bring(SHOP, (one, bought(world, "gone", 2)))
    for brought in (kept, batch):
        world.apply(brought)
    long_ago = world.delete(CRM)
    world.sweep(long_ago)
    world.apply(world.bring(CRM, (one, {"city": "Bruges"})))
    world.now_ms += 10 * 60_000
    instant = world.tick()
    tables = [restored(name) for name in ("profiles", "registry")]

    world.now_ms += 10 * 60_000
    jobs = [world.delete(TIERS), world.delete(batch=batch)]
    at_ms = world.tick()
    deletions = Deletions(
        *(world.table, DeletionStore(world.registry), Nothing()),
        lambda: at_ms,
        lambda _: None,
        Journal(aws.s3(), aws.lake_bucket()),
    )
    deletions.accept(TENANT, other.xid(TENANT), GraphType.PRIVATE, "me")
    for job in jobs:
        world.sweep(job)
    expected = [world.seen(who) for who in PEOPLE]
    assert expected == [({"city": "Bruges"}, ["kept"], 1), None, None]

    monkeypatch.setenv("PROFILE_TABLE", tables[0])
    monkeypatch.setenv("REGISTRY_TABLE", tables[1])
    forget()
    world.connect()
    assert world.seen(third) == ({"tier": "gold"}, [], None)
    assert world.seen(other) is not None
    for _ in range(2):
        assert journal.replay("lake", *tables, instant) == {"dataset": 1, "batch": 1, "person": 1}
    forget()
    world.connect()
    # What is computed is right again when the delete is asked for again.
    assert [world.seen(who) and world.seen(who)[:2] for who in PEOPLE] == [({"city": "Bruges"}, ["kept"]), None, None]
    assert not BatchStore(world.registry).get(TENANT, batch.id).applies
    world.apply(batch)
    assert world.seen(one)[1] == ["kept"]


def test_the_journal_holds_nothing_of_anybody(world: World) -> None:
    world.apply(world.bring(CRM, (PEOPLE[0], {"city": "Ghent"})))
    world.delete(CRM)
    s3 = boto3.client("s3")
    (item,) = s3.list_objects_v2(Bucket="lake", Prefix="journal/")["Contents"]
    body = s3.get_object(Bucket="lake", Key=item["Key"])["Body"].read()
    assert PEOPLE[0].value.encode() not in body
    assert b"Ghent" not in body


class Dead:
    """Fails whatever it is asked for."""

    def __getattr__(self, name: str) -> Any:
        raise CrashError


class TestErasures:
    """Who is erased or held after the instant is so again, and nobody else is."""

    FRIEND, OTHER = Identity("email", "friend@ex.org"), Identity("email", "other@ex.org")
    NEVER, LATER = Identity("email", "never@ex.org"), Identity("email", "later@ex.org")

    @pytest.fixture
    def erasing(self, cloud: None) -> ErasingWorld:
        world = ErasingWorld()
        for identity in (self.FRIEND, self.OTHER):
            world.put(row(LOYALTY, at(T + 30), identity, tier="silver"))
        world.people = (*world.people, self.FRIEND, self.OTHER, self.NEVER, self.LATER)
        return world

    def restore(self, world: ErasingWorld, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
        """Let something happen, then go back to the instant before it and replay the journal, twice."""
        world.now_ms += 10 * 60_000
        instant = world.now_ms
        tables = [restored(name) for name in (aws.profile_table(), aws.registry_table())]
        world.now_ms += 10 * 60_000
        happens()
        monkeypatch.setenv("PROFILE_TABLE", tables[0])
        monkeypatch.setenv("REGISTRY_TABLE", tables[1])
        forget()
        world.connect()
        found = []
        for _ in range(2):
            counts = journal.replay("lake", *tables, instant)
            found.append((counts, self.heads(world), self.register(world)))
        assert found[0][0]
        assert found[0] == found[1]

    def heads(self, world: ErasingWorld) -> dict[Identity, Any]:
        """What heads say of erasures and holds."""
        xids = {world.xid(identity): identity for identity in world.people}
        found = world.table.heads(world.tenant, xids)
        return {xids[xid]: (head.cutoff, head.erased, head.holds) for xid, head in found.items()}

    def register(self, world: ErasingWorld) -> Any:
        register = HoldRegister(Registry(aws.dynamodb(), aws.registry_table()))
        return dict(register.each(world.tenant, None))

    def test_erased_and_held_and_let_go(self, erasing: ErasingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        world = erasing
        expected: list[Any] = []

        def happens() -> None:
            world.erase(EMAIL)
            world.now_ms += 5000
            world.erase(self.FRIEND, self.NEVER, hold=True)
            world.now_ms += 5000
            world.lift(self.FRIEND)
            world.now_ms += 5000
            world.erase(self.FRIEND, hold=True)
            world.put(row(LOYALTY, at(world.now_ms), self.LATER, tier="new"))
            world.now_ms += 5000
            world.erase(self.LATER)
            expected.extend((self.heads(world), self.register(world)))

        self.restore(world, monkeypatch, happens)
        assert len(expected[0]) == len(PERSON) + 4
        assert [self.heads(world), self.register(world)] == expected
        assert world.gone()
        assert world.visible(self.OTHER)
        assert not world.visible(self.FRIEND)
        held_now = {hold.head.xid for hold in world.holds().page(world.tenant, None, 10).holds}
        assert held_now == {world.xid(self.FRIEND), world.xid(self.NEVER)}

        # Of those who were not there then, no more than the XID is known; a row that may be taken names them again.
        def names() -> list[Identity]:
            found = world.table.heads(world.tenant, map(world.xid, (self.NEVER, self.LATER)))
            return [found[world.xid(identity)].identity for identity in (self.NEVER, self.LATER)]

        assert names() == [NAMELESS, NAMELESS]
        links = Links(world.configurations, world.table, Linker(world.table, Inline()), Dead())
        with pytest.raises(EntityNotFoundError):
            links.identity(world.tenant, world.xid(self.NEVER))
        assert set(links.graphs(world.tenant, [world.xid(self.NEVER), world.xid(self.OTHER)])) == {
            world.xid(self.OTHER)
        }
        (held,) = [one for one in world.holds().page(world.tenant, None, 10).holds if not one.head.identity.named]
        assert "identity" not in erasure_documents.hold(held)
        late, now = at(world.now_ms - 5000), at(world.now_ms + 60_000)
        world.put(row(LOYALTY, late, self.LATER, tier="new"))
        assert not world.visible(self.LATER)
        world.put(row(LOYALTY, now, self.NEVER, CRM_ID), row(LOYALTY, now, self.LATER, tier="newer"))
        assert not world.visible(self.NEVER)
        assert names() == [NAMELESS, self.LATER]
        world.now_ms += 120_000
        world.lift(self.NEVER)
        world.put(row(LOYALTY, at(world.now_ms + 1000), self.NEVER, self.OTHER, tier="back"))
        assert names() == [self.NEVER, self.LATER]
        assert world.table.heads(world.tenant, [world.xid(self.NEVER)])[world.xid(self.NEVER)].members

    def test_a_hold_of_before_is_lifted_after(self, erasing: ErasingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        world = erasing
        world.erase(self.FRIEND, hold=True)
        expected: list[Any] = []

        def happens() -> None:
            world.lift(self.FRIEND)
            expected.append(self.heads(world))

        self.restore(world, monkeypatch, happens)
        assert self.heads(world) == expected[0]

    def test_parts_that_are_done_out_of_the_order_of_asking(
        self, erasing: ErasingWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A long list is asked for, then a hold lifted, and only then the list comes to the person.
        world = erasing
        world.erase(self.FRIEND, hold=True)
        monkeypatch.setattr(accepting, "LINES_PER_PART", 1)
        expected: list[Any] = []

        def happens() -> None:
            job = world.erase(self.OTHER, self.FRIEND, hold=True)
            world.now_ms += 5000
            world.lift(self.FRIEND)
            world.now_ms += 5000
            world.acceptance().accept(world.tenant, job.id)
            expected.append(self.heads(world))

        self.restore(world, monkeypatch, happens)
        assert self.heads(world) == expected[0]

    @pytest.mark.parametrize("graph", [GraphType.PRIVATE, GraphType.NONE])
    def test_a_link_that_comes_after_a_delete_does_what_it_did(
        self, erasing: ErasingWorld, monkeypatch: pytest.MonkeyPatch, graph: GraphType
    ) -> None:
        world = erasing
        link = row(LOYALTY, at(T + 50), self.FRIEND, self.OTHER)
        expected: list[Any] = []

        def happens() -> None:
            jobs = DeletionStore(Registry(aws.dynamodb(), aws.registry_table()))
            noting = Journal(aws.s3(), aws.lake_bucket())
            deletions = Deletions(world.table, jobs, world.machine, lambda: world.now_ms, world.pause, noting)
            deletions.accept(world.tenant, world.xid(self.FRIEND), graph, "me")
            world.put(link)
            expected.extend((self.heads(world), world.visible(*world.people)))

        self.restore(world, monkeypatch, happens)
        world.put(link)
        assert [self.heads(world), world.visible(*world.people)] == expected
        assert bool(world.visible(self.OTHER)) is (graph is GraphType.NONE)

    @pytest.mark.parametrize("hold", [False, True])
    def test_it_is_in_the_journal_before_it_counts_as_accepted(self, cloud: None, hold: bool) -> None:
        for calls in range(100):
            world = ErasingWorld()
            world.put(row(LOYALTY, at(T + 30), self.FRIEND, tier="silver"))
            try:
                world.erase(self.FRIEND, hold=hold, s3=HostileClient(aws.s3(), 0, calls))
            except CrashError:
                if not world.machine.started:
                    continue
                accepted = world.erasure().accepted_parts
                assert accepted <= len(self.entries(world))
                world.work()
            (entry,) = self.entries(world)
            head = world.table.heads(world.tenant, [world.xid(self.FRIEND)])[world.xid(self.FRIEND)]
            assert (entry["cutoffs"], entry["hold"]) == ({head.xid: head.cutoff}, hold)
            if not world.erasure().swept_ms:
                break
        assert calls > 8

    def entries(self, world: ErasingWorld) -> list[dict[str, Any]]:
        return [entry for tenant, entry in Journal(aws.s3(), "lake").entries() if tenant == world.tenant]

    def test_a_lift_that_died_is_noted_by_the_next(self, erasing: ErasingWorld) -> None:
        world = erasing
        world.erase(self.FRIEND, hold=True)

        with pytest.raises(CrashError):
            world.holds(s3=Dead()).lift(world.tenant, world.xid(self.FRIEND), "officer")
        world.lift(self.FRIEND)
        world.lift(self.FRIEND)
        entries = self.entries(world)
        lifts = [entry for entry in entries if entry["kind"] == "lift"]
        head = world.table.heads(world.tenant, [world.xid(self.FRIEND)])[world.xid(self.FRIEND)]
        assert [entry["lifted"] for entry in lifts] == [{head.xid: head.holds[-1].until}]
        text = orjson.dumps(entries).decode()
        assert "friend" not in text


@pytest.mark.parametrize("arguments", [[], ["--at", "now", "--profiles", "p", "--registry", "r"]])
def test_what_it_must_be_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        journal.main(arguments)
    assert "error" in capsys.readouterr().err
