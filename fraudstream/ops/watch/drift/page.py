"""The report of a watch: what has moved, since when, and how good alerts are by week."""

from collections.abc import Iterator, Sequence

from fraudstream.ops.report.charts.axis import AxisKind, ChartAxis, ReferenceLine
from fraudstream.ops.report.charts.drawing import ChartFrame
from fraudstream.ops.report.charts.lines import ChartLine, LineChart
from fraudstream.ops.report.document import Headline, Provenance, Report, Section, Tone
from fraudstream.ops.report.parts import Cell, Folded, Note, Part
from fraudstream.ops.report.quantities import Count, Measure, Percentage, Quantity, WithInterval
from fraudstream.ops.report.tables import DataTable
from fraudstream.ops.watch.drift.judge import JudgedWindow, QuantityDrift, day_text
from fraudstream.ops.watch.drift.layout import ALERTS, DECLINES, SCORE
from fraudstream.ops.watch.drift.precision import WeekPrecision
from fraudstream.ops.watch.drift.report import PairReport, WatchReport
from fraudstream.ops.watch.drift.words import (
    alarm_text,
    factor_text,
    feed_text,
    moved_text,
    named,
    over_text,
    pair_text,
    remarks,
    suggestion,
)
from models.commands import SHORT_DIGEST
from models.times import format_time
from models.training_reference import BAND_WIDTH, DAY_MS, TrainingReference

_MOST_LINES = 5
_MOST_WINDOWS = 21
"""Windows in the table, the last ones; earlier ones are folded."""
_MOST_QUANTITIES = 12
_FOOTNOTES = (
    "The stability index is the sum of (a - e) ln(a / e) over the deciles of the reference, of shares a and e.",
    "Undefined values are a bin of their own. Weekends are compared with weekends.",
    "Chance: without a drift, any index exceeds it within a year with a probability of at most 5 %, by card.",
    "Over its bound: the index is above chance and 0.2 beyond what was usual in the reference, and came suddenly.",
    "The bound is lower for features that the model goes by, and higher for others.",
    "A share of decisions is over its bound if it is above chance and has doubled or halved.",
    "Values of a feature other than its most frequent one are over their bound if they have halved.",
    "An alarm is raised by three windows in a row.",
    "Matured precision is of alerts whose outcome is known, and of none for its label alone.",
    "It leaves out what was declined: of that, mostly frauds get a label.",
    "Estimated precision is the mean score of all alerts, with the interval of outcomes if scores are calibrated.",
    "Intervals are of 95 %, by card.",
)


def state_watch(report: WatchReport, made_ms: int, version: str) -> Report:
    """Return a report for a page and for a terminal alike.

    Args:
        report: what the topics say.
        made_ms: the present time, in epoch milliseconds.
        version: of fraudstream.
    """
    scope = report.scope
    payments = sum(window.payments for one in report.pairs for window in one.windows)
    sections = [
        Section(f"M{pair_text(one.pair)[1:]}: {title}", tuple(parts))
        for one in report.pairs
        for title, parts in (
            ("in short", _in_short(one, report)),
            ("what has moved", _moved(one)),
            ("bands and decisions", _bands(one)),
            ("precision of alerts", _precision(one)),
        )
    ]
    return Report(
        f"Live models of deployment {report.deployment}",
        f"{payments:,} payments in windows of days, compared with what the models were made for",
        _headline(report),
        (*sections, Section("What is left out", (Note(points=tuple(_left_out(report))),))),
        Provenance(f"{payments:,} scored payments, and their labels", scope.since_ms, scope.until_ms, made_ms, version),
        _FOOTNOTES,
    )


def _headline(report: WatchReport) -> Headline:
    found = [(one.pair, alarm) for one in report.pairs if (alarm := one.open_alarm) is not None]
    if found:
        pair, alarm = found[0]
        others = f", and {len(found) - 1:,} more models or arms drift" if len(found) > 1 else ""
        since = day_text(alarm.since_day)
        words = f"Drift: {moved_text(alarm, shows_index=False)} moved since {since}, of {pair_text(pair)}{others}"
        reason = ". ".join(suggestion(*one) for one in found[:1])
        return Headline(words, Tone.BAD, "DRIFT, by three windows in a row", f"{reason[0].upper()}{reason[1:]}.")
    if report.feed.alarm is not None:
        words = f"Labels are missing since {day_text(report.feed.alarm.since_day)}"
        reason = f"{feed_text(report.feed.alarm, report.feed.newest_ms)}."
        return Headline(words, Tone.BAD, "LABELS MISSING, by two days in a row", reason)
    if not report.pairs:
        since, until = format_time(report.scope.since_ms), format_time(report.scope.until_ms)
        return Headline(f"Nothing to watch: no model decided between {since} and {until}", Tone.WAIT)
    if not any(one.windows for one in report.pairs):
        return Headline("Too early to say: no window of days is complete yet", Tone.WAIT)
    reason = "Nothing has moved by more than chance, and by so much that it matters, for three windows in a row."
    return Headline("Quiet: the payments are like those that the models were made for", Tone.GOOD, "", reason)


def _left_out(report: WatchReport) -> Iterator[str]:
    if report.feed.alarm is None and not report.feed.is_judging:
        yield "Labels are not watched: fewer than two weeks of them were read."
    if report.left_out:
        yield f"{report.left_out:,} decisions by rules, by stand-ins or without complete histories."
    if report.late:
        yield f"{report.late:,} scores that were written too late for their day."
    if report.missing:
        shown = ", ".join(one[:SHORT_DIGEST] for one in report.missing)
        yield f"Models that decided, and are not in the repository, so that they are not watched: {shown}."


def _in_short(report: PairReport, whole: WatchReport) -> Iterator[Part]:
    known = report.reference
    if known is not None:
        yield Note(
            f"{report.manifest.name} {report.manifest.version}, compared with {known.rows:,} payments of "
            f"{known.cards:,} cards from {known.since[:10]} to {known.until[:10]}"
            f"{', its own first days' if report.is_own else ', as its manifest states them'}."
        )
    for end_day, alarm in report.alarms:
        is_over = alarm is not report.open_alarm
        said = alarm_text(report.pair, alarm, whole.terms, is_over=is_over)
        yield Note(f"Alarm raised after {day_text(end_day - 1)}. {said}.")
    if lines := remarks(report):
        yield Note(points=tuple(f"{line[0].upper()}{line[1:]}." for line in lines))


def _moved(report: PairReport) -> Iterator[Part]:
    windows = report.windows
    if not windows:
        return
    worst = [one.name for one in windows[-1].worst_features[:_MOST_LINES]]
    days = tuple(float(one.first_day * DAY_MS) for one in windows)
    lines = tuple(
        ChartLine(named(name), days, tuple(_value(one.quantity(name)) for one in windows)) for name in (SCORE, *worst)
    )
    frame = ChartFrame(
        "Stability index by window", "The score, and the features that lie farthest from the reference now."
    )
    yield LineChart(
        frame,
        ChartAxis("window from", AxisKind.TIME),
        ChartAxis("index"),
        lines,
        (ReferenceLine("least that counts", 0.2),),
    )
    yield _windows_table("Windows of days", windows[-_MOST_WINDOWS:])
    earlier = windows[:-_MOST_WINDOWS]
    yield Folded(f"{len(earlier):,} earlier windows", (_windows_table("Earlier windows of days", earlier),))
    quantities = [one for one in windows[-1].quantities if one.name not in (ALERTS, DECLINES)]
    ordered = sorted(quantities, key=lambda one: -one.index)
    last = f"the last window, from {day_text(windows[-1].first_day)}"
    yield _quantities_table(f"What lies farthest from the reference in {last}", ordered[:_MOST_QUANTITIES])
    others = ordered[_MOST_QUANTITIES:]
    yield Folded(f"The other {len(others):,} quantities", (_quantities_table(f"Other quantities in {last}", others),))


def _windows_table(caption: str, windows: Sequence[JudgedWindow]) -> DataTable:
    heads = ("From", "To", "Payments", "Cards", "Score", "Alerts (reference)", "Declines", "Over the bound")
    return DataTable(caption, heads, tuple(_window(one) for one in windows), "Of the score: its stability index.")


def _window(window: JudgedWindow) -> tuple[Cell, ...]:
    score = window.quantity(SCORE)
    shares = (window.quantity(name) for name in (ALERTS, DECLINES))
    return (
        day_text(window.first_day),
        day_text(window.end_day - 1),
        Count(window.payments),
        Count(window.cards),
        None if score is None else Measure(score.index),
        *(None if share is None else factor_text(share) for share in shares),
        over_text(window) or "none",
    )


def _quantities_table(caption: str, quantities: Sequence[QuantityDrift]) -> DataTable:
    heads = ("Quantity", "Index", "Chance", "Bound", "Within its bound")
    return DataTable(caption, heads, tuple(_row(one) for one in quantities))


def _value(one: QuantityDrift | None) -> float | None:
    return None if one is None else one.index


def _row(one: QuantityDrift) -> tuple[Cell, ...]:
    figures = Measure(one.index, 4), Measure(one.chance, 4), Measure(one.bound, 4)
    return (named(one.name), *figures, not one.is_over)


def _bands(report: PairReport) -> Iterator[Part]:
    if not report.windows:
        return
    windows, days = report.windows, tuple(float(one.first_day * DAY_MS) for one in report.windows)
    shares = {
        title: tuple(None if (one := w.quantity(name)) is None else one.actual for w in windows)
        for name, title in ((ALERTS, "reviewed or declined"), (DECLINES, "declined"))
    }
    frame = ChartFrame("Shares of decisions", "What the model wants reviewed or declined, by window.")
    yield LineChart(
        frame,
        ChartAxis("window from", AxisKind.TIME),
        ChartAxis("share of payments", AxisKind.SHARE),
        tuple(ChartLine(title, days, values) for title, values in shares.items()),
    )
    if report.reference is not None:
        yield _band_table(report.reference, windows[-1])


def _band_table(known: TrainingReference, window: JudgedWindow) -> DataTable:
    """Show the share of payments in each class of bands that is not empty in both."""
    rows = tuple(
        (
            f"{at * BAND_WIDTH} to {at * BAND_WIDTH + BAND_WIDTH - 1}",
            Percentage(before / known.rows),
            Percentage(now / window.payments),
        )
        for at, (before, now) in enumerate(zip(known.bands, window.bands, strict=True))
        if before or now
    )
    return DataTable(
        "Payments by band of the score",
        ("Bands", "Reference", f"Last window, from {day_text(window.first_day)}"),
        rows,
        "500 is odds of 1 in 100; each 50 more double them.",
    )


def _precision(report: PairReport) -> Iterator[Part]:
    weeks = report.precision.weeks
    days = tuple(float(week.monday * DAY_MS) for week in weeks)
    estimated = ChartLine(
        "estimated from scores",
        days,
        tuple(week.estimated for week in weeks),
        tuple(None if week.estimated_interval is None else week.estimated_interval.low for week in weeks),
        tuple(None if week.estimated_interval is None else week.estimated_interval.high for week in weeks),
    )
    matured = ChartLine("matured, from labels, without declined", days, tuple(week.matured for week in weeks))
    frame = ChartFrame("Precision by week", "The share of frauds among what the model wants reviewed or declined.")
    yield LineChart(
        frame, ChartAxis("week of", AxisKind.TIME), ChartAxis("precision", AxisKind.SHARE), (estimated, matured)
    )
    heads = ("Week of", "Alerts", "Known", "Declined, left out", "Frauds", "Matured precision", "Estimated precision")
    yield DataTable("Precision by week", heads, tuple(_week(week) for week in weeks))


def _week(week: WeekPrecision) -> tuple[str | Quantity | None, ...]:
    return (
        day_text(week.monday),
        Count(week.alerts),
        Percentage(week.coverage, 0),
        Count(week.declined),
        Count(week.frauds),
        _with_interval(week.matured, week.interval),
        _with_interval(week.estimated, week.estimated_interval),
    )


def _with_interval(value: float | None, ends: tuple[float, float] | None) -> Quantity | None:
    if value is None:
        return None
    if ends is None:
        return Percentage(value, 1)
    low, high = ends
    return WithInterval(Percentage(value, 1), Percentage(low, 1), Percentage(high, 1))
