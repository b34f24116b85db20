"""Streaming connections over the Flow Service's calls (contract: data-and-pql §4.5), and how often an inlet answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api import inlets as endpoint
from tessera.domain.errors import RateLimitError
from tessera.domain.inlet import connection_id_of
from tessera.domain.tenant import Tenant
from tessera.services.inlets import ConnectionNotFoundError, InletNotFoundError, Inlets
from tessera.storage import aws
from tests.integration.conftest import CLIENT_ID, ORG, OTHER_ORG, SANDBOXES, Answer, Caller, client_document
from tests.integration.inlets import TENANT, inlets, make_connection, make_inlet

CONNECTIONS = "/data/foundation/flowservice/connections"
SPEC = {"id": "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb", "version": "1.0"}
PARAMS = {"sourceId": "till-7", "dataType": "xdm", "name": "Tills"}


def wanted(**params: Any) -> dict[str, Any]:
    """The body that makes a connection."""
    return {
        "name": "Shops",
        "description": "From the tills",
        "connectionSpec": SPEC,
        "auth": {"specName": "Streaming Connection", "params": {**PARAMS, **params}},
    }


@pytest.fixture
def do(call: Caller) -> Callable[..., Answer]:
    """Call the service: ``do("GET", "/<id>")``."""

    def doing(method: str, path: str = "", **more: Any) -> Answer:
        return call(endpoint.handler, method, CONNECTIONS + path, **more)

    return doing


Do = Callable[..., Answer]


def shown(do: Do, connection_id: str) -> Any:
    (connection,) = do("GET", f"/{connection_id}").json()["items"]
    return connection


class TestOne:
    def test_it_is_made_and_read(self, do: Do) -> None:
        answer = do("POST", body={**wanted(), "providerId": "521eee4d-8cbe-4906-bb48-fb6bd4450033"})
        assert answer.status == 201
        made = answer.json()
        assert set(made) == {"id", "etag"}
        assert answer.headers["location"] == f"{CONNECTIONS}/{made['id']}"
        found = shown(do, made["id"])
        inlet = found["auth"]["params"]["inletId"]
        assert re.fullmatch("[0-9a-f]{64}", inlet)
        at = found["createdAt"]
        assert found == {
            "id": made["id"],
            "name": "Shops",
            "description": "From the tills",
            "state": "enabled",
            "connectionSpec": SPEC,
            "auth": {
                "specName": "Streaming Connection",
                "params": {
                    **PARAMS,
                    "authenticationRequired": True,
                    "inletId": inlet,
                    "inletUrl": f"https://api.example.com/v1/collection/{inlet}",
                },
            },
            "imsOrgId": ORG,
            "sandboxId": SANDBOXES["dev"]["id"],
            "sandboxName": "dev",
            "createdAt": at,
            "updatedAt": at,
            **dict.fromkeys(("createdBy", "createdClient", "updatedBy", "updatedClient"), CLIENT_ID),
            "etag": made["etag"],
            "version": made["etag"],
        }
        assert re.fullmatch('"[0-9a-f-]{36}"', made["etag"])

    def test_an_inlet_asks_for_a_token_unless_it_is_told_not_to(self, do: Do) -> None:
        for said, required in ((None, True), (True, True), ("true", True), (False, False), ("false", False)):
            body = wanted() if said is None else wanted(authenticationRequired=said)
            params = shown(do, do("POST", body=body).json()["id"])["auth"]["params"]
            assert params["authenticationRequired"] is required
            assert inlets().find(params["inletId"]).authentication_required is required

    def test_what_is_left_out_is_named_after_the_connection(self, do: Do) -> None:
        body = {"name": "Shops", "connectionSpec": {"id": SPEC["id"]}, "auth": {"params": {}}}
        found = shown(do, do("POST", body=body).json()["id"])
        assert (found["auth"]["params"]["sourceId"], found["auth"]["params"]["name"]) == ("Shops", "Shops")
        assert "description" not in found

    @pytest.mark.parametrize(
        "spoilt",
        [
            {"name": " "},
            {"name": None},
            {"name": "x" * 257},
            {"description": 7},
            {"connectionSpec": None},
            {"connectionSpec": {"id": "8a9c3494-9708-43d7-ae3f-cda01e5030e1"}},
            {"auth": None},
            {"auth": {"specName": "Streaming Connection"}},
            {"auth": {"params": {"dataType": "raw"}}},
            {"auth": {"params": {"authenticationRequired": "perhaps"}}},
            {"auth": {"params": {"authenticationRequired": None}}},
            {"auth": {"specName": "Basic", "params": {}}},
            {"state": "draft"},
        ],
    )
    def test_what_cannot_be_one_is_refused(self, do: Do, spoilt: dict[str, Any]) -> None:
        answer = do("POST", body={**wanted(), **spoilt})
        assert answer.status == 400
        assert next(iter(spoilt)) in answer.json()["detail"]
        assert do("GET").json()["items"] == []

    def test_a_sandbox_has_so_many(self, do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tessera.services.inlets.MAX_CONNECTIONS", 1)
        assert do("POST", body=wanted()).status == 201
        answer = do("POST", body=wanted())
        assert answer.status == 400
        assert "at most 1 connections" in answer.json()["detail"]

    @pytest.mark.parametrize("text", ["x", "x" * 3000, "%20", "a%2Fb", "0b1a4d52-9c1e-5b8e-8f5c-2f1a63f0c0de%0A"])
    def test_what_is_no_id_is_not_found(self, do: Do, text: str) -> None:
        name = [{"op": "replace", "path": "/name", "value": "x"}]
        assert do("GET", f"/{text}").status == do("DELETE", f"/{text}").status == 404
        assert do("PATCH", f"/{text}", body=name, headers={"If-Match": "*"}).status == 404

    def test_it_is_deleted(self, do: Do) -> None:
        connection = make_connection()
        kept = make_inlet()
        answer = do("DELETE", f"/{connection['id']}")
        assert (answer.status, answer.text) == (204, "")
        for method in ("GET", "DELETE"):
            assert do(method, f"/{connection['id']}").status == 404
        with pytest.raises(InletNotFoundError):
            inlets().find(connection["auth"]["params"]["inletId"])
        assert inlets().find(kept).enabled


class TestTenants:
    def test_another_sandbox_has_no_part_in_it(self, do: Do) -> None:
        one = make_connection()["id"]
        prod = {"x-sandbox-name": "prod"}
        name = [{"op": "replace", "path": "/name", "value": "Mine"}]
        assert do("GET", f"/{one}", headers=prod).status == 404
        assert do("PATCH", f"/{one}", body=name, headers={**prod, "If-Match": "*"}).status == 404
        assert do("DELETE", f"/{one}", headers=prod).status == 404
        assert do("GET", headers=prod).json()["items"] == []
        assert shown(do, one)["name"] == "Tills"

    def test_an_inlet_leads_to_one_tenant_only(self, call: Caller) -> None:
        tenants = [Tenant(org, sandbox) for org in (ORG, OTHER_ORG) for sandbox in ("dev", "prod")]
        found = {tenant: make_inlet(tenant=tenant) for tenant in tenants}
        assert {inlets().find(inlet).tenant for inlet in found.values()} == set(tenants)
        # The secret of one with the name of another is nobody's.
        for one in found.values():
            for other in found.values():
                if one != other:
                    with pytest.raises(InletNotFoundError):
                        inlets().find(other[:24] + one[24:])

    def test_a_document_in_the_wrong_place_opens_nothing(self, call: Caller) -> None:
        connection = make_connection()
        inlet = connection["auth"]["params"]["inletId"]
        call.registry.put(
            f"{TENANT.key}#connection", connection["id"], {**connection, "imsOrgId": OTHER_ORG, "sandboxName": "prod"}
        )
        with pytest.raises(InletNotFoundError):
            inlets().find(inlet)

    def test_only_who_may_ingest_is_shown_where_to(self, do: Do, call: Caller) -> None:
        one = make_connection()["id"]
        call.registry.put(f"client#{CLIENT_ID}", "client", client_document(permissions=("read", "configure")))
        assert do("GET", f"/{one}").status == do("GET").status == 403


class TestList:
    @pytest.fixture
    def made(self, call: Caller) -> list[str]:
        """Five connections, made one after the other, two of them disabled."""
        now = iter(range(1_000, 6_000, 1_000))
        service = inlets(clock_ms=lambda: next(now))
        return [
            str(
                service.create(
                    TENANT,
                    "s",
                    CLIENT_ID,
                    {
                        "name": name,
                        "state": "disabled" if name in "bd" else "enabled",
                        "params": {"sourceId": name, "name": name, "authenticationRequired": name != "a"},
                    },
                )["id"]
            )
            for name in "ebacd"
        ]

    def names(self, do: Do, **query: Any) -> list[str]:
        """Follow the pages of a list to its end, as a client does that goes by `next` alone."""
        found = []
        answer = do("GET", query=query).json()
        while True:
            found += [one["name"] for one in answer["items"]]
            if not answer["_links"]:
                return found
            path, _, following = answer["_links"]["next"]["href"].partition("?")
            assert path == "/connections"
            answer = do("GET", query=parse_qs(following)).json()
            assert answer["items"]

    def test_pages(self, do: Do, made: list[str]) -> None:
        for limit in ("1", "2", "3", "5", "100"):
            assert self.names(do, limit=limit) == list("ebacd")
            assert self.names(do, limit=limit, orderby="-createdAt") == list("dcabe")
            assert self.names(do, limit=limit, orderby="name") == list("abcde")
            assert self.names(do, limit=limit, orderby=" name") == list("abcde")
            assert self.names(do, limit=limit, property="state==enabled", orderby="-name") == list("eca")
            # Those that compare equal have an order too.
            assert sorted(self.names(do, limit=limit, orderby="description")) == list("abcde")

    @pytest.mark.parametrize(
        ("conditions", "expected"),
        [
            (["state==enabled"], "eac"),
            (["state!=enabled"], "bd"),
            (["state==enabled", "name==a,b,c"], "ac"),
            (["auth.params.authenticationRequired==false"], "a"),
            (["createdAt>2000"], "acd"),
            (["createdAt<=2000"], "eb"),
            (["name>=c"], "ecd"),
            (["createdAt>soon"], ""),
            (["nothing==x"], ""),
            (["nothing.at.all!=x"], "ebacd"),
            (["connectionSpec.id==bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb"], "ebacd"),
        ],
    )
    def test_filters(self, do: Do, made: list[str], conditions: list[str], expected: str) -> None:
        assert self.names(do, property=conditions) == list(expected)
        assert do("GET", query={"property": conditions, "count": "true"}).json() == {"count": len(expected)}

    @pytest.mark.parametrize(
        "query",
        [
            {"limit": "0"},
            {"limit": "x"},
            {"count": "perhaps"},
            {"property": "state"},
            {"property": "=="},
            {"continuationToken": "e30"},
            {"continuationToken": "!"},
            {"continuationToken": "WzEsMiwzXQ"},
            {"continuationToken": "W3RydWUsMSwiYSJd"},
        ],
    )
    def test_what_cannot_be_asked_is_refused(self, do: Do, made: list[str], query: dict[str, str]) -> None:
        assert do("GET", query=query).status == 400


class TestPatch:
    def patch(self, do: Do, connection_id: str, *operations: dict[str, Any], etag: str | None = "*") -> Answer:
        return do("PATCH", f"/{connection_id}", body=list(operations), headers={"If-Match": etag})

    def test_some_of_it_is_changed(self, do: Do) -> None:
        before = shown(do, do("POST", body=wanted(authenticationRequired=False)).json()["id"])
        answer = self.patch(
            do,
            before["id"],
            {"op": "replace", "path": "/name", "value": "Stores"},
            {"op": "remove", "path": "/description"},
            {"op": "replace", "path": "/state", "value": "disabled"},
            {"op": "add", "path": "/auth/params/authenticationRequired", "value": True},
            etag=before["etag"],
        )
        assert answer.status == 200
        after = shown(do, before["id"])
        assert answer.json() == {"id": before["id"], "etag": after["etag"]}
        assert after["etag"] != before["etag"]
        params = {**before["auth"]["params"], "authenticationRequired": True}
        del before["description"]
        assert after == {
            **before,
            "name": "Stores",
            "state": "disabled",
            "auth": {**before["auth"], "params": params},
            **{key: after[key] for key in ("etag", "version", "updatedAt")},
        }

    def test_a_disabled_inlet_takes_nothing_until_it_is_enabled(self, do: Do) -> None:
        connection = make_connection()
        inlet = connection["auth"]["params"]["inletId"]
        for state in ("disabled", "enabled"):
            self.patch(do, connection["id"], {"op": "replace", "path": "/state", "value": state})
            if state == "disabled":
                with pytest.raises(InletNotFoundError):
                    inlets().find(inlet)
        assert inlets().find(inlet).id == inlet

    @pytest.mark.parametrize(
        "operation",
        [
            {"op": "remove", "path": "/auth/params/authenticationRequired"},
            {"op": "replace", "path": "/auth/params", "value": {"sourceId": "x"}},
        ],
    )
    def test_an_inlet_that_is_told_nothing_asks_for_a_token(self, do: Do, operation: dict[str, Any]) -> None:
        connection = make_connection(authenticated=False)
        assert self.patch(do, connection["id"], operation).status == 200
        inlet = inlets().find(connection["auth"]["params"]["inletId"])
        assert inlet.authentication_required

    @pytest.mark.parametrize("etag", ['"{}"', "{}", 'W/"{}"'])
    def test_the_etag_may_stand_in_quotes_or_not(self, do: Do, etag: str) -> None:
        connection = make_connection()
        operation = {"op": "replace", "path": "/name", "value": "Stores"}
        given = etag.format(connection["etag"].strip('"'))
        assert self.patch(do, connection["id"], operation, etag=given).status == 200
        answer = self.patch(do, connection["id"], operation, etag=given)
        assert (answer.status, answer.json()["title"]) == (412, "Precondition failed")

    def test_an_etag_must_be_given(self, do: Do) -> None:
        connection = make_connection()
        answer = self.patch(do, connection["id"], {"op": "remove", "path": "/description"}, etag=None)
        assert answer.status == 428
        assert "If-Match" in answer.json()["detail"]

    @pytest.mark.parametrize(
        "operation",
        [
            {"op": "replace", "path": "/id", "value": "x"},
            {"op": "replace", "path": "/imsOrgId", "value": OTHER_ORG},
            {"op": "replace", "path": "/sandboxName", "value": "prod"},
            {"op": "replace", "path": "/connectionSpec/id", "value": "x"},
            {"op": "replace", "path": "/etag", "value": "x"},
            {"op": "replace", "path": "/auth/params/inletId", "value": "0" * 64},
            {"op": "replace", "path": "/auth/params/inletUrl", "value": "https://example.org"},
            {"op": "replace", "path": "/auth/params/dataType", "value": "raw"},
            {"op": "replace", "path": "/auth/params/authenticationRequired", "value": "perhaps"},
            {"op": "replace", "path": "/state", "value": "draft"},
            {"op": "remove", "path": "/state"},
            {"op": "remove", "path": "/name"},
            {"op": "remove", "path": "/auth"},
            {"op": "remove", "path": "/nothing"},
            {"op": "test", "path": "/name", "value": "another"},
        ],
    )
    def test_what_cannot_be_changed_is_refused_and_nothing_is(self, do: Do, operation: dict[str, Any]) -> None:
        before = shown(do, make_connection()["id"])
        good = {"op": "add", "path": "/description", "value": "Stores"}
        answer = self.patch(do, before["id"], good, operation)
        assert answer.status == 400
        assert shown(do, before["id"]) == before

    def test_of_changes_to_the_same_etag_one_is_made(self, call: Caller, do: Do) -> None:
        connection = make_connection()

        def change(number: int) -> int:
            operation = {"op": "replace", "path": "/name", "value": f"n{number}"}
            return self.patch(do, connection["id"], operation, etag=connection["etag"]).status

        with ThreadPoolExecutor(4) as threads:
            statuses = list(threads.map(change, range(4)))
        assert sorted(statuses) == [200, 412, 412, 412]
        assert shown(do, connection["id"])["name"] == f"n{statuses.index(200)}"

    def test_what_is_deleted_meanwhile_stays_so(self, do: Do) -> None:
        connection = make_connection()
        service = inlets()

        def edit(before: dict[str, Any]) -> dict[str, Any]:
            service.delete(TENANT, connection["id"])
            return {"name": "x", "params": before["auth"]["params"]}

        with pytest.raises(ConnectionNotFoundError):
            service.change(TENANT, connection["id"], CLIENT_ID, edit)
        assert do("GET", f"/{connection['id']}").status == 404


class TestRate:
    """At most 60 synchronous requests a minute by one connection (contract: data-and-pql §4.5)."""

    @pytest.fixture
    def now(self, call: Caller) -> list[int]:
        """Milliseconds since 1970; a minute begins at 1,700,000,040 s."""
        return [1_700_000_040_000]

    @pytest.fixture
    def service(self, now: list[int]) -> Inlets:
        return inlets(clock_ms=lambda: now[0])

    def taken(self, service: Inlets, inlet_id: str, times: int) -> list[bool]:
        inlet = service.find(inlet_id)

        def admitted(_: int) -> bool:
            try:
                service.admit_synchronous(inlet)
            except RateLimitError:
                return False
            return True

        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(admitted, range(times)))

    def test_sixty_a_minute_however_many_ask_at_once(self, service: Inlets, now: list[int]) -> None:
        inlet, other = make_inlet(), make_inlet()
        assert sum(self.taken(service, inlet, 70)) == 60
        assert all(self.taken(service, other, 3))
        now[0] += 59_999
        assert not any(self.taken(service, inlet, 2))
        now[0] += 1
        assert all(self.taken(service, inlet, 2))

    def test_who_asked_too_often_is_told_when_to_come_back(self, service: Inlets, now: list[int]) -> None:
        inlet = make_inlet()
        now[0] += 17_500
        self.taken(service, inlet, 60)
        with pytest.raises(RateLimitError, match="60 synchronous requests") as refused:
            service.admit_synchronous(service.find(inlet))
        assert refused.value.retry_after_s == 43

    def test_counting_is_one_call_and_counters_expire(
        self, service: Inlets, now: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inlet = service.find(make_inlet())
        client = aws.dynamodb()
        made = client._make_api_call  # type: ignore[attr-defined]
        calls: list[tuple[str, Any]] = []
        monkeypatch.setattr(client, "_make_api_call", lambda name, sent: calls.append((name, sent)) or made(name, sent))
        service.admit_synchronous(inlet)
        ((name, sent),) = calls
        assert name == "UpdateItem"
        item = client.get_item(TableName="registry", Key=sent["Key"])["Item"]
        assert item["pk"]["S"].startswith(TENANT.key + "#")
        assert (item["n"]["N"], item["ttl"]["N"], item["sk"]["S"]) == ("1", "1700000160", "1700000040")


@settings(max_examples=50)
@given(st.text(max_size=80) | st.text("0123456789abcdef", min_size=64, max_size=64))
def test_whatever_the_id_says_it_is_looked_for_in_one_place_or_none(text: str) -> None:
    asked: list[tuple[str, str]] = []

    class Nothing:
        def get(self, partition: str, sort: str) -> None:
            asked.append((partition, sort))

    with pytest.raises(InletNotFoundError):
        Inlets(Nothing(), None).find(text)  # type: ignore[arg-type]
    if asked:
        assert re.fullmatch("[0-9a-f]{64}", text)
        ((partition, sort),) = asked
        assert re.fullmatch(r"[\w-]{16}#connection", partition)
        assert sort == connection_id_of(text)
