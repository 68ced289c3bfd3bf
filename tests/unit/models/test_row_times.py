"""The time for a row, of a model's last calls."""

import pytest

from models.row_times import LAST_CALLS, LEAST_CALLS, RowTimes


def test_the_median_of_the_last_calls_is_in_microseconds_for_a_row() -> None:
    times = RowTimes()
    for _ in range(LEAST_CALLS - 1):
        times.add(400_000, 4)
        assert times.median_us is None
    times.add(400_000, 4)
    assert times.median_us == 100.0


@pytest.mark.parametrize(("slow", "expected"), [(LAST_CALLS // 2 - 1, 10.0), (LAST_CALLS // 2 + 1, 5_000.0)])
def test_neither_single_slow_calls_nor_those_before_the_last_ones_count(slow: int, expected: float) -> None:
    times = RowTimes()
    for nanoseconds in (*[10_000] * LAST_CALLS, *[5_000_000] * slow):
        times.add(nanoseconds, 1)
    assert times.median_us == expected
