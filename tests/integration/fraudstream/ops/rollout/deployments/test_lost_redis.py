"""A silent fleet loses its Redis: it is not named while it is away or repaired, and decides rightly when it is."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.fleet.deployments import assert_published_once, cut_over, diff, go_live_when_warm, other_deployment
from support.fleet.fleet import Fleet, until
from support.fleet.load import CARDS, MERCHANTS, Load
from support.fleet.payments import PARTITIONS, payment
from support.fleet.workers import Worker
from support.redis.own import OwnRedis

pytestmark = [pytest.mark.acceptance]

RATE = 100
BEFORE = 12_000
"""Payments that a repair has to read: it takes seconds, so that a hand-over is asked for meanwhile."""


@pytest.fixture
def forgetful_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    (tmp_path / "forgetful").mkdir()
    server = OwnRedis(tmp_path / "forgetful", forgetful=True)
    server.start()
    yield server
    server.kill()


def test_a_silent_fleet_that_lost_its_redis_is_refused_until_it_is_repaired(
    fleet: Fleet, start_worker: Callable[..., Worker], forgetful_redis: OwnRedis, report: Callable[[str], None]
) -> None:
    green = other_deployment(fleet, start_worker, REDIS_URL=forgetful_redis.url)
    assert green.cli("topics", "apply", "--partitions", str(PARTITIONS)).returncode == 0
    fleet.go_live()
    fleet.publish(
        payment(number, cards=CARDS, merchants=MERCHANTS) | {"transaction_id": f"before-{number}"}
        for number in range(BEFORE)
    )
    fleet.await_scores(BEFORE)
    with Load(fleet, RATE) as load:
        (worker,) = go_live_when_warm(green, seed=1)
        load.await_decisions(time.monotonic())
        forgetful_redis.kill()
        worker.await_not_ready()
        assert any("Redis" in why for why in problems(green))
        forgetful_redis.start()
        repairing = reasons_until_accepted(green)
        report(f"refused while it was repaired: {len(repairing)} times, first for: {repairing[0]}")
        assert any("repair" in why for why in repairing), repairing
        load.await_decisions(time.monotonic())
    names = fleet.environment["DEPLOYMENT"], green.environment["DEPLOYMENT"]
    assert_published_once(fleet, names)
    found = diff(green)
    assert (found["deployment"], found["unexplained"], found["undecided"]) == (names[1], 0, 0)


def reasons_until_accepted(green: Fleet) -> list[str]:
    """Ask for a hand-over until it is accepted, and return why it was not before."""
    found: list[str] = []

    def accepted() -> bool:
        why = problems(green)
        found.extend(why)
        return not why

    until(accepted, "it is named once it is whole", 120)
    return found


def problems(green: Fleet) -> list[str]:
    """Ask for a hand-over, and return why it was refused; nothing if it was not."""
    verdict = cut_over(green)
    assert verdict is not None
    return [problem.detail for problem in verdict.problems]
