"""The report of a distillation: what the student saves in time, and what it loses elsewhere."""

from collections.abc import Iterator

from fraudstream.lab.distillation.report import DistillationReport, FigureInterval, SizeResult, TeacherStudentFigures
from fraudstream.lab.distillation.speed import BATCH_ROWS
from fraudstream.ops.report.charts.axis import AxisKind, ChartAxis
from fraudstream.ops.report.charts.drawing import ChartFrame
from fraudstream.ops.report.charts.front import FrontChart, FrontPoint
from fraudstream.ops.report.charts.intervals import IntervalChart, IntervalRow
from fraudstream.ops.report.decisions import DecisionCell, DecisionMatrix
from fraudstream.ops.report.document import Headline, Provenance, Report, Section, Tone
from fraudstream.ops.report.parts import Cell, KeyFigure, KeyFigures, Note, Part
from fraudstream.ops.report.quantities import (
    Count,
    Measure,
    Money,
    Numeric,
    Percentage,
    Quantity,
    WithInterval,
    quantity_text,
)
from fraudstream.ops.report.tables import DataTable
from models.commands import SHORT_DIGEST
from models.times import stated_ms
from stream.code_version import code_version
from stream.contract.money import money_text

Row = tuple[Cell, ...]
_DECIMALS = 4
_MEASURES = {
    "auc": "AUC",
    "average_precision": "Average precision",
    "card_precision_at_100": "Card precision at 100 a day",
    "alert_rate": "Alert rate",
    "decline_rate": "Decline rate",
    "recall_at_review": "Recall of alerts",
    "precision_at_review": "Precision of alerts",
    "brier": "Brier score",
}
"""The measures of a manifest that are shown, with their names for readers."""
_FOOTNOTES = (
    "All figures are of the held-back part, the end of the file, on which nothing of either model was trained.",
    "The student learned the teacher's scores of the train part and no labels.",
    "By the calibrate part it was calibrated, on labels, and given thresholds that flag as much as its teacher there.",
    "AUC and average precision are of cards not known compromised when the payment's day began, as in `evaluate`.",
    "Intervals are 95 %, for one look, by bootstrap over cards; ranks are those of the whole part.",
    "Savings are the avoided part of the loss of the cheapest of approving, reviewing and declining everything.",
    f"Times are the processor time of a row, medians of calls in turn, alone and in batches of {BATCH_ROWS}.",
)


def state_distillation(report: DistillationReport, made_ms: int) -> Report:
    """Return a report for a page and for a terminal alike; the same report and time give the same bytes.

    Args:
        report: what was measured.
        made_ms: when the report was made, in milliseconds since 1970 UTC.
    """
    sections = {
        "In short": _in_short(report),
        "What they decide differently": _swaps(report),
        "Money and ranking": _money_and_ranking(report),
        "By segment": _segments(report),
        "Speed": _speed(report),
        "Sizes": _sizes(report) if report.sizes else (),
    }
    part = report.held_back
    return Report(
        f"Student {report.name} {report.digest[:SHORT_DIGEST]}",
        f"{report.size} (trees x leaves), distilled from {_teacher_text(report)}",
        _headline(report),
        tuple(Section(title, tuple(parts)) for title, parts in sections.items()),
        Provenance(
            f"{part.rows:,} payments held back, {part.frauds:,} of them fraud, of {report.rows:,} in the file",
            stated_ms(part.since),
            stated_ms(part.until),
            made_ms,
            code_version(),
        ),
        (*_FOOTNOTES, f"Costs: {report.costs}."),
    )


def _headline(report: DistillationReport) -> Headline:
    alike, ratio = _percentage(report.comparison.agreement), report.speed.batch_ratio
    faster = "" if ratio is None else f", {ratio:.1f} times as fast"
    words = f"The student decides {quantity_text(alike)} of the payments as its teacher does{faster}"
    warned = "Read what to know before it is promoted." if report.warnings else ""
    return Headline(words, Tone.WAIT if report.warnings else Tone.PLAIN, f"Model {report.digest}", warned)


def _teacher_text(report: DistillationReport) -> str:
    """Return who taught: a model, models with their weights, or a file of scores."""
    if report.scores is not None:
        return f"scores {report.scores.file}, of a model trained until {report.scores.trained_until}"
    named = [(f"{one.name} {one.version} {one.digest[:SHORT_DIGEST]}", one.weight) for one in report.teachers]
    if len(named) == 1:
        return named[0][0]
    return " + ".join(f"{weight:.3g} {name}" for name, weight in named)


def _in_short(report: DistillationReport) -> Iterator[Part]:
    both, speed = report.comparison, report.speed
    swaps = [one for one in report.decisions if one.is_swap]
    yield KeyFigures(
        (
            KeyFigure("Decided alike", _percentage(both.agreement), "of the payments"),
            KeyFigure("Decided differently", Count(sum(one.events for one in swaps)), _swapped_money(report)),
            KeyFigure("Average precision lost", _measure(both.average_precision_lost), _of(both)),
            KeyFigure("Savings lost", _percentage(both.money.savings_lost), "of the avoidable loss"),
            KeyFigure("Alerts against the teacher's", _percentage(both.volume_ratio), _alerts(report)),
            KeyFigure(
                "Faster in a batch",
                None if speed.batch_ratio is None else Measure(speed.batch_ratio, 1, "times"),
                f"{speed.student.batch_us:.2f} \N{MICRO SIGN}s a row",
            ),
        )
    )
    yield Note(
        f"The student uses {len(report.features)} features: {', '.join(report.features)}. It learned the teacher's "
        f"{report.target} on {report.train.rows:,} payments, with a learning rate of {report.learning_rate:g}."
    )
    if report.warnings:
        yield Note("What to know before it is promoted:")
        yield Note(points=tuple(f"{one[0].upper()}{one[1:]}." for one in report.warnings))
    parts = (("Train", report.train), ("Calibrate", report.calibrate), ("Held back", report.held_back))
    yield DataTable(
        "What it was made of",
        ("", "Of the file"),
        (
            *((name, f"{one.rows:,} rows, {one.frauds:,} frauds, {one.since} to {one.until}") for name, one in parts),
            ("Policy", f"review from {report.review_at:.4f}, decline from {report.decline_at:.4f}"),
        ),
    )


def _of(both: TeacherStudentFigures) -> str:
    teacher, student = both.teacher_average_precision, both.student_average_precision
    return "" if teacher is None or student is None else f"{teacher:.4f} to {student:.4f}"


def _alerts(report: DistillationReport) -> str:
    return f"{report.comparison.student_alerts:,} to {report.comparison.teacher_alerts:,}"


def _swapped_money(report: DistillationReport) -> str:
    found: dict[str, int] = {}
    for one in report.decisions:
        if one.is_swap:
            for currency, amount in one.amount_minor.items():
                found[currency] = found.get(currency, 0) + amount
    return money_text(found)


def _percentage(figure: FigureInterval) -> Quantity | None:
    if figure.value is None:
        return None
    ends = (None if end is None else Percentage(end) for end in (figure.low, figure.high))
    return _with_ends(Percentage(figure.value), *ends)


def _measure(figure: FigureInterval) -> Quantity | None:
    if figure.value is None:
        return None
    ends = (None if end is None else Measure(end, _DECIMALS) for end in (figure.low, figure.high))
    return _with_ends(Measure(figure.value, _DECIMALS), *ends)


def _with_ends(estimate: Numeric, low: Numeric | None, high: Numeric | None) -> Quantity:
    return estimate if low is None and high is None else WithInterval(estimate, low, high)


def _swaps(report: DistillationReport) -> Iterator[Part]:
    currency = report.comparison.money.currency
    cells = {
        (one.teacher, one.student): DecisionCell(one.events, one.amount_minor.get(currency, 0))
        for one in report.decisions
    }
    yield DecisionMatrix(f"Payments by both decisions, amounts in {currency}", "Teacher", "Student", currency, cells)
    if all(not one.is_swap for one in report.decisions):
        yield Note("They decide everything alike.")
        return
    yield DataTable(
        "Each pair of different decisions",
        ("From teacher to student", "Payments", "Cards", "Amounts", "Frauds", "Fraud amounts"),
        tuple(
            (
                f"{one.teacher} to {one.student}",
                Count(one.events),
                Count(one.cards),
                money_text(one.amount_minor),
                Count(one.frauds),
                money_text(one.fraud_minor),
            )
            for one in report.decisions
            if one.is_swap
        ),
    )


def _money_and_ranking(report: DistillationReport) -> Iterator[Part]:
    both, money = report.comparison, report.comparison.money
    losses = (money.teacher_loss_minor, money.student_loss_minor)
    yield DataTable(
        "Alerts and declines",
        ("", "Teacher", "Student"),
        (
            ("Alerts", Count(both.teacher_alerts), Count(both.student_alerts)),
            ("Declines", Count(both.teacher_declines), Count(both.student_declines)),
        ),
    )
    yield DataTable(
        f"Losses in {money.currency}, on {money.rows:,} payments",
        ("", "Teacher", "Student", "Lost"),
        (
            ("Loss", *(Money(one, money.currency) for one in losses), Money(losses[1] - losses[0], money.currency)),
            ("Savings", _share(money.teacher_savings), _share(money.student_savings), _percentage(money.savings_lost)),
        ),
        f"Fraud in all: {money_text({money.currency: money.fraud_minor})}.",
    )
    yield DataTable(
        "Scores",
        ("", "Figure"),
        (
            ("Rank correlation (Spearman)", _measure(both.rank_correlation)),
            ("Mean absolute difference of scores", _measure(both.score_difference)),
        ),
    )
    yield DataTable(
        "Each model alone",
        ("", "Teacher", "Student"),
        tuple(
            (name, Measure(report.teacher_metrics[key], _DECIMALS), Measure(report.metrics[key], _DECIMALS))
            for key, name in _MEASURES.items()
            if key in report.metrics and key in report.teacher_metrics
        ),
    )


def _share(value: float | None) -> Quantity | None:
    return None if value is None else Percentage(value)


def _segments(report: DistillationReport) -> Iterator[Part]:
    named = [(f"{one.by}: {one.name}", one) for one in report.segments]
    yield IntervalChart(
        ChartFrame(
            "Average precision lost, by segment",
            "Right of the line the student is worse.",
            "The teacher's less the student's, with 95 % intervals by card; none below 50 cards with a fraud.",
        ),
        ChartAxis("Average precision lost"),
        tuple(IntervalRow(name, *_ends(one.figures.average_precision_lost)) for name, one in named),
    )
    yield DataTable(
        "Decisions",
        ("Segment", "Payments", "Frauds", "Decided alike", "Different", "Their amounts", "Savings lost"),
        tuple(
            (
                name,
                Count(one.figures.rows),
                Count(one.figures.frauds),
                _percentage(one.figures.agreement),
                Count(one.swaps),
                Money(one.swapped_minor, one.figures.money.currency),
                _percentage(one.figures.money.savings_lost),
            )
            for name, one in named
        ),
    )
    yield DataTable(
        "Ranking",
        ("Segment", "Teacher's average precision", "Student's", "Rank correlation", "Mean difference of scores"),
        tuple(
            (
                name,
                _number(one.figures.teacher_average_precision),
                _number(one.figures.student_average_precision),
                _number(one.figures.rank_correlation.value),
                _number(one.figures.score_difference.value),
            )
            for name, one in named
        ),
    )


def _number(value: float | None) -> Quantity | None:
    return None if value is None else Measure(value, _DECIMALS)


def _ends(figure: FigureInterval) -> tuple[float | None, float | None, float | None]:
    return figure.value, figure.low, figure.high


def _speed(report: DistillationReport) -> Iterator[Part]:
    speed = report.speed
    if speed.teacher is None:
        yield Note("The teacher is a file of scores, so only the student's time is known.")
    rows: list[Row] = []
    for name, time in (("Teacher", speed.teacher), ("Student", speed.student)):
        if time is not None:
            rows.append((name, _us(time.single_us), _us(time.batch_us)))
    if speed.single_ratio is not None and speed.batch_ratio is not None:
        rows.append(("Faster", f"{speed.single_ratio:.1f} times", f"{speed.batch_ratio:.1f} times"))
    yield DataTable("Processor time of one row", ("", "Alone", f"In a batch of {BATCH_ROWS}"), tuple(rows))


def _us(value: float) -> Measure:
    return Measure(value, 2, "\N{MICRO SIGN}s")


def _sizes(report: DistillationReport) -> Iterator[Part]:
    time = ChartAxis(f"Microseconds a row, in a batch of {BATCH_ROWS}")
    note = "Each point is a student: trees x leaves (x features). Lines are 95 % intervals by card."
    yield FrontChart(
        ChartFrame("Average precision lost against time", "Lower and further left is better.", note),
        time,
        ChartAxis("Average precision lost"),
        tuple(_points(report.sizes, "average_precision_lost")),
    )
    yield FrontChart(
        ChartFrame(
            "Savings lost against time",
            "Lower and further left is better.",
            f"{note} The line joins the sizes that are on the front of average precision.",
        ),
        time,
        ChartAxis("Savings lost", AxisKind.SHARE),
        tuple(_points(report.sizes, "savings_lost")),
    )
    yield DataTable(
        "All sizes, the fastest first",
        ("Size", "Features", "Alone", "In a batch", "Average precision lost", "Savings lost", "Alike", "Front"),
        tuple(
            (
                f"{one.size} (stored)" if one.stored else one.size,
                Count(one.features),
                _us(one.time.single_us),
                _us(one.time.batch_us),
                _measure(one.average_precision_lost),
                _percentage(one.savings_lost),
                _percentage(one.agreement),
                one.on_front,
            )
            for one in report.sizes
        ),
        "On the front: no other size is at least as fast in a batch, loses at most as much average precision, and is "
        "better in one of the two.",
    )


def _points(sizes: tuple[SizeResult, ...], key: str) -> Iterator[FrontPoint]:
    for one in sizes:
        figure: FigureInterval = getattr(one, key)
        if figure.value is not None:
            name = f"{one.size} (stored)" if one.stored else one.size
            yield FrontPoint(name, one.time.batch_us, figure.value, figure.low, figure.high, one.on_front)
