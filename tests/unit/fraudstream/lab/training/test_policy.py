"""Thresholds within a budget, expected volume and the refusal of models whose scores are no probabilities."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.lab.training.assembly import fit_decisions
from fraudstream.lab.training.policy import ScoredPart, alert_measures, expected_volume, fit_policy, within_budget
from fraudstream.lab.training.request import ArtifactTerms, PolicyWish, Shares, UnusableModelError
from fraudstream.lab.training.vectors import Table
from fraudstream_client.outputs import Decision
from metrics.money import CostMatrix
from models.calibration import CalibrationMethod, Calibrator
from models.cost_policy import CostPolicy
from models.policy import Policy
from models.volume import AlertBudget, Allowance

DAY_MS = 86_400_000
COSTS = CostPolicy({"EUR": CostMatrix(300, 0, 200, 500)})


def part(scores: Any, *, days: int = 10, frauds: Any = None, amount: int = 50_000, code: bytes = b"EUR") -> ScoredPart:
    count = len(scores)
    fraud = np.zeros(count, np.int8) if frauds is None else np.asarray(frauds, np.int8)
    times = np.sort(np.linspace(0, days * DAY_MS - 1, count).astype(np.int64))
    return ScoredPart(np.asarray(scores, float), fraud, times, np.full(count, amount), np.full(count, code, "S3"))


coarse = st.lists(st.integers(0, 8).map(lambda step: step / 8), min_size=1, max_size=60)
allowance = st.integers(0, 10_000).map(lambda bp: Allowance(share=bp / 10_000)) | st.integers(0, 12).map(
    lambda count: Allowance(a_day=count / 2)
)


def most_of(one: Allowance, payments: int, days: float) -> int:
    exact = round(one.share * 10_000) * payments / 10_000 if one.share is not None else (one.a_day or 0) * days
    return int(min(exact + 1e-9, payments))


@given(coarse, st.integers(1, 20), allowance, allowance)
def test_thresholds_are_the_lowest_that_keep_both_budgets(scores: Any, days: int, alerts: Any, declines: Any) -> None:
    policy = within_budget(np.array(scores), float(days), AlertBudget(alerts, declines))
    kept = [sum(score >= at for score in scores) for at in (policy.review_at, policy.decline_at)]
    bounds = [most_of(one, len(scores), days) for one in (alerts, declines)]
    assert all(count <= bound for count, bound in zip(kept, bounds, strict=True))
    lower = [score for score in scores if score < policy.review_at]
    assert not lower or sum(score >= max(lower) for score in scores) > bounds[0]
    lower = [score for score in scores if policy.review_at <= score < policy.decline_at]
    assert not lower or sum(score >= max(lower) for score in scores) > bounds[1]


@given(coarse, st.integers(1, 20))
def test_the_expected_volume_is_a_count_of_days_and_decisions(scores: Any, days: int) -> None:
    some, policy = part(scores, days=days), Policy(0.5, 0.75)
    volume = expected_volume(policy, None, some, None)
    said = Counter("decline" if one >= 0.75 else "review" if one >= 0.5 else "approve" for one in scores)
    assert volume.review_share == said["review"] / len(scores)
    assert volume.decline_share == said["decline"] / len(scores)
    each = Counter(ms // DAY_MS for ms, one in zip(some.occurred_ms.tolist(), scores, strict=True) if one >= 0.5)
    assert volume.busiest_day == max(each.values(), default=0)


def table_of(labelled_every: int, count: int = 20_000, days: int = 40) -> Table:
    """Make payments with one feature, of which each n-th has a label."""
    random = np.random.default_rng(5)
    margin = random.normal(-3, 2, count)
    fraud = (random.random(count) < 1 / (1 + np.exp(-margin))).astype(np.int8)
    fraud[np.arange(count) % labelled_every > 0] = -1
    times = np.linspace(0, days * DAY_MS - 1, count).astype(np.int64)
    return Table(
        matrix=margin[:, np.newaxis],
        occurred_ms=times,
        labelled_ms=times,
        fraud=fraud,
        card=np.arange(count),
        decided=np.arange(count) % 10 > 0,
        amount_minor=np.full(count, 1_000),
        currency=np.full(count, b"EUR", "S3"),
    )


class OneFeature:
    def margins(self, matrix: np.ndarray) -> np.ndarray:
        return matrix[:, 0]

    def gains(self) -> np.ndarray:
        return np.ones(1)


@pytest.mark.parametrize("labelled_every", [1, 7])
def test_a_budget_a_day_is_of_all_payments_that_are_decided_labelled_or_not(labelled_every: int) -> None:
    table, half = table_of(labelled_every), 10_000
    rows = np.flatnonzero(table.known)
    parts = rows[rows < half], rows[rows >= half]
    budget = AlertBudget(Allowance(a_day=20), Allowance(a_day=5))
    booster: Any = OneFeature()
    found = fit_decisions(
        booster, table, parts, ArtifactTerms(CalibrationMethod.PLATT, PolicyWish(budget=budget), Shares())
    )
    volume, at = found.chosen.volume, found.chosen.policy.review_at
    scores = Calibrator.of(found.calibration).probabilities(table.matrix[:, 0])
    first, last = scores[:half][table.decided[:half]], scores[half:][table.decided[half:]]
    assert 19.5 < int((first >= at).sum()) / 20 <= 20
    assert volume.alerts_a_day == pytest.approx(int((last >= at).sum()) / 20, rel=0.01)
    assert volume.payments == pytest.approx(9_000, abs=10)
    assert found.metrics["alert_rate"] == volume.alert_share
    frauds = (table.fraud == 1) & table.decided & (np.arange(len(scores)) >= half)
    assert found.metrics["recall_at_review"] == (scores[frauds] >= at).mean()


def test_of_equal_scores_that_do_not_all_fit_none_is_an_alert() -> None:
    policy = within_budget(
        np.array([0.9, 0.5, 0.5, 0.5, 0.1]), 1.0, AlertBudget(Allowance(a_day=3), Allowance(a_day=0))
    )
    assert policy == Policy(0.9, float(np.nextafter(0.9, 1)))


def drawn(count: int, power: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return true probabilities and frauds; with a power other than 1 what is said differs from what is true."""
    random = np.random.default_rng(seed)
    true = random.beta(0.05, 2, size=count)
    return true**power, (random.random(count) < true).astype(np.int8)


@pytest.mark.parametrize("seed", range(5))
def test_costs_take_calibrated_scores_and_refuse_others(seed: int) -> None:
    said, frauds = drawn(40_000, 1.0, seed)
    chosen = fit_policy(PolicyWish(costs=COSTS), part(said, frauds=frauds), Shares())
    assert chosen.costs == COSTS
    assert 0 < chosen.volume.alert_share < 1
    said, frauds = drawn(40_000, 0.3, seed)
    with pytest.raises(UnusableModelError, match="not calibrated"):
        fit_policy(PolicyWish(costs=COSTS), part(said, frauds=frauds), Shares())
    assert fit_policy(PolicyWish(budget=AlertBudget(Allowance(share=0.01), Allowance(share=0.001))),
                      part(said, frauds=frauds), Shares()).volume.alert_share <= 0.01  # fmt: skip


def test_measures_of_alerts_are_those_of_what_the_policy_says() -> None:
    said, frauds = drawn(20_000, 1.0, 4)
    some = part(said, frauds=frauds)
    chosen = fit_policy(PolicyWish(costs=COSTS), some, Policy(0.4, 0.8))
    decided = COSTS.decide(said, some.payments, Policy(0.4, 0.8))
    alerts = [one is not Decision.APPROVE for one in decided]
    caught = sum(fraud and alert for fraud, alert in zip(frauds.tolist(), alerts, strict=True))
    measured = alert_measures(chosen, some)
    assert measured["precision_at_review"] == caught / sum(alerts)
    assert measured["recall_at_review"] == caught / int(frauds.sum())
    assert measured["alert_rate"] == pytest.approx(sum(alerts) / len(said))
