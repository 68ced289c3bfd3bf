"""`python -m benchmarks guards`: simulations of a canary's guards, and how fast they count."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from fraudstream.cli.output import json_option, refuse, say
from fraudstream.cli.progress import bars
from fraudstream.console import terminal
from fraudstream.terminal import echo

if TYPE_CHECKING:
    from benchmarks.simulations.guard_counting import CountingFigures
    from benchmarks.simulations.guards import AlarmLine, EffectLine, GuardFigures, ScenarioLine


@click.command()
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The same seed, the same figures.")
@click.option("--runs", type=click.IntRange(1), default=200, show_default=True, help="Of each effect and canary.")
@click.option(
    "--alarm-runs", type=click.IntRange(1), default=1_000, show_default=True, help="Without a difference, for alarms."
)
@click.option(
    "--scores", type=click.IntRange(1_000), default=100_000, show_default=True, help="To count, for the rate."
)
@click.option(
    "--plot",
    "picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a picture of the effects to this file, as SVG.",
)
@json_option
def guards(seed: int, picture: Path | None, as_json: bool, scores: int, **effort: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Simulate canaries with known truth: when their guards notice, and how often without cause; takes minutes."""
    from benchmarks.simulations.guard_counting import measure_counting  # noqa: PLC0415 - nothing else needs it
    from benchmarks.simulations.guard_plot import plot  # noqa: PLC0415 - likewise
    from benchmarks.simulations.guards import Effort, simulate  # noqa: PLC0415 - likewise

    with bars() as progress:
        found = simulate(seed, Effort(**effort), progress)
    if picture is not None:
        try:
            picture.write_text(plot(found.effects))
        except OSError as error:
            refuse(f"cannot write the picture to {picture}: {error.strerror or error}; choose another file for --plot")
    counting = measure_counting(scores, seed)
    if as_json:
        say(as_json, _facts(found, counting), "")
        return
    terminal().print(_effects(found.effects), _scenarios(found.scenarios), _alarms(found), _counting(counting))
    echo(
        f"evidence of all guards: {counting.look_us:,.0f} µs; a remembered card or payment: {counting.set_bytes:,.1f} "
        f"bytes and {counting.set_us:,.1f} µs"
    )


def _facts(found: "GuardFigures", counting: "CountingFigures") -> dict[str, object]:
    lists = ("effects", "scenarios", "alarms")
    simulated = found._asdict() | {name: [line._asdict() for line in getattr(found, name)] for name in lists}
    return simulated | {"counting": counting._asdict() | {"lines": [line._asdict() for line in counting.lines]}}


def _effects(lines: "Sequence[EffectLine]") -> Table:
    """Show first declines until the guard is breached, median / p90 [median of the canary's], by ratio and share."""
    shares = sorted({line.share_bp for line in lines})
    table = Table("declines so many times", *(f"{share_bp / 100:g} % canary" for share_bp in shares))
    for ratio in sorted({line.ratio for line in lines}):
        cells = [line for share_bp in shares for line in lines if (line.ratio, line.share_bp) == (ratio, share_bp)]
        table.add_row(
            f"{ratio:g}",
            *(f"{_number(one.median)} / {_number(one.p90)} \\[{_number(one.canary_median)}]" for one in cells),
        )
    table.title = "first declines until the guard is breached: median / p90 [median of the canary's]"
    return table


def _scenarios(lines: "Sequence[ScenarioLine]") -> Table:
    table = Table("canary", "rolled back", "held", "days, median / p90", "declines, median / p90", "by")
    for line in lines:
        table.add_row(
            line.name,
            f"{line.rolled_back:.1%}",
            f"{line.held:.1%}",
            f"{_number(line.days_median, 3)} / {_number(line.days_p90, 3)}",
            f"{_number(line.declines_median)} / {_number(line.declines_p90)}",
            ", ".join(f"{kind} {part:.0%}" for kind, part in line.by.items()),
        )
    table.title = f"canaries of 10 % over 28 days, {lines[0].runs:,} runs each; days and declines until the rollback"
    return table


def _alarms(found: "GuardFigures") -> Table:
    table = Table("looked at after each event", "alpha", "false alarms", "notices a doubling", "after declines")
    for line in found.alarms:
        table.add_row(*_alarm_cells(line))
    table.title = f"false alarms in {found.alarm_runs:,} runs without a difference"
    return table


def _alarm_cells(line: "AlarmLine") -> tuple[str, ...]:
    alpha = "" if line.alpha is None else f"{line.alpha:g}"
    noticed = "" if line.noticed is None else f"{line.noticed:.1%}"
    declines = "" if line.noticed is None else _number(line.canary_declines_median)
    return line.rule, alpha, f"{line.false_alarms:.1%}", noticed, declines


def _counting(found: "CountingFigures") -> Table:
    table = Table("step", "scores a second", "CPU µs each")
    for line in found.lines:
        table.add_row(line.step, f"{line.a_second:,.0f}", f"{line.us_each:.1f}")
    table.title = f"one process, {found.scores:,} scores of {found.score_bytes:,.0f} bytes"
    return table


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
