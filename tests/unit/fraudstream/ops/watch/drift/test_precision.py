"""Precision by week, against a recount in plain Python."""

import numpy as np
import pytest

from fraudstream.ops.rollout.outcomes.columns import PAYMENT_ROW, PaymentRows
from fraudstream.ops.rollout.outcomes.labels import NO_TIME, UNLABELLED
from fraudstream.ops.rollout.outcomes.maturity import MaturityTerms
from fraudstream.ops.watch.drift.precision import latest_matured, precision_by_week
from metrics.money import DecisionCode
from models.training_reference import DAY_MS

MONDAY = 20_458
WEEKS = 10
TERMS = MaturityTerms((MONDAY + 7 * WEEKS) * DAY_MS, 30.0)


def alerts(count: int = 2_000) -> PaymentRows:
    """Draw alerts; frauds among them are labelled within 20 days, genuine ones never, and declined ones never."""
    random = np.random.default_rng(6)
    rows = np.zeros(count, PAYMENT_ROW)
    rows["payment"], rows["card"] = np.arange(count), random.integers(count // 2, size=count)
    rows["occurred_ms"] = MONDAY * DAY_MS + random.integers(7 * WEEKS * DAY_MS, size=count)
    rows["score"] = random.beta(2, 3, count)
    declined = random.random(count) < 0.2
    rows["said"] = rows["decided"] = np.where(declined, DecisionCode.DECLINE, DecisionCode.REVIEW)
    known_ms = rows["occurred_ms"] + random.integers(20 * DAY_MS, size=count)
    known = (random.random(count) < rows["score"]) & ~declined & (known_ms < TERMS.as_of_ms)
    rows["fraud"], rows["labelled_ms"] = np.where(known, 1, UNLABELLED), np.where(known, known_ms, NO_TIME)
    return rows


def test_each_week_is_that_of_a_recount() -> None:
    rows = alerts()
    found = precision_by_week(rows, TERMS)
    assert [week.monday for week in found.weeks] == [MONDAY + 7 * at for at in range(WEEKS)]
    settled_ms = min(
        int(one["occurred_ms"])
        for one in rows
        if one["fraud"] == UNLABELLED and one["occurred_ms"] > TERMS.as_of_ms - 30 * DAY_MS
    )
    promised = frauds = 0.0
    for week in found.weeks:
        inside = [one for one in rows if week.monday <= one["occurred_ms"] // DAY_MS < week.monday + 7]
        used = [one for one in inside if one["occurred_ms"] < settled_ms and one["decided"] != DecisionCode.DECLINE]
        assert (week.alerts, week.used) == (len(inside), len(used))
        assert week.frauds == sum(one["fraud"] == 1 for one in used)
        assert week.declined == sum(one["decided"] == DecisionCode.DECLINE for one in inside)
        assert week.matured == (pytest.approx(week.frauds / len(used)) if used else None)
        assert week.estimated == pytest.approx(sum(one["score"] for one in inside) / len(inside))
        promised += sum(float(one["score"]) for one in used)
        frauds += week.frauds
    assert found.promised == pytest.approx(promised)
    assert found.calibration == pytest.approx(frauds / promised)
    assert found.calibration_interval is not None
    assert found.calibration_interval.low < 1 < found.calibration_interval.high


def test_labels_that_come_for_declined_frauds_alone_change_nothing() -> None:
    rows = alerts()
    without = precision_by_week(rows, TERMS)
    declined = np.flatnonzero(rows["decided"] == DecisionCode.DECLINE)
    frauds = declined[np.random.default_rng(7).random(len(declined)) < rows["score"][declined]]
    rows["fraud"][frauds], rows["labelled_ms"][frauds] = 1, rows["occurred_ms"][frauds] + DAY_MS
    found = precision_by_week(rows, TERMS)
    assert found == without
    assert latest_matured(rows, TERMS) == next(week.matured for week in without.weeks[::-1] if week.used)
    rows["decided"] = DecisionCode.DECLINE
    assert {week.matured for week in precision_by_week(rows, TERMS).weeks} == {None}
    assert latest_matured(rows, TERMS) is None


def test_weeks_before_the_maturity_are_known_young_ones_are_estimated_only() -> None:
    weeks = precision_by_week(alerts(), TERMS).weeks
    assert weeks[0].coverage == pytest.approx(0.8, abs=0.1)  # what was declined stays unknown
    assert weeks[0].interval is not None
    assert weeks[-1].coverage == 0
    assert weeks[-1].matured is None
    assert weeks[-1].estimated_interval is not None


def test_without_alerts_there_is_no_week() -> None:
    found = precision_by_week(alerts()[:0], TERMS)
    assert found.weeks == ()
    assert found.calibration is None
