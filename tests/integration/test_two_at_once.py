"""Of two calls that come at once, each sees the other done or not begun: never half of it.

What comes of them is what comes of one after the other, in one of the two orders, whoever makes which call to DynamoDB
when.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.gateway import JSON_PATCH
from tessera.storage import aws
from tests.integration.conftest import Answer, Caller, forget
from tests.integration.documented import template_of
from tests.integration.furnished import (
    ATTRIBUTES,
    CONNECTIONS,
    DATASETS,
    HANDLERS,
    RECORDS,
    REGISTRY,
    startable_machines,
)
from tests.integration.turns import Turns

NAMESPACES = "/data/core/idnamespace/identities"
SCHEMAS = REGISTRY + "/tenant/schemas"
ALONE = 1000

Do = Callable[..., Answer]
Call = Callable[[], Answer]


@dataclass(frozen=True)
class Two:
    """Two calls about something new, and what there is of it afterwards."""

    calls: tuple[Call, Call]
    left: Callable[[], Any]


def same_namespace(do: Do) -> Two:
    code = f"n{uuid4().hex}"

    def create(name: str) -> Call:
        return lambda: do("POST", NAMESPACES, {"code": code, "name": name, "idType": "COOKIE"})

    return Two(
        (create("one"), create("other")),
        lambda: [one["name"] for one in do("GET", NAMESPACES).json() if one["code"] == code],
    )


def dataset_patched_and_deleted(do: Do) -> Two:
    address = f"{DATASETS}/{dataset(do)}"
    return Two((lambda: do("PATCH", address, {"name": "other"}), lambda: do("DELETE", address)), name_at(do, address))


def dataset_deleted_twice(do: Do) -> Two:
    address = f"{DATASETS}/{dataset(do)}"
    return Two((lambda: do("DELETE", address), lambda: do("DELETE", address)), name_at(do, address))


def schema_deleted_and_used(do: Do) -> Two:
    made = schema(do)

    def left() -> Any:
        datasets = do("GET", DATASETS, limit="100").json().values()
        return name_at(do, address)(), sum(one["schemaRef"]["id"] == made["$id"] for one in datasets)

    address = f"{SCHEMAS}/{made['meta:altId']}"
    use = {"name": "user", "schemaRef": {"id": made["$id"]}}
    return Two((lambda: do("DELETE", address), lambda: do("POST", DATASETS, use)), left)


def schema_patched_and_deleted(do: Do) -> Two:
    address = f"{SCHEMAS}/{schema(do)['meta:altId']}"
    patch = [{"op": "replace", "path": "/title", "value": "other"}]
    return Two((lambda: do("PATCH", address, patch), lambda: do("DELETE", address)), name_at(do, address))


def connection_patched_twice(do: Do) -> Two:
    address, etag = connection(do)
    return Two((rename(do, address, etag, "one"), rename(do, address, etag, "other")), name_at(do, address))


def connection_patched_and_deleted(do: Do) -> Two:
    address, etag = connection(do)
    return Two((rename(do, address, etag, "other"), lambda: do("DELETE", address)), name_at(do, address))


def attribute_published_and_deleted(do: Do) -> Two:
    body = {
        "name": f"a{uuid4().hex}",
        "displayName": "A",
        "description": "",
        "expression": {"type": "PQL", "format": "pql/text", "value": "xEvent.count()"},
        "duration": {"count": 7, "unit": "DAYS"},
        "status": "DRAFT",
    }
    address = f"{ATTRIBUTES}/{do('POST', ATTRIBUTES, body).json()['id']}"
    publish = {"status": "NEW"}
    return Two(
        (lambda: do("PATCH", address, publish), lambda: do("DELETE", address)), lambda: do("GET", address).status
    )


STORIES = [
    same_namespace,
    dataset_patched_and_deleted,
    dataset_deleted_twice,
    schema_deleted_and_used,
    schema_patched_and_deleted,
    connection_patched_twice,
    connection_patched_and_deleted,
    attribute_published_and_deleted,
]


def dataset(do: Do) -> str:
    (reference,) = do("POST", DATASETS, {"name": "one", "schemaRef": {"id": RECORDS}}).json()
    return str(reference).rpartition("/")[2]


def schema(do: Do) -> Any:
    body = {"title": f"one {uuid4().hex}", "type": "object", "allOf": [{"$ref": RECORDS}]}
    return do("POST", SCHEMAS, body).json()


def connection(do: Do) -> tuple[str, str]:
    body = {
        "name": "one",
        "connectionSpec": {"id": "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb"},
        "auth": {"params": {}},
    }
    made = do("POST", CONNECTIONS, body).json()
    return f"{CONNECTIONS}/{made['id']}", made["etag"]


def rename(do: Do, address: str, etag: str, name: str) -> Call:
    headers = {"If-Match": etag, "Content-Type": JSON_PATCH}
    patch = [{"op": "replace", "path": "/name", "value": name}]
    return lambda: do("PATCH", address, patch, headers)


def name_at(do: Do, address: str) -> Callable[[], Any]:
    """What is at an address is called, or why nothing is there."""

    def named() -> Any:
        answer = do("GET", address)
        if answer.status != 200:
            return answer.status
        body = answer.json()
        found = body["items"][0] if "items" in body else body if "title" in body else next(iter(body.values()))
        return found.get("name") or found["title"].split()[0]

    return named


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_it_is_as_if_one_came_after_the_other(
    call: Caller, monkeypatch: pytest.MonkeyPatch, story: Callable[[Do], Two]
) -> None:
    startable_machines(monkeypatch)
    real, worker = boto3.client("dynamodb"), threading.local()

    class ByWorker:
        def __getattr__(self, name: str) -> Any:
            waits = name != "get_paginator" and hasattr(worker, "client")
            return getattr(worker.client if waits else real, name)

    monkeypatch.setattr(aws, "dynamodb", ByWorker)
    forget()

    def do(method: str, path: str, body: Any = None, headers: Any = None, **query: str) -> Answer:
        return call(HANDLERS[method, template_of(method, path)], method, path, body=body, headers=headers, query=query)

    def outcome(schedule: list[int]) -> Any:
        two, turns, statuses = story(do), Turns(schedule), [0, 0]

        def work(number: int) -> None:
            worker.client = turns.client(real, number)
            statuses[number] = two.calls[number]().status

        turns.run(lambda: work(0), lambda: work(1))
        return statuses, two.left()

    in_turn = [outcome([ALONE]), outcome([0, ALONE])]

    @settings(max_examples=20)
    @given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
    def at_once(schedule: list[int]) -> None:
        assert outcome(schedule) in in_turn

    at_once()
