"""Simulated live models: without a drift the watch is quiet where simple rules are not, and a planted one is found."""

import numpy as np
import pytest

from benchmarks.simulations.drift import CASES, DRIFTS, watch_days
from fraudstream.ops.watch.drift.terms import DriftTerms


def test_six_weeks_without_a_drift_are_quiet_though_weekends_look_like_one() -> None:
    days = ((day, None) for day in range(42))
    seen = watch_days(np.random.default_rng(1), 300, days, DriftTerms(least_cards=200))
    assert seen.opened == []
    assert sum(seen.simple) > 3


def test_a_planted_drift_is_found_on_its_third_day_and_named() -> None:
    days = ((day, DRIFTS["amount in cents"] if day >= 5 else None) for day in range(9))
    seen = watch_days(np.random.default_rng(2), 300, days, DriftTerms(least_cards=200))
    assert seen.opened == [7]
    assert seen.windows[-1].worst_features[0].name == "amount"


@pytest.mark.acceptance
def test_paydays_at_the_height_of_a_season_are_no_drift() -> None:
    """Today's mean of the reference, a height of +35 %, and paydays: 6 alarms a year by the index alone."""
    days = ((day, None) for day in range(60, 125))
    seen = watch_days(np.random.default_rng(4), 1_500, days, DriftTerms(), CASES["paydays in a season"])
    assert seen.opened == []
    largest = max(one.index for window in seen.windows for one in window.quantities if one.name == "count")
    assert largest > 0.5


@pytest.mark.acceptance
def test_a_drift_in_a_season_with_paydays_is_found() -> None:
    days = ((day, DRIFTS["level + 1 deviation"] if day >= 66 else None) for day in range(60, 72))
    seen = watch_days(np.random.default_rng(5), 1_500, days, DriftTerms(), CASES["paydays in a season"])
    assert seen.opened == [68]


def test_a_feature_that_falls_to_its_most_frequent_value_is_found_and_named() -> None:
    days = ((day, DRIFTS["known at 0 in all"] if day >= 3 else None) for day in range(7))
    seen = watch_days(np.random.default_rng(6), 1_500, days, DriftTerms())
    assert seen.opened == [5]
    assert "known (rest)" in [one.name for one in seen.windows[-1].over]


@pytest.mark.acceptance
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("case", ["paydays", "a season", "paydays in a season", "and churn"])
def test_120_years_with_seasons_paydays_and_churn_raise_no_alarm(case: str) -> None:
    """Each case has a quarter of them."""
    alarms = 0
    for year in range(30):
        days = ((day, None) for day in range(365))
        random = np.random.default_rng((32, 1_500, year + 100))
        alarms += len(watch_days(random, 1_500, days, DriftTerms(), CASES[case]).opened)
    assert alarms == 0
