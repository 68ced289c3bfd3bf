"""Card precision against a recount with dictionaries, and blocked cards against the definition."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.alerts import ScoredRows
from metrics.card_precision import KnownFrauds, card_precision, known_compromised
from metrics.errors import MeasureInputError

DAY_MS = 86_400_000
ROWS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6), st.integers(0, 9), st.booleans()), max_size=80)
TIMES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 10 * DAY_MS)), max_size=20)


def scored(rows: list[tuple[int, int, int, bool]]) -> ScoredRows:
    table = np.array(rows, np.int64).reshape(-1, 4).T
    return ScoredRows(table[0], table[1], table[2] / 10, table[3].astype(np.bool_))


def recounted(rows: list[tuple[int, int, int, bool]], budget: int, blocked_days: int) -> dict[int, float]:
    found_on: dict[int, int] = {}
    precisions = {}
    for day in sorted({row[0] for row in rows}):
        today = [row for row in rows if row[0] == day]
        free = {card for _, card, _, _ in today if card not in found_on or day - found_on[card] >= blocked_days}
        best = {card: max(row[2] for row in today if row[1] == card) for card in free}
        investigated = sorted(free, key=lambda card: (-best[card], card))[:budget]
        hits = [card for card in investigated if any(row[1] == card and row[3] for row in today)]
        found_on |= dict.fromkeys(hits, day)
        precisions[day] = len(hits) / budget
    return precisions


@given(ROWS, st.integers(1, 5), st.integers(1, 9))
def test_card_precision_of_each_day_equals_a_recount(rows: Any, budget: int, blocked_days: int) -> None:
    expected = recounted(rows, budget, blocked_days)
    found = card_precision(scored(rows), budget, blocked_days)
    assert dict(zip(found.days, found.precisions, strict=True)) == expected
    assert found.mean == (pytest.approx(sum(expected.values()) / len(expected)) if expected else None)


def test_cards_may_be_named_by_strings_and_scores_be_of_any_unit() -> None:
    numbers = scored([(0, 1, 3, True), (0, 2, 5, False), (1, 2, 1, True)])
    names = numbers._replace(cards=np.array(["c1", "c2", "c2"]), scores=np.log(numbers.scores))
    assert card_precision(names, 1) == card_precision(numbers, 1)


@given(TIMES, TIMES, st.integers(1, 4))
def test_a_card_is_blocked_from_the_first_day_at_whose_beginning_its_fraud_is_known(
    rows: Any, known: Any, blocked_days: int
) -> None:
    cards, occurred = np.array(rows, np.int64).reshape(-1, 2).T
    known_cards, known_ms = np.array(known, np.int64).reshape(-1, 2).T
    expected = []
    for card, at in rows:
        midnight = at - at % DAY_MS
        begins = [midnight - day * DAY_MS for day in range(blocked_days)]  # one of them is the first after the label
        expected.append(any(one == card and begin - DAY_MS < ms <= begin for one, ms in known for begin in begins))
    assert known_compromised(cards, occurred, KnownFrauds(known_cards, known_ms), blocked_days).tolist() == expected


def test_no_budget_is_refused() -> None:
    with pytest.raises(MeasureInputError, match="budget: 0 cards a day; it must be at least 1"):
        card_precision(scored([]), 0)
