"""Law 2 on the local cloud's DynamoDB: one history, processed in order and by many writers at once."""

from __future__ import annotations

import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

import pytest

from ops.outputs import Outputs
from tessera.domain.configuration import Configuration
from tessera.domain.place import batch_place
from tessera.domain.tenant import Tenant
from tessera.services.profile_writer import ProfileWriter
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_table import ProfileTable
from tests.integration.test_laws import (
    BATCH,
    DATASETS,
    EVENTS,
    IDENTITIES,
    POLICIES,
    Fact,
    everything_read,
)


def history(chance: random.Random, rows: int) -> list[Fact]:
    """Rows of a few people, some of whom are linked; some events come with a second body."""
    facts = []
    for position in range(rows):
        dataset_id = chance.choice(sorted(DATASETS))
        identities = tuple(chance.sample(IDENTITIES, chance.choice([1, 1, 2])))
        body: dict[str, Any] = {"identityMap": {}}
        for identity in identities:
            item = {"id": identity.value, "primary": identity == identities[0]}
            body["identityMap"].setdefault(identity.namespace, []).append(item)
        if dataset_id == EVENTS:
            body |= {"_id": f"e{chance.randrange(6)}", "timestamp": "2025-01-01T00:00:00Z", "n": chance.randrange(2)}
        else:
            body["person"] = {chance.choice(["first", "last", "age"]): chance.randrange(9)}
            if chance.random() < 0.3:
                day = chance.randrange(1, 28)
                body["extSourceSystemAudit"] = {"lastUpdatedDate": f"2025-01-{day:02d}T00:00:00Z"}
        facts.append(Fact(dataset_id, batch_place(1_700_000_000_000, BATCH, 0, position), body, identities))
    return facts


@pytest.mark.parametrize("seed", range(4))
def test_many_writers_at_once_leave_what_one_in_order_leaves(
    seed: int,
    outputs: Outputs,
    configurations: ConfigurationStore,
    table: ProfileTable,
    executor: ThreadPoolExecutor,
) -> None:
    chance = random.Random(seed)
    facts = history(chance, 40)

    def sandbox() -> Tenant:
        tenant = Tenant("ORDER@AdobeOrg", uuid.uuid4().hex)
        configuration = Configuration(1, "id", tenant.sandbox, "development", datasets=DATASETS)
        for policy in POLICIES:
            configuration = configuration.with_policy(policy)
        codes = [identity.namespace for identity in IDENTITIES]
        assert configurations.create(tenant, configuration.with_namespaces(codes))
        return tenant

    in_order, at_once = sandbox(), sandbox()
    writer = ProfileWriter(configurations, table, executor)
    for fact in facts:
        writer.apply(in_order, fact.dataset_id, [fact.placed()])

    doubled = facts + chance.sample(facts, 20)
    chance.shuffle(doubled)
    pieces = [list(piece) for _, piece in groupby(doubled, key=lambda fact: fact.dataset_id)]
    with ThreadPoolExecutor(8) as writers:
        list(
            writers.map(
                lambda piece: writer.apply(at_once, piece[0].dataset_id, [fact.placed() for fact in piece]), pieces
            )
        )
    assert everything_read(at_once) == everything_read(in_order)
