"""Every function: own role with the least it needs, own log with an end, traced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.layers import LOCKS, MAX_UNZIPPED
from ops.outputs import Outputs
from tests.infra.deployment import ROOT, Deployment

NAMES = {
    *("tessera-api-entities", "tessera-api-datasets", "tessera-api-batches", "tessera-api-data-access"),
    *("tessera-api-merge-policies", "tessera-api-identities", "tessera-api-computed-attributes"),
    *("tessera-api-schemas", "tessera-api-inlets", "tessera-api-streaming"),
    *("tessera-stream-process", "tessera-stream-close"),
    *("tessera-delete-sweep", "tessera-delete-fail"),
    "tessera-drop-take",
    "tessera-api-erasures",
    *(f"tessera-erase-{task}" for task in ("accept", "sweep", "plan", "look", "settle", "search", "fail")),
    *(f"tessera-backfill-{task}" for task in ("begin", "plan", "fill", "finish", "fail")),
    "tessera-api-system-jobs",
    *(f"tessera-purge-{task}" for task in ("begin", "plan", "sweep", "look", "discard", "settle", "fail")),
    *(f"tessera-expire-{task}" for task in ("plan", "stamp", "finish", "fail")),
    "tessera-api-export-jobs",
    *(f"tessera-export-{task}" for task in ("plan", "gather", "settle", "write", "finish", "fail")),
    *(f"tessera-ingest-{task}" for task in ("plan", "validate", "decide", "apply", "remove", "finish", "fail")),
    "tessera-ingest-discard",
    "tessera-api-preview-sample-status",
    *(f"tessera-sample-{task}" for task in ("plan", "count", "finish", "fail")),
}
# The only calls that may name every resource, for AWS offers none to name.
NAMELESS = {
    *("xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets"),
    *("logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery"),
    *("logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies"),
    "logs:DescribeLogGroups",
}
PROFILE, REGISTRY = "TablesProfile", "TablesRegistry"
READ = {"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"}
WRITE = READ | {
    *("dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem"),
    "dynamodb:ConditionCheckItem",
}
PUT, HEADS = {"dynamodb:PutItem"}, {"dynamodb:PutItem", "dynamodb:ConditionCheckItem"}
NOTE = {"dynamodb:GetItem"} | PUT
# On the index and on the table.
QUERY = {"dynamodb:Query"}
RESTAMP = QUERY | PUT | {"dynamodb:BatchGetItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}
REBUILD = QUERY | HEADS | {"dynamodb:BatchGetItem", "dynamodb:DeleteItem"}


def functions(deployment: Deployment) -> dict[str, dict[str, Any]]:
    found = deployment.resources("AWS::Lambda::Function").values()
    return {one["Properties"]["FunctionName"]: one["Properties"] for one in found}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(deployment: Deployment) -> list[tuple[str, dict[str, Any]]]:
    """Every statement of every policy in the templates, with the logical id of what it belongs to."""
    found = [
        (name, statement)
        for name, policy in deployment.resources("AWS::IAM::Policy").items()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
    ]
    for name, role in deployment.resources("AWS::IAM::Role").items():
        for policy in role["Properties"].get("Policies", []):
            found += [(name, statement) for statement in policy["PolicyDocument"]["Statement"]]
    return found


def granted(deployment: Deployment, function: str) -> list[dict[str, Any]]:
    role = functions(deployment)[function]["Role"]["Fn::GetAtt"][0]
    return [
        statement
        for policy in deployment.resources("AWS::IAM::Policy").values()
        if policy["Properties"]["Roles"] == [{"Ref": role}]
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
    ]


def actions_on(deployment: Deployment, function: str, resource: str) -> set[str]:
    return {
        action
        for statement in granted(deployment, function)
        if any(resource in json.dumps(one) for one in as_list(statement["Resource"]))
        for action in as_list(statement["Action"])
    }


def test_these_functions_and_no_other(aws: Deployment) -> None:
    assert set(functions(aws)) == NAMES


def test_runtime_tracing_logs(aws: Deployment) -> None:
    groups = {
        name: group["Properties"].get("RetentionInDays") for name, group in aws.resources("AWS::Logs::LogGroup").items()
    }
    assert set(groups.values()) == {30}
    used = set()
    for properties in functions(aws).values():
        assert properties["Runtime"] == "python3.14"
        assert properties["Architectures"] == ["arm64"]
        assert properties["TracingConfig"] == {"Mode": "Active"}
        assert properties["LoggingConfig"]["LogFormat"] == "JSON"
        used.add(properties["LoggingConfig"]["LogGroup"]["Ref"])
    assert len(used) == len(NAMES)
    assert used <= set(groups)


def test_no_retention_by_custom_resource(aws: Deployment) -> None:
    for kind in ("Custom::LogRetention", "AWS::CloudFormation::CustomResource"):
        assert not aws.resources(kind)


def test_memory_and_time(aws: Deployment) -> None:
    for name, properties in functions(aws).items():
        # A message is to be dealt with in a second; what takes longer is better tried again.
        wanted = (1024, 29) if "-api-" in name else (1769, 30 if name == "tessera-stream-process" else 600)
        assert (properties["MemorySize"], properties["Timeout"]) == wanted


def test_one_role_per_function_without_managed_policies(aws: Deployment) -> None:
    roles = [properties["Role"]["Fn::GetAtt"][0] for properties in functions(aws).values()]
    assert len(set(roles)) == len(NAMES)
    for name, role in aws.resources("AWS::IAM::Role").items():
        assert "ManagedPolicyArns" not in role["Properties"] or "CloudWatchRole" in name


@pytest.mark.parametrize("which", ["aws", "everything_on", "local"])
def test_nothing_is_allowed_on_everything(which: str, request: pytest.FixtureRequest) -> None:
    for name, statement in statements(request.getfixturevalue(which)):
        assert statement["Effect"] == "Allow"
        actions = set(as_list(statement["Action"]))
        assert not [action for action in actions if "*" in action], name
        if "*" in as_list(statement["Resource"]):
            assert actions <= NAMELESS, f"{name}: {actions - NAMELESS}"


@pytest.mark.parametrize(
    ("function", "profile", "registry"),
    [
        ("tessera-api-entities", READ | HEADS, READ | PUT),
        ("tessera-api-identities", READ | HEADS, WRITE),
        ("tessera-api-merge-policies", READ, WRITE),
        ("tessera-api-computed-attributes", READ, {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:DeleteItem"} | PUT),
        ("tessera-api-datasets", set(), WRITE),
        ("tessera-api-schemas", set(), {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:DeleteItem"} | PUT),
        ("tessera-api-inlets", set(), {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:DeleteItem"} | PUT),
        ("tessera-api-batches", set(), WRITE),
        ("tessera-api-data-access", set(), READ),
        ("tessera-api-streaming", WRITE, WRITE),
        ("tessera-stream-process", WRITE, WRITE),
        ("tessera-stream-close", set(), NOTE),
        ("tessera-ingest-plan", set(), WRITE),
        ("tessera-ingest-validate", set(), READ),
        ("tessera-ingest-decide", set(), WRITE),
        ("tessera-ingest-apply", WRITE, READ),
        ("tessera-ingest-remove", WRITE, READ),
        ("tessera-ingest-finish", set(), WRITE),
        ("tessera-ingest-fail", set(), WRITE),
        ("tessera-ingest-discard", set(), NOTE),
        ("tessera-drop-take", set(), NOTE),
        ("tessera-delete-sweep", REBUILD, NOTE),
        ("tessera-delete-fail", set(), {"dynamodb:GetItem"} | PUT),
        ("tessera-api-system-jobs", set(), {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:DeleteItem"} | PUT),
        ("tessera-purge-begin", set(), NOTE),
        ("tessera-purge-plan", QUERY, {"dynamodb:GetItem"}),
        ("tessera-purge-sweep", REBUILD, {"dynamodb:GetItem"}),
        ("tessera-purge-look", REBUILD, {"dynamodb:GetItem"}),
        ("tessera-purge-discard", set(), {"dynamodb:GetItem"} | QUERY),
        ("tessera-purge-settle", set(), NOTE),
        ("tessera-purge-fail", set(), NOTE),
        ("tessera-api-erasures", READ | HEADS, READ | PUT),
        ("tessera-erase-accept", HEADS | {"dynamodb:BatchGetItem"}, NOTE),
        ("tessera-erase-sweep", REBUILD, NOTE),
        ("tessera-erase-plan", {"dynamodb:BatchGetItem"}, {"dynamodb:GetItem"} | QUERY),
        ("tessera-erase-look", set(), {"dynamodb:GetItem"}),
        ("tessera-erase-settle", set(), NOTE | QUERY),
        ("tessera-erase-search", set(), NOTE | QUERY),
        ("tessera-erase-fail", set(), NOTE),
        ("tessera-api-export-jobs", set(), NOTE | QUERY),
        ("tessera-export-plan", QUERY, NOTE),
        ("tessera-export-gather", QUERY, NOTE),
        ("tessera-export-settle", set(), NOTE | QUERY),
        ("tessera-export-write", set(), {"dynamodb:GetItem"}),
        ("tessera-export-finish", set(), NOTE),
        ("tessera-export-fail", set(), NOTE),
        ("tessera-api-preview-sample-status", set(), NOTE),
        ("tessera-sample-plan", QUERY, NOTE),
        ("tessera-sample-count", QUERY, NOTE),
        ("tessera-sample-finish", set(), NOTE | QUERY),
        ("tessera-sample-fail", set(), NOTE),
        ("tessera-backfill-begin", set(), NOTE),
        ("tessera-backfill-plan", QUERY, NOTE),
        ("tessera-backfill-fill", REBUILD, NOTE | QUERY),
        ("tessera-backfill-finish", set(), NOTE),
        ("tessera-backfill-fail", set(), NOTE),
        ("tessera-expire-plan", QUERY, NOTE),
        ("tessera-expire-stamp", RESTAMP, {"dynamodb:GetItem"}),
        ("tessera-expire-finish", set(), NOTE),
        ("tessera-expire-fail", set(), NOTE),
    ],
)
def test_tables(aws: Deployment, function: str, profile: set[str], registry: set[str]) -> None:
    assert actions_on(aws, function, PROFILE) == profile
    assert actions_on(aws, function, REGISTRY) == registry


def test_who_may_use_the_index_may_only_query_it(aws: Deployment) -> None:
    users = {
        name: as_list(one["Action"])
        for name in NAMES
        for one in granted(aws, name)
        if "/index/" in json.dumps(one["Resource"])
    }
    expected = {"tessera-api-merge-policies", "tessera-backfill-plan", "tessera-backfill-fill"}
    expected |= {"tessera-expire-plan", "tessera-expire-stamp"}
    expected |= {"tessera-export-plan", "tessera-export-gather", "tessera-sample-plan", "tessera-sample-count"}
    expected |= {"tessera-purge-plan", "tessera-purge-sweep", "tessera-purge-look"}
    assert users == {name: ["dynamodb:Query"] for name in expected}


@pytest.mark.parametrize(
    ("function", "read", "write", "delete"),
    [
        ("tessera-api-entities", "", "journal", ""),
        ("tessera-api-identities", "", "", ""),
        ("tessera-api-merge-policies", "", "", ""),
        ("tessera-api-computed-attributes", "", "", ""),
        ("tessera-api-datasets", "stream", "journal", ""),
        ("tessera-api-system-jobs", "stream jobs", "journal", ""),
        ("tessera-purge-begin", "", "journal", ""),
        ("tessera-purge-plan", "jobs", "jobs", ""),
        ("tessera-purge-sweep", "jobs staged stream", "jobs", ""),
        ("tessera-purge-look", "jobs staged stream", "jobs", ""),
        ("tessera-purge-discard", "jobs", "jobs places", ""),
        ("tessera-purge-settle", "jobs", "places", ""),
        ("tessera-purge-fail", "", "", ""),
        ("tessera-api-inlets", "", "", ""),
        ("tessera-api-batches", "raw", "raw", "raw"),
        ("tessera-api-streaming", "", "stream", ""),
        ("tessera-stream-process", "stream", "stream", ""),
        ("tessera-stream-close", "stream jobs", "stream raw rejected jobs places", ""),
        ("tessera-api-data-access", "raw staged rejected jobs exports", "", ""),
        ("tessera-ingest-plan", "raw staged jobs", "jobs", ""),
        ("tessera-ingest-validate", "raw jobs", "staged rejected jobs", ""),
        ("tessera-ingest-decide", "jobs", "jobs", ""),
        ("tessera-ingest-apply", "staged jobs", "jobs rejected", ""),
        ("tessera-ingest-remove", "staged jobs", "jobs", ""),
        ("tessera-ingest-finish", "jobs", "jobs", ""),
        ("tessera-ingest-fail", "jobs", "jobs", ""),
        ("tessera-ingest-discard", "", "", ""),
        ("tessera-drop-take", "drop raw", "raw drop-rejected", ""),
        ("tessera-delete-sweep", "", "", ""),
        ("tessera-delete-fail", "", "", ""),
        ("tessera-api-erasures", "jobs", "jobs journal", ""),
        ("tessera-erase-accept", "jobs", "jobs journal", ""),
        ("tessera-erase-sweep", "jobs", "jobs", ""),
        ("tessera-erase-plan", "jobs", "jobs", ""),
        ("tessera-erase-look", "jobs raw staged rejected stream", "jobs raw staged rejected stream", ""),
        ("tessera-erase-settle", "jobs", "", ""),
        ("tessera-erase-search", "jobs exports", "", ""),
        ("tessera-erase-fail", "", "", ""),
        ("tessera-api-export-jobs", "", "", ""),
        ("tessera-export-plan", "jobs", "jobs", ""),
        ("tessera-export-gather", "", "jobs", ""),
        ("tessera-export-settle", "jobs", "jobs", ""),
        ("tessera-export-write", "jobs", "jobs exports", ""),
        ("tessera-export-finish", "jobs exports", "exports active", "exports"),
        ("tessera-export-fail", "exports", "", "exports"),
        ("tessera-api-preview-sample-status", "samples", "", ""),
        ("tessera-sample-plan", "jobs", "jobs", ""),
        ("tessera-sample-count", "jobs", "jobs", ""),
        ("tessera-sample-finish", "jobs", "samples", ""),
        ("tessera-sample-fail", "", "", ""),
        ("tessera-backfill-begin", "", "", ""),
        ("tessera-backfill-plan", "", "jobs", ""),
        ("tessera-backfill-fill", "jobs", "jobs", ""),
        ("tessera-backfill-finish", "jobs", "", ""),
        ("tessera-backfill-fail", "", "", ""),
        ("tessera-expire-plan", "", "jobs", ""),
        ("tessera-expire-stamp", "jobs", "jobs", ""),
        ("tessera-expire-finish", "jobs", "", ""),
        ("tessera-expire-fail", "", "", ""),
    ],
)
def test_lake(aws: Deployment, function: str, read: str, write: str, delete: str) -> None:
    # Who reads configurations reads which streamed rows they say are being deleted.
    named = {"places"} if "dynamodb:GetItem" in actions_on(aws, function, REGISTRY) else set()
    wanted = {
        "s3:GetObject": set(read.split()) | named,
        "s3:PutObject": set(write.split()),
        "s3:DeleteObject": set(delete.split()),
    }
    for action, prefixes in wanted.items():
        found = {
            resource["Fn::Join"][1][-1].strip("/*")
            for statement in granted(aws, function)
            if action in as_list(statement["Action"])
            for resource in as_list(statement["Resource"])
        }
        assert found == prefixes, action


def test_who_may_let_rows_go(aws: Deployment) -> None:
    found = {
        name: [resource["Fn::Join"][1][-1] for resource in as_list(one["Resource"])]
        for name in NAMES
        for one in granted(aws, name)
        if "s3:PutObjectTagging" in as_list(one["Action"])
    }
    assert found == {"tessera-purge-discard": ["/places/*"], "tessera-purge-settle": ["/places/*"]}


def test_who_may_delete_for_good(aws: Deployment) -> None:
    found = {
        name: [resource["Fn::Join"][1][-1] for resource in as_list(one["Resource"])]
        for name in NAMES
        for one in granted(aws, name)
        if "s3:DeleteObjectVersion" in as_list(one["Action"])
    }
    assert found == {
        "tessera-drop-take": ["/drop/*"],
        "tessera-ingest-discard": ["/raw/*", "/rejected/*"],
        "tessera-purge-discard": ["/jobs/*", "/raw/*", "/rejected/*", "/staged/*"],
        # Whom a list names, once everybody is cut off.
        "tessera-api-erasures": ["/jobs/*"],
        "tessera-erase-accept": ["/jobs/*"],
        "tessera-erase-look": ["/raw/*", "/rejected/*", "/staged/*", "/stream/*"],
    }


def test_who_may_start_which_machine(aws: Deployment) -> None:
    starters = {
        name: started
        for name in NAMES
        if (
            started := [
                json.dumps(one["Resource"])
                for one in granted(aws, name)
                if "states:StartExecution" in as_list(one["Action"])
            ]
        )
    }
    wanted = {
        "api-batches": ("IngestMachine", "INGEST_STATE_MACHINE_ARN"),
        "drop-take": ("IngestMachine", "INGEST_STATE_MACHINE_ARN"),
        "api-entities": ("DeleteMachine", "DELETE_STATE_MACHINE_ARN"),
        "api-computed-attributes": ("BackfillMachine", "BACKFILL_MACHINE"),
        "api-system-jobs": ("PurgeMachine", "PURGE_STATE_MACHINE_ARN"),
        "api-export-jobs": ("ExportMachine", "EXPORT_STATE_MACHINE_ARN"),
        "api-preview-sample-status": ("SampleMachine", "SAMPLE_STATE_MACHINE_ARN"),
        "api-erasures": ("EraseMachine", "ERASE_STATE_MACHINE_ARN"),
        # By its name: tasks of the machine itself, and of those that were made before it.
        **dict.fromkeys(
            ("ingest-finish", "stream-close", "sample-finish", "sample-fail"),
            (":stateMachine:tessera-sample", "SAMPLE_STATE_MACHINE_ARN"),
        ),
    }
    several = {
        **{function: {one} for function, one in wanted.items()},
        "api-datasets": {("ExpiryMachine", "EXPIRY_MACHINE"), ("PurgeMachine", "PURGE_STATE_MACHINE_ARN")},
    }
    assert set(starters) == {f"tessera-{function}" for function in several}
    for function, machines in several.items():
        assert all(any(machine in one for one in starters[f"tessera-{function}"]) for machine, _ in machines)
        variables = functions(aws)[f"tessera-{function}"]["Environment"]["Variables"]
        assert {key for key in variables if "_MACHINE" in key} == {variable for _, variable in machines}
    names = [
        one["Properties"]["StateMachineName"] for one in aws.resources("AWS::StepFunctions::StateMachine").values()
    ]
    assert "tessera-sample" in names


def test_environment(aws: Deployment) -> None:
    everyone = {
        *("PROFILE_TABLE", "REGISTRY_TABLE", "LAKE_BUCKET", "TOKEN_ISSUER"),
        *("POWERTOOLS_SERVICE_NAME", "POWERTOOLS_LOG_LEVEL"),
    }
    for name, properties in functions(aws).items():
        variables = properties["Environment"]["Variables"]
        assert everyone <= set(variables)
        assert ("TOKEN_JWKS_URL" in variables) is ("-api-" in name)
        # The AWS clients must find AWS by themselves there.
        assert "AWS_ENDPOINT_URL" not in variables


def test_a_function_can_be_run_here_with_what_the_stacks_tell(aws: Deployment, tmp_path: Path) -> None:
    """`make invoke` gives every function the environment that it is deployed with."""
    told = {title: dict.fromkeys(template.get("Outputs", {}), "x") for title, template in aws.templates.items()}
    (tmp_path / "outputs.json").write_text(json.dumps(told))
    here = Outputs.read(tmp_path / "outputs.json", "http://127.0.0.1:4566").environment()
    there = {key for properties in functions(aws).values() for key in properties["Environment"]["Variables"]}
    has_defaults = {
        *("POWERTOOLS_SERVICE_NAME", "POWERTOOLS_LOG_LEVEL", "STREAM_WINDOW_S", "CONFIGURATION_LEASE_S"),
        *("SAMPLE_THRESHOLD_PERCENT", "WRITERS_KNOW_AFTER_S"),
    }
    assert there - has_defaults <= set(here)


def test_parquet_only_where_parquet_is_read(aws: Deployment) -> None:
    with_two = {name for name, properties in functions(aws).items() if len(properties["Layers"]) == 2}
    # The batches' for its previews.
    assert with_two == {
        *("tessera-ingest-plan", "tessera-ingest-validate", "tessera-api-batches"),
        *("tessera-export-write", "tessera-erase-search", "tessera-erase-look"),
    }


@pytest.mark.parametrize("name", LOCKS.values())
def test_layer_locks_agree_with_the_lock_of_the_project(name: str) -> None:
    def pins(path: Path) -> set[str]:
        return {line.split()[0] for line in path.read_text().splitlines() if "==" in line and line[0].isalnum()}

    assert pins(ROOT / "functions" / name) <= pins(ROOT / "requirements.lock")
    assert not [pin for pin in pins(ROOT / "functions" / name) if pin.startswith("boto")]


def test_no_lock_names_a_registry() -> None:
    for name in ("package-lock.json", ".npmrc", "requirements.lock", *(f"functions/{lock}" for lock in LOCKS.values())):
        assert "://" not in (ROOT / name).read_text(), name


def test_layers_leave_room() -> None:
    # What was measured at bundling is refused there; this keeps the limit from being raised quietly.
    assert MAX_UNZIPPED <= 250 * 1024 * 1024
