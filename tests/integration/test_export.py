"""An export is the union of all look-ups under its policy, row for row (contract: data-and-pql §3.6)."""

from __future__ import annotations

import hashlib
import io
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import boto3
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api import data_access, entities, export_jobs
from tessera.domain.computed.window import Unit, Window
from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.export.shape import as_text
from tessera.domain.graph import Head
from tessera.domain.identity import Identity
from tessera.domain.merge_policy import AttributeMerge, GraphType, MergePolicy
from tessera.domain.place import batch_place
from tessera.domain.rows import PlacedRow, accept
from tessera.domain.tenant import Tenant
from tessera.domain.times import iso_ms
from tessera.services.computed.compiled import compile_attribute
from tessera.services.deletion import Deletions
from tessera.services.export import gathering, settling
from tessera.services.profile_writer import ProfileWriter
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.jobs import DeletionStore
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tests.exported import as_json, without_nulls
from tests.integration import export_machine
from tests.integration.conftest import ORG, Caller
from tests.integration.executors import Inline

NOW = 1_750_258_800_000
HOUR = 3_600_000
BATCH = "01J00000000000000000000000"
TENANT = Tenant(ORG, "dev")
CRM, LOYALTY, SHOP, APP, UNION = "crm", "loyalty", "shop", "app", "union"
DATASETS = [
    *(
        DatasetSettings(name, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True)
        for name in (CRM, LOYALTY)
    ),
    *(DatasetSettings(name, DatasetKind.EVENT, profile_enabled=True, identity_enabled=True) for name in (SHOP, APP)),
    DatasetSettings(UNION, DatasetKind.UNION),
]
POLICIES = {
    f"{graph.value}-{merge.value}": MergePolicy(
        f"{graph.value}-{merge.value}",
        "",
        graph=graph,
        attribute_merge=merge,
        order=(LOYALTY, SHOP) if merge is AttributeMerge.DATASET_PRECEDENCE else (),
    )
    for graph in GraphType
    for merge in AttributeMerge
}


class Machine:
    """Starts nothing."""

    def start(self, name: str, document: Mapping[str, Any]) -> None:
        """Do nothing."""


class World:
    """A sandbox whose rows are written directly, whose look-ups and exports go over HTTP."""

    def __init__(self, call: Caller) -> None:
        self.call = call
        self.places = count()
        self.known: set[Identity] = set()
        self.configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
        self.table = ProfileTable(aws.dynamodb(), aws.profile_table())
        self.change(lambda known: replace(known, datasets={one.id: one for one in DATASETS}))
        self.change(lambda known: known.with_namespaces(["shopper"]))

    def change(self, mutate: Any) -> Configuration:
        return self.configurations.change(TENANT, mutate)

    def write(
        self,
        dataset: str,
        *rows: tuple[Sequence[Identity], Mapping[str, Any]],
        at_ms: int = NOW - HOUR,
        batch: str = BATCH,
    ) -> None:
        """Write rows; the first identity of each is the primary one."""
        kind = DatasetKind.RECORD if dataset in {CRM, LOYALTY} else DatasetKind.EVENT
        placed = []
        for identities, body in rows:
            self.known.update(identities)
            ids: dict[str, Any] = {}
            for one in identities:
                primary = {"primary": True} if one == identities[0] else {}
                ids.setdefault(one.namespace, []).append({"id": one.value, **primary})
            place = batch_place(at_ms, batch, 0, next(self.places))
            placed.append(PlacedRow(place, accept({"identityMap": ids, **body}, kind, 100)))
        writer = ProfileWriter(self.configurations, self.table, Inline(), clock_ms=lambda: NOW)
        writer.apply(TENANT, dataset, placed)

    def delete_person(self, identity: Identity) -> None:
        jobs = DeletionStore(Registry(aws.dynamodb(), aws.registry_table()))
        deletions = Deletions(self.table, jobs, Machine(), lambda: NOW - HOUR // 2, lambda _: None)
        deletions.accept(TENANT, identity.xid(TENANT), GraphType.PRIVATE, "me")

    def look_ups(self, policy: str, *, events: bool = False, **more: str) -> Iterator[dict[str, Any]]:
        """Look everybody up; a person is given once, whoever of the graph is asked for."""
        seen: set[frozenset[str]] = set()
        for identity in sorted(self.known, key=lambda one: (one.namespace, one.value)):
            asked = {"entityId": identity.value, "entityIdNS": identity.namespace, "mergePolicyId": policy}
            answer = self.call(
                entities.handler, "GET", entities.PATH, query={"schema.name": "_xdm.context.profile", **asked, **more}
            )
            assert answer.status in {200, 404, 422}, answer.text
            if answer.status != 200:
                continue
            (profile,) = answer.json().values()
            graph = frozenset(profile["identityGraph"])
            if graph in seen:
                continue
            seen.add(graph)
            entity = profile["entity"]
            if events:
                entity["eventList"] = self.events(identity, policy)
            yield profile

    def events(self, identity: Identity, policy: str) -> list[Any]:
        page = self.call(
            entities.handler,
            "GET",
            entities.PATH,
            query={
                "schema.name": "_xdm.context.experienceevent",
                "relatedSchema.name": "_xdm.context.profile",
                "relatedEntityId": identity.value,
                "relatedEntityIdNS": identity.namespace,
                "mergePolicyId": policy,
            },
        ).json()
        assert page["_links"]["next"]["href"] == ""
        return [child["entity"] for child in page["children"]]

    def ask(self, **more: Any) -> dict[str, Any]:
        destination = {"datasetId": UNION, **more.pop("destination", {})}
        body = {"schema": {"name": "_xdm.context.profile"}, "destination": destination, **more}
        answer = self.call(export_jobs.handler, "POST", export_jobs.PATH, body=body)
        assert answer.status == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def job(self, job: Mapping[str, Any]) -> dict[str, Any]:
        described: dict[str, Any] = self.call(export_jobs.handler, "GET", f"{export_jobs.PATH}/{job['id']}").json()
        return described

    def export(self, *, times: int = 1, **more: Any) -> dict[str, Any]:
        job = self.ask(**more)
        assert export_machine.run(job["id"], times=times) == "done", self.job(job)["errors"]
        return self.job(job)

    def manifest(self, batch_id: str) -> dict[str, Any]:
        at = f"/data/foundation/export/batches/{batch_id}/meta"
        (found,) = self.call(data_access.handler, "GET", at, query={"path": "export_manifest.json"}).json()["data"]
        described: dict[str, Any] = found
        return described

    def tables(self, batch_id: str) -> list[pa.Table]:
        """Read a batch back over HTTP, and hold its manifest to its files."""
        listed = self.call(data_access.handler, "GET", f"/data/foundation/export/batches/{batch_id}/files").json()
        tables = []
        for entry in listed["data"]:
            (file,) = self.call(data_access.handler, "GET", entry["_links"]["self"]["href"]).json()["data"]
            at, _, name = file["_links"]["self"]["href"].partition("?path=")
            body = self.call(data_access.handler, "GET", at, query={"path": name}).text.encode("latin-1")
            assert len(body) == file["length"]
            tables.append(pq.read_table(io.BytesIO(body)))
            (noted,) = [one for one in self.manifest(batch_id)["files"] if one["name"] == name]
            assert noted["rows"] == tables[-1].num_rows
            assert noted["sha256"] == hashlib.sha256(body).hexdigest()
        return tables

    def rows(self, batch_id: str) -> list[dict[str, Any]]:
        return [as_json(row) for table in self.tables(batch_id) for row in table.to_pylist()]

    def exported(self, **more: Any) -> list[dict[str, Any]]:
        """Export; return the rows, as many as the metrics say."""
        job = self.export(**more)
        rows = self.rows(job["destination"]["batchId"])
        assert job["metrics"]["totalExportedProfileCounter"] == len(rows)
        return rows


@pytest.fixture
def world(call: Caller, monkeypatch: pytest.MonkeyPatch) -> World:
    export_machine.created_machine(monkeypatch)
    monkeypatch.setattr(time, "time_ns", lambda: NOW * 1_000_000)
    return World(call)


def who(number: int, namespace: str = "shopper") -> Identity:
    return Identity(namespace, f"p{number}")


def by_identity(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: orjson.dumps(row["identityMap"], option=orjson.OPT_SORT_KEYS))


def publish(world: World) -> None:
    expression = 'xEvent[type = "buy"].sum(price)'
    rule = compile_attribute(expression, Window(6, Unit.MONTHS)).rule
    world.change(lambda known: known.with_attribute("spent", expression, rule).with_ready_attribute("spent"))
    latest = "xEvent.topN(timestamp, 2).map(type)"
    rule = compile_attribute(latest, Window(7, Unit.DAYS)).rule
    world.change(lambda known: known.with_attribute("last", latest, rule).with_ready_attribute("last"))


def fill(world: World, people: int = 14, seed: int = 1) -> None:
    """Write records and events of linked and lone people, of all shapes; delete somebody and some."""
    chance = random.Random(seed)

    def identities(number: int) -> list[Identity]:
        others = [who(number ^ chance.randrange(4)), who(number, "email")] if chance.random() < 0.25 else []
        return list(dict.fromkeys([who(number), *others]))

    def record(number: int) -> dict[str, Any]:
        body: dict[str, Any] = {"person": {"name": {"first": f"N{number}"}, "age": number}, "x": chance.random()}
        body["mixed"] = chance.choice([1, "one", 1.5, {"a": 1}, [1], True])
        body["number"] = chance.choice([1, 2.5, -7])
        body["list"] = chance.choice([[], [{"a": 1, "b": "x"}, {"c": []}], [{"a": None}]])
        body["huge"] = chance.choice([(1 << 63) - 1, -(1 << 63), 5])
        body["odd"] = chance.choice([{}, {"tag": "ü\u0000\n\"', ;"}])
        if chance.random() < 0.5:
            body["segmentMembership"] = {"ups": {f"seg-{chance.randrange(3)}": {"status": "realized"}}}
        return body

    numbers = range(people)
    world.write(CRM, *((identities(one), record(one)) for one in numbers if chance.random() < 0.6))
    world.write(LOYALTY, *((identities(one), record(one)) for one in numbers if chance.random() < 0.5))
    for dataset in (SHOP, APP):
        world.write(
            dataset,
            *(
                (
                    identities(number),
                    {
                        "_id": f"e{chance.randrange(40)}",
                        "timestamp": iso_ms(NOW - chance.randrange(1, 100) * HOUR),
                        "type": chance.choice(["buy", "view"]),
                        "price": chance.choice([1, 2.25]),
                    },
                )
                for number in range(people + 4)
                for _ in range(chance.randrange(3))
            ),
        )
    world.delete_person(who(3))
    world.write(CRM, ([who(3)], {"person": {"name": {"first": "Again"}}}), at_ms=NOW - HOUR // 4)


class TestEquality:
    def test_every_row_is_a_look_up_under_all_policies(self, world: World) -> None:
        publish(world)
        fill(world)
        world.change(lambda known: replace(known, policies={**known.policies, **POLICIES}))
        for policy in POLICIES:
            job = world.export(
                mergePolicy={"id": policy}, filter={"emptyProfiles": True}, additionalFields={"eventList": {}}
            )
            batch = job["destination"]["batchId"]
            expected = [without_nulls(found["entity"]) for found in world.look_ups(policy, events=True)]
            kept_as_text = world.manifest(batch)["keptAsText"]
            assert set(kept_as_text) == {"mixed"}
            for row in expected:
                if "mixed" in row:
                    row["mixed"] = as_text(row["mixed"])
            rows = world.rows(batch)
            assert by_identity(rows) == by_identity(expected)
            assert len(rows) > 8
            metrics = job["metrics"]
            assert metrics["totalExportedProfileCounter"] == len(rows) == world.manifest(batch)["rows"]
            assert metrics["exportedEventCounter"] == sum(len(row["eventList"]) for row in rows) > 5
            namespaces = Counter(namespace for row in rows for namespace in row["identityMap"])
            assert metrics["exportedProfileByNamespaceCounter"] == namespaces
        assert any("ComputedAttributes" in row.get("_tessera", {}) for row in rows)

    @pytest.mark.parametrize(
        "fields", ["identityMap,person.name,_tessera.ComputedAttributes.spent", "list.a,number,_tessera"]
    )
    def test_every_row_is_a_look_up_of_some_fields(self, world: World, fields: str) -> None:
        publish(world)
        fill(world, people=7)
        (policy,) = world.configurations.current(TENANT).policies
        expected = [
            without_nulls(found["entity"]) for found in world.look_ups(policy, fields=fields) if found["sources"]
        ]
        rows = world.exported(fields=fields)
        assert len(rows) == len(expected)
        for row in rows:
            expected.remove(row)
        assert any("ComputedAttributes" in row.get("_tessera", {}) for row in rows)

    def test_without_empty_profiles_and_events(self, world: World) -> None:
        fill(world)
        expected = [
            found["entity"]["identityMap"]
            for found in world.look_ups(next(iter(world.configurations.current(TENANT).policies)))
            if found["sources"]
        ]
        rows = world.exported(fields="identityMap")
        assert by_identity(rows) == by_identity([{"identityMap": one} for one in expected])

    def test_shares_of_all_sizes_and_parts_of_all_lengths_are_the_same_export(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(world)
        whole = world.exported(additionalFields={"eventList": {}})
        # An estimate of 256 for each partition of the index that there is makes six shares.
        monkeypatch.setattr("tessera.domain.export.share.PERSONS_PER_SHARE", 256)
        monkeypatch.setattr(export_machine.KnownIndex, "count", lambda *_: 1)
        monkeypatch.setattr(gathering, "MAX_PART_BYTES", 500)
        monkeypatch.setattr(gathering, "_PAGE", 3)
        monkeypatch.setattr(gathering, "_EVENTS_PAGE", 1)
        monkeypatch.setattr(settling, "MAX_FILE_BYTES", 1500)
        job = world.export(additionalFields={"eventList": {}})
        tables = world.tables(job["destination"]["batchId"])
        assert len(tables) > 2
        assert len({str(table.schema) for table in tables}) == 1
        rows = [as_json(row) for table in tables for row in table.to_pylist()]
        assert by_identity(rows) == by_identity(whole)

    def test_an_old_version_of_a_policy(self, world: World) -> None:
        world.write(CRM, ([who(1)], {"x": "crm"}))
        world.write(LOYALTY, ([who(1)], {"x": "loyalty"}))
        policy = MergePolicy(
            "p", "", attribute_merge=AttributeMerge.DATASET_PRECEDENCE, order=(CRM,), graph=GraphType.NONE
        )
        policies = export_jobs.MergePolicies(world.configurations, Registry(aws.dynamodb(), aws.registry_table()))
        created = policies.create(TENANT, policy)
        policies.change(TENANT, created.id, lambda known: replace(known, order=(LOYALTY,)))
        assert [row["x"] for row in world.exported(mergePolicy={"id": created.id, "version": 1})] == ["crm"]
        assert [row["x"] for row in world.exported(mergePolicy={"id": created.id})] == ["loyalty"]

    def test_a_person_who_grows_too_large_leaves_the_export(self, world: World) -> None:
        world.write(CRM, ([who(100), who(101)], {"x": 2}))
        for start in (0, 17, 34):
            world.write(CRM, ([who(0), *map(who, range(start + 1, min(start + 18, 50)))], {"x": 1}))
        assert sorted(row["x"] for row in world.exported()) == [1, 2]
        world.write(CRM, ([who(0), who(50)], {"x": 1}))
        job = world.export()
        assert [row["x"] for row in world.rows(job["destination"]["batchId"])] == [2]
        metrics = job["metrics"]
        assert (metrics["overLimitProfileCounter"], metrics["totalExportedProfileCounter"]) == (1, 1)
        assert len(list(world.look_ups(job["mergePolicy"]["id"]))) == 1

    def test_graphs_too_large_are_left_out_and_counted(self, world: World) -> None:
        large = [who(number) for number in range(51)]
        xids = sorted(one.xid(TENANT) for one in large)
        heads = {one: Head(one.xid(TENANT), one) for one in [*large, who(600), who(601)]}
        for one, head in heads.items():
            members = tuple(xid for xid in xids if xid != head.xid)
            told = replace(head, members=members) if one in large else replace(head, collapsed=True)
            world.table.add_head(TENANT, told)
        world.write(CRM, *(([one], {"x": 1}) for one in (large[0], who(600))))
        world.write(CRM, ([who(500), who(501)], {"x": 3}))
        job = world.export()
        assert [row["x"] for row in world.rows(job["destination"]["batchId"])] == [3]
        metrics = job["metrics"]
        assert (metrics["overLimitProfileCounter"], metrics["collapsedIdentityCounter"]) == (1, 2)
        assert metrics["totalExportedProfileCounter"] == 1
        world.change(lambda known: replace(known, policies={**known.policies, **POLICIES}))
        # Without graphs, all of them are somebody by themselves.
        assert sorted(row["x"] for row in world.exported(mergePolicy={"id": "none-timestampOrdered"})) == [1, 1, 3]

    def test_what_the_index_still_shows_is_not_exported_twice(self, world: World) -> None:
        """An index that lags shows heads that do not lead any more, and people who are linked by now."""
        world.write(CRM, *(([who(number)], {"x": number}) for number in range(4)))
        job = world.ask()
        planned = export_machine.call("plan", export_machine.input_of(job["id"]))
        # All are found; by the time they are read, they are one.
        world.write(LOYALTY, ([who(number) for number in range(4)], {"y": 1}))
        (share,) = export_machine.items(planned, "shares_key", "shares")
        export_machine.call("gather", {"job": export_machine.input_of(job["id"]), "share": share})
        assert export_machine.run(job["id"]) == "done"
        (row,) = world.rows(job["destination"]["batchId"])
        assert len(row["identityMap"]["shopper"]) == 4

    def test_sandboxes_do_not_meet(self, world: World) -> None:
        world.write(CRM, ([who(1)], {"x": 1}))
        other = Tenant(ORG, "prod")
        world.configurations.change(other, lambda known: replace(known, datasets={one.id: one for one in DATASETS}))
        body = {"schema": {"name": "_xdm.context.profile"}, "destination": {"datasetId": UNION}}
        headers = {"x-sandbox-name": "prod"}
        job = world.call(export_jobs.handler, "POST", export_jobs.PATH, body=body, headers=headers).json()
        at = f"{export_jobs.PATH}/{job['id']}"
        assert world.call(export_jobs.handler, "GET", at).status == 404
        state = export_machine.call("plan", export_machine.input_of(job["id"], "prod"))
        (share,) = export_machine.items(state, "shares_key", "shares")
        export_machine.call("gather", {"job": export_machine.input_of(job["id"], "prod"), "share": share})
        assert export_machine.call("settle", state)["files"] == 0
        export_machine.call("finish", state)
        ended = world.call(export_jobs.handler, "GET", at, headers=headers).json()
        assert (ended["status"], ended["metrics"]["totalExportedProfileCounter"]) == ("SUCCEEDED", 0)


class TestActive:
    def test_queries_of_the_lake_see_the_last_export_alone(self, world: World) -> None:
        world.write(CRM, ([who(1)], {"x": 1}))
        first, second = world.export(), world.export()
        lines = pointed_at()
        assert len(lines) == 1
        assert second["destination"]["batchId"] in lines[0]
        world.exported(fields="x")
        assert len(pointed_at()) == 1
        assert first["destination"]["batchId"] not in pointed_at()[0]


def pointed_at() -> list[str]:
    body = boto3.client("s3").get_object(Bucket="lake", Key=f"active/{TENANT.key}/{UNION}/files")["Body"].read()
    lines = body.decode().splitlines()
    for line in lines:
        bucket, _, key = line.removeprefix("s3://").partition("/")
        assert boto3.client("s3").head_object(Bucket=bucket, Key=key)["ContentLength"]
    return lines


def batches_with_files() -> set[str]:
    found = boto3.client("s3").list_objects_v2(Bucket="lake", Prefix="exports/").get("Contents", [])
    return {item["Key"].split("/")[2] for item in found}
