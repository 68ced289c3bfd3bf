"""The report of a distillation as tables for a terminal."""

from collections.abc import Callable, Iterator

from rich.console import Group, RenderableType
from rich.table import Table

from fraudstream.lab.distillation.report import DistillationReport, FigureInterval
from fraudstream.lab.distillation.speed import BATCH_ROWS
from metrics.ranking import RANKED_CARDS
from stream.contract.money import money_text

MEASURES = {
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
_SHORT = 12
_NONE = "n/a"


def teacher_text(report: DistillationReport) -> str:
    """Return who taught: a model, models with their weights, or a file of scores."""
    if report.scores is not None:
        return f"scores {report.scores.file}, of a model trained until {report.scores.trained_until}"
    named = [(f"{one.name} {one.version} {one.digest[:_SHORT]}", one.weight) for one in report.teachers]
    if len(named) == 1:
        return named[0][0]
    return " + ".join(f"{weight:.3g} {name}" for name, weight in named)


def report_tables(report: DistillationReport) -> RenderableType:
    """Lay out the whole report."""
    parts: list[RenderableType] = [_summary(report), _both(report), _swaps(report)]
    if report.sizes:
        parts.append(_sizes(report))
    return Group(*parts)


def _summary(report: DistillationReport) -> Table:
    table = Table(title=f"{report.name} {report.version}", show_header=False, title_justify="left")
    table.add_row("digest", report.digest)
    table.add_row("teacher", teacher_text(report))
    table.add_row(
        "student",
        f"{report.size} (trees x leaves), {len(report.features)} features, learned {report.target} at a rate of "
        f"{report.learning_rate:g}",
    )
    for name, part in (("train", report.train), ("calibrate", report.calibrate), ("held back", report.held_back)):
        table.add_row(name, f"{part.since} to {part.until}: {part.rows:,} rows, {part.frauds:,} frauds")
    table.add_row("policy", f"review from {report.review_at:.4f}, decline from {report.decline_at:.4f}")
    for name, text in _speed_lines(report):
        table.add_row(name, text, style="bold")
    return table


def _speed_lines(report: DistillationReport) -> Iterator[tuple[str, str]]:
    speed = report.speed
    student, teacher = speed.student, speed.teacher
    if teacher is None:
        yield "time of a row", f"{student.single_us:.1f} us alone, {student.batch_us:.2f} us in a batch of {BATCH_ROWS}"
        return
    for name, ratio, pair in (
        ("alone", speed.single_ratio, (teacher.single_us, student.single_us)),
        (f"in a batch of {BATCH_ROWS}", speed.batch_ratio, (teacher.batch_us, student.batch_us)),
    ):
        yield f"a row {name}", f"{ratio:.1f} times as fast: {pair[1]:.2f} us, teacher {pair[0]:.2f} us"


def _both(report: DistillationReport) -> Table:
    both, money = report.comparison, report.comparison.money
    table = _plain("held back", "teacher", "student", "difference")
    table.add_row("alerts", f"{both.teacher_alerts:,}", f"{both.student_alerts:,}", _percent(both.volume_ratio))
    table.add_row("declines", f"{both.teacher_declines:,}", f"{both.student_declines:,}", "")
    precision = (both.teacher_average_precision, both.student_average_precision)
    lost = f"lost {_number(both.average_precision_lost)}"
    table.add_row(f"average precision, {RANKED_CARDS}", *map(_value, precision), lost)
    savings = (f"{one:.2%}" if one is not None else _NONE for one in (money.teacher_savings, money.student_savings))
    table.add_row("savings", *savings, f"lost {_percent(money.savings_lost)}")
    losses = (money_text({money.currency: one}) for one in (money.teacher_loss_minor, money.student_loss_minor))
    table.add_row("loss", *losses, "")
    table.add_row("decided alike", "", "", _percent(both.agreement))
    table.add_row("rank correlation", "", "", _number(both.rank_correlation))
    table.add_row("mean difference of scores", "", "", _number(both.score_difference))
    for key, name in MEASURES.items():
        if key != "average_precision" and key in report.metrics and key in report.teacher_metrics:
            table.add_row(name.lower(), f"{report.teacher_metrics[key]:.4f}", f"{report.metrics[key]:.4f}", "")
    return table


def _swaps(report: DistillationReport) -> Table:
    table = _plain("decided differently", "payments", "cards", "amounts", "frauds", "fraud amounts")
    for one in report.decisions:
        if one.is_swap:
            name = f"{one.teacher} to {one.student}"
            amounts, frauds = money_text(one.amount_minor), money_text(one.fraud_minor)
            table.add_row(name, f"{one.events:,}", f"{one.cards:,}", amounts, f"{one.frauds:,}", frauds)
    return table


def _sizes(report: DistillationReport) -> Table:
    batch = f"us in {BATCH_ROWS}"
    table = _plain("size", "features", "us alone", batch, "average precision lost", "savings lost", "alike", "front")
    for one in report.sizes:
        table.add_row(
            f"{one.size} (stored)" if one.stored else one.size,
            str(one.features),
            f"{one.time.single_us:.1f}",
            f"{one.time.batch_us:.2f}",
            _number(one.average_precision_lost),
            _percent(one.savings_lost),
            _percent(one.agreement),
            "yes" if one.on_front else "",
            style="bold" if one.on_front else None,
        )
    return table


def _plain(first: str, *others: str) -> Table:
    table = Table(title_justify="left", header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    table.add_column(f"\n{first}")
    for name in others:
        table.add_column(f"\n{name}", justify="right")
    return table


def _value(value: float | None) -> str:
    return _NONE if value is None else f"{value:.4f}"


def _number(figure: FigureInterval) -> str:
    return _shown(figure, lambda value: f"{value:.4f}")


def _percent(figure: FigureInterval) -> str:
    return _shown(figure, lambda value: f"{value:.2%}")


def _shown(figure: FigureInterval, write: Callable[[float], str]) -> str:
    if figure.value is None:
        return _NONE
    if figure.low is None or figure.high is None:
        return write(figure.value)
    return f"{write(figure.value)} ({write(figure.low)} to {write(figure.high)})"
