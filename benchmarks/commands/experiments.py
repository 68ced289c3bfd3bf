"""`python -m benchmarks experiments`: what reports on experiments promise, simulated with known truth."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from fraudstream.cli.output import json_option, say
from fraudstream.cli.progress import bars
from fraudstream.console import terminal

if TYPE_CHECKING:
    from benchmarks.simulations.experiment_lots import LotLine
    from benchmarks.simulations.experiments import DifferenceLine, SoundLine


@click.command()
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The same seed, the same figures.")
@click.option("--runs", type=click.IntRange(1), default=500, show_default=True, help="Of each known truth.")
@click.option("--cards", type=click.IntRange(100), default=10_000, show_default=True, help="Of each such run.")
@click.option("--effect-runs", type=click.IntRange(1), default=40, show_default=True, help="Of each difference.")
@click.option("--lots", type=click.IntRange(1), default=400, show_default=True, help="Drawn on the same declines.")
@json_option
def experiments(seed: int, as_json: bool, **effort: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Simulate experiments with known truth: false winners, and how long a difference takes; takes minutes."""
    from benchmarks.simulations.experiments import ExperimentEffort, facts, simulate  # noqa: PLC0415 - nothing else needs it

    with bars() as progress:
        found = simulate(seed, ExperimentEffort(**effort), progress)
    if as_json:
        say(as_json, facts(found), "")
        return
    terminal().print(_sound(found.sound), _effects(found.effects), _lots(found.lots))


def _sound(lines: "Sequence[SoundLine]") -> Table:
    table = Table("truth", "false winners", "best arm found", "intervals that missed", "false winners of z-tests")
    for line in lines:
        cells = (line.false_winners, line.found, line.missed, line.naive)
        table.add_row(line.name, *(f"{cell:.1%}" for cell in cells))
    table.title = f"{lines[0].runs:,} experiments of each truth, looked at all the time"
    return table


def _effects(lines: "Sequence[DifferenceLine]") -> Table:
    table = Table("less loss", "share of the new arm", "final cards, median / p90", "days, median", "not found")
    for line in lines:
        cards = f"{_number(line.cards_median)} / {_number(line.cards_p90)}"
        share = f"{line.share_bp / 100:g} %"
        table.add_row(f"{line.difference:.0%}", share, cards, _number(line.days_median), f"{line.missed:.0%}")
    table.title = f"until the new arm wins, {lines[0].runs:,} runs each"
    return table


def _lots(lines: "Sequence[LotLine]") -> Table:
    table = Table("figure", "truth", "mean of estimates", "deviation", "naive", "intervals that held")
    for line in lines:
        cells = (line.truth, line.mean, line.deviation, line.naive, line.covered)
        table.add_row(line.figure, *("-" if cell is None else f"{cell:.1%}" for cell in cells))
    table.title = "lots on the same declined payments"
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
