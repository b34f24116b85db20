"""Measure the budgets of the design and print them in one table. A missed budget is printed, not an error."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import orjson
from rich.console import Console

from bench import (
    computed,
    cost,
    deleting,
    erasing,
    explained,
    exporting,
    formats,
    growth,
    imports,
    ingestion,
    large,
    lookup,
    merging,
    persons,
    pql,
    sampling,
    schemas,
    several,
)
from bench.machine import machine
from bench.session import session
from bench.table import Line, show
from tessera.domain import prices

BUDGETS = {
    "L1": "sequential round trips to storage per look-up",
    "L2": "CPU of a warm look-up through the handler, against the same calls and nothing else",
    "L3": "read units per look-up",
    "P1": "a POST of 100 identities: calls, rounds of them, CPU against the same calls and nothing else",
    "X1": "CPU of a look-up with explain=true, against the same without",
    "M1": "CPU of merging by a policy, per fragment, against a merge written by hand",
    "C1": "look-up of computed attributes, of many events against few: round trips, read units; bytes of the state",
    "I1": "write units per event under 1 KB, with and without computed attributes",
    "I2": "CPU per row validated and applied, against parsing it and making the same calls; by format, with a schema",
    "I3": "write units per record row under 1 KB",
    "Q1": "CPU of a compiled query, against the same by hand",
    "V1": "CPU of judging a row by a schema, against parsing it",
    "E1": "CPU of an export's worker per profile, against the same calls, decoding and writing; memory",
    "D1": "deleting a dataset: units per item, CPU of a worker, and that the cost follows the dataset",
    "K1": "taking persons out of the lake: megabytes per second of a worker, against decoding and writing alone",
    "S1": "CPU of a cold import, against the libraries alone",
    "$": f"dollars ({prices.AS_OF})",
}


_LOOK_UPS = {"L1", "L2", "L3"}


def measure(wanted: Sequence[str], *, wide: bool, clicks: Path | None) -> list[Line]:
    """Measure the budgets asked for, and what the prices of them need."""
    lines: list[Line] = []
    priced = "$" in wanted
    if priced or _LOOK_UPS & set(wanted):
        _say("look-ups")
        history = persons.HISTORY if _LOOK_UPS & set(wanted) else 0
        rounds, cpu = "L1" in wanted, priced or "L2" in wanted
        found = lookup.usual(history, rounds=rounds, cpu=cpu)
        costs = lookup.costs(found)
        if wide:
            _say("look-ups of persons of many shapes")
            found += lookup.wide(rounds=rounds, cpu=cpu)
        lines += lookup.round_trips(found)
        lines += lookup.cpu_lines(found) if "L2" in wanted else []
        lines += lookup.read_lines(found) if "L3" in wanted else []
    if {"P1", "X1"} & set(wanted):
        with session() as asked:
            if "P1" in wanted:
                _say("look-ups of many")
                lines += several.measure(asked)
            if "X1" in wanted:
                _say("explanations")
                lines += explained.measure(asked)
    if "M1" in wanted:
        _say("merging")
        lines += merging.measure()
    if "C1" in wanted:
        _say("look-ups of computed attributes")
        lines += computed.reads()
    if priced or "I1" in wanted:
        _say("write units of events")
        event_lines, units = ingestion.event_units()
        lines += event_lines + computed.event_units() if "I1" in wanted else []
    if priced or "I2" in wanted:
        _say("CPU of ingestion")
        rows = ingestion.row_cpu()
        if "I2" in wanted:
            lines += ingestion.cpu_lines(rows) + computed.row_cpu()
            _say("CPU of ingestion, by format")
            lines += formats.measure(clicks)
    if "I3" in wanted:
        _say("write units of records")
        lines += ingestion.record_units()
    if "Q1" in wanted:
        _say("queries")
        lines += pql.measure()
    if "V1" in wanted:
        _say("rows and schemas")
        lines += schemas.measure()
    exported: list[Line] = []
    if priced or "E1" in wanted:
        _say("exports")
        export_lines, exported = exporting.measure()
        lines += export_lines if "E1" in wanted else []
    if "D1" in wanted:
        _say("deletes")
        lines += deleting.measure()
    if "K1" in wanted:
        _say("erasures in the lake")
        lines += erasing.measure()
    if "S1" in wanted:
        _say("cold imports")
        lines += imports.measure()
    if priced:
        lines += cost.used_lines(costs, units, rows["events"].ours_ms) + exported + cost.idle_lines()
    return lines


def _say(what: str) -> None:
    print(f"Measuring {what} ...", file=sys.stderr, flush=True)


def main() -> int:
    """Parse the command line, measure, print."""
    listed = "\n".join(f"  {name:3} {what}" for name, what in BUDGETS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"{__doc__}\n\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="IDS", default=",".join(BUDGETS), help="some budgets, as in L2,S1 or L")
    parser.add_argument("--wide", action="store_true", help="look up persons of many more shapes")
    parser.add_argument(
        "--clicks", metavar="FILE", type=Path, help="rows for I2: a clickstream in CSV, as bench/clicks.py describes it"
    )
    parser.add_argument(
        "--large",
        metavar="ROWS",
        type=int,
        nargs="?",
        const=1_000_000,
        help="instead of budgets: a Parquet file of so many rows through the workers, and their memory (minutes)",
    )
    parser.add_argument(
        "--growth",
        action="store_true",
        help="instead of budgets: units per row on the local cloud of `make run`, of 1,000 rows and then 10,000 more",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to a file as well")
    parser.add_argument(
        "--sampling",
        action="store_true",
        help="instead of budgets: read units per profile of samples on the local cloud of `make run`",
    )
    given = parser.parse_args()
    asked = [name.strip().upper() for name in given.only.split(",") if name.strip()]
    unknown = [start for start in asked if not any(name.startswith(start) for name in BUDGETS)]
    if unknown or not asked:
        parser.error(f"no such budget: {', '.join(unknown) or given.only!r}. There are {', '.join(BUDGETS)}")
    wanted = [name for name in BUDGETS if name.startswith(tuple(asked))]
    started = time.monotonic()
    if given.large:
        lines = large.measure(given.large)
    elif given.growth:
        lines = growth.measure()
    elif given.sampling:
        lines = sampling.measure()
    else:
        lines = measure(wanted, wide=given.wide, clicks=given.clicks)
    console = Console(width=None if sys.stdout.isatty() else 140)
    about = machine()
    show(console, lines)
    console.print(", ".join(f"{name} {value}" for name, value in about.items()), style="dim", highlight=False)
    console.print(f"Measured in {time.monotonic() - started:.0f} s.", style="dim", highlight=False)
    if given.json:
        given.json.write_bytes(
            orjson.dumps(
                {"machine": about, "prices": prices.AS_OF, "figures": [asdict(line) for line in lines]},
                option=orjson.OPT_INDENT_2,
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
