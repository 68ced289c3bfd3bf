"""`fraudstream features list --cost`: prints what each row of a feature set costs, and how that was measured."""

from collections.abc import Iterator
from typing import Any

import msgspec
from rich import box
from rich.table import Table

from features.declaration import FeatureSet
from features.history.store import ENTITY_TEXT, Entity
from fraudstream.cli.output import say
from fraudstream.cli.refusals import Refusals
from fraudstream.console import wide_terminal
from fraudstream.lab.declarations.cost import BATCH, CARDS, EARLIER, MERCHANTS, SetCost, measure_cost

_HEADINGS = ("feature", "B an event", "adds", "B a score", f"us of {BATCH}", "us of 1")


def print_cost(feature_set: FeatureSet, facts: dict[str, Any], *, as_json: bool) -> None:
    """Measure a feature set, and print its cost; exit with 1 if a formula fails."""
    with Refusals():
        cost = measure_cost(feature_set)
    if as_json:
        say(as_json, {**facts, "cost": msgspec.to_builtins(cost)}, "")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading == "feature" else "right", overflow="fold")
    for row in cost.rows:
        taken = row.microseconds
        record = str(row.record_bytes) if row.record_bytes else ""
        days = f"{row.adds_days:g}d" if row.adds_days else ""
        table.add_row(row.name, record, days, f"{row.score_bytes:g}", f"{taken.of_256:.2f}", f"{taken.of_one:.1f}")
    for kind, taken in cost.fixed.items():
        of = ENTITY_TEXT[Entity(kind)]
        table.add_row(f"fixed part of {of}", "", "", "", f"{taken.of_256:.2f}", f"{taken.of_one:.1f}", style="dim")
    whole = cost.whole
    table.add_row(
        "the whole set",
        str(cost.event_bytes),
        "",
        f"{cost.score_bytes:g}",
        f"{whole.of_256:.2f}",
        f"{whole.of_one:.1f}",
        style="bold",
    )
    console = wide_terminal()
    console.print(table)
    for line in _explained(cost):
        console.print(line)


def _explained(cost: SetCost) -> Iterator[str]:
    """Yield what the figures are, and how they were measured."""
    yield (
        "B an event: bytes of a payment in the history in Redis that the row reads, once for all its rows; adds: days "
        "by which that history is longer for this row alone; B a score: of its name and value in `features` of a score."
    )
    yield (
        f"us: processor time of one decision in batches of {BATCH} and alone, measured here on generated payments "
        f"({CARDS} cards and {MERCHANTS} merchants with {EARLIER:,} earlier ones): medians of {cost.rounds} rounds, "
        "in which all rows take turns. A row's is what it takes as a set of its own less the fixed part of its kind: "
        "what the simplest row takes (the count of 1h, or is_weekend). Rows share passes, so the whole set may take "
        "less than the sum."
    )
    if cost.reading:
        yield f"Reading the declared fields of `attributes` takes {cost.reading:.2f} us a payment beside this."
    if not cost.compiled:
        yield "The kernel in C is not built here: windows take several times as long without it."
