"""What was deleted stays so in tables that are restored to an instant before: the journal is replayed into them."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from ops import journal
from tessera.domain.merge_policy import GraphType
from tessera.services.deletion import Deletions
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.jobs import DeletionStore
from tessera.storage.journal import Journal
from tests.integration.conftest import forget
from tests.integration.purging_world import CRM, PEOPLE, SHOP, TENANT, TIERS, Nothing, World, bought
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


@pytest.mark.parametrize("arguments", [[], ["--at", "now", "--profiles", "p", "--registry", "r"]])
def test_what_it_must_be_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        journal.main(arguments)
    assert "error" in capsys.readouterr().err
