"""The autoscaler's numbers: as KEDA's Kafka scaler and the horizontal autoscaler of Kubernetes have them."""

from dataclasses import replace
from itertools import pairwise

import pytest

from fraudstream.bench.autoscaler import Autoscaler, ScalingRule, workers_needed

RULE = ScalingRule(
    min_workers=1,
    max_workers=12,
    lag_per_worker=1000,
    poll_seconds=1,
    up_every_seconds=30,
    down_after_seconds=60,
    down_every_seconds=20,
)


def follow(lags: list[tuple[float, int]], start: int = 1, partitions: int = 12) -> list[int]:
    """Return the workers after each look, at a time and a lag."""
    scaler, current, found = Autoscaler(RULE, partitions), start, []
    for at, lag in lags:
        current = scaler.workers(at, lag, current)
        found.append(current)
    return found


@pytest.mark.parametrize(("lag", "workers"), [(0, 1), (1000, 1), (1001, 2), (2001, 3), (4001, 6), (6001, 12)])
def test_a_lag_asks_for_the_smallest_divisor_of_the_partitions_that_suffices(lag: int, workers: int) -> None:
    # From half of them, so that twice as many is enough.
    scaler = Autoscaler(RULE, 12)
    assert scaler.workers(0, lag, max(1, workers // 2)) == workers


def test_more_than_twice_as_many_are_not_started_at_once() -> None:
    assert follow([(0, 100_000), (10, 100_000), (31, 100_000), (62, 100_000)]) == [3, 3, 6, 12]


def test_fewer_are_kept_only_when_less_was_asked_for_all_the_time() -> None:
    quiet = [(float(at), 0) for at in range(10, 90, 10)]
    found = follow([(0, 6000), *quiet], start=6)
    assert found[:6] == [6] * 6
    assert found[6] == 5


def test_one_worker_less_in_a_period() -> None:
    quiet = [(float(at), 0) for at in range(0, 200, 10)]
    found = follow([(-1.0, 4000), *quiet], start=4)
    assert found[-1] == 1
    assert all(before - after in (0, 1) for before, after in pairwise(found))
    falls = [at for at, (before, after) in enumerate(pairwise(found)) if after < before]
    assert all(later - sooner >= 2 for sooner, later in pairwise(falls))


def test_a_wave_within_the_time_of_stabilisation_keeps_the_workers() -> None:
    waves = [(float(at), 6000 if at % 50 == 0 else 0) for at in range(0, 500, 10)]
    assert set(follow(waves, start=6)) == {6}


def test_what_differs_by_a_tenth_is_left() -> None:
    scaler = Autoscaler(replace(RULE, max_workers=42), 42)
    assert scaler.workers(0, 20_900, 20) == 20
    assert scaler.workers(1, 20_900, 14) == 21


def test_there_are_never_more_than_the_most_nor_fewer_than_the_least() -> None:
    found = follow([(float(at), 10**9) for at in range(0, 300, 31)], partitions=64)
    assert max(found) == RULE.max_workers
    assert min(follow([(float(at), 0) for at in range(300)], start=3)) == RULE.min_workers


@pytest.mark.parametrize(("rate", "needed"), [(0, 1), (1000, 1), (1001, 2), (3500, 4)])
def test_the_fewest_workers_for_a_rate(rate: float, needed: int) -> None:
    assert workers_needed(rate, 1000) == needed
