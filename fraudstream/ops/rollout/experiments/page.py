"""The report of an experiment: a sentence, who loses less and how sure that is, the arms, their money, soundness."""

from collections.abc import Callable, Iterable, Iterator

from fraudstream.ops.report.charts.axis import AxisKind, ChartAxis
from fraudstream.ops.report.charts.bars import BarChart, BarSeries
from fraudstream.ops.report.charts.drawing import ChartFrame
from fraudstream.ops.report.charts.intervals import IntervalChart, IntervalRow
from fraudstream.ops.report.document import Headline, Provenance, Report, Section, Tone
from fraudstream.ops.report.parts import Cell, Folded, KeyFigure, KeyFigures, Note, Part
from fraudstream.ops.report.quantities import (
    Count,
    MeanMoney,
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
from fraudstream.ops.rollout.experiments.words import headline_words, missing_lines, promises, remarks, verdict_line
from fraudstream_client.arms import LIVE
from guards.shares import share_text
from metrics.intervals import Interval
from models.commands import SHORT_DIGEST

_FOOTNOTES = (
    "A card's arm is fixed by chance; all it pays in the experiment counts for that arm, whatever decided it.",
    "Models are judged by what they said; what was decided in the end is what was really lost and stopped.",
    "Known payments occurred before all had a label or were old enough; declined ones without a label are not known.",
)
Row = tuple[Cell, ...]


def state_split(report: ExperimentReport, made_ms: int, version: str) -> Report:
    """Return a report for a page and for a terminal alike; the same report, time and version give the same bytes.

    Args:
        report: what was computed.
        made_ms: when the report was made, in milliseconds since 1970 UTC.
        version: of fraudstream.
    """
    experiment, as_of_ms = report.experiment, report.terms.maturity.as_of_ms
    named = ", ".join(f"{name} {digest[:SHORT_DIGEST]}" for name, digest in experiment.models.items())
    decided = sum(one.said.total for one in report.figures)
    final, waiting = len(report.losses.arms), len(report.losses.waiting_ms)
    measured = (
        f"{decided:,} decisions of the experiment; {final:,} cards are mature, {waiting:,} are waited for; outcomes "
        f"until {quantity_text(Moment(as_of_ms))}"
    )
    return Report(
        f"Experiment of revision {experiment.first}",
        named,
        _headline(report),
        (
            Section("Who loses less", _differences(report)),
            Section("The arms", _arms(report)),
            *_money_sections(report),
            Section("Declined payments", _declines(report)),
            Section("Whether the experiment is sound", _soundness(report)),
        ),
        Provenance(measured, experiment.since_ms, experiment.until_ms or as_of_ms, made_ms, version),
        (*map(_sentence, promises(report)), *_FOOTNOTES),
    )


def _headline(report: ExperimentReport) -> Headline:
    if report.ratio.breached or report.misassigned:
        tone = Tone.BAD
    else:
        tone = Tone.WAIT if report.winner is None else Tone.GOOD
    return Headline(headline_words(report), tone, verdict_line(report))


def _sentence(words: str) -> str:
    """Return words as a sentence; not of those that begin with the name of an arm."""
    return f"{words[0].upper()}{words[1:]}."


# --- who loses less


def _differences(report: ExperimentReport) -> tuple[Part, ...]:
    to = LIVE if any(arm.name == LIVE for arm in report.experiment.arms) else report.experiment.arms[-1].name
    known = [one for one in report.standings.differences if _is_known(one, report)]
    beside = [one for one in report.standings.to(to) if _is_known(one, report)]
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
            tuple(_pair_row(one, report.currency) for one in known),
        ),
        DataTable(
            "Loss of each final card, by cohort of first payments",
            ("From", "Cards", *(arm.name for arm in report.experiment.arms)),
            tuple(_cohort_rows(report)),
            "Cards that pay often appear first. At least, where declined payments have no outcome.",
        ),
        *((Note("What is missing:"), Note(points=missing)) if missing else ()),
    )


def _is_known(one: ArmDifference, report: ExperimentReport) -> bool:
    """Tell whether both arms have mature cards; without them an interval reaches from cap to cap."""
    return all(report.standings.arms[name].cards for name in (one.first, one.second))


def _cohort_rows(report: ExperimentReport) -> Iterator[Row]:
    arms, cap, code = report.experiment.arms, report.terms.cap_minor, report.currency
    for begin_ms, own in report.losses.cohorts(report.terms):
        lows = (one.low for one in arm_losses(own, arms, cap).values())
        yield (
            Moment(begin_ms),
            Count(len(own.arms)),
            *(None if low is None else MeanMoney(low, code) for low in lows),
        )


def _loss_figure(report: ExperimentReport, name: str) -> KeyFigure:
    loss = report.standings.arms[name]
    low, high = (None if end is None else MeanMoney(end, report.currency) for end in (loss.low, loss.high))
    shown = low if low == high else WithInterval(None, low, high)
    return KeyFigure(f"Loss per card, {name}", shown, f"{loss.cards:,} mature cards")


def _interval_row(one: ArmDifference, report: ExperimentReport) -> IntervalRow:
    first, second = report.standings.arms[one.first], report.standings.arms[one.second]
    known = None not in (first.low, first.high, second.low, second.high)
    estimate = (first.low + first.high - second.low - second.high) / 2 if known else None  # type: ignore[operator]
    low, high = (None, None) if one.interval is None else one.interval
    return IntervalRow(one.first, estimate, low, high, strong=one.first == report.winner)


def _pair_row(one: ArmDifference, currency: str) -> Row:
    if one.interval is None:
        return one.first, one.second, "it has changed", "", "not yet"
    low, high = (MeanMoney(end, currency) for end in one.interval)
    return one.first, one.second, low, high, one.lower or "not yet"


# --- the arms


def _arms(report: ExperimentReport) -> tuple[Part, ...]:
    limited = any(one.said != one.decided for one in report.figures)
    heads = ("", *(f"{one.name} {share_text(one.share_bp)}" for one in report.figures))
    lines: tuple[tuple[str, Callable[[ArmFigures], Cell]], ...] = (
        ("Cards", lambda one: Count(one.cards)),
        ("Decisions", lambda one: Count(one.said.total)),
        ("Alert rate, before limits", lambda one: _percentage(one.said.alert_rate)),
        ("Decline rate, before limits", lambda one: _percentage(one.said.decline_rate)),
        ("Alert rate, as decided", lambda one: _percentage(one.decided.alert_rate) if limited else None),
        ("Decline rate, as decided", lambda one: _percentage(one.decided.decline_rate) if limited else None),
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


def _percentage(share: float | None) -> Percentage | None:
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


def _money_sections(report: ExperimentReport) -> Iterator[Section]:
    """Yield the money of the currency in which arms are compared; the others are folded, that of most fraud first.

    A currency in which nothing was lost or stopped is left out.
    """
    sums = {at: _fraud_and_loss(report, at) for at in range(len(report.currencies))}
    compared = report.terms.currency
    others = sorted((at for at, money in sums.items() if money and at != compared), key=lambda at: -sums[at])
    yield Section(
        f"Money in {report.currency}",
        (_money_chart(report, compared), *_money(report, compared)) if sums[compared] else (),
    )
    folded = (Folded(report.currencies[at], _money(report, at)) for at in others)
    yield Section("Money in other currencies", tuple(folded))


def _fraud_and_loss(report: ExperimentReport, at: int) -> float:
    """Return the fraud and the loss of all arms in a currency, in its major units."""
    sums = [one.money[at].said for one in report.figures if at in one.money]
    return Money(sum(one.fraud_minor + one.loss_minor for one in sums), report.currencies[at]).magnitude


def _money_chart(report: ExperimentReport, at: int) -> BarChart:
    currency, arms = report.currencies[at], _moneys(report, at)
    frame = ChartFrame(
        f"Fraud money of known payments by arm, {currency}",
        "Stopped and lost, by what the models said and by what was decided.",
    )
    series = (BarSeries(name, _minors(arms, minor)) for name, minor in _told_amounts(arms).items())
    axis = ChartAxis("Money", AxisKind.MONEY, currency)
    return BarChart(frame, tuple(name for name, _ in arms), tuple(series), axis, "Arm")


def _money(report: ExperimentReport, at: int) -> tuple[Part, ...]:
    currency, arms = report.currencies[at], _moneys(report, at)
    amounts = {"Fraud": lambda money: money.said.fraud_minor, **_told_amounts(arms)}
    rows = tuple((name, *_amounts(money, amounts.values(), currency)) for name, money in arms)
    worth = DataTable(
        f"What decisions were worth, {currency}",
        ("Arm", "Loss with costs", "Savings", "Value detection rate"),
        tuple((name, *_worth(money, currency, is_priced=at == report.terms.currency)) for name, money in arms),
        "Savings are of the loss of the cheapest policy that looks at no payment: approve, review or decline all.",
    )
    return DataTable(f"Fraud money of known payments, {currency}", ("Arm", *amounts), rows), worth


def _moneys(report: ExperimentReport, at: int) -> list[tuple[str, ArmMoney | None]]:
    return [(one.name, one.money.get(at)) for one in report.figures]


def _told_amounts(arms: list[tuple[str, ArmMoney | None]]) -> dict[str, Callable[[ArmMoney], int]]:
    """Return the amounts that are shown; those as decided only where they differ from what the models said."""
    limited = any(money is not None and money.said != money.decided for _, money in arms)
    return {name: minor for name, minor in _AMOUNTS if limited or "as decided" not in name}


_AMOUNTS: tuple[tuple[str, Callable[[ArmMoney], int]], ...] = (
    ("Stopped, before limits", lambda money: money.said.stopped_minor),
    ("Stopped, as decided", lambda money: money.decided.stopped_minor),
    ("Lost, before limits", lambda money: money.said.lost_minor),
    ("Lost, as decided", lambda money: money.decided.lost_minor),
)


def _minors(arms: list[tuple[str, ArmMoney | None]], minor: Callable[[ArmMoney], int]) -> tuple[float | None, ...]:
    return tuple(None if money is None else float(minor(money)) for _, money in arms)


def _amounts(money: ArmMoney | None, minors: Iterable[Callable[[ArmMoney], int]], currency: str) -> Row:
    return tuple(None if money is None else Money(minor(money), currency) for minor in minors)


def _worth(money: ArmMoney | None, currency: str, *, is_priced: bool) -> Row:
    if money is None:
        return (None,) * 3
    loss = Money(money.said.loss_minor, currency) if is_priced else None
    return loss, _with_interval(money.savings), _with_interval(money.value_detection_rate)


# --- declines, and whether the experiment is sound


def _declines(report: ExperimentReport) -> tuple[Part, ...]:
    if not any(one.coverage.unobserved or one.declines.coverage.events for one in report.figures):
        return ()
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
    return Note(words), DataTable("What can be said of declined payments", heads, rows)


def _soundness(report: ExperimentReport) -> tuple[Part, ...]:
    ratio = report.ratio
    rows = tuple((name, Count(cards), Measure(ratio.expected[name], 0)) for name, cards in ratio.cards.items())
    verdict = "They are not divided as the shares say." if ratio.breached else "Nothing speaks against the division."
    note = f"{verdict} E = {ratio.e:,.3g} against a bound of {1 / ratio.alpha:,.0f} (alpha {ratio.alpha:g})."
    points = tuple(map(_sentence, remarks(report)))
    table = DataTable("Cards by arm", ("Arm", "Cards", "Expected by the shares"), rows, note)
    return (table, Note(points=points)) if points else (table,)
