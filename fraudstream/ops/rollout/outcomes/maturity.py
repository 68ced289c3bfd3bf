"""Which outcomes are known, and how soon frauds become known.

A payment is *matured* if a label came for it, or if it is older than a stated time; then it counts as genuine. One that
was declined and has no label never matures: nobody learns what it would have been, so it is *unobserved*, and a report
bounds it both ways.

Frauds are labelled sooner than genuine payments, which often are never. So figures are computed of the payments that
occurred before all matured: among younger ones, those with a label are mostly frauds.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fraudstream.ops.rollout.outcomes.columns import PaymentRows, was_declined
from fraudstream.ops.rollout.outcomes.labels import NO_TIME, UNLABELLED, LabelRows
from metrics.columns import Bools, Floats, Ints

DAY_MS = 86_400_000
MATURITY_DAYS = 60.0
"""Card schemes give cardholders 120 days to dispute; most do within 60. What comes later still counts when it comes."""
LEAST_FRAUDS = 50
"""A curve that rests on fewer frauds is not used."""


@dataclass(frozen=True, slots=True)
class MaturityTerms:
    """Until when outcomes are looked at, and how old an unlabelled payment is when it counts as genuine."""

    as_of_ms: int
    maturity_days: float = MATURITY_DAYS

    @property
    def old_ms(self) -> int:
        """The time up to which payments are old enough."""
        return self.as_of_ms - round(self.maturity_days * DAY_MS)


class Outcomes(NamedTuple):
    """What is known of payments, each of shape (n,).

    Attributes:
        matured: its outcome is known.
        unobserved: it was declined and has no label, so its outcome will not be known.
        fraud: it is fraud, as far as is known; False of one that is unobserved or young.
        settled: it occurred before all payments that can mature had; those that are unobserved among them.
    """

    matured: Bools
    unobserved: Bools
    fraud: Bools
    settled: Bools

    @property
    def used(self) -> Bools:
        """The payments of which figures are computed: matured, and none of them for its label alone."""
        return self.matured & self.settled


def outcomes_of(rows: PaymentRows, terms: MaturityTerms) -> Outcomes:
    """Tell what is known of payments."""
    labelled = rows["fraud"] != UNLABELLED
    unobserved = was_declined(rows) & ~labelled
    old = rows["occurred_ms"] <= terms.old_ms
    matured = labelled | (old & ~unobserved)
    waits = rows["occurred_ms"][~(labelled | old)]
    settled_before_ms = waits.min() if len(waits) else np.iinfo(np.int64).max
    return Outcomes(matured, unobserved, rows["fraud"] == 1, rows["occurred_ms"] < settled_before_ms)


class MaturityCurve(NamedTuple):
    """How soon frauds become known.

    Attributes:
        ages_ms: ascending, of shape (n,): the ages at which some became known.
        shares: of shape (n,): the share that is known from each age on; of those known at the longest, `reach_ms`.
        frauds: the frauds that it rests on.
        reach_ms: the age of the oldest of them, at most the maturity: what comes later is in no share.
    """

    ages_ms: Ints
    shares: Floats
    frauds: int
    reach_ms: int

    def known_at(self, ages_ms: Ints) -> Floats:
        """Return the share of frauds that is known at each age; 0 before the first."""
        at = np.searchsorted(self.ages_ms, ages_ms, side="right")
        found: Floats = np.concatenate(([0.0], self.shares))[at]
        return found

    def quantile_ms(self, share: float) -> int | None:
        """Return the age at which at least a share of the frauds is known; None without frauds."""
        at = int(np.searchsorted(self.shares, share))
        return int(self.ages_ms[at]) if at < len(self.ages_ms) else None


def maturity_curve(labels: LabelRows, terms: MaturityTerms) -> MaturityCurve:
    """Estimate how soon frauds become known, by the product-limit estimator for right truncation.

    A fraud that is not known yet is missing from the data, so young ones seem to be known sooner than they are. In
    reversed time that is truncation from the left: at each age, only frauds that could have been known later as well
    count. (Lagakos, Barraj, De Gruttola, Nonparametric analysis of truncated survival data, with application to AIDS,
    Biometrika 1988.) Frauds from before the first label that was read are left out, since the labels that came at once
    are missing for them.

    Args:
        labels: the label that counts of each payment; those without `occurred_ms` are not used.
        terms: when they were looked at. Frauds that took longer than the maturity are not used.
    """
    most_ms = round(terms.maturity_days * DAY_MS)
    begin_ms = labels["labelled_ms"].min() if len(labels) else 0
    frauds = labels[(labels["fraud"] == 1) & (labels["occurred_ms"] != NO_TIME) & (labels["occurred_ms"] >= begin_ms)]
    delays = np.maximum(frauds["labelled_ms"] - frauds["occurred_ms"], 0)
    reaches = np.minimum(terms.as_of_ms - frauds["occurred_ms"], most_ms)
    usable = delays <= reaches
    delays, reaches = delays[usable], reaches[usable]
    if not len(delays):
        return MaturityCurve(np.empty(0, np.int64), np.empty(0), 0, 0)
    ages, became_known = np.unique(delays, return_counts=True)
    # At risk at an age: known by then, and old enough that it could have become known at that age or later.
    known_by = np.searchsorted(np.sort(delays), ages, side="right")
    too_young = np.searchsorted(np.sort(reaches), ages, side="left")
    kept = 1 - became_known / (known_by - too_young)
    shares = np.concatenate((np.cumprod(kept[:0:-1])[::-1], [1.0]))
    return MaturityCurve(ages, shares, len(delays), int(reaches.max()))
