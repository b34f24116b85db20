"""Whatever stands in a query or a path, every route answers it: never with a fault of ours (law 9)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tessera.gateway import Endpoint
from tests.integration import ingest_machine
from tests.integration.conftest import Caller, answered
from tests.integration.test_entities import PROFILE, Store, dalia, store
from tests.integration.test_header_errors import ENDPOINTS

__all__ = ["dalia", "store"]

DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "docs" / "openapi.json").read_text())
# Half a character, no character, much too long, a path, no number, too large a number, JSON, a blank.
ODD = ["\ud800", "\0", "a" * 5000, "..", "1e999", "9" * 18, "{}", " "]
# So that a look-up gets as far as to the parameter that is odd.
SOMEBODY = {"schema.name": PROFILE, "relatedSchema.name": PROFILE, "entityId": "4217", "entityIdNS": "crmid"}
# Greedy parameters are spelled otherwise in the document, and the query of a deletion has nothing else in it.
PARAMETER = re.compile(r"\{(\w+)\+?\}")


def queries(method: str, pattern: str) -> Iterator[dict[str, str]]:
    """Every documented query parameter of a route with every odd value, the others as they should be."""
    operations = DOCUMENT["paths"].get(PARAMETER.sub(r"{\1}", pattern), {})
    known = [_resolved(one) for one in operations.get(method.lower(), {}).get("parameters", [])]
    names = {one["name"] for one in known if one["in"] == "query"}
    for name in sorted(names):
        for value in ODD:
            yield {key: good for key, good in SOMEBODY.items() if key in names} | {name: value}


def _resolved(parameter: dict[str, Any]) -> dict[str, Any]:
    reference = parameter.get("$ref", "").rpartition("/")[2]
    return dict(DOCUMENT["components"]["parameters"][reference]) if reference else parameter


def paths(pattern: str) -> Iterator[str]:
    """The route's path with every odd value in place of its parameters, both as clients and as gateways write it."""
    for value in ODD if "{" in pattern else []:
        for written in (value, quote(value, safe="", errors="replace")):
            yield PARAMETER.sub(lambda _, written=written: written, pattern)  # type: ignore[misc]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_odd_values_are_answered(
    endpoint: Endpoint, call: Caller, dalia: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = ingest_machine.created_machine(monkeypatch)
    for variable in ("BACKFILL_MACHINE", "EXPORT_STATE_MACHINE_ARN", "DELETE_STATE_MACHINE_ARN"):
        monkeypatch.setenv(variable, machine)
    count = 0
    for route in endpoint.routes:
        body = {} if route.method in {"POST", "PUT", "PATCH"} else None
        plain = PARAMETER.sub("6b04b6930b603753398598e5", route.pattern)
        asked = [(plain, query) for query in queries(route.method, route.pattern)]
        asked += [(path, {}) for path in paths(route.pattern)]
        for path, query in asked:
            answer = answered(endpoint.handler(call.event(route.method, path, query=query, body=body), None))
            assert answer.status < 500, (route.method, ascii(path), ascii(query), answer.text)
            count += 1
    assert count > 20
