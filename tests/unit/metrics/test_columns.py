"""Sums by card, and intervals as values."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.columns import check_numbers, ratios, sum_by_card
from metrics.errors import MeasureInputError

ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(-9, 9), st.booleans()), max_size=40)


@given(ROWS)
def test_sums_by_card_equal_a_recount_in_both_orders(rows: Any) -> None:
    cards, amounts, flags = (np.array([row[at] for row in rows], kind) for at, kind in enumerate((int, int, bool)))
    expected: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for card, amount, flag in rows:
        expected[card][0] += amount
        expected[card][1] += flag
    found = sum_by_card(cards, amounts, flags)
    assert dict(zip(found.cards.tolist(), found.sums.tolist(), strict=True)) == expected
    assert found.cards.tolist() == sorted(expected)
    assert found.by_appearance().tolist() == list(expected.values())  # a dictionary keeps the order of its first keys


def test_a_ratio_with_a_denominator_of_zero_is_undefined() -> None:
    assert ratios(np.array([1.0, 0.0, 3.0]), np.array([2.0, 0.0, 0.0])) == pytest.approx(
        [0.5, np.nan, np.nan], nan_ok=True
    )


def test_numbers_out_of_range_are_counted_with_an_example() -> None:
    with pytest.raises(MeasureInputError, match=r"values: 2 of 3 values are not in \[-1, 1\], such as 2"):
        check_numbers("values", np.array([2.0, 0.0, np.nan]), -1, 1)
    with pytest.raises(MeasureInputError, match="differ in length: cards 1, column 0 2"):
        sum_by_card(np.array([1]), np.array([1, 2]))
