"""The gates of a verdict, in their order, and what follows from them: PROMOTE, HOLD or REJECT.

All gates passed make a PROMOTE. A challenger that is proved to cost more, even by the best case, is rejected; whatever
else is not passed holds, above all what cannot be known yet.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

import msgspec

from fraudstream.ops.rollout.verdict.losses import LossFacts
from fraudstream.ops.rollout.verdict.swaps import AlertFacts, CoverageFacts, LatencyFacts
from fraudstream.ops.rollout.verdict.terms import VerdictTerms
from stream.contract.money import number_text


class VerdictWord(StrEnum):
    """What a verdict says of the challenger."""

    PROMOTE = "PROMOTE"
    """It is proved to lose less money, and every other gate is passed."""
    HOLD = "HOLD"
    """Something is missing, or not known yet; the gate says what."""
    REJECT = "REJECT"
    """It is proved to lose more money."""


class GateName(StrEnum):
    """The gates, in their order."""

    COVERAGE = "coverage"
    """Enough decisions were compared."""
    OPPONENT = "opponent"
    """It was compared with the model that is live now."""
    LATENCY = "latency"
    """The challenger is as fast as is asked, where that is asked."""
    ALERTS = "alerts"
    """It alerts no more than can be worked on."""
    LABELS = "labels"
    """About as many frauds are labelled as the live model's scores let expect."""
    LOSS = "loss"
    """It loses less money on each card, by the worst case, with a probability of error of at most alpha."""
    MEAN = "mean"
    """It saved money on the mean of all cards that are final now, by the worst case."""
    CAP = "cap"
    """What was cut off by the cap does not turn the sum."""


class VerdictGate(msgspec.Struct, frozen=True):
    """One gate: whether it is passed, what was found, what is asked for, and what to do if it is not passed."""

    gate: GateName
    passed: bool
    found: str
    required: str
    advice: str


class LabelFacts(msgspec.Struct, frozen=True):
    """How many frauds are labelled, against how many the live model's scores let expect.

    Both are of payments of the verdict's currency that were not declined and occurred before all had matured.
    """

    payments: int
    frauds: int
    expected: float

    @property
    def share(self) -> float | None:
        """Labelled of expected; None if none are expected."""
        return self.frauds / self.expected if self.expected else None


class OpponentFacts(msgspec.Struct, frozen=True):
    """How many of the compared decisions had the model that is live now on the live side; the others had another."""

    compared: int
    live_now: int

    @property
    def share(self) -> float | None:
        """The share of those; None if nothing was compared."""
        return self.live_now / self.compared if self.compared else None


class GatedFacts(NamedTuple):
    """What the gates look at."""

    coverage: CoverageFacts
    opponent: OpponentFacts
    latency: LatencyFacts
    alerts: AlertFacts
    labels: LabelFacts
    loss: LossFacts


def gates_of_verdict(facts: GatedFacts, terms: VerdictTerms) -> tuple[VerdictGate, ...]:
    """Return all gates, in their order."""
    return (
        _coverage(facts.coverage, terms),
        _opponent(facts.opponent, terms),
        _latency(facts.latency, terms),
        _alerts(facts.alerts, terms),
        _labels(facts.labels, terms),
        *gates_of_losses(facts.loss, terms),
    )


def decide(gates: tuple[VerdictGate, ...], loss: LossFacts) -> tuple[VerdictWord, GateName]:
    """Return the verdict, and the gate that decided it.

    A REJECT needs coverage, the same opponent, and labels: else what was compared does not stand for what would be.
    """
    failed = [one.gate for one in gates if not one.passed]
    doubtful = {GateName.COVERAGE, GateName.OPPONENT, GateName.LABELS} & set(failed)
    if not doubtful and loss.final and loss.high_minor <= 0 and not loss.changed:
        return VerdictWord.REJECT, GateName.LOSS
    return (VerdictWord.HOLD, failed[0]) if failed else (VerdictWord.PROMOTE, GateName.LOSS)


def _coverage(facts: CoverageFacts, terms: VerdictTerms) -> VerdictGate:
    return VerdictGate(
        GateName.COVERAGE,
        facts.share is not None and facts.share >= terms.least_coverage,
        "nothing had to be compared"
        if facts.share is None
        else f"{facts.share:.2%}: {facts.compared:,} of {facts.eligible:,} decisions",
        f"at least {terms.least_coverage:.2%}",
        "find out why comparisons are missing: `fraudstream shadow report`, and docs/how-to/run-a-shadow.md",
    )


def _opponent(facts: OpponentFacts, terms: VerdictTerms) -> VerdictGate:
    return VerdictGate(
        GateName.OPPONENT,
        facts.share is not None and facts.share >= terms.least_coverage,
        "nothing was compared"
        if facts.share is None
        else f"{facts.share:.2%}: {facts.live_now:,} of {facts.compared:,} with the model that is live now",
        f"at least {terms.least_coverage:.2%}",
        "begin after the last promotion: --since; where rules or an earlier model stood in, find out why",
    )


def _latency(facts: LatencyFacts, terms: VerdictTerms) -> VerdictGate:
    measured = "not measured" if facts.row_us is None else f"{facts.row_us:,.1f} µs a row on {facts.row_worker}"
    return VerdictGate(
        GateName.LATENCY,
        terms.row_us is None or (facts.row_us is not None and facts.row_us <= terms.row_us),
        measured,
        "no budget is stated" if terms.row_us is None else f"at most {terms.row_us:,.1f} µs a row",
        "a canary, a split or a watched promotion measures the model; a slower one needs fewer trees",
    )


def _alerts(facts: AlertFacts, terms: VerdictTerms) -> VerdictGate:
    origin = "" if facts.stated else f": live's own and {terms.alert_tolerance:.0%} more"
    return VerdictGate(
        GateName.ALERTS,
        facts.days >= 1 and facts.challenger_per_day <= facts.budget,
        f"{facts.challenger_per_day:,.1f} a day over {facts.days:,.1f} days",
        f"at most {facts.budget:,.1f} a day{origin}, over at least a day",
        "state what your team can work on, --alerts-per-day; or train with higher thresholds, for another model",
    )


def _labels(facts: LabelFacts, terms: VerdictTerms) -> VerdictGate:
    share = facts.share
    about = f"{facts.frauds:,} frauds are labelled, {facts.expected:,.1f} expected, of {facts.payments:,} payments"
    enough = share is not None and share >= terms.label_share * terms.least_labels
    return VerdictGate(
        GateName.LABELS,
        facts.payments > 0 and (enough or not terms.least_labels),
        about if share is None else f"{share:.0%}: {about}",
        f"at least {terms.label_share * terms.least_labels:.0%} of those expected",
        "wait until payments mature; do all labels arrive? If only a share of frauds is ever labelled, state it: "
        "--label-share; if the live model's scores are no probabilities any more: --least-labels 0%",
    )


def gates_of_losses(facts: LossFacts, terms: VerdictTerms) -> Iterator[VerdictGate]:
    """Yield the gates of money: what is proved, the mean now, and what the cap cut off."""
    low, high = (_money(one, terms) for one in (facts.low_minor, facts.high_minor))
    found = f"{low} to {high} saved on a card, {facts.final:,} of {facts.cards:,} cards observed"
    mean, final = facts.mean_now_minor, [one for one in facts.cohorts if one.final]
    by_cohort = ", ".join(_money(one.mean_worst_minor or 0.0, terms) for one in final)
    yield VerdictGate(
        GateName.LOSS,
        facts.final > 0 and facts.low_minor >= 0 and not facts.changed,
        f"{found}; what was proved on earlier cohorts is not any more" if facts.changed else found,
        f"more than 0 over the cards observed, with a probability of error of at most {terms.alpha:g}",
        "wait for more cards to mature; if the estimate is near 0, the models hardly differ, and time will not tell "
        "them apart; if cohorts differ, cards that pay often and rarely do: look at them one by one",
    )
    yield VerdictGate(
        GateName.MEAN,
        mean is not None and mean > 0,
        "no cohort of cards is final"
        if mean is None
        else f"{_money(mean, terms)} on a card over all {facts.final:,} final now; by cohort: {by_cohort}",
        "more than 0, over all cards that are final now",
        "the cohorts show on which cards it loses: those that appear later pay more rarely",
    )
    yield VerdictGate(
        GateName.CAP,
        facts.total_worst_minor >= 0,
        f"{_money(facts.total_worst_minor, terms)} saved in all, {facts.capped:,} cards beyond the cap",
        "not less than 0, uncapped",
        f"the differences beyond {_money(terms.cap_minor, terms)} turn the sum: look at the largest swaps; state a "
        "larger --cap before the next stretch, not after looking at this one",
    )


def _money(amount_minor: float, terms: VerdictTerms) -> str:
    rounded = round(amount_minor)
    sign = "-" if rounded < 0 else ""
    return f"{terms.currency} {sign}{number_text(abs(rounded), terms.currency)}"
