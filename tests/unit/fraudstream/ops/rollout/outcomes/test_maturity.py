"""Which outcomes are known, and the maturity curve: recounts in plain Python, and its bias against a known truth."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.rollout.outcomes.maturity import DAY_MS, MaturityTerms, maturity_curve, outcomes_of
from support.outcome_cases import Payment, at_ms, label_rows, payment_rows

TERMS = MaturityTerms(at_ms(100), 60)
PAYMENTS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(0, 100),
        st.sampled_from(["approve", "review", "decline"]),
        st.sampled_from([None, None, False, True]),
    ).map(lambda one: Payment(one[0], one[1], decided=one[2], fraud=one[3])),
    max_size=20,
)


@given(PAYMENTS)
def test_a_payment_is_matured_by_its_label_or_by_its_age_and_a_decline_by_its_label_alone(payments: Any) -> None:
    found = outcomes_of(payment_rows(payments), TERMS)
    for at, one in enumerate(payments):
        is_unobserved = one.decided == "decline" and one.fraud is None
        assert found.unobserved[at] == is_unobserved
        assert found.matured[at] == (one.fraud is not None or (one.day <= 40 and not is_unobserved))
        assert found.fraud[at] == (one.fraud is True)
        waiting = [other.day for other in payments if other.fraud is None and other.day > 40]
        assert found.settled[at] == all(one.day < other for other in waiting)
        assert found.used[at] == (found.matured[at] and found.settled[at])


def recounted(delays: list[tuple[float, float]]) -> dict[float, float]:
    """Return the product-limit estimate of (delay, most that could have been seen) by its definition."""
    ages = sorted({delay for delay, _ in delays})
    shares = {}
    for age in ages:
        share = 1.0
        for later in ages:
            if later > age:
                at_risk = sum(delay <= later <= reach for delay, reach in delays)
                share *= 1 - sum(delay == later for delay, _ in delays) / at_risk
        shares[age] = share
    return shares


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 80)), min_size=1, max_size=25))
def test_the_curve_is_the_product_limit_estimate(frauds: Any) -> None:
    lines = [("card", f"t-{at}", day, day + delay, at, True) for at, (day, delay) in enumerate(frauds)]
    first = min(day + delay for day, delay in frauds)
    usable = [(delay, min(100 - day, 60)) for day, delay in frauds if day >= first and delay <= min(100 - day, 60)]
    curve = maturity_curve(label_rows(lines), TERMS)
    assert curve.frauds == len(usable)
    if not usable:
        assert curve.known_at(np.array([10 * DAY_MS])).tolist() == [0]
        assert curve.quantile_ms(0.5) is None
        return
    expected = recounted(usable)
    assert (curve.ages_ms // DAY_MS).tolist() == list(expected)
    assert curve.shares == pytest.approx(list(expected.values()))
    assert curve.reach_ms == max(reach for _, reach in usable) * DAY_MS
    assert curve.known_at(np.array([-1, 10**12])).tolist() == [0, 1]


def test_the_curve_holds_the_truth_where_the_naive_share_does_not() -> None:
    """Of the last days only frauds with short delays are known; delays are exponential with a mean of 15 days."""
    random = np.random.default_rng(1)
    days, delays = random.uniform(0, 100, 20_000), random.exponential(15, 20_000)
    seen = days + delays <= 100
    early = label_rows([("card", "first", None, 0.0, 0, False)])
    lines = [("card", f"t-{at}", days[at], days[at] + delays[at], at, True) for at in np.flatnonzero(seen)]
    curve = maturity_curve(np.concatenate((early, label_rows(lines))), TERMS)
    truth = (1 - np.exp(-10 / 15)) / (1 - np.exp(-60 / 15))
    naive = float((delays[seen] <= 10).mean())
    assert float(curve.known_at(np.array([10 * DAY_MS]))[0]) == pytest.approx(truth, abs=0.01)
    assert naive - truth > 0.03
    median = curve.quantile_ms(0.5)
    assert median is not None
    assert median / DAY_MS == pytest.approx(-15 * np.log(1 - 0.5 * (1 - np.exp(-4))), abs=0.5)


def test_without_labels_there_is_no_curve() -> None:
    curve = maturity_curve(label_rows([]), TERMS)
    assert (curve.frauds, curve.reach_ms, len(curve.ages_ms)) == (0, 0, 0)
