"""The sections of an evaluation's page: differences, ranking, alerts, money, calibration, weeks and segments."""

from collections.abc import Iterator, Sequence

from fraudstream.lab.evaluation.report import EvaluatedBin, EvaluationReport, ModelEvaluation, SliceEvaluation
from fraudstream.lab.evaluation.words import quantity, verdict_of_difference, with_interval, words_of
from fraudstream.ops.report.charts.axis import AxisKind, ChartAxis
from fraudstream.ops.report.charts.drawing import ChartFrame
from fraudstream.ops.report.charts.intervals import IntervalChart, IntervalRow
from fraudstream.ops.report.charts.lines import ChartLine, LineChart
from fraudstream.ops.report.charts.reliability import ReliabilityBin, ReliabilityChart, ReliabilityCurve
from fraudstream.ops.report.parts import Cell, Folded, Note, Part
from fraudstream.ops.report.quantities import Count, Measure, Money
from fraudstream.ops.report.tables import DataTable
from fraudstream.ops.rollout.verdict.figures import Figure
from models.times import stated_ms

Row = tuple[Cell, ...]
_RANKING = ("auc", "average_precision", "first_hit_recall", "card_precision")
_ALERTS = ("precision", "recall", "alert_share")
_CALIBRATION = (
    "log_loss",
    "log_loss_below_constant",
    "brier",
    "expected_to_observed",
    "ece",
    "ece_alerts",
    "ece_alerts_by_chance",
)
_BY_WEEK = (
    ("average_precision", "Average precision", AxisKind.NUMBER),
    ("first_hit_recall", "First-hit recall", AxisKind.SHARE),
    ("recall", "Recall of frauds", AxisKind.SHARE),
    ("precision", "Precision of alerts", AxisKind.SHARE),
    ("log_loss_below_constant", "Log loss below the constant's", AxisKind.NUMBER),
)
_SLICE_FIGURES = ("average_precision", "first_hit_recall", "recall", "precision", "expected_to_observed")
_KINDS = {
    "amount": "Band of the amount",
    "channel": "Channel",
    "country": "Country of the merchant",
    "card": "Age of the card in the file",
}
_AMOUNTS = {
    "fraud_minor": "Fraud",
    "stopped_minor": "Fraud alerted",
    "loss_minor": "Loss",
    "trivial_loss_minor": "Loss of the cheapest trivial policy",
}


def labels(report: EvaluationReport) -> list[str]:
    """Return what the models are called on the page: their names, with versions and digests if these are alike."""
    models = [one.model for one in report.models]
    for names in ([one.name for one in models], [f"{one.name} {one.version}" for one in models]):
        if len(set(names)) == len(names):
            return names
    return [model.label for model in models]


def interval_row(name: str, figure: Figure, *, strong: bool = False) -> IntervalRow:
    """Return a figure as a row of a forest plot."""
    low, high = figure.interval or (None, None)
    return IntervalRow(name, figure.value, low, high, strong=strong)


def figure_rows(report: EvaluationReport, keys: Sequence[str]) -> tuple[Row, ...]:
    """Return a row for each figure: of each model, and their difference."""
    found: list[Row] = []
    for key in keys:
        cells: list[Cell] = [with_interval(key, one.figures[key]) for one in report.models]
        if report.differences:
            cells.append(with_interval(key, report.differences[key]))
        found.append((words_of(key).name, *cells))
    return tuple(found)


def heads(report: EvaluationReport, first: str = "") -> tuple[str, ...]:
    """Return the heads of a table with a column for each model."""
    return (first, *labels(report), *(("Difference",) if report.differences else ()))


def paired(report: EvaluationReport) -> Iterator[Part]:
    """Show how the two models differ on the same payments."""
    name, other = labels(report)
    shares = [key for key in report.differences if words_of(key).is_share]
    numbers = ("auc", "average_precision", "card_precision", "ece_alerts")
    note = "Paired over the same draws of cards; 0 is no difference."
    for title, keys, kind in (
        ("Ranking and calibration", numbers, AxisKind.NUMBER),
        ("Alerts and money", shares, AxisKind.SHARE),
    ):
        rows = tuple(interval_row(words_of(key).name, report.differences[key]) for key in keys)
        yield IntervalChart(
            ChartFrame(f"{title}: {name} less {other}", f"{name} is better right of the line, but for errors.", note),
            ChartAxis("Difference", kind),
            rows,
        )
    told = tuple(
        (words_of(key).name, with_interval(key, figure), verdict_of_difference(key, figure.interval))
        for key, figure in report.differences.items()
        if words_of(key).more_is_better is not None
    )
    yield DataTable(f"{name} less {other}", ("", "Difference", f"{name} is"), told, "Intervals of 95 % in brackets.")


def ranking(report: EvaluationReport) -> Iterator[Part]:
    """Show how well frauds are ranked above genuine payments."""
    yield DataTable("Ranking over all thresholds", heads(report), figure_rows(report, _RANKING), _K.format(report))
    points = [_curve(name, one) for name, one in zip(labels(report), report.models, strict=True)]
    yield LineChart(
        ChartFrame(
            "Precision and recall",
            "The share of frauds among alerts, by the share of frauds that are alerts, over all thresholds.",
            "Each point is a threshold; to the right more payments are alerts.",
        ),
        ChartAxis("Recall of frauds", AxisKind.SHARE),
        ChartAxis("Precision of alerts", AxisKind.SHARE),
        tuple(points),
        span=(0.0, 1.0),
    )


_K = "Card precision is the mean over days of the share of cards with a fraud among the {0.cards_a_day} highest."


def _curve(name: str, one: ModelEvaluation) -> ChartLine:
    return ChartLine(name, tuple(point.recall for point in one.curve), tuple(point.precision for point in one.curve))


def alerts(report: EvaluationReport) -> Iterator[Part]:
    """Show alerts by the models' own thresholds or costs, and at budgets of alerts a day."""
    yield DataTable("By the policy of the model", heads(report), figure_rows(report, _ALERTS))
    days = report.data.days
    counts: list[Row] = [
        ("Alerts", *(Count(one.alerts) for one in report.models)),
        ("Reviews", *(Count(one.reviews) for one in report.models)),
        ("Declines", *(Count(one.declines) for one in report.models)),
        ("Alerts a day", *(Measure(one.alerts / days, 1) for one in report.models)),
    ]
    yield DataTable("Counts", ("", *labels(report)), tuple(counts))
    for key, title, name in (
        ("precision", "Precision", "Precision of alerts"),
        ("recall", "Recall", "Recall of frauds"),
    ):
        lines = tuple(_budget_line(label, one, key) for label, one in zip(labels(report), report.models, strict=True))
        told = f"{name} if a team works on the highest scores of each day."
        yield LineChart(
            ChartFrame(f"{title} at a budget", told, _note_on_bands(lines)),
            ChartAxis("Alerts a day", AxisKind.COUNT),
            ChartAxis(name, AxisKind.SHARE),
            lines,
        )
    measures = ("precision", "recall", "first_hit_recall")
    keys = [f"{key}@{one.budget}" for one in report.models[0].budgets for key in measures]
    yield DataTable("At a budget of alerts a day", heads(report), figure_rows(report, keys))


def _budget_line(label: str, one: ModelEvaluation, key: str) -> ChartLine:
    figures: list[Figure] = [getattr(budget, key) for budget in one.budgets]
    x = tuple(float(budget.budget) for budget in one.budgets)
    return _banded(label, x, figures)


def _note_on_bands(lines: Sequence[ChartLine]) -> str:
    return "The band is the interval of 95 % by card." if any(line.low for line in lines) else ""


def _banded(label: str, x: tuple[float, ...], figures: Sequence[Figure]) -> ChartLine:
    lows = tuple(None if one.interval is None else one.interval.low for one in figures)
    highs = tuple(None if one.interval is None else one.interval.high for one in figures)
    if all(low is None for low in lows):
        return ChartLine(label, x, tuple(one.value for one in figures))
    return ChartLine(label, x, tuple(one.value for one in figures), lows, highs)


def money(report: EvaluationReport) -> Iterator[Part]:
    """Show what decisions cost and what is saved: in the currency with most fraud money, and in the others, folded."""
    known = [code for code, one in report.models[0].money.items() if one.payments]
    ordered = sorted(known, key=lambda code: -Money(report.models[0].money[code].fraud_minor, code).magnitude)
    for code in ordered[:1]:
        yield from _money_in(report, code)
    yield from (Folded(f"{code}, {_payments(report, code)}", tuple(_money_in(report, code))) for code in ordered[1:])


def _payments(report: EvaluationReport, code: str) -> str:
    return f"{report.models[0].money[code].payments:,} payments"


def _money_in(report: EvaluationReport, currency: str) -> Iterator[Part]:
    first = report.models[0].money[currency]
    keys = [f"savings.{currency}", f"value_detection_rate.{currency}"]
    keys += [f"value_detection_rate@{one.budget}.{currency}" for one in report.models[0].budgets]
    yield DataTable(f"Shares of the money in {currency}", heads(report), figure_rows(report, keys))
    amounts: list[Row] = [
        (name, *(Money(getattr(one.money[currency], key), currency) for one in report.models))
        for key, name in _AMOUNTS.items()
    ]
    note = f"{_payments(report, currency)}, {first.frauds:,} of them fraud. Assumed: {first.costs}."
    yield DataTable(f"Amounts in {currency}", ("", *labels(report)), tuple(amounts), note)


def calibration(report: EvaluationReport) -> Iterator[Part]:
    """Show whether scores are probabilities, over all payments and among alerts."""
    yield DataTable("Scores as probabilities", heads(report), figure_rows(report, _CALIBRATION))
    names = labels(report)
    for title, bins, logarithmic in (
        ("Reliability over all payments", [one.bins for one in report.models], True),
        ("Reliability among alerts", [one.alert_bins for one in report.models], False),
    ):
        yield ReliabilityChart(
            ChartFrame(title, "On the diagonal a score is the probability of fraud.", "Bins of about equal count."),
            tuple(_reliability(name, one) for name, one in zip(names, bins, strict=True)),
            logarithmic=logarithmic,
        )


def _reliability(name: str, bins: Sequence[EvaluatedBin]) -> ReliabilityCurve:
    found = []
    for one in bins:
        share = one.fraud_share.value or 0.0
        low, high = one.fraud_share.interval or (share, share)
        found.append(ReliabilityBin(one.mean_score, share, low, high, one.payments))
    return ReliabilityCurve(name, tuple(found))


def weeks(report: EvaluationReport) -> Iterator[Part]:
    """Show the figures week by week."""
    if not report.weeks:
        return
    yield Note("Weeks begin with the first day that counts; the last may be shorter.")
    x = tuple(float(stated_ms(one.since or "")) for one in report.weeks)
    for key, title, kind in _BY_WEEK:
        lines = tuple(
            _banded(name, x, [week.figures[place][key] for week in report.weeks])
            for place, name in enumerate(labels(report))
        )
        yield LineChart(
            ChartFrame(f"{title} by week", f"{title} of each week.", _note_on_bands(lines)),
            ChartAxis("Begin of the week", AxisKind.TIME),
            ChartAxis(title, kind),
            lines,
        )
    keys = (
        "average_precision", "first_hit_recall", "card_precision", "recall", "precision", "expected_to_observed",
        "score_stability",
    )  # fmt: skip
    for place, name in enumerate(labels(report)):
        yield _slice_table(f"{name} by week", "Week from", report.weeks, (place, keys))


def segments(report: EvaluationReport) -> Iterator[Part]:
    """Show the figures of each segment, kind by kind."""
    kinds = {one.kind: [each for each in report.segments if each.kind == one.kind] for one in report.segments}
    for kind, slices in kinds.items():
        title = _KINDS.get(kind, kind)
        yield _recall_chart(title, slices, labels(report))
        for place, name in enumerate(labels(report)):
            yield _slice_table(f"{title}, {name}", title, slices, (place, _SLICE_FIGURES))


def _recall_chart(title: str, slices: Sequence[SliceEvaluation], names: Sequence[str]) -> IntervalChart:
    rows = tuple(
        interval_row(one.name if len(names) == 1 else f"{one.name}: {name}", one.figures[place]["recall"])
        for one in slices
        for place, name in enumerate(names)
    )
    return IntervalChart(
        ChartFrame(f"Recall by {title.lower()}", "The share of frauds that are alerts in each segment."),
        ChartAxis("Recall of frauds", AxisKind.SHARE),
        rows,
        reference=None,
    )


def _slice_table(
    caption: str, first: str, slices: Sequence[SliceEvaluation], chosen: tuple[int, Sequence[str]]
) -> DataTable:
    place, keys = chosen
    rows: list[Row] = []
    for one in slices:
        figures = (with_interval(key, one.figures[place][key]) for key in keys)
        share = quantity("recall", one.fraud_share.value)
        rows.append((one.name, Count(one.payments), Count(one.frauds), share, *figures))
    shown = (words_of(key).name for key in keys)
    return DataTable(caption, (first, "Payments", "Frauds", "Fraud share", *shown), tuple(rows))
