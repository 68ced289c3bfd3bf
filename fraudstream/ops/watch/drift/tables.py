"""The report of a watch as tables of rich."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fraudstream.ops.watch.drift.judge import JudgedWindow, QuantityDrift, day_text
from fraudstream.ops.watch.drift.layout import ALERTS, DECLINES, SCORE
from fraudstream.ops.watch.drift.precision import PrecisionReport
from fraudstream.ops.watch.drift.report import PairReport, WatchReport
from fraudstream.ops.watch.drift.words import alarm_text, factor_text, feed_text, over_text, pair_text, remarks
from metrics.intervals import Interval
from models.times import format_time

_UNKNOWN = "n/a"
_MOST_WINDOWS = 21
"""So many windows, the last ones, are shown; --json and --report have all."""
_WORST = 2


def report_tables(report: WatchReport) -> RenderableType:
    """Render a report: of each model and arm what it is compared with, its windows, and its precision by week."""
    if not report.pairs:
        since, until = format_time(report.scope.since_ms), format_time(report.scope.until_ms)
        return Text(f"no model decided between {since} and {until} in deployment {report.deployment}")
    parts = [part for one in report.pairs for part in _pair(one, report)]
    return Group(*parts, *(Text(line) for line in _left_out(report)))


def _pair(one: PairReport, report: WatchReport) -> Iterator[RenderableType]:
    alarm = one.open_alarm
    yield Text(f"{pair_text(one.pair)}, {one.manifest.name} {one.manifest.version}", style="bold")
    if one.reference is not None:
        known = one.reference
        yield Text(
            f"compared with {known.rows:,} payments of {known.cards:,} cards from {known.since[:10]} to "
            f"{known.until[:10]}"
        )
    if alarm is not None:
        yield Text(alarm_text(one.pair, alarm, report.terms, is_over=False), style="bold")
    yield windows_table(one.windows)
    yield precision_table(one.precision)
    for line in remarks(one):
        yield Text(f"- {line}")
    yield Text("")


def windows_table(windows: tuple[JudgedWindow, ...]) -> Table:
    """Show how far the score, the worst features and the decisions lie from the reference in each window."""
    heads = ("payments", "cards", "score", "worst features", "alerts (reference)", "declines", "over the bound")
    table = _table("stability index by window", *heads)
    for window in windows[-_MOST_WINDOWS:]:
        shown = day_text(window.first_day)
        days = "" if window.end_day == window.first_day + 1 else f" to {day_text(window.end_day - 1)}"
        table.add_row(
            f"{shown}{days}",
            f"{window.payments:,}",
            f"{window.cards:,}",
            _index(window.quantity(SCORE)),
            ", ".join(f"{one.name} {one.index:.3f}" for one in window.worst_features[:_WORST]) or _UNKNOWN,
            *(_factor(window.quantity(name)) for name in (ALERTS, DECLINES)),
            over_text(window) or "none",
        )
    return table


def precision_table(precision: PrecisionReport) -> Table:
    """Show the precision of each week's alerts, known and estimated."""
    table = _table("precision of alerts by week", "alerts", "known", "matured, not declined", "estimated precision")
    for week in precision.weeks:
        table.add_row(
            day_text(week.monday),
            f"{week.alerts:,}",
            f"{week.coverage:.0%}",
            _with_interval(week.matured, week.interval),
            _with_interval(week.estimated, week.estimated_interval),
        )
    return table


def _left_out(report: WatchReport) -> Iterator[str]:
    if report.feed.alarm is not None:
        yield feed_text(report.feed.alarm, report.feed.newest_ms)
    elif not report.feed.is_judging:
        yield "labels are not watched: fewer than two weeks of them were read"
    if report.left_out:
        yield f"{report.left_out:,} decisions by rules, by stand-ins or without complete histories are left out"
    if report.late:
        yield f"{report.late:,} scores were written too late for their day, and are left out"
    if report.missing:
        shown = ", ".join(one[:12] for one in report.missing)
        yield f"models that decided, and are not in the repository, so that they are not watched: {shown}"


def _index(one: QuantityDrift | None) -> str:
    return _UNKNOWN if one is None else f"{one.index:.3f}"


def _factor(one: QuantityDrift | None) -> str:
    return _UNKNOWN if one is None else factor_text(one)


def _with_interval(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return _UNKNOWN
    return f"{value:.1%}" if interval is None else f"{value:.1%} ({interval.low:.1%} to {interval.high:.1%})"


def _table(title: str, *heads: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("from" if "window" in title else "week of")
    for head in heads:
        table.add_column(head, justify="right" if head in ("payments", "cards", "score", "alerts", "known") else "left")
    return table
