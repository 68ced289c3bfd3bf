"""How soon a running worker notices that its Redis restarted empty, whenever in its rounds that happens."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from support.fleet.fleet import Fleet
from support.redis.own import OwnRedis

RESTARTS = 24
NOTICED_SECONDS = 0.4
"""Of a worker alone: the longest pause between two looks, a failed one's repetition, and the loss itself."""


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[OwnRedis]:
    """A Redis that restarts empty."""
    (tmp_path / "forgetful").mkdir()
    server = OwnRedis(tmp_path / "forgetful", forgetful=True)
    server.start()
    yield server
    server.kill()


def epoch_of(server: OwnRedis, fleet: Fleet) -> int:
    """Return the history epoch; 0 while there is none, or no server."""
    try:
        return int(server.client.get(f"fraudstream:{fleet.environment['DEPLOYMENT']}:epoch") or 0)
    except RedisError:
        return 0


def seconds_until(holds: Callable[[], bool], limit: float = 5.0) -> float:
    """Return after how many seconds a condition holds; looked at each 2 ms."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < limit, "not noticed at all"
        time.sleep(0.002)
    return time.monotonic() - began


@pytest.mark.acceptance
def test_a_redis_that_restarted_empty_is_noticed_before_the_next_regular_look_but_one(
    fleet: Fleet, forgetful: OwnRedis, report: Callable[[str], None]
) -> None:
    fleet.environment["REDIS_URL"] = forgetful.url
    (worker,) = fleet.go_live()
    noticed = list[float]()
    for number in range(RESTARTS):
        before = epoch_of(forgetful, fleet)
        time.sleep(0.5 * number / RESTARTS)  # another moment between two looks each time
        forgetful.kill()
        forgetful.start()
        noticed.append(seconds_until(lambda above=before: epoch_of(forgetful, fleet) > above))  # type: ignore[misc]
        worker.await_ready()
    noticed.sort()
    low, middle, high = noticed[0], noticed[len(noticed) // 2], noticed[-1]
    report(f"{RESTARTS} restarts were noticed after {low:.3f} s, {middle:.3f} s (median), {high:.3f} s at most")
    assert high < NOTICED_SECONDS, [round(one, 3) for one in noticed]
