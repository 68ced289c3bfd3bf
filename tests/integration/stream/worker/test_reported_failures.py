"""Failures that users of stream frameworks report most, each of which must not happen here.

A rebalance during a repair is in `tests/integration/stream/recovery/test_repair.py`, a committed offset that is gone in
`test_lost_commits.py` beside it; a record that is done although the one before it failed is in
`tests/unit/stream/engine/test_batches.py`.
"""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.fleet.fleet import Fleet, feed, new_fleet, sources, until
from support.fleet.payments import PARTITIONS, partition_of, payment
from support.fleet.workers import Worker
from support.kafka.cluster import Cluster
from support.redis.own import OwnRedis

RATE = 150


def assert_each_is_decided_once(fleet: Fleet, count: int) -> None:
    valid = fleet.await_scores(count)
    assert len(valid) == count
    assert set(sources(valid).values()) == {1}


def one_for_each_partition(first: int) -> list[dict[str, Any]]:
    cards = (next(one for one in map(str, range(60)) if partition_of(one) == here) for here in range(PARTITIONS))
    return [payment(first + at, card_id=card) for at, card in enumerate(cards)]


def test_every_partition_is_fetched_after_each_rebalance_and_no_record_is_done_twice_after_a_scale_out(
    fleet: Fleet,
) -> None:
    workers = fleet.go_live()
    for second in range(6):
        feed(fleet, second, RATE)
        if second in {1, 3}:
            workers.append(fleet.worker())
    until(lambda: workers[2].has_joined, "the third worker has joined")
    assert workers[1].terminate() == 0
    for round_number in range(3):
        fleet.publish(one_for_each_partition(10_000 + 10 * round_number))
        fleet.await_scores(6 * RATE + PARTITIONS * (round_number + 1))
    assert_each_is_decided_once(fleet, 6 * RATE + 3 * PARTITIONS)
    assert fleet.scores()[1].void == 0


def test_a_rebalance_while_redis_hangs_does_not_wait_longer_than_the_drain_allows(
    apart: Fleet, own_redis: OwnRedis
) -> None:
    workers = apart.go_live(DRAIN_SECONDS="3")
    feed(apart, 0, RATE)
    apart.await_scores(RATE)
    own_redis.pause()
    apart.publish(payment(number, cards=400, merchants=100) for number in range(RATE, 2 * RATE))
    began = time.monotonic()
    workers.append(apart.worker(DRAIN_SECONDS="3"))
    time.sleep(4)
    own_redis.resume()
    for worker in workers:
        if worker.exit_code is None:
            worker.await_ready()
    assert time.monotonic() - began < 60
    assert {worker.exit_code for worker in workers} <= {None, 70}
    assert_each_is_decided_once(apart, 2 * RATE)


@pytest.mark.acceptance
def test_a_consumer_that_gets_nothing_from_a_hung_broker_says_so_and_goes_on_when_it_answers(
    kafka_outage: Cluster, redis_url: str, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> None:
    if kafka_outage.kind == "embedded":
        pytest.skip("the embedded broker is not a process that can be stopped")
    fleet = new_fleet(kafka_outage, redis_url, topic_prefix, tmp_path, start_worker)
    (worker,) = fleet.go_live()
    feed(fleet, 0, RATE)
    fleet.await_scores(RATE)
    kafka_outage.pause()
    until(lambda: any("broker has not answered" in one for one in worker.readiness()[1]), "it is told of", 30)
    kafka_outage.resume()
    feed(fleet, 1, RATE)
    until(lambda: worker.exit_code is not None or worker.readiness()[0], "it is ready again")
    assert worker.exit_code is None
    assert_each_is_decided_once(fleet, 2 * RATE)


def test_payments_are_decided_in_the_order_of_their_partition_whatever_is_set_aside(fleet: Fleet) -> None:
    fleet.go_live(workers=2)
    feed(fleet, 0, RATE)
    fleet.await_scores(RATE)
    orders: dict[int, list[int]] = {}
    for score in fleet.scores()[0]:
        orders.setdefault(score.source.partition, []).append(score.source.offset)
    assert all(order == sorted(order) for order in orders.values())
    assert Counter(map(len, orders.values())).total() == PARTITIONS
