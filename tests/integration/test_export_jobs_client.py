"""Adobe's own clients, unchanged, ask for exports, list them page by page and give them up (profile-api §12)."""

from __future__ import annotations

import pytest
from aepp.customerprofile import Profile
from aepp.segmentation import Segmentation

from api import export_jobs
from tests.integration import export_machine
from tests.integration.adobe import signed_in
from tests.integration.test_export import CRM, TENANT, UNION, World, who, world

__all__ = ["world"]


@pytest.fixture
def profiles(world: World, monkeypatch: pytest.MonkeyPatch) -> Profile:
    return Profile(**signed_in(world.call, monkeypatch, export_jobs.handler))


@pytest.fixture
def segments(world: World, monkeypatch: pytest.MonkeyPatch) -> Segmentation:
    return Segmentation(**signed_in(world.call, monkeypatch, export_jobs.handler))


def test_the_life_of_a_job(world: World, profiles: Profile) -> None:
    world.write(CRM, ([who(1)], {"x": 1, "y": 2}))
    (policy,) = world.configurations.current(TENANT).policies
    job = profiles.createExportJob(
        fields=["identityMap", "x"], mergePolicyId=policy, datasetId=UNION, additionalFields={"eventList": {}}
    )
    assert (job["status"], job["fields"]) == ("NEW", "identityMap,x")
    assert job["mergePolicy"] == {"id": policy, "version": 1}
    assert export_machine.run(job["id"]) == "done"
    done = profiles.getExportJob(str(job["id"]))
    assert (done["status"], done["metrics"]["totalExportedProfileCounter"]) == ("SUCCEEDED", 1)
    assert [row["x"] for row in world.rows(done["destination"]["batchId"])] == [1]
    cancelled = profiles.createExportJob(exportDefinition={**WHOLE, "filter": {"emptyProfiles": True}})
    assert profiles.deleteExportJob(str(cancelled["id"])) == 200
    assert {one["status"] for one in profiles.getExportJobs()["records"]} == {"FAILED", "SUCCEEDED"}
    assert profiles.getExportJob("7")["status"] == 404


def test_all_pages_are_listed(segments: Segmentation) -> None:
    made = [segments.createExport(WHOLE)["id"] for _ in range(5)]
    assert sorted(one["id"] for one in segments.getExportJobs(limit=2)) == sorted(made)
    assert segments.deleteExport(str(made[0])) == 200
    assert [one["id"] for one in segments.getExportJobs(limit=2, status="FAILED")] == made[:1]
    assert len(segments.getExportJobs(limit=2, status="NEW")) == 4
    assert segments.getExport(str(made[0]))["status"] == "FAILED"


WHOLE = {"schema": {"name": "_xdm.context.profile"}, "destination": {"datasetId": UNION}}
