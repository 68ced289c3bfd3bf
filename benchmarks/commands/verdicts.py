"""`python -m benchmarks verdicts`: verdicts on challengers whose truth is known."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from fraudstream.cli.output import json_option, say
from fraudstream.cli.progress import bars
from fraudstream.console import terminal
from fraudstream.terminal import echo

if TYPE_CHECKING:
    from benchmarks.simulations.verdicts import DaysLine, VerdictFigures, WordsLine


@click.command()
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The same seed, the same figures.")
@click.option("--runs", type=click.IntRange(1), default=20, show_default=True, help="Of each case.")
@click.option(
    "--equal-runs", type=click.IntRange(1), default=100, show_default=True, help="Without a difference, for alarms."
)
@click.option("--cards", type=click.IntRange(100), default=8_000, show_default=True, help="Of each run.")
@json_option
def verdicts(seed: int, as_json: bool, **effort: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Simulate verdicts with known truth: what is said of challengers, and after how many days; takes minutes."""
    from benchmarks.simulations.verdicts import VerdictEffort, simulate_verdicts  # noqa: PLC0415 - nothing else needs it

    with bars() as progress:
        found = simulate_verdicts(seed, VerdictEffort(**effort), progress)
    if as_json:
        say(as_json, _facts(found), "")
        return
    terminal().print(_words(found.words), _days(found.days))
    equal = found.equal
    echo(
        f"without a difference, of {equal.runs} challengers asked about each fortnight: {equal.promote} PROMOTE, "
        f"{equal.reject} REJECT, {equal.hold} HOLD"
    )


def _facts(found: "VerdictFigures") -> dict[str, object]:
    return {
        "words": [line._asdict() for line in found.words],
        "days": [line._asdict() for line in found.days],
        "equal": found.equal._asdict(),
    }


def _words(lines: "Sequence[WordsLine]") -> Table:
    """Show PROMOTE / HOLD / REJECT by savings, delay and share of labels."""
    effects = sorted({line.effect for line in lines})
    table = Table("delay, labelled", *(f"savings {effect:+.0%}" for effect in effects))
    for delay, labelled in dict.fromkeys((line.delay_days, line.labelled) for line in lines):
        own = {line.effect: line for line in lines if (line.delay_days, line.labelled) == (delay, labelled)}
        cells = (f"{own[effect].promote} / {own[effect].hold} / {own[effect].reject}" for effect in effects)
        table.add_row(f"{delay:g} days, {labelled:.0%}", *cells)
    table.title = f"PROMOTE / HOLD / REJECT within half a year, of {lines[0].runs} runs"
    return table


def _days(lines: "Sequence[DaysLine]") -> Table:
    """Show days until a difference is found, and in how many runs it was."""
    effects = sorted({line.effect for line in lines})
    table = Table("delay, labels of", *(f"savings {effect:+.0%}" for effect in effects))
    for delay, genuine in dict.fromkeys((line.delay_days, line.genuine_labelled) for line in lines):
        own = {line.effect: line for line in lines if (line.delay_days, line.genuine_labelled) == (delay, genuine)}
        cells = (_found(own[effect]) for effect in effects)
        table.add_row(f"{delay:g} days, {'all payments' if genuine else 'frauds alone'}", *cells)
    table.title = "days until PROMOTE, median \\[runs with it]"
    return table


def _found(line: "DaysLine") -> str:
    days = "not found" if line.median_days is None else f"{line.median_days:.0f}"
    return f"{days} \\[{line.found} of {line.runs}]"
