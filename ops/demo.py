"""`make demo`: bring in the sample customers over HTTP and show who they are.

python -m ops.demo [--again] [--export] [--customers 00004 ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ops import cdnow, local_cloud
from ops.client import EVENTS, PROFILE, Client

CUSTOMERS = "CDNOW customers"
PURCHASES = "CDNOW purchases"
SHOWN = ("00004", "00021", "19339")
EXPORTS = "Exported profiles"
_ROWS_PER_FILE = 2000
_SHOWN_ROWS = 5
_SHOWN_PURCHASES = 8
_STEPS = ("loading", "loaded", "staging", "staged", "success")

console = Console(highlight=False)


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description="Load the sample customers and show their profiles.")
    parser.add_argument("--again", action="store_true", help="ingest once more; nothing is counted twice")
    parser.add_argument("--customers", nargs="+", default=SHOWN, metavar="ID", help="customers to show, by full id")
    parser.add_argument("--export", action="store_true", help="export all profiles as well, and show the first rows")
    arguments = parser.parse_args()
    local_cloud.run(say=lambda line: console.print(line, style="dim"))
    client = Client.of_file(local_cloud.DIRECTORY / "client.json")
    console.print()
    load(client, again=arguments.again)
    for customer in arguments.customers:
        show(client, customer)
    if arguments.export:
        export(client)
    console.print("Ask for one yourself:\n")
    console.print(request_of(client, arguments.customers[0]), soft_wrap=True)
    return 0


def load(client: Client, *, again: bool) -> None:
    """Bring in customers and purchases, unless an earlier run did."""
    bought = list(cdnow.purchases())
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        ingest(client, progress, CUSTOMERS, "profile", list(cdnow.customers(bought)), again=again)
        ingest(client, progress, PURCHASES, "experienceevent", list(cdnow.events(bought)), again=again)


def ingest(
    client: Client, progress: Progress, name: str, schema: str, rows: Sequence[Mapping[str, Any]], *, again: bool
) -> None:
    """Bring rows into the dataset of that name: create, upload, complete, wait."""
    dataset_id = client.find_dataset(name)
    if dataset_id is not None and not again and is_loaded(client, dataset_id):
        progress.add_task(f"{name}: already there", total=len(rows), completed=len(rows))
        return
    dataset_id = dataset_id or client.create_dataset(name, schema, "unifiedProfile", "unifiedIdentity")
    batch_id = client.create_batch(dataset_id)
    uploading = progress.add_task(f"{name}: upload", total=len(rows))
    for number, part in enumerate(parts(rows)):
        client.upload(batch_id, dataset_id, f"part-{number:03d}.json", b"\n".join(orjson.dumps(row) for row in part))
        progress.advance(uploading, len(part))
    client.complete(batch_id)
    waiting = progress.add_task(f"{name}: ingest", total=len(_STEPS) - 1)
    batch: dict[str, Any] = {}
    for batch in client.progress(batch_id):
        step = _STEPS.index(batch["status"]) if batch["status"] in _STEPS else 0
        progress.update(waiting, completed=step)
    if batch.get("status") != "success":
        raise SystemExit(f"The batch {batch_id} ended as {batch.get('status')}: {batch.get('errors')}")
    accepted = batch["metrics"]["outputRecordCount"]
    progress.update(waiting, description=f"{name}: {accepted:,} rows in")


def is_loaded(client: Client, dataset_id: str) -> bool:
    """Tell whether a batch of the dataset has succeeded."""
    answer = client.http.get(
        "/data/foundation/catalog/batches", params={"dataSet": dataset_id, "status": "success", "limit": 1}
    )
    answer.raise_for_status()
    return bool(answer.json())


def parts(rows: Sequence[Mapping[str, Any]]) -> Iterable[Sequence[Mapping[str, Any]]]:
    """Cut rows into files of a handy size."""
    for start in range(0, len(rows), _ROWS_PER_FILE):
        yield rows[start : start + _ROWS_PER_FILE]


def show(client: Client, customer: str) -> None:
    """Print a customer's profile and purchases, and the requests that gave them."""
    answer = client.entity(cdnow.CUSTOMER_NAMESPACE, customer)
    answer.raise_for_status()
    (profile,) = answer.json().values()
    entity = profile["entity"]
    table = Table(title=f"Customer {customer}", title_justify="left", title_style="bold", show_header=False)
    for namespace, identities in entity["identityMap"].items():
        table.add_row(namespace, ", ".join(identity["id"] for identity in identities))
    for name, value in entity.get("_cdnow", {}).items():
        table.add_row(name, str(value))
    table.add_row("datasets", ", ".join(profile["sources"]))
    table.add_row("last modified", profile["lastModifiedAt"])
    console.print(table)
    console.print(f"[dim]GET {answer.request.url}[/dim]", soft_wrap=True)

    answer = client.events(cdnow.CUSTOMER_NAMESPACE, customer)
    answer.raise_for_status()
    purchases = Table("day", "CDs", "dollars", title="Purchases", title_justify="left", title_style="bold")
    events = [child["entity"] for child in answer.json()["children"]]
    for event in events[:_SHOWN_PURCHASES]:
        purchases.add_row(
            event["timestamp"][:10],
            str(sum(item["quantity"] for item in event["productListItems"])),
            f"{event['commerce']['order']['priceTotal']:.2f}",
        )
    if len(events) > _SHOWN_PURCHASES:
        purchases.add_row("…", "", f"and {len(events) - _SHOWN_PURCHASES} more")
    console.print(purchases)
    console.print(f"[dim]GET {answer.request.url}[/dim]\n", soft_wrap=True)


def export(client: Client) -> None:
    """Export every profile to Parquet and print the first rows."""
    dataset_id = client.find_dataset(EXPORTS) or client.create_dataset(EXPORTS, "profile__union")
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        running = progress.add_task(f"{EXPORTS}: export", total=None)
        asked = client.create_export(dataset_id)
        job = asked
        for job in client.export_progress(asked["id"]):
            so_far = job.get("progress")
            if so_far:
                progress.update(running, completed=so_far["profilesExported"])
        if job["status"] != "SUCCEEDED":
            raise SystemExit(f"The export job {job['id']} failed: {job['errors']}")
        exported = job["metrics"]["totalExportedProfileCounter"]
        progress.update(running, description=f"{EXPORTS}: {exported:,}", total=exported, completed=exported)
    directory = local_cloud.DIRECTORY / "export"
    directory.mkdir(exist_ok=True)
    for old in directory.glob("*.parquet"):
        old.unlink()
    for number, body in enumerate(client.files(job["destination"]["batchId"])):
        (directory / f"{number}.parquet").write_bytes(body)
    files = directory.relative_to(local_cloud.ROOT) / "*.parquet"
    query = f"FROM '{files}' SELECT identityMap, _cdnow LIMIT {_SHOWN_ROWS}"
    # Here, for it takes a while to load.
    import duckdb  # noqa: PLC0415

    found = duckdb.read_parquet(str(directory / "*.parquet")).select("identityMap, _cdnow").limit(_SHOWN_ROWS)
    table = Table(*found.columns, title="First rows of the export", title_justify="left", title_style="bold")
    for row in found.fetchall():
        table.add_row(*map(str, row))
    console.print(table)
    console.print(f'[dim].venv/bin/python -c "import duckdb; duckdb.sql(\\"{query}\\").show()"[/dim]\n', soft_wrap=True)


def request_of(client: Client, customer: str) -> str:
    """Write the requests for a profile and its events as commands to type."""
    its = client.configuration
    url = f"{its['base_url']}/data/core/ups/access/entities"
    fetching = "TOKEN=$(.venv/bin/python -m ops.client)"
    headers = (
        f'  -H "Authorization: Bearer $TOKEN" -H "x-api-key: {its["api_key"]}" \\\n'
        f'  -H "x-gw-ims-org-id: {its["org_id"]}" -H "x-sandbox-name: {its["sandbox"]}"'
    )
    profile = f"{url}?schema.name={PROFILE}&entityId={customer}&entityIdNS={cdnow.CUSTOMER_NAMESPACE}"
    events = (
        f"{url}?schema.name={EVENTS}&relatedSchema.name={PROFILE}"
        f"&relatedEntityId={customer}&relatedEntityIdNS={cdnow.CUSTOMER_NAMESPACE}"
    )
    return f'{fetching}\ncurl -s "{profile}" \\\n{headers}\ncurl -s "{events}" \\\n{headers}'


if __name__ == "__main__":
    try:
        sys.exit(main())
    except local_cloud.LocalCloudError as error:
        sys.exit(str(error))
    except httpx.HTTPStatusError as error:
        sys.exit(
            f"{error.request.method} {error.request.url} answered {error.response.status_code}: {error.response.text}"
        )
