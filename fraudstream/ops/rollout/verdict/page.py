"""A verdict as one HTML page for a risk committee: the word, the gate that decided it, and the sections behind it."""

from collections.abc import Iterator

from fraudstream.ops.report.document import Provenance, ReportPage, ReportSection, Tone, VerdictBanner
from fraudstream.ops.report.parts import KeyFigure, KeyFigures, Part, Points, Prose
from fraudstream.ops.report.quantities import Count, Measure, Moment, Money, Percentage, Quantity, quantity_text
from fraudstream.ops.report.tables import DataTable
from fraudstream.ops.rollout.verdict.figures import Figure
from fraudstream.ops.rollout.verdict.gates import VerdictWord
from fraudstream.ops.rollout.verdict.page_sections import (
    alerts,
    coverage,
    declined,
    estimated,
    labels,
    matured,
    saved,
    swaps,
)
from fraudstream.ops.rollout.verdict.report import VerdictReport
from fraudstream.ops.rollout.verdict.tables import costs_text
from models.times import stated_ms
from stream.code_version import code_version

_SHORT = 12
_TONES = {VerdictWord.PROMOTE: Tone.GOOD, VerdictWord.HOLD: Tone.WAIT, VerdictWord.REJECT: Tone.BAD}
_FOOTNOTES = (
    "Both models are judged by what they said, not by what a cap, a let-through or rules made of it.",
    "Matured payments have a label, or are older than the stated time and then count as genuine.",
    "What was declined and has no label is in no figure on matured payments; it is bounded both ways.",
    "The gate of losses may be looked at at any time; it observes cards, each with the payments of its first days.",
    "It is about the mean over the cards that paid in the stretch and are final now, by whole cohorts.",
    "Intervals of all other figures are for one look, by bootstrap over cards.",
    "Savings are the avoided part of the loss of the cheapest of approving, reviewing and declining everything.",
    "Amounts of several currencies are never added.",
)


def verdict_page(report: VerdictReport) -> str:
    """Return the page of a verdict; the same report gives the same bytes in one version of fraudstream.

    Raises:
        MissingMatplotlibError: matplotlib is not installed.
    """
    against = ", ".join(f"{one[:_SHORT]} ({count:,} payments)" for one, count in sorted(report.live.items()))
    sections = {
        "In short": _in_short(report),
        "What is saved": saved(report),
        "What they decide differently": swaps(report),
        "Payments whose outcome is known": matured(report),
        "Payments that were declined": declined(report),
        "Alerts and time": alerts(report),
        "Coverage and scores": coverage(report),
        "How soon frauds become known": labels(report),
        "Estimate before labels": estimated(report),
    }
    return ReportPage(
        f"Verdict on challenger {report.challenger[:_SHORT]}",
        f"Deployment {report.deployment}, against {against or 'nobody yet'}; money in {report.terms.currency}",
        _banner(report),
        tuple(ReportSection(title, tuple(parts)) for title, parts in sections.items()),
        _provenance(report),
        (costs_text(report.terms), *_FOOTNOTES),
    ).html()


def _banner(report: VerdictReport) -> VerdictBanner:
    gate = next(one for one in report.gates if one.gate is report.gate)
    reason = f"Found: {gate.found}. Asked for: {gate.required}."
    return VerdictBanner(report.verdict.value, _TONES[report.verdict], gate.gate.value, reason)


def _provenance(report: VerdictReport) -> Provenance:
    stretch = report.stretch
    share = "" if stretch.cards_share == 1 else f", {stretch.cards_share:.2%} of the cards"
    start, end = (None if time is None else stated_ms(time) for time in (stretch.first, stretch.last))
    as_of = quantity_text(Moment(stated_ms(stretch.as_of)))
    settled = stretch.settled_before
    matured_before = "" if settled is None else f"; before {quantity_text(Moment(stated_ms(settled)))} all have matured"
    measured = f"{report.coverage.compared:,} compared payments{share}, labels as of {as_of}{matured_before}"
    return Provenance(measured, start, end, stated_ms(report.at), code_version())


def _in_short(report: VerdictReport) -> Iterator[Part]:
    loss, figures, a_day = report.loss, report.matured, report.alerts
    yield KeyFigures(
        (
            KeyFigure("Saved on a card, at least", _mean_money(loss.low_minor, report), f"{loss.final:,} cards final"),
            KeyFigure("At most", _mean_money(loss.high_minor, report), f"of {loss.cards:,} cards"),
            _matured_figure("Recall", figures.challenger.recall, figures.live.recall),
            _matured_figure("Precision", figures.challenger.precision, figures.live.precision),
            KeyFigure("Alerts a day", Measure(a_day.challenger_per_day, 1), f"budget {a_day.budget:,.1f}"),
            KeyFigure("Payments compared", Count(report.coverage.compared), _of_eligible(report)),
        )
    )
    yield DataTable(
        "Gates, in their order",
        ("Gate", "Passed", "Found", "Asked for"),
        tuple((one.gate.value, "yes" if one.passed else "NO", one.found, one.required) for one in report.gates),
    )
    failed = tuple(f"{one.gate.value}: {one.advice}." for one in report.gates if not one.passed)
    if failed:
        yield Prose("What to do about gates that are not passed:")
        yield Points(failed)


def _matured_figure(name: str, challenger: Figure, live: Figure) -> KeyFigure:
    of_live = "live: not defined" if live.value is None else f"live: {live.value:.1%}"
    return KeyFigure(
        f"{name} of the challenger", None if challenger.value is None else Percentage(challenger.value), of_live
    )


def _of_eligible(report: VerdictReport) -> str:
    share = report.coverage.share
    return "nothing had to be compared" if share is None else f"{share:.2%} of those that had to be"


def _mean_money(minor: float, report: VerdictReport) -> Quantity | None:
    """Return a bound of what is saved on a card; None if no card is final."""
    return Money(round(minor), report.terms.currency) if report.loss.final else None
