"""An evaluation as tables of rich: what a terminal shows; the page and `--json` have all of it."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fraudstream.lab.evaluation.report import EvaluationReport, SliceEvaluation
from fraudstream.lab.evaluation.words import NOT_TOLD_APART, figure_text, verdict_of_difference, words_of
from stream.contract.money import number_text

_MAIN = (
    "auc", "average_precision", "first_hit_recall", "card_precision", "precision", "recall", "alert_share",
    "log_loss", "log_loss_below_constant", "brier", "ece", "ece_alerts", "ece_alerts_by_chance", "expected_to_observed",
    "score_stability",
)  # fmt: skip
_SHOWN_FEATURES = 12


def evaluation_tables(report: EvaluationReport) -> RenderableType:
    """Render an evaluation."""
    parts: list[RenderableType] = [*_heading(report), _figures(report), _budgets(report), *_money(report)]
    parts += [_slices("by week", report.weeks), _slices("by segment", report.segments), _features(report)]
    return Group(*parts)


def _heading(report: EvaluationReport) -> Iterator[Text]:
    data = report.data
    against = f" against {report.models[1].model.label}" if len(report.models) > 1 else ""
    held_back = Text("held back", style="bold green") if data.held_back else Text("NOT HELD BACK", style="bold red")
    yield Text.assemble(report.models[0].model.label, against, ": ", held_back)
    yield Text(f"{data.payments:,} payments of {data.cards:,} cards, {data.frauds:,} frauds, {data.days:,} days")
    yield Text(
        f"from {data.since} to {data.until}; {data.unlabelled:,} without an outcome and {data.young:,} too young for "
        "one are left out"
    )
    for warning in report.warnings:
        yield Text(f"warning: {warning}", style="yellow")


def _figures(report: EvaluationReport) -> Table:
    table = _table("figures, with intervals of 95 % by card", report)
    for key in _MAIN:
        _add(table, report, key)
    return table


def _add(table: Table, report: EvaluationReport, key: str) -> None:
    cells = [figure_text(key, one.figures.get(key)) for one in report.models]
    if report.differences:
        difference = report.differences.get(key)
        cells.append("" if difference is None else figure_text(key, difference))
        cells.append("" if difference is None else verdict_of_difference(key, difference.interval))
    table.add_row(words_of(key).name, *cells)


def _table(title: str, report: EvaluationReport) -> Table:
    table = Table(title_justify="left", header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    table.add_column(f"\n{title}", min_width=36)
    names = [one.model.name if len(report.models) == 1 else one.model.label for one in report.models]
    for name in (*names, *(("difference", "") if report.differences else ())):
        table.add_column(f"\n{name}", justify="right", min_width=0 if name else len(NOT_TOLD_APART))
    return table


def _budgets(report: EvaluationReport) -> Table:
    table = _table("at a budget of alerts a day", report)
    for one in report.models[0].budgets:
        _add(table, report, f"precision@{one.budget}")
        _add(table, report, f"recall@{one.budget}")
        _add(table, report, f"first_hit_recall@{one.budget}")
    return table


def _money(report: EvaluationReport) -> Iterator[RenderableType]:
    for currency, first in report.models[0].money.items():
        table = _table(f"money in {currency}, of {first.payments:,} payments", report)
        for name in ("savings", "value_detection_rate"):
            _add(table, report, f"{name}.{currency}")
        for name in ("fraud_minor", "stopped_minor", "loss_minor", "trivial_loss_minor"):
            cells = (number_text(getattr(one.money[currency], name), currency) for one in report.models)
            table.add_row(_AMOUNTS[name], *cells)
        yield table
        yield Text(first.costs, style="dim")


_AMOUNTS = {
    "fraud_minor": "Fraud",
    "stopped_minor": "Fraud alerted",
    "loss_minor": "Loss",
    "trivial_loss_minor": "Loss of the cheapest trivial policy",
}


def _slices(title: str, slices: Sequence[SliceEvaluation]) -> RenderableType:
    if not slices:
        return Text("")
    table = Table(title_justify="left", header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    heads = ("average precision", "first-hit recall", "recall", "precision", "log loss below constant")
    for name in (title, "payments", "frauds", *heads):
        table.add_column(f"\n{name}", justify="left" if name == title else "right")
    for one in slices:
        keys = ("average_precision", "first_hit_recall", "recall", "precision", "log_loss_below_constant")
        cells = (figure_text(key, one.figures[0][key]) for key in keys)
        table.add_row(one.name, f"{one.payments:,}", f"{one.frauds:,}", *cells)
    return table


def _features(report: EvaluationReport) -> Table:
    table = Table(title_justify="left", header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    for name in ("features", "average precision lost if permuted", "gain", "stability index"):
        table.add_column(f"\n{name}", justify="left" if name == "features" else "right")
    for one in report.models[0].features[:_SHOWN_FEATURES]:
        lost, moved = figure_text("average_precision", one.permuted), figure_text("score_stability", one.stability)
        table.add_row(one.name, lost, f"{one.gain:.1%}", moved)
    return table
