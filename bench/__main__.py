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

from bench import cost, imports, ingestion, lookup, prices
from bench.machine import machine
from bench.table import Line, show

BUDGETS = {
    "L1": "sequential round trips to storage per look-up",
    "L2": "CPU of a warm look-up through the handler, against the same calls and nothing else",
    "L3": "read units per look-up",
    "I1": "write units per event under 1 KB, no computed attributes",
    "I2": "CPU per row validated and applied, against parsing it and making the same calls",
    "I3": "write units per record row under 1 KB",
    "S1": "CPU of a cold import, against the libraries alone",
    "$": f"dollars ({prices.AS_OF})",
}


def measure(wanted: Sequence[str]) -> list[Line]:
    """Measure the budgets asked for, and what the prices of them need."""
    lines: list[Line] = []
    priced = "$" in wanted
    if priced or {"L1", "L2", "L3"} & set(wanted):
        _say("look-ups")
        with lookup.look_ups(lookup.HISTORY if {"L1", "L2", "L3"} & set(wanted) else 0) as found:
            if "L1" in wanted:
                lines += lookup.round_trips(found)
            compared = lookup.cpu(found) if priced or "L2" in wanted else {}
            if "L2" in wanted:
                lines += lookup.cpu_lines(found, compared)
            if "L3" in wanted:
                lines += lookup.read_lines(found)
            costs = lookup.costs(found, compared) if priced else {}
    if priced or "I1" in wanted:
        _say("write units of events")
        event_lines, units = ingestion.event_units()
        lines += event_lines if "I1" in wanted else []
    if priced or "I2" in wanted:
        _say("CPU of ingestion")
        rows = ingestion.row_cpu()
        lines += ingestion.cpu_lines(rows) if "I2" in wanted else []
    if "I3" in wanted:
        _say("write units of records")
        lines += ingestion.record_units()
    if "S1" in wanted:
        _say("cold imports")
        lines += imports.measure()
    if priced:
        lines += cost.used_lines(costs, units, rows["events"].ours_ms) + cost.idle_lines()
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
    parser.add_argument("--only", metavar="IDS", default=",".join(BUDGETS), help="some budgets, as in L2,S1")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to a file as well")
    given = parser.parse_args()
    wanted = [name.strip().upper() for name in given.only.split(",") if name.strip()]
    unknown = sorted(set(wanted) - set(BUDGETS))
    if unknown or not wanted:
        parser.error(f"no such budget: {', '.join(unknown) or given.only!r}. There are {', '.join(BUDGETS)}")
    started = time.monotonic()
    lines = measure(wanted)
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
