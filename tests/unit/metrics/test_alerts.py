"""Counts of alerts by their laws, and budgets against a recount with dictionaries."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.alerts import AlertCounts, ScoredRows, alerts_at_budget, card_days, first_frauds, first_hit_recall
from metrics.errors import MeasureInputError

FLAGS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=50)
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 9), st.booleans()), max_size=60)


def counted(flags: list[tuple[bool, bool]]) -> AlertCounts:
    fraud, alerted = np.array(flags, np.bool_).reshape(-1, 2).T
    return AlertCounts.of(fraud, alerted)


def scored(rows: list[tuple[int, int, int, bool]]) -> ScoredRows:
    table = np.array(rows, np.int64).reshape(-1, 4).T
    return ScoredRows(table[0], table[1], table[2] / 10, table[3].astype(np.bool_))


@given(FLAGS)
def test_precision_recall_and_rates_equal_a_recount(flags: list[tuple[bool, bool]]) -> None:
    found = counted(flags)
    alerts, frauds = [fraud for fraud, alert in flags if alert], [alert for fraud, alert in flags if fraud]
    assert found.precision == (sum(alerts) / len(alerts) if alerts else None)
    assert found.recall == (sum(frauds) / len(frauds) if frauds else None)
    assert found.alert_rate == (len(alerts) / len(flags) if flags else None)
    assert found.fraud_rate == (len(frauds) / len(flags) if flags else None)


@given(FLAGS, FLAGS)
def test_counts_of_parts_merge_to_those_of_the_whole(one: Any, other: Any) -> None:
    assert counted(one).merge(counted(other)) == counted(one + other)
    assert counted(one).merge(AlertCounts.zero()) == counted(one)


@pytest.mark.parametrize("counts", [(1, 2, 0, 0), (9, 1, 1, 2), (9, 5, 5, 0), (1, 0, 0, -1)])
def test_counts_of_no_possible_rows_cannot_be_built(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(MeasureInputError, match="no such rows exist"):
        AlertCounts(*counts)


@given(ROWS, st.integers(0, 8))
def test_the_highest_scores_of_each_day_are_alerted_of_equal_ones_the_first(rows: Any, budget: int) -> None:
    by_day: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, (day, _, score, _) in enumerate(rows):
        by_day[day].append((-score, number))
    expected = {number for places in by_day.values() for _, number in sorted(places)[:budget]}
    found = alerts_at_budget(scored(rows).days, scored(rows).scores, budget)
    assert set(np.flatnonzero(found).tolist()) == expected


@given(ROWS)
def test_a_card_has_one_row_a_day_with_its_highest_score_and_any_fraud(rows: Any) -> None:
    best: dict[tuple[int, int], tuple[float, bool]] = {}
    for day, card, score, fraud in rows:
        before = best.get((day, card), (0.0, False))
        best[day, card] = max(before[0], score / 10), before[1] or fraud
    found = card_days(scored(rows))
    assert [(day, card, *best[day, card]) for day, card in sorted(best)] == list(
        zip(*(column.tolist() for column in found), strict=True)
    )


def test_what_cannot_be_ranked_is_refused() -> None:
    days, scores = np.zeros(2, np.int64), np.array([0.5, np.nan])
    with pytest.raises(MeasureInputError, match=r"scores: 1 of 2 values .* such as nan"):
        alerts_at_budget(days, scores, 1)
    with pytest.raises(MeasureInputError, match="budget: -1 alerts a day"):
        alerts_at_budget(days, np.zeros(2), -1)
    with pytest.raises(MeasureInputError, match="scores: 1 of 2"):
        card_days(ScoredRows(days, days, scores, np.zeros(2, np.bool_)))


HITS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.booleans(), st.booleans()), max_size=40)


@given(HITS)
def test_the_first_fraud_of_a_card_and_its_recall_equal_a_recount(rows: list[tuple[int, int, bool, bool]]) -> None:
    cards, times, fraud, alerted = np.array(rows, np.int64).reshape(-1, 4).T
    first = first_frauds(cards, times, fraud.astype(np.bool_))
    expected: dict[int, int] = {}
    for number, (card, time, is_fraud, _) in enumerate(rows):
        if is_fraud and (card not in expected or time < rows[expected[card]][1]):
            expected[card] = number
    assert set(np.flatnonzero(first).tolist()) == set(expected.values())
    caught = [rows[number][3] for number in expected.values()]
    assert first_hit_recall(first, alerted.astype(np.bool_)) == (sum(caught) / len(caught) if caught else None)


def test_a_card_that_was_defrauded_before_the_measured_rows_has_no_first_hit_among_them() -> None:
    cards, times, fraud = np.array([1, 1, 2]), np.array([10, 20, 30]), np.ones(3, np.bool_)
    measured = times >= 20
    assert first_frauds(cards, times, fraud)[measured].tolist() == [False, True]
