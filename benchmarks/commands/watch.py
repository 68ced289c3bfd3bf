"""`python -m benchmarks watch`: the watch of live models whose truth is known."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from fraudstream.cli.output import json_option, say
from fraudstream.cli.progress import bars
from fraudstream.console import terminal

if TYPE_CHECKING:
    from benchmarks.simulations.drift import FoundLine, QuietLine
    from benchmarks.simulations.label_feed import LostFeedLine, QuietFeedLine


@click.command()
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The same seed, the same figures.")
@click.option("--years", type=click.IntRange(1), default=20, show_default=True, help="Without a drift, for alarms.")
@click.option("--runs", type=click.IntRange(1), default=20, show_default=True, help="With each drift.")
@click.option(
    "--cards", type=click.IntRange(10), multiple=True, help="That pay on a day; repeatable. By default 300, 1500, 5000."
)
@json_option
def watch(seed: int, cards: tuple[int, ...], as_json: bool, **effort: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Simulate live models with known truth: false alarms of drift a year, and when one is found; takes minutes."""
    from benchmarks.simulations.drift import CARDS, DriftEffort, simulate_drift  # noqa: PLC0415 - nothing else needs it
    from benchmarks.simulations.label_feed import lost_feeds, quiet_feeds  # noqa: PLC0415 - likewise

    with bars() as progress:
        found = simulate_drift(seed, DriftEffort(**effort, cards=cards or CARDS), progress)
    quiet, lost = quiet_feeds(seed, effort["years"]), lost_feeds(seed, effort["runs"])
    if as_json:
        facts = {
            "quiet": [line._asdict() for line in found.quiet],
            "found": [line._asdict() for line in found.found],
            "quiet_labels": [line._asdict() for line in quiet],
            "lost_labels": [line._asdict() for line in lost],
        }
        say(as_json, facts, "")
        return
    terminal().print(_quiet(found.quiet), _found(found.found), _labels(quiet, lost))


def _quiet(lines: "Sequence[QuietLine]") -> Table:
    """Show alarms a year without a drift, of the watch and of simpler rules."""
    heads = ("each day by an index of 0.2", "windows, weekends apart", "and more than chance", "the watch")
    table = Table("case", "cards a day", *heads, title=f"alarms a year without a drift, of {lines[0].years} years each")
    for line in lines:
        rules = (line.simple, line.single, line.bounded, line.alarms)
        table.add_row(line.case, f"{line.cards:,}", *(f"{rule:.2f}" for rule in rules))
    return table


def _found(lines: "Sequence[FoundLine]") -> Table:
    """Show days until a planted drift raises an alarm, and in how many runs it did."""
    cards = sorted({line.cards for line in lines})
    table = Table("drift", "index", *(f"{one:,} cards a day" for one in cards))
    for drift in dict.fromkeys(line.drift for line in lines):
        own = {line.cards: line for line in lines if line.drift == drift}
        index = sum(line.largest_index for line in own.values()) / len(own)
        table.add_row(drift, f"{index:.2f}", *(_days(own[one]) for one in cards))
    table.title = "days until an alarm, median and slowest \\[runs with it]"
    return table


def _labels(quiet: "Sequence[QuietFeedLine]", lost: "Sequence[LostFeedLine]") -> Table:
    """Show days until a lost share of the labels is told, and the alarms of years without a loss."""
    alarms = ", ".join(f"{line.world} {line.alarms}" for line in quiet)
    title = f"labels that are gone, days until an alarm; alarms in {quiet[0].years} years without a loss: {alarms}"
    table = Table("gone", "median, slowest \\[runs with an alarm]", title=title)
    for line in lost:
        table.add_row(line.loss, _days(line))
    return table


def _days(line: "FoundLine | LostFeedLine") -> str:
    days = "not found" if line.median_days is None else f"{line.median_days:.0f}, {line.slowest_days}"
    return f"{days} \\[{line.found} of {line.runs}]"
