"""The report of an experiment as tables of rich."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fraudstream.ops.rollout.experiments.comparison import ArmDifference, arm_losses
from fraudstream.ops.rollout.experiments.figures import ArmFigures, BoundedFigure, DecisionMix
from fraudstream.ops.rollout.experiments.report import ExperimentReport
from fraudstream.ops.rollout.experiments.words import missing_lines, promises, remarks, verdict_line
from guards.shares import share_text
from metrics.intervals import Interval
from models.times import format_time
from stream.contract.money import number_text

_SHORT = 12
_UNKNOWN = "n/a"


def report_tables(report: ExperimentReport) -> RenderableType:
    """Render a report: who won, or what is missing; the differences; the arms side by side; what it rests on."""
    return Group(
        Text(verdict_line(report), style="bold"),
        *(Text(f"  {line}") for line in missing_lines(report)),
        Text(_about(report)),
        differences(report),
        cohorts(report),
        arms(report),
        *(money(report, code) for code in range(len(report.currencies))),
        Text(""),
        *(Text(f"- {line}") for line in (*remarks(report), *promises(report))),
    )


def _about(report: ExperimentReport) -> str:
    experiment = report.experiment
    until = "now" if experiment.until_ms is None else format_time(experiment.until_ms)
    named = ", ".join(f"{name} {digest[:_SHORT]}" for name, digest in experiment.models.items())
    as_of = format_time(report.terms.maturity.as_of_ms)
    return (
        f"experiment of revision {experiment.first}, {format_time(experiment.since_ms)} to {until}: {named}; outcomes "
        f"until {as_of}; {len(report.losses.arms):,} cards are final, {len(report.losses.waiting_ms):,} are waited for"
    )


def differences(report: ExperimentReport) -> Table:
    """Show the difference of each pair of arms in loss per card, with its interval."""
    table = _table(f"loss per card, {report.currency}", "at least", "at most", "lower with certainty")
    for one in report.standings.differences:
        low, high = _difference_ends(one, report.currency)
        table.add_row(f"{one.first} less {one.second}", low, high, one.lower or "not yet")
    return table


def cohorts(report: ExperimentReport) -> Table:
    """Show the loss of each arm's cards by cohort of first payments: those that pay often appear first."""
    code, own = report.currency, report.experiment.arms
    table = _table(f"loss of each final card, by first payment, {code}", "cards", *(arm.name for arm in own))
    for begin_ms, losses in report.losses.cohorts(report.terms):
        found = arm_losses(losses, own, report.terms.cap_minor).values()
        cells = (_loss(one.low, one.high, code) for one in found)
        table.add_row(f"from {format_time(begin_ms)}", f"{len(losses.arms):,}", *cells)
    return table


def _difference_ends(one: ArmDifference, currency: str) -> tuple[str, str]:
    if one.interval is None:
        return "it has changed", ""
    return signed_money(one.interval.low, currency), signed_money(one.interval.high, currency)


def signed_money(minor: float, currency: str) -> str:
    """Return an amount with its sign, in major units, rounded to the minor unit."""
    rounded = round(minor)
    sign = "-" if rounded < 0 else "+" if rounded > 0 else ""
    return f"{sign}{number_text(abs(rounded), currency)}"


def arms(report: ExperimentReport) -> Table:
    """Show the arms side by side: decisions, what is known of them, and how good alerts are."""
    table = _table("arms", *(f"{one.name} {share_text(one.share_bp)}" for one in report.figures))
    for name, cells in _rows(report):
        table.add_row(name, *cells)
    return table


def _rows(report: ExperimentReport) -> Iterator[tuple[str, list[str]]]:
    figures, losses = report.figures, report.standings.arms
    yield "cards", [f"{one.cards:,}" for one in figures]
    yield "cards by the shares", [f"{report.ratio.expected[one.name]:,.0f}" for one in figures]
    yield "decisions", [f"{one.said.total:,}" for one in figures]
    yield "alert rate, before limits", [_share(one.said.alert_rate) for one in figures]
    yield "decline rate, before limits", [_share(one.said.decline_rate) for one in figures]
    if any(one.said != one.decided for one in figures):
        yield "alert rate, as decided", [_share(one.decided.alert_rate) for one in figures]
        yield "decline rate, as decided", [_share(one.decided.decline_rate) for one in figures]
    yield "decided by stand-ins", [f"{one.stood_in:,}" for one in figures]
    yield "known", [_of(one.coverage.used, one.said) for one in figures]
    yield "declined, unknown for ever", [_of(one.coverage.unobserved, one.said) for one in figures]
    yield "precision", [_figure(one.precision) for one in figures]
    yield "  whatever declines were", [_bounds(one.precision.bounds) for one in figures]
    yield "recall", [_figure(one.recall) for one in figures]
    yield "  whatever declines were", [_bounds(one.recall.bounds) for one in figures]
    yield "card precision a day", [f"{_share(one.card_precision)} of {one.card_budget:,}" for one in figures]
    if any(one.declines.let_through for one in figures):
        yield from _lots(figures)
    yield "final cards", [f"{losses[one.name].cards:,}" for one in figures]
    code = report.currency
    yield f"loss of each, {code}", [_loss(losses[one.name].low, losses[one.name].high, code) for one in figures]


def _lots(figures: tuple[ArmFigures, ...]) -> Iterator[tuple[str, list[str]]]:
    declines = [one.declines for one in figures]
    yield "declines let through", [f"{one.let_through:,}" for one in declines]
    yield "declines that lots speak of", [_share(one.coverage.share) for one in declines]
    yield "precision of declines, by lots", [_figure(BoundedFigure(*one.precision)) for one in declines]
    yield "recall, by lots", [_figure(BoundedFigure(*one.recall)) for one in declines]


def money(report: ExperimentReport, code: int) -> Table:
    """Show what known payments of a currency lost and stopped, by what models said and by what was decided."""
    currency, compared = report.currencies[code], code == report.terms.currency
    found = [one.money.get(code) for one in report.figures]
    table = _table(f"known payments, {currency}", *(one.name for one in report.figures))
    amounts = {
        "fraud": [one and one.said.fraud_minor for one in found],
        "stopped, before limits": [one and one.said.stopped_minor for one in found],
        "lost, before limits": [one and one.said.lost_minor for one in found],
    }
    if any(one and one.said != one.decided for one in found):
        amounts["stopped, as decided"] = [one and one.decided.stopped_minor for one in found]
        amounts["lost, as decided"] = [one and one.decided.lost_minor for one in found]
    if compared:
        amounts["loss with costs"] = [one and one.said.loss_minor for one in found]
    for name, minors in amounts.items():
        table.add_row(name, *(_UNKNOWN if minor is None else number_text(minor, currency) for minor in minors))
    if compared:
        table.add_row(
            "savings", *(_UNKNOWN if one is None or one.savings is None else _figure(one.savings) for one in found)
        )
    table.add_row(
        "value detection rate", *(_UNKNOWN if one is None else _figure(one.value_detection_rate) for one in found)
    )
    return table


def _loss(low: float | None, high: float | None, currency: str) -> str:
    if low is None or high is None:
        return _UNKNOWN
    least, most = number_text(round(low), currency), number_text(round(high), currency)
    return least if least == most else f"{least} to {most}"


def _figure(figure: BoundedFigure | None) -> str:
    if figure is None:
        return _UNKNOWN
    interval = "" if figure.interval is None else f" ({_bounds(figure.interval)})"
    return f"{_share(figure.value)}{interval}"


def _bounds(bounds: Interval | None) -> str:
    return _UNKNOWN if bounds is None else f"{100 * bounds.low:,.1f} to {100 * bounds.high:,.1f} %"


def _share(share: float | None) -> str:
    return _UNKNOWN if share is None else f"{100 * share:,.2f} %"


def _of(count: int, mix: DecisionMix) -> str:
    return f"{count:,} ({_share(count / mix.total if mix.total else None)})"


def _table(title: str, *columns: str) -> Table:
    table = Table(title_justify="left", header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    table.add_column(f"\n{title}", min_width=30)
    for column in columns:
        table.add_column(f"\n{column}", justify="right", no_wrap=True)
    return table
