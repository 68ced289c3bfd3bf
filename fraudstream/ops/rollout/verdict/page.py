"""A verdict as a report for a risk committee: a sentence, the gate that decided, and the sections."""

from collections.abc import Iterator
from typing import assert_never

from fraudstream.ops.report.document import Headline, Provenance, Report, Section, Tone
from fraudstream.ops.report.parts import KeyFigure, KeyFigures, Note, Part
from fraudstream.ops.report.quantities import (
    Count,
    MeanMoney,
    Measure,
    Moment,
    Money,
    WithInterval,
    day_text,
    quantity_text,
)
from fraudstream.ops.report.tables import DataTable
from fraudstream.ops.rollout.outcomes.costs import Cost
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS
from fraudstream.ops.rollout.verdict.figures import Figure
from fraudstream.ops.rollout.verdict.gates import GateName, VerdictWord
from fraudstream.ops.rollout.verdict.page_sections import (
    alerts,
    coverage,
    declined,
    estimated,
    figure_quantity,
    labels,
    matured,
    saved,
    swaps,
)
from fraudstream.ops.rollout.verdict.report import VerdictReport
from fraudstream.ops.rollout.verdict.terms import VerdictTerms
from models.commands import SHORT_DIGEST
from models.times import stated_ms
from stream.code_version import code_version

_TONES = {VerdictWord.PROMOTE: Tone.GOOD, VerdictWord.HOLD: Tone.WAIT, VerdictWord.REJECT: Tone.BAD}
_OF_MATURE_CARDS = frozenset({GateName.LABELS, GateName.LOSS, GateName.MEAN})
_HELD_BY = {
    GateName.COVERAGE: "too few of the payments were compared",
    GateName.OPPONENT: "too few payments were compared with the model that is live now",
    GateName.LATENCY: "the challenger is slower than asked for, or its time was not measured",
    GateName.ALERTS: "the challenger alerts more than can be worked on",
    GateName.LABELS: "too few frauds are labelled",
    GateName.LOSS: "it is not proved that less money is lost",
    GateName.MEAN: "the mature cards save nothing on average",
    GateName.CAP: "a few very large differences would turn the sum",
}
"""What a gate that is not passed means, in words."""
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


def state_verdict(report: VerdictReport) -> Report:
    """Return a verdict as a report, for a page and for a terminal alike."""
    against = ", ".join(f"{one[:SHORT_DIGEST]} ({count:,} payments)" for one, count in sorted(report.live.items()))
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
    return Report(
        f"Verdict on challenger {report.challenger[:SHORT_DIGEST]}",
        f"Deployment {report.deployment}, against {against or 'nobody yet'}; money in {report.terms.currency}",
        _headline(report),
        tuple(Section(title, tuple(parts)) for title, parts in sections.items()),
        _provenance(report),
        (_costs_text(report.terms), *_FOOTNOTES),
    )


def _headline(report: VerdictReport) -> Headline:
    gate = next(one for one in report.gates if one.gate is report.gate)
    return Headline(
        verdict_words(report),
        _TONES[report.verdict],
        f"{report.verdict.value}, decided by the gate {gate.gate.value}",
        f"Found: {gate.found}. Asked for: {gate.required}.",
    )


def verdict_words(report: VerdictReport) -> str:
    """Return what a verdict says, in a sentence: better or worse and by how much, or what is missing."""
    loss, currency = report.loss, report.terms.currency
    low, high = (MeanMoney(minor, currency) for minor in (loss.low_minor, loss.high_minor))
    match report.verdict:
        case VerdictWord.PROMOTE:
            return f"Better: saves {quantity_text(WithInterval(None, low, high))} a card"
        case VerdictWord.REJECT:
            ends = (MeanMoney(-end.minor, currency) for end in (high, low))
            return f"Worse: loses {quantity_text(WithInterval(None, *ends))} a card"
        case VerdictWord.HOLD:
            return _words_of_hold(report, quantity_text(WithInterval(None, low, high)))
        case _:
            assert_never(report.verdict)


def _words_of_hold(report: VerdictReport, saved_on_a_card: str) -> str:
    loss = report.loss
    if not report.coverage.compared:
        return "Too early to say: no payment was compared yet"
    if report.gate in _OF_MATURE_CARDS and not loss.final:
        return f"Too early to say: 0 of {loss.cards:,} cards are mature{_ask_again(report)}"
    if report.gate is GateName.LOSS:
        sure = f"{loss.final:,} of {loss.cards:,} cards are mature"
        return f"Too early to say: saves {saved_on_a_card} a card, and {sure}{_ask_again(report)}"
    proved = f"; it saves {saved_on_a_card} a card" if loss.final and loss.low_minor > 0 else ""
    held_by = _HELD_BY[report.gate]
    if report.gate is GateName.ALERTS and report.alerts.days < 1:
        held_by = f"its alerts were observed for {report.alerts.days:.1f} days; a day is needed"
    return f"Not yet: {held_by}{proved}"


def _ask_again(report: VerdictReport) -> str:
    """Return when the next cohort of cards is mature at the latest: its last card has first days, and then matures."""
    waiting = next((one for one in report.loss.cohorts if not one.final), None)
    if waiting is None:
        return ""
    days = 2 * report.terms.card_days + report.terms.maturity_days
    return f"; ask again on {day_text(stated_ms(waiting.begin) + round(days * DAY_MS))}"


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
    loss, figures, a_day, whole = report.loss, report.matured, report.alerts, report.coverage
    ends = (MeanMoney(minor, report.terms.currency) for minor in (loss.low_minor, loss.high_minor))
    bounds = WithInterval(None, *ends) if loss.final else None
    alerts_a_day = Measure(a_day.challenger_per_day, 1) if whole.compared else None
    yield KeyFigures(
        (
            KeyFigure("Saved on a card", bounds, f"{loss.final:,} of {loss.cards:,} cards are mature"),
            _matured_figure("Recall", figures.challenger.recall, figures.live.recall),
            _matured_figure("Precision", figures.challenger.precision, figures.live.precision),
            KeyFigure("Alerts a day", alerts_a_day, f"budget {a_day.budget:,.1f}"),
            KeyFigure("Payments compared", Count(whole.compared) if whole.eligible else None, _of_eligible(report)),
        )
    )
    yield DataTable(
        "Gates, in their order",
        ("Gate", "Passed", "Found", "Asked for"),
        tuple((one.gate.value, one.passed, one.found, one.required) for one in report.gates),
    )
    failed = tuple(f"{one.gate.value}: {one.advice}." for one in report.gates if not one.passed)
    if failed:
        yield Note("What to do about gates that are not passed:", failed)


def _matured_figure(name: str, challenger: Figure, live: Figure) -> KeyFigure:
    of_live = "live: not defined" if live.value is None else f"live: {live.value:.1%}"
    return KeyFigure(f"{name} of the challenger", figure_quantity(challenger), of_live)


def _of_eligible(report: VerdictReport) -> str:
    share = report.coverage.share
    return "" if share is None else f"{share:.2%} of those that had to be"


def _costs_text(terms: VerdictTerms) -> str:
    """Return the costs and the assumptions of a verdict in words."""
    costs, currency = terms.costs, terms.currency
    review = Cost(costs.review_fixed_minor, costs.review_share_bp).text(currency)
    wrong = Cost(costs.decline_fixed_minor, costs.decline_share_bp).text(currency)
    cap = quantity_text(Money(terms.cap_minor, currency))
    return (
        f"A missed fraud costs its amount, a review {review}, a wrong decline {wrong}. Unlabelled payments count as "
        f"genuine after {terms.maturity_days:g} days. A card counts with its first {terms.card_days:g} days, up to "
        f"{cap}, with all cards that appeared in the same {terms.card_days:g} days. What is "
        "proved is about the mean of the cards that paid in the stretch and are final now; "
        f"alpha is {terms.alpha:g}. "
        f"{terms.label_share:.0%} of frauds are taken to be labelled, at least {terms.least_labels:.0%} of that."
    )
