"""Linking, unlinking and reading at the same time, over HTTP and on the local cloud's DynamoDB."""

from __future__ import annotations

import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

from ops.client import Client

NAMESPACE = "LinkTestId"
LINKS = "/data/core/identity/links"


def rows(people: list[str]) -> list[dict[str, Any]]:
    """Records that link each person with the next."""
    return [
        {"identityMap": {NAMESPACE: [{"id": one, "primary": True}, {"id": other}]}, "n": number}
        for number, (one, other) in enumerate(pairwise(people))
    ]


def pair(one: str, other: str) -> dict[str, str]:
    return {"entityId": one, "entityIdNS": NAMESPACE, "linkedEntityId": other, "linkedEntityIdNS": NAMESPACE}


def test_linking_unlinking_and_reading_at_once(client: Client) -> None:
    people = [uuid.uuid4().hex for _ in range(12)]
    dataset = client.create_dataset(f"links {uuid.uuid4().hex}", "profile", "unifiedProfile", "unifiedIdentity")
    assert client.ingest(dataset, rows(people)[:6])["status"] == "success"
    links = list(pairwise(people))
    removed = links[2]

    def read(person: str) -> None:
        answer = client.entity(NAMESPACE, person)
        assert answer.status_code in {200, 404}, answer.text
        if answer.status_code == 200:
            ((key, profile),) = answer.json().items()
            assert key in profile["identityGraph"]
            found = {item["id"] for item in profile["entity"]["identityMap"][NAMESPACE.lower()]}
            assert person in found
            assert found <= set(people)

    def unlink(_: int) -> None:
        assert client.http.delete(LINKS, params=pair(*removed)).status_code == 200

    def relink(_: int) -> None:
        assert client.http.post(LINKS, params=pair(*removed)).status_code == 200

    def by_hand(number: int) -> None:
        assert client.http.post(LINKS, params=pair(*links[6 + number % 5])).status_code == 200

    work: list[tuple[Any, Any]] = [(read, random.Random(number).choice(people)) for number in range(40)]
    work += [(unlink, number) for number in range(6)] + [(relink, number) for number in range(6)]
    work += [(by_hand, number) for number in range(10)]
    random.Random(7).shuffle(work)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda step: step[0](step[1]), work))

    unlink(0)
    sizes = [len(client.entity(NAMESPACE, one).json().popitem()[1]["identityGraph"]) for one in people]
    assert sizes == [3] * 3 + [9] * 9
    relink(0)
    assert len(client.entity(NAMESPACE, people[0]).json().popitem()[1]["identityGraph"]) == 12
    history = client.http.get(LINKS, params={"entityId": removed[0], "entityIdNS": NAMESPACE}).json()["history"]
    assert [entry["action"] for entry in history].count("removed") == 7
    assert {entry["clientId"] for entry in history} == {client.configuration["client_id"]}


def test_a_removed_link_stays_removed_when_the_data_comes_again(client: Client) -> None:
    one, other = uuid.uuid4().hex, uuid.uuid4().hex
    dataset = client.create_dataset(f"again {uuid.uuid4().hex}", "profile", "unifiedProfile", "unifiedIdentity")
    assert client.ingest(dataset, rows([one, other]))["status"] == "success"
    assert client.http.delete(LINKS, params=pair(one, other)).status_code == 200
    assert client.entity(NAMESPACE, other).status_code == 404
    assert client.ingest(dataset, rows([one, other]))["status"] == "success"
    assert client.entity(NAMESPACE, other).status_code == 404
    assert len(client.entity(NAMESPACE, one).json().popitem()[1]["identityGraph"]) == 1
