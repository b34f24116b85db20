"""The catalogue of datasets over HTTP (contract: data-and-pql §4.1)."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import Any

import pytest

from api import datasets
from api.purges import purges
from tessera.domain.configuration import DatasetKind, DatasetSettings
from tessera.domain.tenant import Tenant
from tessera.gateway import JSON_PATCH
from tessera.services.datasets import DatasetCatalogue
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tests.integration.conftest import CLIENT_ID, ORG, OTHER_ORG, Answer, Caller, client_document

PATH = "/data/foundation/catalog/dataSets"
PROFILE = "https://ns.adobe.com/xdm/context/profile"
EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
TENANT = Tenant(ORG, "dev")


def settings(dataset_id: str) -> DatasetSettings | None:
    """What reads and writes of the profile store are told of a dataset, but for when profiles were switched off."""
    found = ConfigurationStore(aws.dynamodb(), aws.registry_table()).current(TENANT).datasets.get(dataset_id)
    return None if found is None else replace(found, off=())


def create(call: Caller, name: str = "Customers", schema: str = PROFILE, **fields: Any) -> str:
    answer = call(datasets.handler, "POST", PATH, body={"name": name, "schemaRef": {"id": schema}, **fields})
    assert answer.status == 201, answer.text
    reference = answer.json()[0]
    assert answer.headers["location"].endswith(reference.removeprefix("@"))
    return str(reference.removeprefix("@/dataSets/"))


def read(call: Caller, dataset_id: str) -> dict[str, Any]:
    answer = call(datasets.handler, "GET", f"{PATH}/{dataset_id}")
    assert answer.status == 200
    assert list(answer.json()) == [dataset_id]
    description: dict[str, Any] = answer.json()[dataset_id]
    return description


def patch(call: Caller, dataset_id: str, body: object, *, version: str = "", **headers: str) -> Answer:
    if isinstance(body, list):
        headers["Content-Type"] = JSON_PATCH
    return call(datasets.handler, "PATCH", f"{PATH}{version}/{dataset_id}", body=body, headers=headers)


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else 1


def test_a_created_dataset_is_described_and_in_force(call: Caller) -> None:
    dataset_id = create(
        call, description="Who buys", tags={"unifiedProfile": ["enabled: true"], "unifiedIdentity": ["enabled:true"]}
    )
    assert re.fullmatch(r"[0-9a-f]{24}", dataset_id)
    description = read(call, dataset_id)
    assert description["name"] == "Customers"
    assert description["description"] == "Who buys"
    assert description["tags"] == {"unifiedProfile": ["enabled:true"], "unifiedIdentity": ["enabled:true"]}
    assert description["imsOrg"] == ORG
    assert description["sandboxId"].endswith("2")
    assert description["version"] == "1.0.0"
    assert description["createdClient"] == description["createdUser"] == description["updatedUser"] == CLIENT_ID
    assert description["created"] == description["updated"] > 1_700_000_000_000
    assert re.fullmatch(r"[0-9a-f]{24}", description["viewId"])
    assert settings(dataset_id) == DatasetSettings(dataset_id, DatasetKind.RECORD, True, True, False)


@pytest.mark.parametrize(
    ("schema", "kind"),
    [(PROFILE, DatasetKind.RECORD), (EVENT, DatasetKind.EVENT), (PROFILE + "__union", DatasetKind.UNION)],
)
def test_the_schema_decides_what_rows_are(call: Caller, schema: str, kind: DatasetKind) -> None:
    found = settings(create(call, schema=schema))
    assert found is not None
    assert found.kind is kind


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "name"),
        ({"name": "x"}, "schemaRef.id must be one of https://ns.adobe.com/xdm/context/profile, "),
        ({"name": "x", "schemaRef": {"id": "https://ns.adobe.com/acme/schemas/1"}}, EVENT),
        ({"name": "x", "schemaRef": {}}, "schemaRef.id: Field required"),
        ({"name": "x", "schemaRef": "profile"}, "schemaRef"),
        ({"name": "", "schemaRef": {"id": PROFILE}}, "name"),
        ({"name": "  ", "schemaRef": {"id": PROFILE}}, "name"),
        ({"name": "x" * 257, "schemaRef": {"id": PROFILE}}, "name"),
        ({"name": 7, "schemaRef": {"id": PROFILE}}, "name"),
        ({"name": "x", "schemaRef": {"id": PROFILE}, "tags": ["unifiedProfile"]}, "tags"),
        ({"name": "x", "schemaRef": {"id": PROFILE}, "tags": {"a": "b"}}, "tags.a"),
        ({"name": "x", "schemaRef": {"id": PROFILE}, "tags": {"unifiedProfile": ["enabled:maybe"]}}, "true or false"),
        ({"name": "x", "schemaRef": {"id": PROFILE}, "tags": {"unifiedProfile": ["enabled"]}}, "name:value"),
        (
            {"name": "x", "schemaRef": {"id": PROFILE}, "tags": {"unifiedProfile": ["enabled:true", "enabled: false"]}},
            "both",
        ),
        (
            {"name": "x", "schemaRef": {"id": EVENT}, "tags": {"unifiedProfile": ["isUpsert:true"]}},
            "isUpsert is for datasets of records",
        ),
        ({"name": "x", "schemaRef": {"id": PROFILE}, "observableSchema": {"a": "b" * 70_000}}, "at most 64,000"),
        ([], "dictionary"),
        ("text", "dictionary"),
        (None, ""),
        (b"{", "Line 1"),
        (b'{"name": NaN}', "Line 1"),
        (b"[" * 101 + b"]" * 101, "nested deeper"),
        (b'{"name": "\xff"}', ""),
    ],
)
def test_what_is_wrong_with_a_dataset_is_said(call: Caller, body: object, said: str) -> None:
    answer = call(datasets.handler, "POST", PATH, body=body)
    assert answer.status == 400
    assert said in answer.json()["detail"]
    assert call(datasets.handler, "GET", PATH).json() == {}


def test_fields_of_the_service_are_passed_over_in_bodies(call: Caller) -> None:
    dataset_id = create(call, imsOrg="OTHER@AdobeOrg", version="9.9.9", created=1, viewId="mine")
    before = read(call, dataset_id)
    assert (before["imsOrg"], before["version"]) == (ORG, "1.0.0")
    assert before["created"] > 1
    assert patch(call, dataset_id, {**before, "imsOrg": "OTHER@AdobeOrg", "name": "New"}).status == 200
    after = read(call, dataset_id)
    assert after["updated"] >= before["updated"]
    assert after == {**before, "name": "New", "version": "1.0.1", "updated": after["updated"]}


def test_a_partial_body_replaces_the_fields_it_names(call: Caller) -> None:
    dataset_id = create(call, description="old", tags={"a": ["1"], "b": ["2"]})
    answer = patch(call, dataset_id, {"description": None, "tags": {"unifiedProfile": ["enabled: true"]}})
    assert (answer.status, answer.json()) == (200, [f"@/dataSets/{dataset_id}"])
    after = read(call, dataset_id)
    assert "description" not in after
    assert after["tags"] == {"unifiedProfile": ["enabled:true"]}
    assert after["version"] == "1.0.1"
    assert settings(dataset_id) == DatasetSettings(dataset_id, DatasetKind.RECORD, profile_enabled=True)


def test_a_json_patch_switches_profile_on_whatever_its_content_type(call: Caller) -> None:
    for headers in ({"Content-Type": JSON_PATCH}, {"Content-Type": "application/json; charset=utf-8"}):
        dataset_id = create(call)
        answer = call(
            datasets.handler,
            "PATCH",
            f"{PATH}/{dataset_id}",
            body=[
                {"op": "add", "path": "/tags/unifiedProfile", "value": ["enabled:true", "isUpsert:true"]},
                {"op": "add", "path": "/tags/unifiedIdentity", "value": ["enabled:true"]},
            ],
            headers=headers,
        )
        assert answer.status == 200
        assert settings(dataset_id) == DatasetSettings(dataset_id, DatasetKind.RECORD, True, True, True)


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "replace", "path": "/name", "value": "B"}, {"op": "replace", "path": "/nothing", "value": 1}],
        [{"op": "replace", "path": "/name", "value": "B"}, {"op": "test", "path": "/name", "value": "A"}],
        [{"op": "replace", "path": "/imsOrg", "value": "OTHER@AdobeOrg"}],
        [{"op": "remove", "path": "/version"}],
        [{"op": "move", "from": "/created", "path": "/mine"}],
        [{"op": "add", "path": "/files/x", "value": 1}],
        [{"op": "replace", "path": "", "value": {}}],
        [{"op": "replace", "path": "/name"}],
        [{"op": "remove", "path": "/name"}],
        [{"op": "remove", "path": "/schemaRef"}],
        [{"op": "replace", "path": "/schemaRef/id", "value": EVENT}],
        [{"op": "replace", "path": "/name", "value": 7}],
        [{"op": "add", "path": "/tags/unifiedProfile", "value": "enabled:true"}],
        [{"op": "add", "path": "/tags/unifiedProfile", "value": ["enabled:yes"]}],
        [{"op": "add", "path": "/tags/a/0/b", "value": 1}],
        [{"op": "add", "path": "/tags/missing/-", "value": "x"}],
        [{"op": "copy", "path": "/x"}],
        [{"op": "copy", "from": "/missing", "path": "/x"}],
        [{"op": "frobnicate", "path": "/name"}],
        [{"op": "add", "path": "name", "value": "x"}],
        [{"path": "/name", "value": "x"}],
        [{"op": "add", "path": "/big", "value": {"x": "y" * 4000}}]
        + [{"op": "copy", "from": "/big", "path": f"/big/{n}"} for n in range(50)],
        # What is nested too deeply to be sent, and to be written.
        [{"op": "add", "path": "/x" + "/0" * depth, "value": nested(90)} for depth in (0, 90, 180)],
        [{"op": "test", "path": "/name", "value": "A"}] * 101,
        ["replace"],
        [],
    ],
)
def test_a_json_patch_that_cannot_be_done_does_nothing(call: Caller, operations: list[Any]) -> None:
    dataset_id = create(call, name="B0")
    before = read(call, dataset_id)
    answer = patch(call, dataset_id, operations)
    assert answer.status == 400, answer.text
    assert read(call, dataset_id) == before


def test_a_json_patch_must_be_an_array(call: Caller) -> None:
    dataset_id = create(call)
    assert patch(call, dataset_id, {"name": "x"}, **{"Content-Type": JSON_PATCH}).status == 400


def test_put_replaces_everything_a_caller_may_set(call: Caller) -> None:
    dataset_id = create(call, description="old", tags={"unifiedProfile": ["enabled:true"]})
    answer = call(datasets.handler, "PUT", f"{PATH}/{dataset_id}", body={"name": "New"})
    assert (answer.status, answer.json()) == (200, [f"@/dataSets/{dataset_id}"])
    after = read(call, dataset_id)
    assert (after["name"], after["tags"], after["version"]) == ("New", {}, "1.0.1")
    assert "description" not in after
    assert settings(dataset_id) == DatasetSettings(dataset_id, DatasetKind.RECORD)


def test_the_second_version_of_patch_merges_at_every_level(call: Caller) -> None:
    dataset_id = create(call, tags={"a": ["1"], "b": ["2"]})
    answer = call(
        datasets.handler,
        "PATCH",
        f"/data/foundation/catalog/v2/dataSets/{dataset_id}",
        body={
            "tags": {"b": None, "unifiedProfile": ["enabled:true"]},
            "extensions": {"adobe_lakeHouse": {"rowExpiration": {"ttlValue": "P3Y"}}},
        },
    )
    assert (answer.status, answer.json()) == (200, [f"@/dataSets/{dataset_id}"])
    after = read(call, dataset_id)
    assert after["tags"] == {"a": ["1"], "unifiedProfile": ["enabled:true"]}
    assert after["extensions"] == {"adobe_lakeHouse": {"rowExpiration": {"ttlValue": "P3Y"}}}


def test_if_match_lets_only_the_version_it_names_be_changed(call: Caller) -> None:
    dataset_id = create(call)
    etag = call(datasets.handler, "GET", f"{PATH}/{dataset_id}").headers["etag"]
    assert patch(call, dataset_id, {"name": "a"}, **{"If-Match": etag}).status == 200
    refused = patch(call, dataset_id, {"name": "b"}, **{"If-Match": etag})
    assert (refused.status, read(call, dataset_id)["name"]) == (412, "a")
    assert call(datasets.handler, "DELETE", f"{PATH}/{dataset_id}", headers={"If-Match": etag}).status == 412
    assert patch(call, dataset_id, {"name": "c"}, **{"If-Match": "*"}).status == 200


def test_a_deleted_dataset_is_gone_everywhere(call: Caller) -> None:
    dataset_id = create(call)
    answer = call(datasets.handler, "DELETE", f"{PATH}/{dataset_id}")
    assert (answer.status, answer.json()) == (200, [f"@/dataSets/{dataset_id}"])
    assert settings(dataset_id) is None
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"name": "x"}), ("PUT", {"name": "x"})):
        answer = call(datasets.handler, method, f"{PATH}/{dataset_id}", body=body)
        assert (answer.status, answer.json()["title"]) == (404, "Not found")


def test_sandboxes_and_organisations_do_not_see_each_other(call: Caller) -> None:
    call.registry.put(f"client#{CLIENT_ID}", "client", client_document([ORG, OTHER_ORG]))
    dataset_id = create(call)
    for elsewhere in ({"x-sandbox-name": "prod"}, {"x-gw-ims-org-id": OTHER_ORG}):
        for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"name": "x"})):
            answer = call(datasets.handler, method, f"{PATH}/{dataset_id}", body=body, headers=elsewhere)
            assert answer.status == 404
        assert call(datasets.handler, "GET", PATH, headers=elsewhere).json() == {}
    assert read(call, dataset_id)["name"] == "Customers"


@pytest.mark.parametrize("dataset_id", ["0", "..", "%2e%2e", "a%2Fb", "%00", "x" * 3000, "%F0%9F%98%80"])
def test_ids_that_are_none_are_not_found(call: Caller, dataset_id: str) -> None:
    assert call(datasets.handler, "GET", f"{PATH}/{dataset_id}").status == 404


class TestList:
    @pytest.fixture
    def known(self, call: Caller) -> dict[str, str]:
        return {
            name: create(call, name=name, **fields)
            for name, fields in {
                "test one": {"tags": {"unifiedProfile": ["enabled:true"], "team": ["a", "b"]}},
                "another test": {"description": "why", "enableErrorDiagnostics": True},
                "Test Three": {"schema": EVENT, "tags": {"team": ["c"]}},
            }.items()
        }

    def names(self, call: Caller, **query: Any) -> list[str]:
        answer = call(datasets.handler, "GET", PATH + "/", query=query)
        assert answer.status == 200, answer.text
        return [description["name"] for description in answer.json().values()]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"name": "test one"}, ["test one"]),
            ({"name": "test"}, []),
            ({"property": "name~^test"}, ["test one"]),
            ({"property": "name~test"}, ["another test", "test one"]),
            ({"property": ["name~test", "name~one$"]}, ["test one"]),
            ({"property": "name~^[tT]est .*"}, ["Test Three", "test one"]),
            ({"property": "name==Test Three"}, ["Test Three"]),
            ({"property": "name!=Test Three"}, ["another test", "test one"]),
            ({"property": f"schemaRef.id=={EVENT}"}, ["Test Three"]),
            ({"property": "tags.unifiedProfile"}, ["test one"]),
            ({"property": "enableErrorDiagnostics==true"}, ["another test"]),
            ({"tags": "team:b"}, ["test one"]),
            ({"tags": "team"}, ["Test Three", "test one"]),
            ({"tags": "unifiedProfile:enabled: true"}, ["test one"]),
            ({"tags": ["team:a", "team:b"]}, ["test one"]),
            ({"description": "why"}, ["another test"]),
            ({"createdClient": CLIENT_ID}, ["Test Three", "another test", "test one"]),
            ({"enableErrorDiagnostics": "true"}, ["another test"]),
        ],
    )
    def test_filters(self, call: Caller, known: dict[str, str], query: Any, expected: list[str]) -> None:
        assert sorted(self.names(call, **query)) == expected

    def test_order_and_pages(self, call: Caller, known: dict[str, str]) -> None:
        ordered = ["Test Three", "another test", "test one"]
        assert self.names(call, orderBy="asc:name") == ordered
        assert self.names(call, orderby="desc:name,created") == ordered[::-1]
        assert self.names(call, orderBy="-name") == ordered[::-1]
        assert self.names(call, orderBy="asc:name", limit="1", start="1") == ["another test"]
        assert self.names(call, limit=["1", "100"]) == self.names(call)[:1]
        assert self.names(call, start="3") == []

    def test_a_blank_text_comes_before_others(self, call: Caller, known: dict[str, str]) -> None:
        assert self.names(call, orderBy="asc:description,name") == ["Test Three", "test one", "another test"]

    def test_properties_picks_fields(self, call: Caller, known: dict[str, str]) -> None:
        answer = call(datasets.handler, "GET", PATH, query={"properties": "name,tags,nothing", "name": "Test Three"})
        assert answer.json() == {known["Test Three"]: {"name": "Test Three", "tags": {"team": ["c"]}}}
        answer = call(datasets.handler, "GET", f"{PATH}/{known['test one']}", query={"properties": "name"})
        assert answer.json() == {known["test one"]: {"name": "test one"}}

    def test_the_first_page_has_twenty(self, call: Caller) -> None:
        for number in range(22):
            create(call, name=f"d{number}")
        assert len(self.names(call)) == 20
        assert len(self.names(call, limit="100")) == 22

    @pytest.mark.parametrize(
        "query",
        [
            {"limit": "0"},
            {"limit": "101"},
            {"limit": "many"},
            {"limit": "9" * 400},
            {"start": "-1"},
            {"orderBy": "asc:tags"},
            {"orderBy": "up:name"},
            {"property": "name~(a+)+$"},
            {"property": "name~a{1000}"},
            {"property": "name~" + "a?" * 40},
            {"property": "name~["},
            {"property": "name~[z-a]"},
        ],
    )
    def test_what_cannot_be_asked_is_refused(self, call: Caller, query: Any) -> None:
        answer = call(datasets.handler, "GET", PATH, query=query)
        assert answer.status == 400
        assert answer.json()["errors"]["400"]


def test_of_two_patches_at_once_neither_is_lost(call: Caller) -> None:
    """Both read the same version; the one that writes second must see what the first wrote."""
    dataset_id = create(call)
    catalogue = datasets.catalogue()
    second_done = False

    def first(current: dict[str, Any]) -> dict[str, Any]:
        nonlocal second_done
        if not second_done:
            second_done = True
            other = DatasetCatalogue(
                ConfigurationStore(aws.dynamodb(), aws.registry_table()),
                call.registry,
                catalogue._expirations,
                purges(),
            )
            other.change(
                TENANT,
                dataset_id,
                "b",
                lambda now: now | {"tags": {**now["tags"], "unifiedIdentity": ["enabled:true"]}},
            )
        return current | {"tags": {**current["tags"], "unifiedProfile": ["enabled:true"]}}

    catalogue.change(TENANT, dataset_id, "a", first)
    after = read(call, dataset_id)
    assert after["tags"] == {"unifiedIdentity": ["enabled:true"], "unifiedProfile": ["enabled:true"]}
    assert after["version"] == "1.0.2"
    assert settings(dataset_id) == DatasetSettings(dataset_id, DatasetKind.RECORD, True, True)


def test_patches_from_several_threads_are_all_there(call: Caller) -> None:
    dataset_id = create(call)
    answers: list[int] = []

    def add(name: str) -> None:
        answers.append(patch(call, dataset_id, [{"op": "add", "path": f"/tags/{name}", "value": ["x"]}]).status)

    threads = [threading.Thread(target=add, args=(f"tag{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 4
    assert len(read(call, dataset_id)["tags"]) == 4
    assert read(call, dataset_id)["version"] == "1.0.4"


def test_a_sandbox_holds_so_many_datasets(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tessera.services.datasets.MAX_DATASETS", 1)
    create(call)
    answer = call(datasets.handler, "POST", PATH, body={"name": "two", "schemaRef": {"id": PROFILE}})
    assert (answer.status, "at most 1 datasets" in answer.text) == (400, True)
