"""Categories: codes become a model's own numbers, by how often they occurred in training, and 0 for all others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.categories import FEWEST_ROWS, NO_CATEGORIES, REST, Categories, frequent_codes

CODES = {"b": (7, 2**48 - 1, 3)}
NAMES = ("a", "b", "c")
OTHER = 2.0**47


def test_codes_become_numbers_in_the_order_of_the_table_and_all_else_the_rest() -> None:
    matrix = np.array(
        [[7.0, 7.0, 7.0], [1.0, 2.0**48 - 1, np.nan], [0.0, 3.0, 3.0], [0.0, OTHER, 0.0], [0.0, np.nan, 0.0]]
    )
    before = matrix.copy()
    found = Categories.of(CODES, NAMES).as_numbers(matrix)
    assert found[:4, 1].tolist() == [1.0, 2.0, 3.0, REST]
    assert np.isnan(found[4, 1])
    np.testing.assert_array_equal(found[:, [0, 2]], before[:, [0, 2]])
    np.testing.assert_array_equal(matrix, before, "the matrix is shared by models")
    assert NO_CATEGORIES.as_numbers(matrix) is matrix


@given(st.sets(st.integers(0, 2**48 - 1), max_size=40), st.integers(0, 2**48 - 1))
def test_numbers_and_codes_are_inverse(codes: set[int], other: int) -> None:
    order = list(codes)
    categories = Categories.of({"x": order}, ("x",))
    numbers = np.arange(len(order) + 1, dtype=np.float64)[:, np.newaxis]
    np.testing.assert_array_equal(categories.as_numbers(categories.as_codes(numbers)), numbers)
    assert categories.as_numbers(np.array([[float(other)]]))[0, 0] == (
        order.index(other) + 1 if other in codes else REST
    )
    assert categories.column_as_numbers(0, np.array([float(other)])) == categories.as_numbers(
        np.array([[float(other)]])
    )


@pytest.mark.parametrize(
    ("counts", "kept"),
    [
        ({5: 100, 6: 300, 7: FEWEST_ROWS - 1, 8: FEWEST_ROWS}, [6, 5, 8]),
        ({5: 100, 6: 100, 4: 100}, [4, 5]),
        ({5: 100}, [5]),
        ({5: 3}, []),
        ({}, []),
    ],
)
def test_the_table_has_what_is_frequent_and_the_rest_has_been_seen(counts: dict[int, int], kept: list[int]) -> None:
    values = [float(code) for code, count in counts.items() for _ in range(count)]
    assert frequent_codes(np.array([*values, np.nan])) == kept
