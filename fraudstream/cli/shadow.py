"""`fraudstream shadow report`: what the challenger would have decided, as a report or as one JSON object.

It gives no verdict: the reader judges what a changed decision is worth. `fraudstream shadow verdict` gives one.
"""

import asyncio
from typing import Any

import click

from fraudstream.cli.arguments import ModelParam
from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.output import json_option, say
from fraudstream.cli.progress import ReadingProgress
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.cli.shadow_verdict import verdict_command
from fraudstream.console import terminal
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.rollout.shadow.report import ShadowReport, report
from fraudstream.ops.rollout.shadow.sections import state_shadow
from fraudstream_client.outputs import Decision
from models.errors import InvalidTimeError
from models.times import format_time, parse_time_ms
from shadow.tally import Shift, Tally
from stream.clock import now_ms

_MOST_MINUTES = 100 * 366 * 24 * 60
"""A century; more is a typing error."""


@click.group(cls=CommandGroup)
def shadow() -> None:
    """See what the challenger would have decided."""


shadow.add_command(verdict_command)


@shadow.command("report")
@click.option(
    "--digest",
    type=ModelParam(),
    metavar="MODEL",
    help="A model that is or was in the shadow; by default the present one.",
)
@click.option("--since", metavar="TIME", help="Decisions from then on, RFC 3339 with a zone; by default a day ago.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Decisions of the last MINUTES.")
@json_option
def report_command(digest: str | None, since: str | None, minutes: float | None, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Compare challenger and live model: coverage, scores, and decisions that would have been others."""
    settings = settings_or_refuse()
    with Refusals(settings):
        found = asyncio.run(report(settings, digest, _since_ms(since, minutes), ReadingProgress().show))
    stated = state_shadow(found)
    if as_json:
        say(as_json, facts(found) | stated.facts(), "")
    else:
        terminal().print(on_terminal(stated, has_page=False))


def _since_ms(since: str | None, minutes: float | None) -> int | None:
    """Return where the window begins, at the earliest in 1970, since Kafka refuses negative timestamps."""
    if since is not None and minutes is not None:
        raise click.UsageError("--since and --minutes both say where to begin; give one")
    if minutes is not None:
        if not minutes <= _MOST_MINUTES:  # nor is NaN
            raise click.BadParameter(f"{minutes:g} is not at most {_MOST_MINUTES}, a century", param_hint="--minutes")
        return max(0, now_ms() - round(minutes * 60_000))
    try:
        return None if since is None else max(0, parse_time_ms(since).epoch_ms)
    except InvalidTimeError as error:
        raise click.BadParameter(str(error), param_hint="--since") from error


def facts(found: ShadowReport) -> dict[str, Any]:
    """Return a report as one object; money is in minor units."""
    tally = found.tally
    return {
        "challenger": found.digest,
        "live": {digest or "rules": count for digest, count in sorted(tally.opponents.items(), key=str)},
        "in_shadow": found.now,
        "in_shadow_since": format_time(found.term.since_ms),
        "in_shadow_until": None if found.term.until_ms is None else format_time(found.term.until_ms),
        "since": format_time(found.since_ms),
        "until": format_time(found.until_ms),
        "eligible": found.eligible,
        "compared": tally.compared,
        "skipped": found.missed.skipped,
        "failed": found.missed.failed,
        "astride": {"skipped": found.astride.skipped, "failed": found.astride.failed, "counted": found.possibly_missed},
        "unexplained": found.unexplained,
        "coverage": found.coverage,
        "shift": shift_facts(tally),
        "decisions": {
            decision.value: dict(zip(("live", "challenger"), tally.decided(decision), strict=True))
            for decision in Decision
        },
        "changed": tally.changed,
        "swaps": [swap_facts(tally, live, challenger) for live in Decision for challenger in Decision],
    }


def shift_facts(tally: Tally) -> dict[str, Any]:
    """Return how far the challenger's scores are from the live ones."""
    shift = Shift.of(tally)
    quantiles = shift.band_quantiles or (None, None, None)
    return {
        "scored": tally.scored,
        "mean": shift.mean,
        "mean_absolute": shift.mean_absolute,
        "bands": dict(zip(("p1", "p50", "p99"), quantiles, strict=True)),
        "stability_index": shift.stability_index,
    }


def swap_facts(tally: Tally, live: Decision, challenger: Decision) -> dict[str, Any]:
    """Return one cell of the matrix of decisions, by count and in minor units by currency."""
    money = {code: tally.minor.get((code, (live, challenger)), 0) for code in tally.currencies}
    return {
        "live": live.value,
        "challenger": challenger.value,
        "events": tally.events.get((live, challenger), 0),
        "amount_minor": money,
    }
