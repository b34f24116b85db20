"""A small client of the service, for the demo and the tests: it fetches its token and adds the headers.

`python -m ops.client [FILE]` prints a token for the client of `.local/client.json`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson

PROFILE = "_xdm.context.profile"
EVENTS = "_xdm.context.experienceevent"
SAMPLES = "/data/core/ups/previewsamplestatus"
_TERMINAL = frozenset({"success", "failed", "aborted", "stalled", "inactive", "deleted"})
# Less than an answer carries of a file that is no text.
_PIECE_BYTES = 2_000_000


class Client:
    """Calls the service as the client of a configuration file (see `.local/client.json`)."""

    def __init__(self, configuration: Mapping[str, str]) -> None:
        self.configuration = configuration
        self.http = httpx.Client(base_url=configuration["base_url"], timeout=60, trust_env=False)
        answer = self.http.post(
            configuration["token_url"],
            data={
                "grant_type": "client_credentials",
                "client_id": configuration["client_id"],
                "client_secret": configuration["client_secret"],
                "scope": configuration["scopes"],
            },
        )
        answer.raise_for_status()
        self.token: str = answer.json()["access_token"]
        self.headers = {
            "Authorization": f"Bearer {self.token}",
            "x-api-key": configuration["api_key"],
            "x-gw-ims-org-id": configuration["org_id"],
            "x-sandbox-name": configuration["sandbox"],
        }
        self.http.headers.update(self.headers)

    @classmethod
    def of_file(cls, file: str | Path) -> Client:
        """Read the configuration from a file."""
        return cls(json.loads(Path(file).read_text()))

    def create_dataset(self, name: str, schema: str, *tags: str) -> str:
        """Create a dataset of an XDM class (`profile`, `experienceevent`); answers its id."""
        answer = self.http.post(
            "/data/foundation/catalog/dataSets",
            json={
                "name": name,
                "schemaRef": {
                    "id": f"https://ns.adobe.com/xdm/context/{schema}",
                    "contentType": "application/vnd.adobe.xed+json;version=1",
                },
                "tags": {tag: ["enabled:true"] for tag in tags},
            },
        )
        answer.raise_for_status()
        return str(answer.json()[0]).rpartition("/")[2]

    def find_dataset(self, name: str) -> str | None:
        """Find a dataset by its name."""
        answer = self.http.get("/data/foundation/catalog/dataSets", params={"name": name, "limit": 1})
        answer.raise_for_status()
        return next(iter(answer.json()), None)

    def create_batch(self, dataset_id: str, format_: str = "json", **more: Any) -> str:
        """Create a batch; answers its id."""
        answer = self.http.post(
            "/data/foundation/import/batches",
            json={"datasetId": dataset_id, "inputFormat": {"format": format_}, **more},
        )
        answer.raise_for_status()
        return str(answer.json()["id"])

    def upload(self, batch_id: str, dataset_id: str, path: str, content: bytes) -> None:
        """Upload one file."""
        self.http.put(
            f"/data/foundation/import/batches/{batch_id}/datasets/{dataset_id}/files/{path}",
            content=content,
            headers={"Content-Type": "application/octet-stream"},
        ).raise_for_status()

    def complete(self, batch_id: str) -> None:
        """Say that every file is there."""
        self.http.post(f"/data/foundation/import/batches/{batch_id}", params={"action": "COMPLETE"}).raise_for_status()

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Read a batch."""
        answer = self.http.get(f"/data/foundation/catalog/batches/{batch_id}")
        answer.raise_for_status()
        return dict(answer.json()[batch_id])

    def progress(self, batch_id: str, pause_s: float = 0.5, timeout_s: float = 600) -> Iterator[dict[str, Any]]:
        """Read a batch again and again until it is done."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            batch = self.batch(batch_id)
            yield batch
            if batch["status"] in _TERMINAL:
                return
            time.sleep(pause_s)
        raise TimeoutError(f"batch {batch_id} is not done after {timeout_s:.0f} s")

    def ingest(self, dataset_id: str, rows: Iterable[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
        """Bring rows in as one batch of one file and wait for its end; answers the batch."""
        batch_id = self.create_batch(dataset_id, **more)
        self.upload(batch_id, dataset_id, "rows.json", b"\n".join(orjson.dumps(row) for row in rows))
        self.complete(batch_id)
        *_, last = self.progress(batch_id, pause_s=0.2)
        return last

    def create_export(self, dataset_id: str, **more: Any) -> dict[str, Any]:
        """Start an export into a dataset of the union schema; answers the job."""
        body = {"schema": {"name": PROFILE}, "destination": {"datasetId": dataset_id}, **more}
        answer = self.http.post("/data/core/ups/export/jobs", json=body)
        answer.raise_for_status()
        return dict(answer.json())

    def export_progress(self, job_id: int, pause_s: float = 0.2, timeout_s: float = 600) -> Iterator[dict[str, Any]]:
        """Read an export job again and again until it is over."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            answer = self.http.get(f"/data/core/ups/export/jobs/{job_id}")
            answer.raise_for_status()
            job = dict(answer.json())
            yield job
            if job["status"] in {"SUCCEEDED", "FAILED"}:
                return
            time.sleep(pause_s)
        raise TimeoutError(f"export job {job_id} is not over after {timeout_s:.0f} s")

    def sample_status(self) -> dict[str, Any] | None:
        """Read what the last sample found, ``None`` before there was any."""
        answer = self.http.get(SAMPLES)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        return dict(answer.json())

    def take_sample(self, pause_s: float = 0.2, timeout_s: float = 600) -> Iterator[dict[str, Any] | None]:
        """Ask for a sample, and read the status again and again until it is taken."""
        before = self._sampled_at()
        self.http.post(SAMPLES).raise_for_status()
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self.sample_status()
            yield status
            if status is not None and not status["sampleJobRunning"]["status"]:
                if self._sampled_at() == before:
                    raise RuntimeError("The sample failed: its execution says why")
                return
            time.sleep(pause_s)
        raise TimeoutError(f"no sample was taken in {timeout_s:.0f} s")

    def _sampled_at(self) -> str | None:
        answer = self.http.get(f"{SAMPLES}/report/dataset")
        return str(answer.json()["reportTimestamp"]) if answer.is_success else None

    def report(self, name: str, **more: str) -> Any:
        """Read the data of a report."""
        answer = self.http.get(f"{SAMPLES}/report/{name}", params=more)
        answer.raise_for_status()
        return answer.json()["data"]

    def files(self, batch_id: str) -> Iterator[bytes]:
        """Read the files of a batch."""
        href = f"/data/foundation/export/batches/{batch_id}/files"
        while href:
            listed = self.http.get(href)
            listed.raise_for_status()
            for entry in listed.json()["data"]:
                (file,) = self.http.get(entry["_links"]["self"]["href"]).raise_for_status().json()["data"]
                yield b"".join(self._pieces(file["_links"]["self"]["href"], file["length"]))
            href = listed.json()["_links"]["next"]["href"]

    def _pieces(self, href: str, length: int) -> Iterator[bytes]:
        for start in range(0, length, _PIECE_BYTES):
            wanted = f"bytes={start}-{start + _PIECE_BYTES - 1}"
            headers = {"Range": wanted, "Accept": "application/octet-stream"}
            yield self.http.get(href, headers=headers).raise_for_status().content

    def create_attribute(self, name: str, expression: str, count: int, unit: str, **more: str) -> str:
        """Publish a computed attribute; answers its id."""
        answer = self.http.post(
            "/data/core/ca/attributes",
            json={
                "name": name,
                "displayName": name,
                "description": "",
                "expression": {"type": "PQL", "format": "pql/text", "value": expression},
                "duration": {"count": count, "unit": unit},
                "status": "NEW",
                **more,
            },
        )
        answer.raise_for_status()
        return str(answer.json()["id"])

    def find_attribute(self, name: str) -> dict[str, Any] | None:
        """Find a computed attribute by its name."""
        answer = self.http.get("/data/core/ca/attributes", params={"property": f"name={name}"})
        answer.raise_for_status()
        return next(iter(answer.json()["computedAttributes"]), None)

    def attribute(self, attribute_id: str) -> dict[str, Any]:
        """Read a computed attribute."""
        answer = self.http.get(f"/data/core/ca/attributes/{attribute_id}")
        answer.raise_for_status()
        return dict(answer.json())

    def await_attribute(self, attribute_id: str, timeout_s: float = 600) -> None:
        """Wait until the events of before are in a computed attribute."""
        deadline = time.monotonic() + timeout_s
        while (status := self.attribute(attribute_id)["status"]) != "PROCESSED":
            if status in ("FAILED", "DISABLED") or time.monotonic() > deadline:
                raise TimeoutError(f"the computed attribute {attribute_id} is {status}")
            time.sleep(0.5)

    def entity(self, namespace: str | None, value: str, **more: str) -> httpx.Response:
        """Look up a profile; without a namespace the value is an XID."""
        return self.http.get(
            "/data/core/ups/access/entities", params=_asking(PROFILE, "entityId", namespace, value) | more
        )

    def events(self, namespace: str | None, value: str, **more: str) -> httpx.Response:
        """Look up a page of events."""
        asking = _asking(EVENTS, "relatedEntityId", namespace, value)
        return self.http.get("/data/core/ups/access/entities", params={**asking, "relatedSchema.name": PROFILE, **more})


def _asking(schema: str, parameter: str, namespace: str | None, value: str) -> dict[str, str]:
    asking = {"schema.name": schema, parameter: value}
    return asking if namespace is None else {**asking, f"{parameter}NS": namespace}


if __name__ == "__main__":
    print(Client.of_file(sys.argv[1] if len(sys.argv) > 1 else ".local/client.json").token)
