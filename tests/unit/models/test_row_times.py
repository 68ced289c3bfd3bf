"""The time for a row, of a model's last calls."""

import pytest

from models.loading import LAST_CALLS, LEAST_CALLS, LEAST_CALLS_OF_P99, RowTimes


def test_the_median_of_the_last_calls_is_in_microseconds_for_a_row() -> None:
    times = RowTimes()
    for _ in range(LEAST_CALLS - 1):
        times.add(400_000, 4)
        assert times.median_us is None
    times.add(400_000, 4)
    assert times.median_us == 100.0


def test_a_model_that_is_slow_on_some_rows_has_a_usual_median_and_is_seen_in_the_upper_quantiles() -> None:
    for slow, expected in ((0.4, (10.0, 5_000.0, 5_000.0)), (0.02, (10.0, 10.0, 5_000.0)), (0.001, (10.0, 10.0, 10.0))):
        times = RowTimes()
        for at in range(1_000):
            times.add(5_000_000 if at * 617 % 1_000 < slow * 1_000 else 10_000, 1)
        assert times.quantiles is not None
        assert times.quantiles[:3] == expected


def test_the_features_of_a_row_are_part_of_its_time_and_told_apart() -> None:
    times = RowTimes()
    for _ in range(LEAST_CALLS_OF_P99 - 1):
        times.add(400_000, 4, 50_000.0)
    assert times.quantiles == (150.0, 150.0, None, 50.0)
    times.add(400_000, 4, 50_000.0)
    assert times.quantiles == (150.0, 150.0, 150.0, 50.0)


@pytest.mark.parametrize(("slow", "expected"), [(LAST_CALLS // 2 - 1, 10.0), (LAST_CALLS // 2 + 1, 5_000.0)])
def test_neither_single_slow_calls_nor_those_before_the_last_ones_count(slow: int, expected: float) -> None:
    times = RowTimes()
    for nanoseconds in (*[10_000] * LAST_CALLS, *[5_000_000] * slow):
        times.add(nanoseconds, 1)
    assert times.median_us == expected
