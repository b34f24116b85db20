"""The OpenAPI document is that of the code, complete, and differs from what Adobe publishes only for a reason."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.openapi import document as generating
from ops.openapi.__main__ import TARGET
from ops.openapi.describing import Answer, Area, Operation
from tessera.gateway import InletEndpoint, InletRequest, Response
from tests.published.comparison import Comparison

PUBLISHED = Path(__file__).resolve().parents[1] / "published"
BASE_PATHS = {
    "profile": "/data/core/ups",
    "computed_attributes": "/data/core/ca",
    "catalog": "/data/foundation/catalog",
    "batch_ingestion": "/data/foundation/import",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return generating.document()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_committed_document_is_the_code_s(document: dict[str, Any]) -> None:
    assert TARGET.read_text() == generating.text(document), "docs/openapi.json is not up to date: run `make openapi`"


def test_every_operation_says_what_callers_must_know(document: dict[str, Any]) -> None:
    seen = set()
    for name, operation in operations(document):
        assert operation["summary"], name
        assert not re.search(r"§|contract|``|\(ours\)", json.dumps(operation)), name
        assert operation["x-permission"] in {"read", "ingest", "configure", "erase"}
        assert operation["operationId"] not in seen
        seen.add(operation["operationId"])
        path_parameters = {one["name"] for one in operation["parameters"] if one.get("in") == "path"}
        assert path_parameters == set(re.findall(r"\{(\w+)\}", name))
        names = [json.dumps([one.get("in"), one.get("name"), one.get("$ref")]) for one in operation["parameters"]]
        assert len(set(names)) == len(names), name


def test_every_reference_leads_somewhere_and_no_component_is_left_over(document: dict[str, Any]) -> None:
    used = set(re.findall(r'"\$ref": "#/components/(\w+/\w+)"', json.dumps(document)))
    there = {
        f"{kind}/{name}"
        for kind, items in document["components"].items()
        if kind != "securitySchemes"
        for name in items
    }
    assert used == there


def test_routes_and_descriptions_must_be_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generating, "AREAS", generating.AREAS[1:])
    with pytest.raises(ValueError, match=r"does not describe.*access/entities"):
        generating.document()
    area = Area(
        "More",
        "",
        {},
        {"GET /nowhere": generating.AREAS[0].operations["DELETE /data/core/ups/config/mergePolicies/{id}"]},
    )
    monkeypatch.setattr(generating, "AREAS", (*generating.AREAS, area))
    with pytest.raises(ValueError, match=r"without a route.*nowhere"):
        generating.document()


def test_a_route_of_inlets_asks_for_no_more_than_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = InletEndpoint("probe")

    @endpoint.post("/collection/{inlet}")
    def collect(request: InletRequest) -> Response:
        """Take a message."""
        return Response({"id": request.inlet.id})

    known = list(generating.endpoints())
    area = Area(
        "Probe",
        "",
        {"inlet": "The inlet"},
        {"POST /collection/{inlet}": Operation(body=dict[str, str], answers={200: Answer("Taken", dict[str, str])})},
    )
    monkeypatch.setattr(generating, "endpoints", lambda: [*known, endpoint])
    monkeypatch.setattr(generating, "AREAS", (*generating.AREAS, area))
    made = generating.document()
    operation = made["paths"]["/collection/{inlet}"]["post"]
    assert operation["security"] == [{}, {"client": ["tessera/access"]}]
    assert [one.get("name") or one["$ref"] for one in operation["parameters"]] == [
        "inlet",
        "#/components/parameters/RequestId",
    ]
    for status, name in {401: "InletUnauthorized", 403: "InletForbidden", 404: "NotFound", 413: "BodyTooLarge"}.items():
        assert operation["responses"][str(status)] == {"$ref": f"#/components/responses/{name}"}
        assert made["components"]["responses"][name]["content"]
    assert "security" not in made["paths"]["/data/core/ups/access/entities"]["get"]


def test_every_difference_from_what_is_published_has_a_reason_and_every_reason_a_difference(
    document: dict[str, Any],
) -> None:
    reasons = json.loads((PUBLISHED / "differences.json").read_text())
    comparison = Comparison(document)
    found = [
        difference
        for name, base_path in BASE_PATHS.items()
        for difference in comparison.differences(json.loads((PUBLISHED / f"{name}.json").read_text()), base_path)
    ]
    explained = {pattern: fnmatch.filter(found, pattern) for pattern in reasons}
    assert [one for one in found if not any(one in matches for matches in explained.values())] == []
    assert [pattern for pattern, matches in explained.items() if not matches] == []
    assert all(reasons.values())


def test_the_comparison_sees_what_is_otherwise(document: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(document))
    policies = changed["paths"]["/data/core/ups/config/mergePolicies"]
    del changed["paths"]["/data/core/ups/config/mergePolicies/{id}"]["delete"]
    policies["get"]["parameters"] = [one for one in policies["get"]["parameters"] if one.get("name") != "schema.name"]
    policies["post"]["parameters"].append(
        {"name": "mode", "in": "query", "required": True, "schema": {"type": "string"}}
    )
    schemas = changed["components"]["schemas"]
    schemas["Policy"]["required"].append("name")
    schemas["MergePolicy"]["properties"]["id"]["type"] = "integer"
    del schemas["MergePolicy"]["properties"]["version"]
    published = json.loads((PUBLISHED / "profile.json").read_text())
    before, after = (set(Comparison(one).differences(published, BASE_PATHS["profile"])) for one in (document, changed))
    collection = "/data/core/ups/config/mergePolicies"
    assert {
        f"DELETE {collection}/{{mergePolicyId}}: not there",
        f"GET {collection}: query schema.name is not read",
        f"POST {collection}: query mode is added",
        f"POST {collection}: query mode is required",
        f"POST {collection}: body name is required",
        f"POST {collection}: answer 200 id is number and not string",
        f"POST {collection}: answer 200 version is missing",
        f"GET {collection}: answer 200 children.*.version is missing",
    } <= after - before
