"""`make reports`: what is in the store, in a terminal, as tables and bars.

python -m ops.reports [--again] [--date 2026-03-04] [--client FILE]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from rich.bar import Bar
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ops import local_cloud
from ops.client import Client

_BAR_WIDTH = 30
# Combinations are many; the most frequent ones say most.
_SHOWN_COMBINATIONS = 12
_KILO = 1000.0

console = Console(highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Take a sample if there is none, and show its reports."""
    parser = argparse.ArgumentParser(prog="make reports", description="Show what is in the store of a sandbox.")
    parser.add_argument("--again", action="store_true", help="take a new sample first")
    parser.add_argument("--date", metavar="DAY", help="the last reports of a UTC day, as in 2026-03-04")
    parser.add_argument(
        "--client",
        type=Path,
        metavar="FILE",
        help="whose store: a client configuration as `make client` prints it; the local cloud's by default",
    )
    given = parser.parse_args(arguments)
    if given.client is None:
        local_cloud.run(say=lambda line: console.print(line, style="dim"))
        console.print()
    client = Client.of_file(given.client or local_cloud.DIRECTORY / "client.json")
    asked = {} if given.date is None else {"date": given.date}
    if given.again or (not asked and client.sample_status() is None):
        take(client)
    show(client, **asked)
    return 0


def take(client: Client) -> None:
    """Take a sample and show that it is being taken."""
    with Progress(
        SpinnerColumn(), TextColumn("{task.description:<28}"), TimeElapsedColumn(), console=console
    ) as progress:
        running = progress.add_task("Taking a sample", total=None)
        *_, status = client.take_sample()
        found = "" if status is None else f": {int(status['numRowsToRead']):,} profiles"
        progress.update(running, description=f"Sample taken{found}", total=1, completed=1)


def show(client: Client, **asked: str) -> None:
    """Print all reports."""
    if not asked and (status := client.sample_status()) is not None:
        _show_status(status)
    datasets = client.report("dataset", **asked)
    _show_shares("Profiles by dataset", datasets, "name", "value")
    _show_combinations("Profiles by exact combination of datasets", client.report("dataset/overlap", **asked))
    _show_shares("Profiles by namespace", client.report("namespace", **asked), "code", "value")
    _show_combinations("Profiles by exact combination of namespaces", client.report("namespace/overlap", **asked))
    _show_unstitched(client.report("unstitchedProfiles", **asked))
    _show_stats(client.report("dataset_stats", **asked), {row["value"]: row["name"] for row in datasets})
    _show_store(client.report("store", **asked))


def _show_status(status: Mapping[str, Any]) -> None:
    table = _table("Last sample", "", "")
    table.show_header = False
    for name, value in {
        "taken": status["lastSampledTimestamp"],
        "profiles": f"{int(status['totalRows']):,}",
        "of these counted": f"{int(status['numRowsToRead']):,} ({status['samplingRatio']:.0%})",
        "fragments": f"{status['totalFragmentCount']:,}",
        "records and events": f"{int(status['docCount'].strip(chr(34))):,}",
        "stitched by": status["mergeStrategy"],
        "another one running": "yes" if status["sampleJobRunning"]["status"] else "no",
    }.items():
        table.add_row(name, value)
    _print(table)


def _show_shares(title: str, rows: Iterable[Mapping[str, Any]], name: str, id_: str) -> None:
    table = _table(title, "", "id", "profiles>", "share>", "")
    for row in rows:
        share = row["fullIDsPercentage"]
        table.add_row(row[name], row[id_], f"{row['fullIDsCount']:,}", f"{share:.1%}", _bar(share))
    _print(table)


def _show_combinations(title: str, counts: Mapping[str, int]) -> None:
    table = _table(title, "", "profiles>", "share>", "")
    total = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    rest = sum(count for _, count in ranked[_SHOWN_COMBINATIONS:])
    shown = ranked[:_SHOWN_COMBINATIONS] + ([("all others", rest)] if rest else [])
    for name, count in shown:
        table.add_row(name.replace(",", " + "), f"{count:,}", f"{count / total:.1%}", _bar(count / total))
    _print(table)


def _show_unstitched(data: Mapping[str, Any]) -> None:
    table = _table(
        "Profiles of a single fragment, by how long they were silent", "", "profiles>", "events>", "", "namespaces"
    )
    total = data["totalNumberOfProfiles"]
    for window, found in data["unstitchedProfiles"].items():
        count = found["countOfProfiles"]
        split = ", ".join(f"{code} {part['countOfProfiles']:,}" for code, part in found["nsDistribution"].items())
        label = window.replace("days", " days")
        table.add_row(label, f"{count:,}", f"{found['eventsAssociated']:,}", _bar(count / total if total else 0), split)
    _print(table)


def _show_stats(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> None:
    days = [name for name in rows[0] if name.endswith("days")] if rows else []
    records = _table("Records by dataset", "", "records>", "profiles>", "fragments>")
    windows = [f"{name.removesuffix('days')} d>" for name in days]
    left = _table("Events that would be left if they expired", "", *windows)
    for row in rows:
        name = names.get(row["datasetId"]) or row["datasetId"]
        records.add_row(name, f"{row['records']:,}", f"{row['totalProfiles']:,}", f"{row['profileFragments']:,}")
        if row["datasetType"] == "ExperienceEvents":
            left.add_row(name, *(f"{row[day]:,}" for day in days))
    _print(records)
    _print(left)


def _show_store(data: Mapping[str, Any]) -> None:
    sizes = data["graphs"]["sizes"]
    table = _table("Graphs by how many identities they have", "identities", "graphs>", "share>", "")
    total = sum(sizes.values())
    for size, count in sizes.items():
        if count:
            table.add_row(size, f"{count:,}", f"{count / total:.1%}", _bar(count / total))
    table.add_row("over the limit of look-ups", f"{data['graphs']['overLimit']:,}", "", "")
    table.add_row("identities of collapsed ones", f"{data['graphs']['collapsedIdentities']:,}", "", "")
    _print(table)

    table = _table("What is stored", "", "items>", "bytes>", "")
    size = sum(one["bytes"] for one in data["items"].values())
    for row in data["datasets"]:
        share = row["bytes"] / size if size else 0
        table.add_row(row["name"] or row["value"], f"{row['items']:,}", _bytes(row["bytes"]), _bar(share))
    heads = data["items"]["heads"]
    table.add_row("heads", f"{heads['items']:,}", _bytes(heads["bytes"]), _bar(heads["bytes"] / size if size else 0))
    _print(table)

    cost = data["monthlyCost"]
    table = _table("Cost of a month, estimated", "", f"{cost['currency']}>")
    for name in ("tableStorage", "indexStorage", "pointInTimeRecovery", "total"):
        table.add_row(name, f"{cost[name]:.6f}", style="bold" if name == "total" else "")
    _print(table)
    for said in (f"Prices are those of {cost['pricesOf']}.", *cost["estimates"]):
        console.print(said, style="dim")


def _table(title: str, *columns: str) -> Table:
    """Make a table; the cells of a column whose name ends in ``>`` are aligned to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False)
    for name in columns:
        right = name.endswith(">")
        table.add_column(name.removesuffix(">"), justify="right" if right else "left", no_wrap=right)
    return table


def _print(table: Table) -> None:
    if table.row_count:
        console.print(table)
        console.print()


def _bar(share: float) -> Bar:
    return Bar(1.0, 0, min(1.0, share), width=_BAR_WIDTH, color="cyan")


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < _KILO:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _KILO
    return f"{count:.1f} TB"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except local_cloud.LocalCloudError as error:
        sys.exit(str(error))
    except httpx.HTTPStatusError as error:
        sys.exit(
            f"{error.request.method} {error.request.url} answered {error.response.status_code}: {error.response.text}"
        )
