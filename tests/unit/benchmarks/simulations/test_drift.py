"""Simulated live models: without a drift the watch is quiet where simple rules are not, and a planted one is found."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.simulations import drift, label_feed
from benchmarks.simulations.drift import CASES, DRIFTS, FEATURES, make_cards, make_day, replaced, watch_days
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


def test_paydays_at_the_height_of_a_season_are_no_drift() -> None:
    """Today's mean of the reference, a height of +35 %, and paydays: 6 alarms a year by the index alone."""
    days = ((day, None) for day in range(60, 125))
    seen = watch_days(np.random.default_rng(4), 1_500, days, DriftTerms(), CASES["paydays in a season"])
    assert seen.opened == []
    largest = max(one.index for window in seen.windows for one in window.quantities if one.name == "count")
    assert largest > 0.5


def test_a_drift_in_a_season_with_paydays_is_found() -> None:
    days = ((day, DRIFTS["level + 1 deviation"] if day >= 66 else None) for day in range(60, 72))
    seen = watch_days(np.random.default_rng(5), 1_500, days, DriftTerms(), CASES["paydays in a season"])
    assert seen.opened == [68]


def test_a_feature_that_falls_to_its_most_frequent_value_is_found_and_named() -> None:
    days = ((day, DRIFTS["known at 0 in all"] if day >= 3 else None) for day in range(7))
    seen = watch_days(np.random.default_rng(6), 1_500, days, DriftTerms())
    assert seen.opened == [5]
    assert "known (rest)" in [one.name for one in seen.windows[-1].over]


def test_churn_replaces_cards() -> None:
    random = np.random.default_rng(7)
    before = make_cards(random, 500)
    after = replaced(random, before, 0.1)
    assert 0.05 < np.mean(before.hashes != after.hashes) < 0.15


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


def test_payments_of_a_card_are_alike_and_weekends_differ() -> None:
    random = np.random.default_rng(3)
    cards = make_cards(random, 500)
    thursday, saturday = (make_day(random, cards, day) for day in (20_454, 20_456))
    assert len(thursday.card) > 1.2 * len(saturday.card)
    assert thursday.matrix.shape[1] == len(FEATURES)
    levels = cards.level[thursday.card, 6]
    assert np.corrcoef(levels, thursday.matrix[:, 6])[0, 1] > 0.6


def test_the_command_prints_a_line_for_each_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "DAYS_OF_YEAR", 14)
    monkeypatch.setattr(drift, "DRIFT_DAYS", 14)
    monkeypatch.setattr(drift, "DRIFTS", {"amount in cents": DRIFTS["amount in cents"]})
    options = ("watch", "--years", "1", "--runs", "1", "--cards", "40")
    found = json.loads(CliRunner().invoke(main, [*options, "--json"]).stdout)
    assert [line["case"] for line in found["quiet"]] == list(drift.CASES)
    assert [line["loss"] for line in found["lost_labels"]] == list(label_feed.LOSSES)
    assert [line["drift"] for line in found["found"]] == ["amount in cents"]
    assert "alarms a year without a drift" in CliRunner(env={"COLUMNS": "200"}).invoke(main, options).stdout
