"""`python -m benchmarks neighbours`: what the worst records of one partition cost the payments of the others."""

import asyncio
from typing import TYPE_CHECKING

import click
from rich.table import Table

from fraudstream.cli.bench_worker import model_option, model_or_refuse
from fraudstream.cli.extras import needs
from fraudstream.cli.output import json_option, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal

if TYPE_CHECKING:
    from benchmarks.parts.neighbours import NeighbourLine


@click.command()
@model_option
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    help="unpacking, card, cards, digits or objects; repeatable.",
)
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True, help="Of all attacks, in turns.")
@click.option(
    "--seconds", type=click.FloatRange(1, 600), default=10.0, show_default=True, help="Before an attack, and from then."
)
@json_option
@needs("train", "duckdb")
def neighbours(name: str, attacks: tuple[str, ...], rounds: int, seconds: float, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Measure how long payments wait while another partition is attacked; exits with 1 if they wait too long."""
    from benchmarks.parts.neighbours import ATTACKS, measure_neighbours  # noqa: PLC0415 - it needs an extra

    if unknown := set(attacks) - set(ATTACKS):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: the attacks are {', '.join(ATTACKS)}")
    settings, lines = settings_or_refuse(), list["NeighbourLine"]()
    digest = model_or_refuse(settings, name).digest
    with Refusals(settings):
        for _ in range(rounds):
            for attack in attacks or ATTACKS:
                lines.append(asyncio.run(measure_neighbours(settings, digest, attack, seconds)))
                click.echo(f"{lines[-1]}", err=True)
    medians = [_median(attack, lines) for attack in dict.fromkeys(line.attack for line in lines)]
    if as_json:
        say(as_json, {"medians": [one._asdict() for one in medians], "rounds": [one._asdict() for one in lines]}, "")
    else:
        table = Table("attack", "p50 ms", "during", "p95 ms", "during", "records", "answered", "after s", "holds")
        for one in medians:
            figures = (one.before[0], one.during[0], one.before[1], one.during[1])
            cells = (*(f"{ms:,.0f}" for ms in figures), f"{one.records:,}", f"{one.answered:,}", f"{one.seconds:.0f}")
            table.add_row(one.attack, *cells, "yes" if one.holds else "NO")
        terminal().print(table)
    if not all(one.holds for one in medians):
        raise SystemExit(1)


def _median(attack: str, lines: "list[NeighbourLine]") -> "NeighbourLine":
    """Return the run of an attack whose p95 beside it is the median."""
    found = sorted((line for line in lines if line.attack == attack), key=lambda line: line.during[1])
    return found[len(found) // 2]
