"""One line per figure, all lines in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Line:
    """A figure with its floor and its budget; ``met`` is ``None`` where the design sets no budget."""

    budget_id: str
    what: str
    floor: str
    figure: str
    budget: str = "reported"
    met: bool | None = None


def limited(budget_id: str, what: str, value: float, limit: float, *, floor: str, digits: int = 2) -> Line:
    """Make the line of a figure that must not be above ``limit``, compared as it is printed."""
    figure = f"{value:.{digits}f}"
    return Line(budget_id, what, floor, figure, f"<= {limit:g}", float(figure) <= limit)


def show(console: Console, lines: Sequence[Line]) -> None:
    """Print the table."""
    table = Table(title="Budgets", title_justify="left", header_style="bold", pad_edge=False)
    table.add_column("")
    table.add_column("what")
    for name in ("floor", "figure", "budget"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for number, line in enumerate(lines):
        first = number == 0 or lines[number - 1].budget_id != line.budget_id
        if first and number:
            table.add_section()
        verdict = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[line.met]
        table.add_row(line.budget_id if first else "", line.what, line.floor, line.figure, line.budget, verdict)
    console.print(table)
    judged = [line for line in lines if line.met is not None]
    missed = [f"{line.budget_id} {line.what}" for line in judged if not line.met]
    console.print(f"{len(judged) - len(missed)} of {len(judged)} budgets met.")
    if missed:
        console.print("Missed: " + "; ".join(missed) + ".")
