"""Computed attributes through the function (contract: data-and-pql §1, scenarios 1 to 7 of §7)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import orjson
import pytest

from api import computed_attributes
from tessera.domain.computed.attribute import ComputedAttribute
from tessera.domain.computed.definition import Edit, Progress, Status
from tessera.domain.computed.rule import Function, Rule
from tessera.domain.computed.window import Unit, Window
from tessera.domain.errors import InvalidRequestError, NotFoundError
from tessera.domain.tenant import Tenant
from tessera.services.computed.catalogue import MAX_ACTIVE, AttributeCatalogue
from tessera.services.computed.compiled import compile_attribute
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.registry import Registry
from tests.integration.conftest import CLIENT_ID, ORG, OTHER_ORG, SANDBOXES, Answer, Caller, client_document, forget
from tests.integration.hostile import HostileClient

PATH = "/data/core/ca/attributes"
DEV = Tenant(ORG, "dev")
SPEND = "xEvent[commerce.purchases.value > 0].sum(commerce.order.priceTotal)"
LAST_SKU = 'xEvent.topN(timestamp, 1).map({"timestamp": timestamp, "value": sku}).head()'
SAME_NAME = "Function with the same name already exists for the specified schema or definedOn"
RULE = Rule(Function.COUNT, Window(2, Unit.WEEKS))
NOBODY = "2afcf410-450e-4a39-984d-2de99ab58877"


@pytest.fixture(autouse=True)
def machine(call: Caller, monkeypatch: pytest.MonkeyPatch) -> str:
    """The machine that backfills, of which only the starting matters here."""
    arn: str = boto3.client("stepfunctions").create_state_machine(
        name="backfill",
        definition='{"StartAt": "End", "States": {"End": {"Type": "Pass", "End": true}}}',
        roleArn="arn:aws:iam::123456789012:role/machine",
    )["stateMachineArn"]
    monkeypatch.setenv("BACKFILL_MACHINE", arn)
    return arn


def started(machine: str) -> list[tuple[str, dict[str, str]]]:
    """The names and inputs of the executions that were started, in order of their names."""
    client = boto3.client("stepfunctions")
    found = client.list_executions(stateMachineArn=machine)["executions"]
    return sorted(
        (one["name"], orjson.loads(client.describe_execution(executionArn=one["executionArn"])["input"]))
        for one in found
    )


def body(name: str = "spend7d", *, expression: str = SPEND, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "displayName": "Spend",
        "description": "What was spent in a week",
        "expression": {"type": "PQL", "format": "pql/text", "value": expression},
        "duration": {"count": 7, "unit": "DAYS"},
        "status": "DRAFT",
        **more,
    }


def post(call: Caller, attribute: object) -> Answer:
    return call(computed_attributes.handler, "POST", PATH + "/", body=attribute)


def create(call: Caller, attribute: dict[str, Any]) -> dict[str, Any]:
    answer = post(call, attribute)
    assert answer.status == 200, answer.text
    return dict(answer.json())


def read(call: Caller, attribute_id: str) -> dict[str, Any]:
    answer = call(computed_attributes.handler, "GET", f"{PATH}/{attribute_id}")
    assert answer.status == 200, answer.text
    return dict(answer.json())


def patch(call: Caller, attribute_id: str, changes: object) -> Answer:
    return call(computed_attributes.handler, "PATCH", f"{PATH}/{attribute_id}", body=changes)


def delete(call: Caller, attribute_id: str) -> Answer:
    return call(computed_attributes.handler, "DELETE", f"{PATH}/{attribute_id}")


def listed(call: Caller, **query: Any) -> dict[str, Any]:
    answer = call(computed_attributes.handler, "GET", PATH, query=query)
    assert answer.status == 200, answer.text
    return dict(answer.json())


def names(call: Caller, **query: Any) -> list[str]:
    return [one["name"] for one in listed(call, **query)["computedAttributes"]]


def catalogue(client: Any = None) -> AttributeCatalogue:
    if client is None:
        return computed_attributes.catalogue()
    table = aws.registry_table()

    class Stopped:
        def start(self, name: str, document: object) -> None: ...

    return AttributeCatalogue(ConfigurationStore(client, table), Registry(client, table), compile_attribute, Stopped())


def in_force() -> dict[str, ComputedAttribute]:
    return dict(ConfigurationStore(aws.dynamodb(), aws.registry_table()).current(DEV).attributes)


def advance(attribute_id: str, *statuses: Status) -> None:
    for status in statuses:
        catalogue().advance(DEV, attribute_id, status)


def message(answer: Answer) -> str:
    assert answer.status == 400, answer.text
    ((problem,),) = answer.json()["errors"].values()
    assert answer.json()["status"] == 400
    return str(problem["message"])


def test_a_draft_is_shown_whole_and_is_in_force_nowhere(call: Caller, machine: str) -> None:
    before_ms = time.time() * 1000
    created = create(call, body(keepCurrent=True, unknown={"a": 1}))
    assert created == {
        "id": created["id"],
        "type": "ComputedAttribute",
        "name": "spend7d",
        "displayName": "Spend",
        "description": "What was spent in a week",
        "imsOrgId": ORG,
        "sandbox": {
            "sandboxId": SANDBOXES["dev"]["id"],
            "sandboxName": "dev",
            "type": "development",
            "default": False,
            "isDefault": False,
        },
        "path": "tessera/ComputedAttributes",
        "positionPath": ["tessera", "ComputedAttributes"],
        "keepCurrent": True,
        "expression": {"type": "PQL", "format": "pql/text", "value": SPEND},
        "mergeFunction": {"value": "SUM"},
        "status": "DRAFT",
        "duration": {"count": 7, "unit": "DAYS"},
        "schema": {"name": "_xdm.context.profile"},
        "lastEvaluationTs": "",
        "returnSchema": {"meta:xdmType": "number"},
        "definedOn": [
            {
                "meta:resourceType": "unions",
                "meta:containerId": "tenant",
                "$ref": "https://ns.adobe.com/xdm/context/profile__union",
            }
        ],
        "createEpoch": created["createEpoch"],
        "updateEpoch": created["createEpoch"],
        "createdBy": CLIENT_ID,
    }
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", created["id"])
    assert before_ms - 1 <= created["createEpoch"] <= time.time() * 1000
    assert read(call, created["id"]) == created
    assert in_force() == {}
    assert started(machine) == []


@pytest.mark.parametrize(
    ("expression", "function", "result"),
    [
        ("xEvent.count()", "SUM", "integer"),
        ("xEvent.max(n)", "MAX", None),
        (LAST_SKU, "MOST_RECENT", "object"),
        ("xEvent.topN(timestamp, 50).map(sku)", "LIST", "array"),
    ],
)
def test_the_merge_function_and_the_type_follow_from_the_expression(
    call: Caller, expression: str, function: str, result: str | None
) -> None:
    created = create(call, body(expression=expression))
    assert created["mergeFunction"] == {"value": function}
    assert created["returnSchema"] == ({} if result is None else {"meta:xdmType": result})


def test_a_name_is_held_until_a_draft_is_deleted(call: Caller) -> None:
    draft = create(call, body("a"))
    disabled = create(call, body("b", status="NEW"))
    assert patch(call, disabled["id"], {"status": "DISABLED"}).status == 200
    for name in ("a", "b"):
        assert SAME_NAME in message(post(call, body(name)))
        assert SAME_NAME in message(post(call, body(name, status="NEW")))
    assert draft["id"] in message(post(call, body("a")))
    other = create(call, body("c"))
    assert SAME_NAME in message(patch(call, other["id"], {"name": "a"}))
    assert patch(call, other["id"], {"name": "d"}).json()["name"] == "d"
    create(call, body("c"))
    assert delete(call, draft["id"]).status == 202
    assert patch(call, other["id"], {"name": "a"}).json()["name"] == "a"
    create(call, body("d"))
    assert sorted(names(call)) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("name", ["spend_7d", "spend 7d", "", "dépense", "spend-7d", "spend7d\n", "_a", "x" * 129, 7])
def test_a_name_has_letters_and_digits(call: Caller, name: object) -> None:
    assert "name" in message(post(call, {**body(), "name": name}))


@pytest.mark.parametrize(("unit", "longest"), [("HOURS", 24), ("DAYS", 7), ("WEEKS", 4), ("MONTHS", 6)])
def test_how_far_back_an_attribute_can_look(call: Caller, unit: str, longest: int) -> None:
    for index, count in enumerate((1, longest)):
        created = create(call, body(f"good{index}", duration={"count": count, "unit": unit}))
        assert created["duration"] == {"count": count, "unit": unit}
    for bad in (0, -1, 1.5, "1", True, None):
        assert "duration.count" in message(post(call, body(duration={"count": bad, "unit": unit})))
    too_long = post(call, body(duration={"count": longest + 1, "unit": unit}))
    assert f"between 1 and {longest} for {unit}" in message(too_long)
    draft = create(call, body())
    assert patch(call, draft["id"], {"duration": {"count": longest + 1, "unit": unit}}).status == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration": {"count": 1, "unit": "YEARS"}},
        {"duration": {"count": 1, "unit": "days"}},
        {"status": "PROCESSED"},
        {"status": "DISABLED"},
        {"status": None},
        {"displayName": None},
        {"description": None},
        {"keepCurrent": "yes"},
        {"expression": None},
        {"expression": SPEND},
        {"expression": {"type": "SQL", "format": "pql/text", "value": SPEND}},
        {"expression": {"type": "PQL", "format": "pql/json", "value": SPEND}},
        {"expression": {"type": "PQL", "format": "pql/text"}},
        {"expression": {"type": "PQL", "format": "pql/text", "value": ""}},
        {"expression": {"type": "PQL", "format": "pql/text", "value": "x" * 10_001}},
        {"expression": {"type": "PQL", "format": "pql/text", "value": "xEvent.sum("}},
        {"expression": {"type": "PQL", "format": "pql/text", "value": "person.name.firstName"}},
    ],
)
def test_what_is_wrong_is_refused_and_said(call: Caller, wrong: dict[str, Any]) -> None:
    (field,) = wrong
    sent = {name: value for name, value in {**body(), **wrong}.items() if value is not None}
    assert field in message(post(call, sent))
    assert names(call) == []
    create(call, body())


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ('xEvent["enabled" + 1 > 1].count()', 'column 8: "+" needs a number'),
        ("xEvent[timestamp occurs <= -1 days before now].count()", "column 28: expected a whole number"),
        ("xEvent[type = 'buy'].count()", "column 15: strings stand in double quotes"),
        ("xEvent.sum(", "line 1, column 12"),
        ('xEvent[s.matches("(?=a)")].count()', "not supported"),
        (f"xEvent[{'not ' * 100}true].count()", "nested deeper"),
    ],
)
def test_an_expression_that_can_never_be_evaluated_is_refused_when_it_is_defined(
    call: Caller, expression: str, problem: str
) -> None:
    """Contract: data-and-pql §7 scenario 24."""
    assert problem in message(post(call, body(expression=expression)))


def test_where_an_expression_is_wrong_is_said(call: Caller) -> None:
    draft = create(call, body())
    changed = {"expression": {"type": "PQL", "format": "pql/text", "value": "xEvent.sum("}, "status": "NEW"}
    assert "line 1, column" in message(patch(call, draft["id"], changed))
    assert read(call, draft["id"]) == draft


@pytest.mark.parametrize(
    "field",
    [
        *("id", "type", "path", "positionPath", "mergeFunction", "schema", "returnSchema", "definedOn", "createdBy"),
        *("lastEvaluationTs", "createEpoch", "updateEpoch", "imsOrgId", "sandbox", "progress", "failure"),
    ],
)
def test_what_the_service_sets_cannot_be_written(call: Caller, field: str) -> None:
    draft = create(call, body())
    assert field in message(post(call, body("other", **{field: draft.get(field, "x")})))
    assert field in message(patch(call, draft["id"], {field: draft.get(field, "x"), "description": "y"}))
    assert read(call, draft["id"]) == draft


def test_a_draft_is_edited_and_published_in_one_call(call: Caller, machine: str) -> None:
    draft = create(call, body())
    changed = patch(
        call,
        draft["id"],
        {
            "description": "How often",
            "expression": {"type": "PQL", "format": "pql/text", "value": "xEvent.count()"},
            "duration": {"count": 2, "unit": "WEEKS"},
            "status": "NEW",
        },
    )
    assert changed.status == 200
    assert changed.json() == draft | {
        "description": "How often",
        "expression": {"type": "PQL", "format": "pql/text", "value": "xEvent.count()"},
        "duration": {"count": 2, "unit": "WEEKS"},
        "status": "NEW",
        "mergeFunction": {"value": "SUM"},
        "returnSchema": {"meta:xdmType": "integer"},
        "updateEpoch": changed.json()["updateEpoch"],
    }
    assert in_force() == {"spend7d": ComputedAttribute(1, "spend7d", "xEvent.count()", RULE)}
    assert catalogue().get(DEV, draft["id"]).number == 1
    assert started(machine) == [
        (draft["id"], {"org_id": ORG, "sandbox": "dev", "attribute_id": draft["id"]}),
    ]
    frozen = patch(call, draft["id"], {"description": "x"})
    assert "only a DRAFT can be edited" in message(frozen)
    for status in ("PROCESSED", "DRAFT", "FAILED"):
        assert patch(call, draft["id"], {"status": status}).status == 400
    assert read(call, draft["id"])["status"] == "NEW"


def test_nothing_is_changed_by_nothing(call: Caller) -> None:
    draft = create(call, body())
    pointless: list[object] = [{}, {"unknown": 1}, {"description": None}, [], "x", None]
    for changes in pointless:
        assert patch(call, draft["id"], changes).status == 400
    assert "description" in message(patch(call, draft["id"], {}))
    assert patch(call, draft["id"], {"status": "DISABLED"}).status == 400
    assert patch(call, draft["id"], [{"op": "add", "path": "/description", "value": "x"}]).status == 400
    assert read(call, draft["id"]) == draft


def test_from_new_to_processed_to_disabled(call: Caller) -> None:
    attribute_id = create(call, body(status="NEW"))["id"]
    assert read(call, attribute_id)["lastEvaluationTs"] == ""
    advance(attribute_id, Status.INITIALIZING)
    assert read(call, attribute_id)["status"] == "INITIALIZING"
    catalogue().advance(DEV, attribute_id, Status.PROCESSING, progress=Progress(30, 100))
    shown = read(call, attribute_id)
    assert (shown["status"], shown["progress"]) == ("PROCESSING", {"identities": 30, "of": 100})
    assert not in_force()["spend7d"].ready
    assert patch(call, attribute_id, {"status": "NEW"}).status == 400
    catalogue().advance(DEV, attribute_id, Status.PROCESSED, progress=Progress(100, 100))
    assert in_force()["spend7d"].ready
    first = read(call, attribute_id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", first["lastEvaluationTs"])
    assert abs(seconds(first["lastEvaluationTs"]) - time.time()) < 10
    assert (first["status"], first["progress"]) == ("PROCESSED", {"identities": 100, "of": 100})
    version = ConfigurationStore(aws.dynamodb(), aws.registry_table()).current(DEV).version
    advance(attribute_id, Status.PROCESSED, Status.PROCESSING, Status.FAILED, Status.INITIALIZING)
    assert ConfigurationStore(aws.dynamodb(), aws.registry_table()).current(DEV).version == version
    assert read(call, attribute_id)["status"] == "PROCESSED"
    time.sleep(0.002)
    assert read(call, attribute_id)["lastEvaluationTs"] > first["lastEvaluationTs"]

    assert patch(call, attribute_id, {"status": "DISABLED"}).json()["status"] == "DISABLED"
    assert in_force() == {}
    disabled = read(call, attribute_id)
    time.sleep(0.002)
    advance(attribute_id, Status.PROCESSED, Status.FAILED)
    assert read(call, attribute_id) == disabled
    assert disabled["lastEvaluationTs"] >= first["lastEvaluationTs"]
    for changes in ({"status": "NEW"}, {"status": "DISABLED"}, {"status": "DRAFT"}, {"description": "x"}):
        assert "create another" in message(patch(call, attribute_id, changes))


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize("reached", [(), (Status.INITIALIZING,), (Status.PROCESSING,), (Status.FAILED,)])
def test_what_is_published_can_be_disabled_before_it_is_done(call: Caller, reached: tuple[Status, ...]) -> None:
    attribute_id = create(call, body(status="NEW"))["id"]
    advance(attribute_id, *reached)
    assert patch(call, attribute_id, {"status": "DISABLED"}).json()["lastEvaluationTs"] == ""
    assert in_force() == {}
    advance(attribute_id, Status.PROCESSED)
    assert in_force() == {}
    assert read(call, attribute_id)["status"] == "DISABLED"


def test_a_backfill_that_failed_says_why_until_it_is_done_after_all(call: Caller, machine: str) -> None:
    attribute_id = create(call, body(status="NEW"))["id"]
    catalogue().advance(DEV, attribute_id, Status.FAILED, failure="shard 7: a row has no time")
    shown = read(call, attribute_id)
    assert (shown["status"], shown["failure"]) == ("FAILED", "shard 7: a row has no time")
    assert "DISABLED" in message(patch(call, attribute_id, {"status": "NEW"}))
    advance(attribute_id, Status.PROCESSING)
    assert read(call, attribute_id) == shown
    advance(attribute_id, Status.PROCESSED)
    assert read(call, attribute_id)["status"] == "PROCESSED"
    assert "failure" not in read(call, attribute_id)
    assert in_force()["spend7d"].ready


def test_publishing_that_could_not_start_the_backfill_is_asked_for_again(
    call: Caller, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = create(call, body())
    asked = {"description": "Now", "status": "NEW"}
    monkeypatch.setenv("BACKFILL_MACHINE", machine + "-none")
    assert patch(call, draft["id"], asked).status == 500
    assert read(call, draft["id"])["status"] == "NEW"
    assert post(call, body("b", status="NEW")).status == 500
    monkeypatch.setenv("BACKFILL_MACHINE", machine)
    version = ConfigurationStore(aws.dynamodb(), aws.registry_table()).current(DEV).version
    for _ in range(2):
        assert patch(call, draft["id"], asked).status == 200
    assert ConfigurationStore(aws.dynamodb(), aws.registry_table()).current(DEV).version == version
    assert [name for name, _ in started(machine)] == [draft["id"]]
    # Who missed the answer to creating one learns from the refusal which one it is.
    found = re.search(r"[0-9a-f-]{36}", message(post(call, body("b", status="NEW"))))
    assert found is not None
    assert patch(call, found[0], {"status": "NEW"}).status == 200
    assert len(started(machine)) == 2


def test_only_drafts_are_deleted(call: Caller) -> None:
    draft = create(call, body())
    answer = delete(call, draft["id"])
    assert (answer.status, answer.json()) == (202, draft)
    for gone in (
        call(computed_attributes.handler, "GET", f"{PATH}/{draft['id']}"),
        delete(call, draft["id"]),
        patch(call, draft["id"], {"status": "NEW"}),
    ):
        assert gone.status == 404
    published = create(call, body(status="NEW"))["id"]
    assert "DISABLED" in message(delete(call, published))
    advance(published, Status.PROCESSED)
    assert "only a DRAFT" in message(delete(call, published))
    patch(call, published, {"status": "DISABLED"})
    assert delete(call, published).status == 400
    assert names(call) == ["spend7d"]


def test_only_active_attributes_count_towards_the_limit(call: Caller) -> None:
    for number in range(MAX_ACTIVE):
        create(call, body(f"a{number}", status="NEW"))
    draft = create(call, body("draft"))
    for refused in (post(call, body("more", status="NEW")), patch(call, draft["id"], {"status": "NEW"})):
        assert f"can have {MAX_ACTIVE}" in message(refused)
    assert read(call, draft["id"]) == draft
    assert "more" not in names(call, limit="40")
    first = listed(call, property="name=a0")["computedAttributes"][0]["id"]
    assert patch(call, first, {"status": "DISABLED"}).status == 200
    assert patch(call, draft["id"], {"status": "NEW"}).status == 200
    assert in_force()["draft"].number == MAX_ACTIVE + 1


@pytest.fixture
def several(call: Caller) -> dict[str, dict[str, Any]]:
    """Five attributes, each a little later than the one before; ``delta`` and then ``alpha`` are updated last."""
    clock = [1_700_000_000_000]

    def now() -> int:
        clock[0] += 1000
        return clock[0]

    catalogue()._clock_ms = now
    expressions = {"gamma": SPEND, "beta": "xEvent.count()", "alpha": LAST_SKU, "delta": "xEvent.max(n)"}
    made = {name: create(call, body(name, expression=text)) for name, text in expressions.items()}
    made["echo"] = create(call, body("echo", expression="xEvent.min(n)", status="NEW"))
    made["delta"] = patch(call, made["delta"]["id"], {"status": "NEW"}).json()
    made["alpha"] = patch(call, made["alpha"]["id"], {"description": "x"}).json()
    return made


ALL = ["alpha", "delta", "echo", "beta", "gamma"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("", ALL),
        ("-updateEpoch", ALL),
        ("updateEpoch", ALL[::-1]),
        ("createEpoch", ["gamma", "beta", "alpha", "delta", "echo"]),
        ("-createEpoch", ["echo", "delta", "alpha", "beta", "gamma"]),
        ("name", ["alpha", "beta", "delta", "echo", "gamma"]),
        ("-name", ["gamma", "echo", "delta", "beta", "alpha"]),
    ],
)
def test_the_list_is_in_order(call: Caller, several: object, order: str, expected: list[str]) -> None:
    assert names(call, sortBy=order) == expected
    assert names(call) == ALL


def test_drafts_before_new_ones_by_status(call: Caller, several: dict[str, dict[str, Any]]) -> None:
    ids = {one["name"]: one["id"] for one in several.values()}
    expected = sorted(["alpha", "beta", "gamma"], key=ids.__getitem__) + sorted(["delta", "echo"], key=ids.__getitem__)
    assert names(call, sortBy="status") == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["name=beta"], ["beta"]),
        (["name=Beta"], []),
        (["name!=beta"], ["alpha", "delta", "echo", "gamma"]),
        (["name=contains(et,lp)"], ["alpha", "beta"]),
        (["name=!contains(et, lp)"], ["delta", "echo", "gamma"]),
        (["name!=contains(et,lp)"], ["delta", "echo", "gamma"]),
        (["status=NEW"], ["delta", "echo"]),
        (["status=new"], ["delta", "echo"]),
        (["status!=new"], ["alpha", "beta", "gamma"]),
        (["status=contains(new,processing,disabled)"], ["delta", "echo"]),
        (["status=!contains(new,draft)"], []),
        (["status=DELETED"], []),
        (["mergeFunction.value=SUM"], ["beta", "gamma"]),
        (["mergeFunction.value!=sum"], ["alpha", "delta", "echo"]),
        (["mergePolicy.value=contains(MAX,MIN)"], ["delta", "echo"]),
        (["createEpoch>=1700000004000"], ["delta", "echo"]),
        (["createdEpoch<=1700000002000"], ["beta", "gamma"]),
        (["updateEpoch>=1700000006000"], ["alpha", "delta"]),
        (["updateEpoch<=1700000002000"], ["beta", "gamma"]),
        (["createEpoch>=1700000002000", "createEpoch<=1700000003000"], ["alpha", "beta"]),
        (["status=draft", "name!=alpha"], ["beta", "gamma"]),
    ],
)
def test_the_list_is_filtered(call: Caller, several: object, filters: list[str], expected: list[str]) -> None:
    page = listed(call, property=filters, sortBy="name")
    assert [one["name"] for one in page["computedAttributes"]] == expected
    assert page["_page"]["totalCount"] == len(expected)


def test_the_older_filter_by_status(call: Caller, several: object) -> None:
    assert names(call, status="new", sortBy="name") == ["delta", "echo"]
    assert names(call, status="DRAFT", property="name!=beta", sortBy="name") == ["alpha", "gamma"]
    assert names(call, status="") == ALL


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "41"},
        {"limit": "x"},
        {"offset": "-1"},
        {"offset": "1.5"},
        {"sortBy": "displayName"},
        {"sortBy": "+name"},
        {"property": "name"},
        {"property": "name="},
        {"property": ""},
        {"property": "displayName=x"},
        {"property": "name>=x"},
        {"property": "name=contains()"},
        {"property": "status=contains(new,)"},
        {"property": "createEpoch=5"},
        {"property": "updateEpoch>5"},
        {"property": "updateEpoch>=-5"},
        {"property": "updateEpoch>=" + "9" * 5000},
        {"property": ["name=a", "nonsense"]},
    ],
)
def test_queries_that_make_no_sense_are_refused(call: Caller, query: dict[str, Any]) -> None:
    answer = call(computed_attributes.handler, "GET", PATH, query=query)
    (name,) = query
    assert name in message(answer)


def test_pages(call: Caller, several: object) -> None:
    page = listed(call, limit="2")
    assert page["_page"] == {"offset": 0, "limit": 2, "count": 2, "totalCount": 5, "pageSize": 2}
    assert page["_links"] == {
        "self": {"href": "/attributes?offset=0&limit=2"},
        "next": {"href": "/attributes?offset=2&limit=2"},
        "prev": {"href": "/attributes?offset=0&limit=2"},
        "last": {"href": "/attributes?offset=4&limit=2"},
    }
    assert page["children"] == page["computedAttributes"]
    last = listed(call, limit="2", offset="4")
    assert last["_page"] == {"offset": 4, "limit": 2, "count": 1, "totalCount": 5, "pageSize": 2}
    assert "next" not in last["_links"]
    assert last["_links"]["prev"] == {"href": "/attributes?offset=2&limit=2"}
    beyond = listed(call, offset="100")
    assert (beyond["computedAttributes"], beyond["_page"]["offset"]) == ([], 100)
    assert "next" not in beyond["_links"]


def test_links_lead_through_what_was_asked_for(call: Caller, several: object) -> None:
    query: dict[str, Any] = {"sortBy": "-name", "limit": "2", "property": ["name!=echo", "name=contains(a,b)"]}
    seen: list[str] = []
    while True:
        page = listed(call, **query)
        seen += [one["name"] for one in page["computedAttributes"]]
        if "next" not in page["_links"]:
            break
        query = parse_qs(urlsplit(page["_links"]["next"]["href"]).query)
    assert seen == ["gamma", "delta", "beta", "alpha"]


def test_an_empty_list(call: Caller) -> None:
    page = listed(call)
    assert page["computedAttributes"] == []
    assert page["_page"] == {"offset": 0, "limit": 20, "count": 0, "totalCount": 0, "pageSize": 20}
    assert page["_links"]["last"] == {"href": "/attributes?offset=0&limit=20"}


def test_the_calls_of_adobe_s_client(call: Caller) -> None:
    created = call(computed_attributes.handler, "POST", PATH + "/", body=body(), headers={"Accept": "application/json"})
    assert created.status == 200
    page = listed(call, offset="0", limit="20")
    assert page["_page"]["offset"] == 0
    assert page["computedAttributes"] == [created.json()]
    changed = call(computed_attributes.handler, "PATCH", PATH + "/", body={"description": "x"})
    assert "/attributes/{id}" in message(changed)
    assert delete(call, created.json()["id"] + "/").status == 202


def may(call: Caller, permission: str) -> None:
    call.registry.put(f"client#{CLIENT_ID}", "client", client_document(permissions=[permission]))
    forget()


def test_who_may_what(call: Caller) -> None:
    attribute_id = create(call, body())["id"]
    may(call, "read")
    assert read(call, attribute_id)["name"] == "spend7d"
    assert post(call, body("b")).status == 403
    assert patch(call, attribute_id, {"status": "NEW"}).status == 403
    assert delete(call, attribute_id).status == 403
    may(call, "ingest")
    assert call(computed_attributes.handler, "GET", PATH).status == 403
    assert call(computed_attributes.handler, "POST", f"{PATH}/{attribute_id}/preview", body={}).status == 403


def test_tenants_do_not_meet(call: Caller) -> None:
    call.registry.put(f"client#{CLIENT_ID}", "client", client_document([ORG, OTHER_ORG]))
    created = create(call, body(status="NEW"))
    one = f"{PATH}/{created['id']}"
    asked = {"identities": [{"entityId": "a", "entityIdNS": {"code": "crmid"}}]}
    for elsewhere in ({"x-sandbox-name": "prod"}, {"x-gw-ims-org-id": OTHER_ORG}):
        for method, path, sent in (
            ("GET", one, None),
            ("DELETE", one, None),
            ("PATCH", one, {"status": "DISABLED"}),
            ("POST", one + "/preview", asked),
        ):
            assert call(computed_attributes.handler, method, path, body=sent, headers=elsewhere).status == 404
        page = call(computed_attributes.handler, "GET", PATH, headers=elsewhere).json()
        assert page["computedAttributes"] == []
        assert call(computed_attributes.handler, "POST", PATH, body=body(), headers=elsewhere).status == 200
    assert read(call, created["id"]) == created


@pytest.mark.parametrize("attribute_id", ["0", "..", "%2e%2e", "a%2Fb", "%00", "x" * 3000, "%F0%9F%98%80", NOBODY])
def test_ids_that_are_none_are_not_found(call: Caller, attribute_id: str) -> None:
    assert call(computed_attributes.handler, "GET", f"{PATH}/{attribute_id}").status == 404
    assert delete(call, attribute_id).status == 404
    assert patch(call, attribute_id, {"status": "NEW"}).status == 404
    with pytest.raises(NotFoundError):
        catalogue().advance(DEV, NOBODY, Status.PROCESSING)
    with pytest.raises(NotFoundError):
        catalogue().advance(DEV, NOBODY, Status.PROCESSED)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, 400),
        ({"identities": []}, 400),
        ({"identities": [{"entityId": "a", "entityIdNS": {"code": "crmid"}}] * 21}, 400),
        ({"identities": [{"entityIdNS": {"code": "crmid"}}]}, 400),
        ({"identities": [{"entityId": "a", "entityIdNS": {"code": "a b"}}]}, 400),
        ({"identities": [{"entityId": "not an XID"}]}, 422),
    ],
)
def test_previews_that_ask_for_nobody_are_refused(call: Caller, asked: object, status: int) -> None:
    path = f"{PATH}/{create(call, body())['id']}/preview"
    assert call(computed_attributes.handler, "POST", path, body=asked).status == status


def test_what_is_disabled_has_no_preview(call: Caller) -> None:
    attribute_id = create(call, body(status="NEW"))["id"]
    patch(call, attribute_id, {"status": "DISABLED"})
    asked = {"identities": [{"entityId": "a", "entityIdNS": {"code": "crmid"}}]}
    answer = call(computed_attributes.handler, "POST", f"{PATH}/{attribute_id}/preview", body=asked)
    assert "DISABLED" in message(answer)


def together(*deeds: Callable[[], Answer]) -> list[int]:
    """Do everything at the same time; return the statuses."""
    with ThreadPoolExecutor(len(deeds)) as threads:
        return [done.result().status for done in [threads.submit(deed) for deed in deeds]]


def test_of_creates_of_one_name_at_once_one_wins(call: Caller, machine: str) -> None:
    call(computed_attributes.handler, "GET", PATH)
    statuses = together(*[lambda: post(call, body(status="NEW"))] * 6)
    assert sorted(statuses) == [200] + [400] * 5
    (one,) = listed(call)["computedAttributes"]
    assert [name for name, _ in started(machine)] == [one["id"]]
    assert list(in_force()) == ["spend7d"]


def test_changes_at_once_lose_nothing(call: Caller) -> None:
    attribute_id = create(call, body())["id"]
    changes: list[dict[str, Any]] = [
        {"name": "renamed"},
        {"displayName": "Other"},
        {"description": "other"},
        {"keepCurrent": True},
        {"duration": {"count": 1, "unit": "HOURS"}},
        {"expression": {"type": "PQL", "format": "pql/text", "value": "xEvent.count()"}},
    ]
    statuses = together(*[lambda one=one: patch(call, attribute_id, one) for one in changes])
    assert statuses == [200] * len(changes)
    shown = read(call, attribute_id)
    for one in changes:
        assert shown | one == shown
    create(call, body())


def test_the_limit_holds_for_all_who_publish_at_once(call: Caller) -> None:
    for number in range(MAX_ACTIVE - 1):
        create(call, body(f"a{number}", status="NEW"))
    drafts = [create(call, body(f"b{number}"))["id"] for number in range(4)]
    statuses = together(*[lambda one=one: patch(call, one, {"status": "NEW"}) for one in drafts])
    assert sorted(statuses) == [200, 400, 400, 400]
    assert len(in_force()) == MAX_ACTIVE
    numbers = [one.number for one in in_force().values()]
    assert sorted(numbers) == list(range(1, MAX_ACTIVE + 1))


class Rival:
    """A registry's client between whose reads and writes somebody else does something, as often as there is to do."""

    def __init__(self, *deeds: Callable[[], object]) -> None:
        self._deeds = list(deeds)

    def __getattr__(self, name: str) -> Any:
        if name in {"transact_write_items", "put_item"} and self._deeds:
            self._deeds.pop(0)()
        return getattr(aws.dynamodb(), name)


def test_one_that_is_deleted_while_it_is_published_stays_deleted(call: Caller) -> None:
    draft = create(call, body())
    with pytest.raises(NotFoundError):
        catalogue(Rival(lambda: delete(call, draft["id"]))).change(DEV, draft["id"], Edit(status=Status.NEW))
    assert (names(call), in_force()) == ([], {})


def test_one_that_is_published_while_it_is_deleted_stays(call: Caller) -> None:
    draft = create(call, body())
    with pytest.raises(InvalidRequestError, match="only a DRAFT"):
        catalogue(Rival(lambda: patch(call, draft["id"], {"status": "NEW"}))).delete(DEV, draft["id"])
    assert read(call, draft["id"])["status"] == "NEW"
    assert list(in_force()) == ["spend7d"]


@pytest.mark.parametrize("status", [Status.PROCESSING, Status.FAILED, Status.PROCESSED])
def test_one_that_is_disabled_while_its_backfill_goes_on_stays_disabled(call: Caller, status: Status) -> None:
    attribute_id = create(call, body(status="NEW"))["id"]
    rival = Rival(lambda: patch(call, attribute_id, {"status": "DISABLED"}))
    assert catalogue(rival).advance(DEV, attribute_id, status).status is Status.DISABLED
    assert read(call, attribute_id)["status"] == "DISABLED"
    assert in_force() == {}


@pytest.mark.parametrize("status", [Status.PROCESSING, Status.FAILED, Status.PROCESSED])
def test_one_whose_backfill_goes_on_while_it_is_disabled_is_disabled(call: Caller, status: Status) -> None:
    attribute_id = create(call, body(status="NEW"))["id"]
    rival = Rival(lambda: advance(attribute_id, status))
    assert catalogue(rival).change(DEV, attribute_id, Edit(status=Status.DISABLED)).status is Status.DISABLED
    assert read(call, attribute_id)["status"] == "DISABLED"
    assert in_force() == {}


def test_everything_survives_a_client_that_misbehaves(call: Caller) -> None:
    service = catalogue(HostileClient(aws.dynamodb(), seed=3))
    attribute_id = create(call, body())["id"]
    for number in range(4):
        service.change(DEV, attribute_id, Edit(name=f"a{number}"))
    service.change(DEV, attribute_id, Edit(status=Status.NEW))
    service.advance(DEV, attribute_id, Status.PROCESSING, progress=Progress(1, 2))
    service.advance(DEV, attribute_id, Status.PROCESSED)
    assert in_force()["a3"].ready
    for name in ("spend7d", "a0", "a1", "a2"):
        create(call, body(name))
    assert SAME_NAME in message(post(call, body("a3")))
