"""`fraudstream shadow report`: what the challenger would have decided, as tables or as one JSON object.

It gives no verdict: the reader judges what a changed decision is worth.
"""

import asyncio
import time
from typing import Any

import click
from aiokafka.errors import KafkaError
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.errors import InvalidTimeError
from models.policy import Decision
from models.times import format_time, parse_time_ms
from shadow.tally import Pair, Shift, Tally
from stream.challenger.report import ShadowReport, report
from stream.cli.output import json_option, refuse, say
from stream.cli.settings import refuse_kafka, settings_or_refuse
from stream.clock import now_ms
from stream.contract.iso import CURRENCY_DECIMALS
from stream.errors import ReportError

_SHORT = 12
_QUIET_SECONDS = 2.0
_MOST_MINUTES = 100 * 366 * 24 * 60
"""A century; more is a typing error."""


def tables(found: ShadowReport) -> RenderableType:
    """Lay out a report: models, coverage, scores, decisions, and decisions that would have been others."""
    parts: list[RenderableType] = [Text(_title(found), style="bold"), Text(_when(found)), coverage(found)]
    if found.astride.missed:
        parts.append(Text(_astride(found)))
    if found.tally.compared:
        parts += [scores(found.tally), decisions(found.tally), swaps(found.tally)]
    return Group(*parts)


def _title(found: ShadowReport) -> str:
    against = ", ".join(
        f"{(digest or 'rules')[:_SHORT]} ({_count(count)})"
        for digest, count in sorted(found.tally.opponents.items(), key=str)
    )
    return f"challenger {found.digest[:_SHORT]} against {against or 'nobody yet'}"


def _when(found: ShadowReport) -> str:
    since, until = format_time(found.term.since_ms), found.term.until_ms
    end = "" if until is None else f" until {format_time(until)}"
    state = "is in the shadow" if found.now else "was in the shadow"
    return f"{state} since {since}{end}; decisions from {format_time(found.since_ms)} to {format_time(found.until_ms)}"


def _astride(found: ShadowReport) -> str:
    skipped, failed = found.astride.skipped, found.astride.failed
    return (
        f"Workers reported {_count(skipped)} skipped and {_count(failed)} failed for periods that begin before this "
        "window: as many of them are counted as are missing."
    )


def coverage(found: ShadowReport) -> Table:
    """Lay out how many decisions were to be compared, and what became of them."""
    table = _table("coverage", "decisions", "share")
    rows = {
        "to be compared": found.eligible,
        "compared": found.tally.compared,
        "skipped: no room, or no process": found.missed.skipped,
        "failed: no score, or not written": found.missed.failed,
        **({"skipped or failed, at most": found.possibly_missed} if found.astride.missed else {}),
        "unexplained: under way, or lost": found.unexplained,
    }
    for name, count in rows.items():
        table.add_row(name, _count(count), _share(count, found.eligible))
    return table


def scores(tally: Tally) -> Table:
    """Lay out how far the challenger's scores are from the live ones."""
    table, shift = _table("scores, challenger less live", "", ""), Shift.of(tally)
    if shift.band_quantiles is None or shift.mean is None:
        table.add_row("no decision had a live score", "", "")
        return table
    low, middle, high = shift.band_quantiles
    table.add_row("mean of the probability", f"{shift.mean:+.6f}", "")
    table.add_row("mean of its absolute value", f"{shift.mean_absolute:.6f}", "")
    table.add_row("bands, 50 is odds doubled", f"{middle:+d}", f"1st to 99th percentile: {low:+d} to {high:+d}")
    table.add_row("stability index of the bands", f"{shift.stability_index:.4f}", "below 0.1 is read as alike")
    return table


def decisions(tally: Tally) -> Table:
    """Lay out how often each model makes each decision."""
    table = _table("decisions", "live", "", "challenger", "")
    for decision in Decision:
        live, challenger = tally.decided(decision)
        shares = _share(live, tally.compared), _share(challenger, tally.compared)
        table.add_row(decision.value, _count(live), shares[0], _count(challenger), shares[1])
    return table


def swaps(tally: Tally) -> Table:
    """Lay out the decisions that would have been others, by count and amount."""
    table = _table(
        f"decided otherwise: {_count(tally.changed)} of {_count(tally.compared)}", "events", *tally.currencies
    )
    for live in Decision:
        for challenger in Decision:
            pair = (live, challenger)
            if live is not challenger and tally.events.get(pair):
                money = [_money(tally, code, pair) for code in tally.currencies]
                table.add_row(f"{live.value} → {challenger.value}", _count(tally.events[pair]), *money)
    if not tally.changed:
        table.add_row("none", "", *("" for _ in tally.currencies))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title_justify="left", header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    table.add_column(f"\n{title}", min_width=34)
    for column in columns:
        table.add_column(f"\n{column}", justify="right", no_wrap=True)
    return table


def _money(tally: Tally, currency: str, pair: Pair) -> str:
    decimals = CURRENCY_DECIMALS.get(currency, 0)
    whole, rest = divmod(tally.minor.get((currency, pair), 0), 10**decimals)
    return f"{whole:,}.{rest:0{decimals}d}" if decimals else f"{whole:,}"


def _count(count: int) -> str:
    return f"{count:,}"


def _share(count: int, total: int) -> str:
    return f"{count / total:.2%}" if total else ""


@click.group()
def shadow() -> None:
    """See what the challenger would have decided."""


@shadow.command("report")
@click.option("--digest", metavar="MODEL", help="A model that is or was in the shadow; by default the present one.")
@click.option("--since", metavar="TIME", help="Decisions from then on, RFC 3339 with a zone; by default a day ago.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Decisions of the last MINUTES.")
@json_option
def report_command(digest: str | None, since: str | None, minutes: float | None, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Compare challenger and live model: coverage, scores, and decisions that would have been others."""
    settings = settings_or_refuse()
    try:
        found = asyncio.run(report(settings, digest, _since_ms(since, minutes), _Progress().show))
    except ReportError as error:
        refuse(str(error))
    except (KafkaError, OSError) as error:
        refuse_kafka(settings, error)
    if as_json:
        say(as_json, facts(found), "")
    else:
        Console(highlight=False).print(tables(found))


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


class _Progress:
    """Prints the progress of reading on standard error if it takes long."""

    def __init__(self) -> None:
        self._due = time.monotonic() + _QUIET_SECONDS

    def show(self, topic: str, share: float) -> None:
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _QUIET_SECONDS
            click.echo(f"reading {topic}: {share:.0%}", err=True)


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
