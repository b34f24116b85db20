"""Turning a dataset over to upsert, and batches for it, over HTTP (contract: data-and-pql §4.1, §4.6)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from api import datasets
from tessera.domain.configuration import DatasetSettings
from tessera.domain.errors import EntityNotFoundError
from tessera.domain.identity import Identity
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.tenant import Tenant
from tessera.gateway import JSON_PATCH
from tessera.services.profile_reader import ProfileReader
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_table import ProfileTable
from tests.integration import ingest_machine
from tests.integration.conftest import ORG, Caller
from tests.integration.executors import Inline
from tests.integration.test_batches import Client, json_lines, parquet
from tests.integration.test_datasets_api import PATH, create, patch, read

TENANT = Tenant(ORG, "dev")
OFF = {"unifiedProfile": ["enabled:false"], "unifiedIdentity": ["enabled:false"]}
UPSERT = {"unifiedProfile": ["enabled:true", "isUpsert:true"], "unifiedIdentity": ["enabled:true"]}
ON = {"unifiedProfile": ["enabled:true"], "unifiedIdentity": ["enabled:true"]}


@pytest.fixture
def client(call: Caller, monkeypatch: pytest.MonkeyPatch) -> Client:
    ingest_machine.created_machine(monkeypatch)
    policy = MergePolicy("time", "", default=True)
    configurations().change(TENANT, lambda known: known.with_policy(policy))
    return Client(call)


def configurations() -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


def settings(dataset_id: str) -> DatasetSettings:
    return configurations().current(TENANT).datasets[dataset_id]


def row(**fields: Any) -> dict[str, Any]:
    return {"identityMap": {"CRM": [{"id": "1"}]}, **fields}


def profile() -> dict[str, Any] | None:
    reader = ProfileReader(configurations(), ProfileTable(aws.dynamodb(), aws.profile_table()), Inline())
    xid = Identity("crm", "1").xid(TENANT)
    try:
        entity = reader.person(TENANT, xid, namespace=None, policy_id="time", now_ms=0).entity()
    except EntityNotFoundError:
        return None
    del entity["identityMap"]
    return entity


def wait_for_another_time() -> None:
    """Longer than clocks are taken to be apart."""
    time.sleep(0.3)


def test_the_documented_order(client: Client, call: Caller) -> None:
    """Both tags off, then on with isUpsert: what came in between never reaches Profile, nor is it made up for."""
    dataset_id = create(call, tags=ON)
    client.ingest({"a.json": json_lines([row(name="Dalia", plan={"name": "basic", "level": 1})])}, dataset_id)
    assert patch(call, dataset_id, {"tags": OFF}).status == 200
    wait_for_another_time()
    client.ingest({"a.json": json_lines([row(name="Nobody")])}, dataset_id)
    late = client.created(dataset_id)
    client.put(late, "a.json", json_lines([row(name="Late")]), dataset_id)
    assert client.signal(late).status == 200
    assert profile() == {"name": "Dalia", "plan": {"name": "basic", "level": 1}}
    wait_for_another_time()
    assert patch(call, dataset_id, {"tags": UPSERT}).status == 200
    assert read(call, dataset_id)["tags"] == UPSERT
    # Accepted in between, processed only now.
    ingest_machine.run({"org_id": ORG, "sandbox": "dev", "batch_id": late})
    assert profile() == {"name": "Dalia", "plan": {"name": "basic", "level": 1}}
    client.ingest({"a.json": json_lines([row(plan={"level": 2})])}, dataset_id)
    assert profile() == {"name": "Dalia", "plan": {"name": "basic", "level": 2}}


def test_a_batch_that_was_accepted_before_goes_in_though_it_is_processed_while_off(
    client: Client, call: Caller
) -> None:
    dataset_id = create(call, tags=ON)
    early = client.created(dataset_id)
    client.put(early, "a.json", json_lines([row(name="Early")]), dataset_id)
    client.signal(early)
    wait_for_another_time()
    patch(call, dataset_id, {"tags": OFF})
    ingest_machine.run({"org_id": ORG, "sandbox": "dev", "batch_id": early})
    assert profile() == {"name": "Early"}


def test_the_one_replace_of_the_client(client: Client, call: Caller) -> None:
    dataset_id = create(call, tags=ON)
    client.ingest({"a.json": json_lines([row(name="Dalia", plan="basic")])}, dataset_id)
    body = [{"op": "replace", "path": "/tags/unifiedProfile", "value": ["enabled:true", "isUpsert:true"]}]
    answer = call(datasets.handler, "PATCH", f"{PATH}/{dataset_id}", body=body, headers={"Content-Type": JSON_PATCH})
    assert answer.status == 200
    assert (settings(dataset_id).upsert, settings(dataset_id).off) == (True, ())
    client.ingest({"a.json": json_lines([row(plan="gold")])}, dataset_id)
    assert profile() == {"name": "Dalia", "plan": "gold"}
    body = [{"op": "replace", "path": "/tags/unifiedProfile", "value": ["enabled:true"]}]
    patch(call, dataset_id, body)
    client.ingest({"a.json": json_lines([row(age=31)])}, dataset_id)
    assert profile() == {"age": 31}


def test_a_parquet_batch_of_changes(client: Client, call: Caller) -> None:
    """Columns without a value change nothing, arrays are replaced as a whole; twice is as once."""
    dataset_id = create(call, tags=UPSERT)
    first = row(name="Dalia", tags=["a", "b"], plan={"name": "basic", "level": 1})
    client.ingest({"a.json": json_lines([first])}, dataset_id)
    changes = [row(name=None, tags=["c"], plan={"name": "gold", "level": None})]
    described = client.ingest({"a.parquet": parquet(changes)}, dataset_id, form="parquet", times=2)
    assert described["metrics"]["outputRecordCount"] == 1
    assert profile() == {"name": "Dalia", "tags": ["c"], "plan": {"name": "gold", "level": 1}}


def test_what_looks_like_an_intent_is_data_in_a_batch(client: Client, call: Caller) -> None:
    dataset_id = create(call, tags=UPSERT)
    client.ingest({"a.json": json_lines([row(odd={"$append": [1]}), row(odd={"$append": [2]})])}, dataset_id)
    assert profile() == {"odd": {"$append": [2]}}
