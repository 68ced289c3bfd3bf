"""The report of an experiment as one HTML page with plots: who wins, how sure that is, and what is missing."""

from collections.abc import Callable, Iterator

from fraudstream.ops.report.charts.axis import AxisKind, ChartAxis
from fraudstream.ops.report.charts.bars import BarChart, BarSeries
from fraudstream.ops.report.charts.drawing import ChartFrame
from fraudstream.ops.report.charts.intervals import IntervalChart, IntervalRow
from fraudstream.ops.report.document import Provenance, ReportPage, ReportSection, Tone, VerdictBanner
from fraudstream.ops.report.parts import Cell, KeyFigure, KeyFigures, Part, Points, Prose
from fraudstream.ops.report.quantities import (
    Count,
    Measure,
    Moment,
    Money,
    Percentage,
    Quantity,
    WithInterval,
    quantity_text,
)
from fraudstream.ops.report.tables import DataTable
from fraudstream.ops.rollout.experiments.comparison import ArmDifference, arm_losses
from fraudstream.ops.rollout.experiments.figures import ArmFigures, ArmMoney, BoundedFigure
from fraudstream.ops.rollout.experiments.report import ExperimentReport
from fraudstream.ops.rollout.experiments.words import missing_lines, promises, remarks, verdict_line
from guards.shares import LIVE, share_text
from metrics.intervals import Interval

_SHORT = 12
_FOOTNOTES = (
    "A card's arm is fixed by chance; all it pays in the experiment counts for that arm, whatever decided it.",
    "Models are judged by what they said; what was decided in the end is what was really lost and stopped.",
    "Known payments occurred before all had a label or were old enough; declined ones without a label are not known.",
)
Row = tuple[Cell, ...]


def report_page(report: ExperimentReport, made_ms: int, version: str) -> ReportPage:
    """Return the page of a report; the same report, time and version give the same bytes."""
    experiment, as_of_ms = report.experiment, report.terms.maturity.as_of_ms
    named = ", ".join(f"{name} {digest[:_SHORT]}" for name, digest in experiment.models.items())
    decided = sum(one.said.total for one in report.figures)
    return ReportPage(
        f"Experiment of revision {experiment.first}",
        named,
        _banner(report),
        (
            ReportSection("Who loses less", _differences(report)),
            ReportSection("The arms", _arms(report)),
            *(ReportSection(f"Money, {code}", _money(report, at)) for at, code in enumerate(report.currencies)),
            ReportSection("Declined payments", _declines(report)),
            ReportSection("Whether the experiment is sound", _soundness(report)),
        ),
        Provenance(f"{decided:,} decisions of the experiment", experiment.since_ms, as_of_ms, made_ms, version),
        (*map(_sentence, promises(report)), *_FOOTNOTES),
    )


def _banner(report: ExperimentReport) -> VerdictBanner:
    if report.ratio.breached or report.misassigned:
        return VerdictBanner("UNSOUND", Tone.BAD, "division of cards", verdict_line(report))
    if report.winner is None:
        return VerdictBanner("NOT YET", Tone.WAIT, "loss per card", verdict_line(report))
    return VerdictBanner(report.winner, Tone.GOOD, "loss per card", verdict_line(report))


def _sentence(words: str) -> str:
    """Return words as a sentence; not of those that begin with the name of an arm."""
    return f"{words[0].upper()}{words[1:]}."


# --- who loses less


def _differences(report: ExperimentReport) -> tuple[Part, ...]:
    to = LIVE if any(arm.name == LIVE for arm in report.experiment.arms) else report.experiment.arms[-1].name
    beside = list(report.standings.to(to))
    frame = ChartFrame(
        f"Loss per card of each arm less that of {to}",
        "Left of zero an arm loses less.",
        f"Intervals that may be looked at at any time; together they miss with a probability of at most "
        f"{report.terms.alpha:g}.",
    )
    axis = ChartAxis("Difference per card", AxisKind.MONEY, report.currency)
    rows = tuple(_interval_row(one, report) for one in beside)
    missing = tuple(missing_lines(report))
    return (
        KeyFigures(tuple(_loss_figure(report, name) for name in report.standings.arms)),
        IntervalChart(frame, axis, rows),
        DataTable(
            "Each pair of arms",
            ("First", "Second", "First less second, at least", "At most", "Loses less, with certainty"),
            tuple(_pair_row(one, report.currency) for one in report.standings.differences),
        ),
        DataTable(
            "Loss of each final card, by cohort of first payments",
            ("From", "Cards", *(arm.name for arm in report.experiment.arms)),
            tuple(_cohort_rows(report)),
            "Cards that pay often appear first. At least, where declined payments have no outcome.",
        ),
        *((Prose("What is missing:"), Points(missing)) if missing else ()),
    )


def _cohort_rows(report: ExperimentReport) -> Iterator[Row]:
    arms, cap, code = report.experiment.arms, report.terms.cap_minor, report.currency
    for begin_ms, own in report.losses.cohorts(report.terms):
        lows = (one.low for one in arm_losses(own, arms, cap).values())
        yield (
            Moment(begin_ms),
            Count(len(own.arms)),
            *(None if low is None else Money(round(low), code) for low in lows),
        )


def _loss_figure(report: ExperimentReport, name: str) -> KeyFigure:
    loss = report.standings.arms[name]
    low, high = (None if end is None else Money(round(end), report.currency) for end in (loss.low, loss.high))
    most = "" if high is None or high == low else f"at least, and at most {quantity_text(high)}; "
    return KeyFigure(f"Loss per card, {name}", low, f"{most}{loss.cards:,} final cards")


def _interval_row(one: ArmDifference, report: ExperimentReport) -> IntervalRow:
    first, second = report.standings.arms[one.first], report.standings.arms[one.second]
    known = None not in (first.low, first.high, second.low, second.high)
    estimate = (first.low + first.high - second.low - second.high) / 2 if known else None  # type: ignore[operator]
    low, high = (None, None) if one.interval is None else one.interval
    return IntervalRow(one.first, estimate, low, high, strong=one.first == report.winner)


def _pair_row(one: ArmDifference, currency: str) -> Row:
    if one.interval is None:
        return one.first, one.second, "it has changed", "", "not yet"
    low, high = (Money(round(end), currency) for end in one.interval)
    return one.first, one.second, low, high, one.lower or "not yet"


# --- the arms


def _arms(report: ExperimentReport) -> tuple[Part, ...]:
    heads = ("", *(f"{one.name} {share_text(one.share_bp)}" for one in report.figures))
    lines: tuple[tuple[str, Callable[[ArmFigures], Cell]], ...] = (
        ("Cards", lambda one: Count(one.cards)),
        ("Decisions", lambda one: Count(one.said.total)),
        ("Alert rate, before limits", lambda one: _percentage(one.said.alert_rate)),
        ("Decline rate, before limits", lambda one: _percentage(one.said.decline_rate)),
        ("Alert rate, as decided", lambda one: _percentage(one.decided.alert_rate)),
        ("Decline rate, as decided", lambda one: _percentage(one.decided.decline_rate)),
        ("Decided by stand-ins", lambda one: Count(one.stood_in)),
        ("Labelled", lambda one: Count(one.coverage.labelled)),
        ("Known", lambda one: Count(one.coverage.used)),
        ("Not known yet", lambda one: Count(one.coverage.young)),
        ("Declined, unknown for ever", lambda one: Count(one.coverage.unobserved)),
        ("Precision", lambda one: _with_interval(one.precision)),
        ("Recall", lambda one: _with_interval(one.recall)),
        ("Card precision a day", lambda one: _percentage(one.card_precision)),
        ("Cards investigated a day", lambda one: Count(one.card_budget)),
    )
    rows = tuple((name, *(figure(one) for one in report.figures)) for name, figure in lines)
    note = "Alerts are payments that are reviewed or declined. Precision and recall are of known payments."
    return (DataTable("The arms side by side", heads, rows, note),)


def _percentage(share: float | None) -> Quantity | None:
    return None if share is None else Percentage(share)


def _with_interval(figure: BoundedFigure | None) -> Quantity | None:
    if figure is None or figure.value is None:
        return None
    if figure.interval is None:
        return _percentage(figure.value)
    low, high = figure.interval
    return WithInterval(_percentage(figure.value), _percentage(low), _percentage(high))


def _range(bounds: Interval | None) -> str | None:
    return None if bounds is None else f"{bounds.low:.1%} to {bounds.high:.1%}"


# --- money


def _money(report: ExperimentReport, at: int) -> tuple[Part, ...]:
    currency, arms = report.currencies[at], [(one.name, one.money.get(at)) for one in report.figures]
    frame = ChartFrame(
        "Fraud money of known payments by arm", "Stopped and lost, by what the models said and by what was decided."
    )
    series = (
        BarSeries("stopped, before limits", _minors(arms, lambda one: one.said.stopped_minor)),
        BarSeries("stopped, as decided", _minors(arms, lambda one: one.decided.stopped_minor)),
        BarSeries("lost, before limits", _minors(arms, lambda one: one.said.lost_minor)),
        BarSeries("lost, as decided", _minors(arms, lambda one: one.decided.lost_minor)),
    )
    chart = BarChart(
        frame, tuple(name for name, _ in arms), series, ChartAxis("Money", AxisKind.MONEY, currency), "Arm"
    )
    heads = ("Arm", "Fraud", "Stopped, before limits", "Lost, by the model", "Stopped, as decided", "Lost, as decided")
    rows = tuple((name, *_amounts(money, currency)) for name, money in arms)
    table = DataTable("Fraud money of known payments", heads, rows)
    if at != report.terms.currency:
        return chart, table
    worth = DataTable(
        "What decisions were worth",
        ("Arm", "Loss with costs", "Savings", "Value detection rate"),
        tuple((name, *_worth(money, currency)) for name, money in arms),
        "Savings are of the loss of the cheapest policy that looks at no payment: approve, review or decline all.",
    )
    return chart, table, worth


def _minors(arms: list[tuple[str, ArmMoney | None]], minor: Callable[[ArmMoney], int]) -> tuple[float | None, ...]:
    return tuple(None if money is None else float(minor(money)) for _, money in arms)


def _amounts(money: ArmMoney | None, currency: str) -> Row:
    if money is None:
        return (None,) * 5
    said, decided = money.said, money.decided
    minors = (said.fraud_minor, said.stopped_minor, said.lost_minor, decided.stopped_minor, decided.lost_minor)
    return tuple(Money(minor, currency) for minor in minors)


def _worth(money: ArmMoney | None, currency: str) -> Row:
    if money is None:
        return (None,) * 3
    loss = Money(money.said.loss_minor, currency)
    return loss, _with_interval(money.savings), _with_interval(money.value_detection_rate)


# --- declines, and whether the experiment is sound


def _declines(report: ExperimentReport) -> tuple[Part, ...]:
    heads = ("", *(one.name for one in report.figures))
    lines: tuple[tuple[str, Callable[[ArmFigures], Cell]], ...] = (
        ("Precision, whatever they were", lambda one: _range(one.precision.bounds)),
        ("Recall, whatever they were", lambda one: _range(one.recall.bounds)),
        ("Old declines", lambda one: Count(one.declines.coverage.events)),
        ("Let through", lambda one: Count(one.declines.let_through)),
        ("Lots speak of", lambda one: _percentage(one.declines.coverage.share)),
        ("Precision of declines, by lots", lambda one: _with_interval(BoundedFigure(*one.declines.precision))),
        ("Recall, by lots", lambda one: _with_interval(BoundedFigure(*one.declines.recall))),
    )
    rows = tuple((name, *(figure(one) for one in report.figures)) for name, figure in lines)
    words = (
        "Nobody knows what a declined payment was, unless a lot let it through. Each figure is given for the case that "
        "all were genuine and that all were fraud; where lots were drawn, an estimate without bias stands beside it."
    )
    return Prose(words), DataTable("What can be said of declined payments", heads, rows)


def _soundness(report: ExperimentReport) -> tuple[Part, ...]:
    ratio = report.ratio
    rows = tuple((name, Count(cards), Measure(ratio.expected[name], 0)) for name, cards in ratio.cards.items())
    verdict = "They are not divided as the shares say." if ratio.breached else "Nothing speaks against the division."
    note = f"{verdict} E = {ratio.e:,.3g} against a bound of {1 / ratio.alpha:,.0f} (alpha {ratio.alpha:g})."
    points = tuple(map(_sentence, remarks(report)))
    table = DataTable("Cards by arm", ("Arm", "Cards", "Expected by the shares"), rows, note)
    return (table, Points(points)) if points else (table,)
