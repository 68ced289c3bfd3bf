"""What the challenger saves on all payments of the stretch, estimated before their labels have come.

It is no ground for a promotion. Frauds known so far are weighted by the maturity curve: one that is known at an age at
which a third of the frauds is known stands for three. Without a curve, the models' own probabilities say how much fraud
there is, each model in its own favour, so the interval spans what both say.

Frauds of large amounts are often known at another age than those of small ones, and a difference of losses is mostly
large amounts. So each third of the known frauds, by amount, has a curve of its own where it rests on enough of them.
All of that takes delays as they were: where they grow from week to week, the youngest frauds are too few, and the
estimate is too near to 0.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np

from fraudstream.ops.rollout.outcomes.labels import LABEL_ROW
from fraudstream.ops.rollout.outcomes.maturity import LEAST_FRAUDS, MaturityCurve, Outcomes, maturity_curve
from fraudstream.ops.rollout.verdict.losses import PairLosses, pair_losses
from fraudstream.ops.rollout.verdict.pairs import Pairs
from fraudstream.ops.rollout.verdict.terms import VerdictTerms
from metrics.bootstrap import BootstrapPlan, sums_interval
from metrics.columns import Bools, Floats, sum_by_card
from metrics.intervals import Interval

AMOUNT_BANDS = 3
"""Known frauds are cut into so many bands of amounts, with as many frauds each."""
_REACH = 0.9
"""A band's curve must reach as far as this part of that of all."""
LEAST_KNOWN = 0.1
"""Payments at whose age fewer frauds are known are left out: one known fraud would stand for more than ten."""


class EstimateBasis(StrEnum):
    """What an estimate rests on."""

    MATURITY_CURVE = "maturity_curve"
    """Frauds that are known so far, weighted by the share that is known at their payments' age."""
    PROBABILITIES = "probabilities"
    """The scores of both models."""
    NOTHING = "nothing"
    """There are neither labels nor scores."""


class EstimateFacts(msgspec.Struct, frozen=True):
    """What the challenger saves, estimated; money in minor units.

    Attributes:
        basis: what it rests on.
        payments: payments that it is about; `left_out` are those too young, or without scores.
        saved_minor: the sum over them; where a payment was declined, by the worst case.
        interval: of that sum, of 95 %, by card.
    """

    basis: EstimateBasis
    payments: int
    left_out: int
    saved_minor: float | None
    interval: Interval | None


class _Estimated(NamedTuple):
    """Which payments are estimated, and what the challenger saves on each of all, by one way or several."""

    basis: EstimateBasis
    chosen: Bools
    ways: tuple[Floats, ...]


def estimate(pairs: Pairs, outcomes: Outcomes, curve: tuple[MaturityCurve, int], terms: VerdictTerms) -> EstimateFacts:
    """Estimate what the challenger saves on payments of one currency.

    Args:
        pairs: of n payments, whatever is known of them.
        outcomes: what is known.
        curve: how soon frauds become known, and the time at which this is looked at.
        terms: the costs.
    """
    losses = pair_losses(pairs, outcomes.fraud, terms.costs)
    found = _by_curve(pairs, outcomes, curve, terms) or _by_scores(pairs, losses)
    chosen, plan = found.chosen, BootstrapPlan(draws=terms.draws)
    cards, totals, intervals = pairs.rows["card"][chosen], list[float](), list[Interval | None]()
    for way in found.ways:
        saved = np.where(outcomes.unobserved, losses.worst, way)[chosen]
        sums = sum_by_card(cards, saved, (saved != 0).astype(np.int64)).sums
        totals.append(float(sums[:, 0].sum()))
        intervals.append(sums_interval(sums, lambda one: one[:, 0], plan, basis=1))
    known = [one for one in intervals if one is not None]
    is_known = bool(known) and len(known) == len(intervals)
    return EstimateFacts(
        basis=found.basis if len(cards) else EstimateBasis.NOTHING,
        payments=len(cards),
        left_out=int((~chosen).sum()),
        saved_minor=sum(totals) / len(totals) if len(cards) else None,
        interval=Interval(min(one.low for one in known), max(one.high for one in known)) if is_known else None,
    )


def _by_curve(
    pairs: Pairs, outcomes: Outcomes, curve: tuple[MaturityCurve, int], terms: VerdictTerms
) -> _Estimated | None:
    """Weight known frauds by the curve; None if it rests on too few frauds, or does not reach to the maturity."""
    shape, as_of_ms = curve
    oldest_ms = terms.maturity(as_of_ms).as_of_ms - terms.maturity(as_of_ms).old_ms
    if shape.frauds < LEAST_FRAUDS or shape.reach_ms < oldest_ms:
        return None
    known = _known_by_amount(pairs, outcomes.fraud, curve, terms)
    chosen = (known >= LEAST_KNOWN) | outcomes.unobserved
    weights = 1 / (np.maximum(known, LEAST_KNOWN) * terms.label_share)
    losses = pair_losses(pairs, outcomes.fraud, terms.costs)
    extra = losses.if_fraud - losses.if_genuine
    saved = losses.if_genuine.astype(np.float64) + np.where(outcomes.fraud, weights * extra, 0.0)
    return _Estimated(EstimateBasis.MATURITY_CURVE, chosen, (saved,))


def _known_by_amount(pairs: Pairs, fraud: Bools, curve: tuple[MaturityCurve, int], terms: VerdictTerms) -> Floats:
    """Return the share of frauds that is known at each payment's age, by the curve of its band of amounts.

    A band whose own curve rests on too few frauds, or does not reach as far as that of all, has that of all.
    """
    shape, as_of_ms = curve
    rows, ages = pairs.rows, as_of_ms - pairs.rows["occurred_ms"]
    known = shape.known_at(ages)
    if not fraud.any():
        return known
    cuts = np.quantile(rows["amount_minor"][fraud], [at / AMOUNT_BANDS for at in range(1, AMOUNT_BANDS)])
    bands = np.searchsorted(np.unique(cuts), rows["amount_minor"], side="left")
    for band in np.unique(bands).tolist():
        own = bands == band
        labels = np.zeros(int((own & fraud).sum()), LABEL_ROW)
        for name in ("occurred_ms", "labelled_ms", "fraud"):
            labels[name] = rows[name][own & fraud]
        found = maturity_curve(labels, terms.maturity(as_of_ms))
        if found.frauds >= LEAST_FRAUDS and found.reach_ms >= _REACH * shape.reach_ms:
            known = np.where(own, found.known_at(ages), known)
    return known


def _by_scores(pairs: Pairs, losses: PairLosses) -> _Estimated:
    """Take each model's scores as the probabilities of fraud."""
    chosen = ~np.isnan(pairs.live_scores) & ~np.isnan(pairs.challenger_scores)
    ways = tuple(
        scores * losses.if_fraud + (1 - scores) * losses.if_genuine
        for scores in (np.nan_to_num(pairs.live_scores), np.nan_to_num(pairs.challenger_scores))
    )
    return _Estimated(EstimateBasis.PROBABILITIES, chosen, ways)
