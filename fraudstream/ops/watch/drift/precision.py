"""Precision of alerts by week: as their labels say, where they are known, and as their scores promise before that.

An alert is a payment that the model wanted reviewed or declined. Weeks begin on Mondays, UTC. What was declined is left
out of what labels say: a label comes for many of the frauds among it and for few of the others, so those with a label
are mostly frauds, whatever the model is worth.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fraudstream.ops.rollout.outcomes.columns import PaymentRows, was_declined
from fraudstream.ops.rollout.outcomes.maturity import MaturityTerms, Outcomes, outcomes_of
from metrics.bootstrap import ratio_interval
from metrics.columns import Bools, Ints
from metrics.estimated_precision import estimated_precision
from metrics.intervals import Interval
from models.training_reference import DAY_MS

DAYS_OF_WEEK = 7
KNOWN_SHARE = 0.5
"""Of a week's alerts that were not declined, for its precision to be a metric."""
_MONDAY = 4
"""The first Monday of 1970 was the fifth of January."""


class WeekPrecision(NamedTuple):
    """The alerts of a week.

    Attributes:
        monday: its first day, since 1970-01-01 UTC.
        alerts: how many.
        used: those that were not declined and whose outcome is known, not for its label alone: `matured` is of these.
        declined: those that were declined, with or without a label.
        frauds: among those used.
        matured: the share of frauds among those used; None without any.
        interval: of `matured`, by card; None with too few cards.
        estimated: the mean score of all alerts.
        estimated_interval: in which the precision of all alerts will lie if scores are calibrated.
    """

    monday: int
    alerts: int
    used: int
    declined: int
    frauds: int
    matured: float | None
    interval: Interval | None
    estimated: float | None
    estimated_interval: Interval | None

    @property
    def coverage(self) -> float:
        """The share of the alerts that are used."""
        return self.used / self.alerts if self.alerts else 0.0


class PrecisionReport(NamedTuple):
    """The weeks of a model and arm, oldest first.

    Attributes:
        weeks: those with alerts.
        promised: the frauds that the scores of all used alerts promise.
        frauds: those that came.
        calibration: frauds / promised of all used alerts; None without any.
        calibration_interval: of that, by card.
    """

    weeks: tuple[WeekPrecision, ...]
    promised: float
    frauds: int
    calibration: float | None
    calibration_interval: Interval | None


def precision_by_week(alerts: PaymentRows, terms: MaturityTerms) -> PrecisionReport:
    """Return the precision of alerts, of shape (n,), by week.

    Args:
        alerts: payments that the model wanted reviewed or declined, with their labels.
        terms: when labels were looked at, and how old an unlabelled payment is when it counts as genuine.
    """
    outcomes = outcomes_of(alerts, terms)
    used = _used(alerts, outcomes)
    frauds, promised = int((outcomes.fraud & used).sum()), float(alerts["score"][used].sum())
    return PrecisionReport(
        tuple(_weeks(alerts, outcomes)),
        promised,
        frauds,
        frauds / promised if promised else None,
        ratio_interval(alerts["card"][used], outcomes.fraud[used].astype(float), alerts["score"][used]),
    )


def _used(alerts: PaymentRows, outcomes: Outcomes) -> Bools:
    used: Bools = outcomes.used & ~was_declined(alerts)
    return used


def _weeks(alerts: PaymentRows, outcomes: Outcomes) -> Iterator[WeekPrecision]:
    mondays = _mondays(alerts)
    for monday in np.unique(mondays).tolist():
        yield _week(monday, alerts, outcomes, mondays == monday)


def _week(monday: int, alerts: PaymentRows, outcomes: Outcomes, inside: Bools) -> WeekPrecision:
    used = inside & _used(alerts, outcomes)
    count, frauds = int(used.sum()), int((used & outcomes.fraud).sum())
    ones = np.ones(count)
    estimate = estimated_precision(alerts["card"][inside], alerts["score"][inside])
    return WeekPrecision(
        monday,
        int(inside.sum()),
        count,
        int((inside & was_declined(alerts)).sum()),
        frauds,
        frauds / count if count else None,
        ratio_interval(alerts["card"][used], outcomes.fraud[used].astype(float), ones),
        estimate.value,
        estimate.interval,
    )


def latest_matured(alerts: PaymentRows, terms: MaturityTerms) -> float | None:
    """Return the matured precision of the latest week of which at least half of the alerts are known; None if none is.

    Alerts that were declined count in neither.

    Args:
        alerts: as of `precision_by_week`.
        terms: likewise.
    """
    outcomes = outcomes_of(alerts, terms)
    mondays, undeclined = _mondays(alerts), ~was_declined(alerts)
    for monday in np.unique(mondays[undeclined])[::-1].tolist():
        inside = undeclined & (mondays == monday)
        used = inside & outcomes.used
        if used.sum() >= KNOWN_SHARE * inside.sum():
            return float(outcomes.fraud[used].mean())
    return None


def _mondays(alerts: PaymentRows) -> Ints:
    days: Ints = alerts["occurred_ms"] // DAY_MS
    return days - (days - _MONDAY) % DAYS_OF_WEEK
