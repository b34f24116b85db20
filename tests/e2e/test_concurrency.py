"""Writers that meet at the same identities, on the local cloud's DynamoDB."""

from __future__ import annotations

import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import pytest

from tessera.domain.configuration import DatasetKind, DatasetSettings
from tessera.domain.identity import Identity
from tessera.domain.place import batch_place
from tessera.domain.rows import PlacedRow, accept
from tessera.domain.tenant import Tenant
from tessera.services.profile_reader import ProfileReader
from tessera.services.profile_writer import ProfileWriter
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_table import ProfileTable

BATCH = "01J00000000000000000000000"
RECORDS = DatasetSettings("c0ffee", DatasetKind.RECORD, profile_enabled=True, identity_enabled=True)


def linking(one: Identity, other: Identity, position: int) -> PlacedRow:
    """A record of ``one`` that links it with ``other``."""
    body = {
        "identityMap": {"crmid": [{"id": one.value, "primary": True}, {"id": other.value}]},
        "person": {"position": position},
    }
    return PlacedRow(batch_place(1_700_000_000_000, BATCH, 0, position), accept(body, DatasetKind.RECORD, 100))


@pytest.fixture
def writer(
    configurations: ConfigurationStore, table: ProfileTable, tenant: Tenant, executor: ThreadPoolExecutor
) -> ProfileWriter:
    configurations.change(tenant, lambda now: now.with_dataset(RECORDS).with_namespaces(["crmid"]))
    return ProfileWriter(configurations, table, executor)


def graph_sizes(
    people: list[Identity],
    tenant: Tenant,
    configurations: ConfigurationStore,
    table: ProfileTable,
    executor: ThreadPoolExecutor,
) -> set[int]:
    reader = ProfileReader(configurations, table, executor)
    return {
        len(reader.person(tenant, one.xid(tenant), namespace=None, policy_id=None, now_ms=0).graph) for one in people
    }


@pytest.mark.parametrize("seed", range(3))
def test_writers_linking_the_same_identities_at_once_lose_nothing(
    seed: int,
    writer: ProfileWriter,
    tenant: Tenant,
    configurations: ConfigurationStore,
    table: ProfileTable,
    executor: ThreadPoolExecutor,
) -> None:
    people = [Identity("crmid", f"{uuid.uuid4().hex}") for _ in range(16)]
    rows = [linking(one, other, position) for position, (one, other) in enumerate(pairwise(people))]
    random.Random(seed).shuffle(rows)
    with ThreadPoolExecutor(len(rows)) as writers:
        list(writers.map(lambda row: writer.apply(tenant, RECORDS.id, [row]), rows + rows[:5]))
    assert graph_sizes(people, tenant, configurations, table, executor) == {16}


def test_of_records_written_at_once_the_one_at_the_highest_place_stays(
    writer: ProfileWriter,
    tenant: Tenant,
    configurations: ConfigurationStore,
    table: ProfileTable,
    executor: ThreadPoolExecutor,
) -> None:
    person, other = (Identity("crmid", uuid.uuid4().hex) for _ in range(2))
    rows = [linking(person, other, position) for position in range(24)]
    random.Random(1).shuffle(rows)
    with ThreadPoolExecutor(12) as writers:
        list(writers.map(lambda row: writer.apply(tenant, RECORDS.id, [row]), rows))
    reader = ProfileReader(configurations, table, executor)
    found = reader.person(tenant, other.xid(tenant), namespace=None, policy_id=None, now_ms=0)
    assert found.entity()["person"] == {"position": 23}


def test_configuration_changes_at_once_lose_nothing(tenant: Tenant, configurations: ConfigurationStore) -> None:
    ids = [uuid.uuid4().hex[:24] for _ in range(12)]
    with ThreadPoolExecutor(6) as writers:
        list(
            writers.map(
                lambda id_: configurations.change(tenant, lambda now: now.with_dataset(replace(RECORDS, id=id_))), ids
            )
        )
    assert set(ids) <= set(configurations.current(tenant).datasets)
