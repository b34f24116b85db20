"""The export machine: gather every share until it is done, settle the columns, write every file, then show it all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.jobs import TIMEOUT
from tessera.services.export import gathering
from tests.infra.deployment import Deployment
from tests.infra.test_template_functions import functions


@pytest.fixture(scope="module")
def states(aws: Deployment) -> dict[str, Any]:
    machine = aws.definition("export")
    assert machine["StartAt"] == "Plan"
    found: dict[str, Any] = machine["States"]
    return found


def test_flow(states: dict[str, Any]) -> None:
    anything = states[states["Plan"]["Next"]]
    assert [(one["Variable"], one["NumericGreaterThan"], one["Next"]) for one in anything["Choices"]] == [
        ("$.shares", 0, "Gather")
    ]
    assert anything["Default"] == "Finish"
    assert states["Gather"]["Next"] == "Settle"
    anything = states[states["Settle"]["Next"]]
    assert [(one["Variable"], one["NumericGreaterThan"], one["Next"]) for one in anything["Choices"]] == [
        ("$.files", 0, "Write")
    ]
    # An export of nobody empties the dataset.
    assert anything["Default"] == states["Write"]["Next"] == "Finish"
    assert states[states["Finish"]["Next"]]["Type"] == "Succeed"


def test_a_share_is_gathered_until_it_is_done(states: dict[str, Any]) -> None:
    processor = states["Gather"]["ItemProcessor"]
    choice = processor["States"][processor["States"]["Gather share"]["Next"]]
    assert [(one["Variable"], one["BooleanEquals"], one["Next"]) for one in choice["Choices"]] == [
        ("$.done", True, "Gather share over")
    ]
    assert choice["Default"] == processor["StartAt"] == "Gather share"


@pytest.mark.parametrize(("name", "item", "key"), [("Gather", "share", "shares_key"), ("Write", "file", "files_key")])
def test_the_maps(states: dict[str, Any], name: str, item: str, key: str) -> None:
    found = states[name]
    assert found["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    assert found["ItemReader"]["ReaderConfig"] == {"InputType": "JSON"}
    assert found["ItemReader"]["Parameters"]["Key.$"] == f"$.{key}"
    assert found["ItemSelector"] == {
        "job": {"org_id.$": "$.org_id", "sandbox.$": "$.sandbox", "job_id.$": "$.job_id"},
        f"{item}.$": "$$.Map.Item.Value",
    }
    assert found["ResultPath"] is None
    assert found["MaxConcurrency"] == 100


def test_a_worker_stops_before_it_is_stopped() -> None:
    assert TIMEOUT.to_seconds() - 60 >= gathering.MAX_SECONDS + gathering.MAX_PART_SECONDS


def test_every_step_retries_and_records_its_failure(states: dict[str, Any]) -> None:
    for name in ("Plan", "Gather", "Settle", "Write", "Finish"):
        assert states[name]["Catch"] == [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Fail"}]
    inner = [state for name in ("Gather", "Write") for state in states[name]["ItemProcessor"]["States"].values()]
    tasks = [state for state in (*states.values(), *inner) if state["Type"] == "Task"]
    assert len(tasks) == 6
    for task in tasks:
        (retry,) = task["Retry"]
        assert (retry["ErrorEquals"], retry["MaxAttempts"]) == (["States.ALL"], 5)
    assert states[states["Fail"]["Next"]]["Type"] == "Fail"


def test_only_who_writes_parquet_has_the_library(aws: Deployment) -> None:
    layers = {name: len(one["Layers"]) for name, one in functions(aws).items() if "-export-" in name}
    assert {name for name, count in layers.items() if count == 2} == {"tessera-export-write"}


def test_the_table_for_queries(aws: Deployment) -> None:
    (database,) = aws.resources("AWS::Glue::Database").values()
    (table,) = aws.resources("AWS::Glue::Table").values()
    properties = table["Properties"]
    assert properties["DatabaseName"] == database["Properties"]["DatabaseInput"]["Name"] == "tessera"
    described = properties["TableInput"]
    assert [key["Name"] for key in described["PartitionKeys"]] == ["tenant", "dataset"]
    # No query may read the files of all tenants by leaving the names out.
    assert {described["Parameters"][f"projection.{key}.type"] for key in ("tenant", "dataset")} == {"injected"}
    assert "/active/${tenant}/${dataset}/" in json.dumps(described["Parameters"]["storage.location.template"])
    assert described["StorageDescriptor"]["InputFormat"].endswith("SymlinkTextInputFormat")
