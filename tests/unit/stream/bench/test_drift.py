"""Simulated live models: without a drift the watch is quiet where simple rules are not, and a planted one is found."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from stream.bench import drift
from stream.bench.drift import DRIFTS, FEATURES, make_cards, make_day, watch_days
from stream.cli.main import main
from stream.drift.terms import DriftTerms


def test_six_weeks_without_a_drift_are_quiet_though_weekends_look_like_one() -> None:
    days = ((day, None, False) for day in range(42))
    seen = watch_days(np.random.default_rng(1), 300, days, DriftTerms(least_cards=200))
    assert seen.opened == []
    assert sum(seen.simple) > 3


def test_a_planted_drift_is_found_on_its_third_day_and_named() -> None:
    days = ((day, DRIFTS["amount in cents"] if day >= 5 else None, False) for day in range(9))
    seen = watch_days(np.random.default_rng(2), 300, days, DriftTerms(least_cards=200))
    assert seen.opened == [7]
    assert seen.windows[-1].worst_features[0].name == "amount"


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
    options = ("bench", "watch", "--years", "1", "--runs", "1", "--cards", "40")
    found = json.loads(CliRunner().invoke(main, [*options, "--json"]).stdout)
    assert {line["case"] for line in found["quiet"]} == {"nothing", "odd days"}
    assert [line["drift"] for line in found["found"]] == ["amount in cents"]
    assert "alarms a year without a drift" in CliRunner(env={"COLUMNS": "200"}).invoke(main, options).stdout
