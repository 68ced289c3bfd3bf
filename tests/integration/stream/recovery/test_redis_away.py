"""Redis is away for half a minute under load, away while workers die, or slow: no payment is lost or decided twice.

Afterwards the features of all unmarked decisions equal a recount.
"""

import asyncio
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from fraudstream_client.outputs import Score
from models.times import parse_time_ms
from stream.clock import now_ms
from support.fleet.fleet import Fleet, new_fleet, sources, until
from support.fleet.payments import partition_of
from support.fleet.recounted_payments import Payments, Season, a_season, differing, recounted
from support.fleet.workers import Worker
from support.kafka.cluster import Cluster
from support.redis.own import OwnRedis
from support.redis.proxy import RedisProxy

SEED = 7
AWAY_SECONDS = 30.0
RATE = 100
NOTICED_MS = 3_000
"""A label and a payment may each time out after a second, one after the other, before the outage is detected."""


@pytest.fixture
def proxied(
    kafka: Cluster, redis_url: str, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> Iterator[tuple[Fleet, RedisProxy]]:
    """A fleet that reaches Redis through a proxy."""
    with RedisProxy(redis_url) as proxy:
        yield new_fleet(kafka, proxy.url, topic_prefix, tmp_path, start_worker), proxy


@contextmanager
def load(fleet: Fleet, payments: Payments, rate: float) -> Iterator[None]:
    """Publish the payments at a steady rate in a thread, which the end of the block waits for."""
    thread = threading.Thread(target=lambda: asyncio.run(_steadily(fleet, payments, rate)), name="load")
    thread.start()
    try:
        yield
    finally:
        thread.join()


async def _steadily(fleet: Fleet, payments: Payments, rate: float) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=fleet.brokers)
    await producer.start()
    try:
        began = time.monotonic()
        for number, one in enumerate(payments):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            card: str = one["card_id"]
            topic, key = f"{fleet.prefix}transactions", card.encode()
            await producer.send(topic, msgspec.json.encode(one), key, partition_of(card))
        await producer.flush()
    finally:
        await producer.stop()


def prepare(fleet: Fleet, season: Season) -> None:
    """Have the payments before the outage decided, and their early labels applied."""
    fleet.publish(season.before)
    fleet.await_scores(len(season.before))
    fleet.publish(season.early_labels, topic="labels")
    fleet.await_outcomes(len(season.early_labels))


def finish(fleet: Fleet, season: Season) -> list[Score]:
    """Wait for all labels and the payments of the outage, then publish those after it; return all valid scores.

    Published earlier, they could put one partition ahead of another by more than a label delay, for which merchants'
    features are not defined.
    """
    labels = len(season.early_labels) + len(season.late_labels)
    until(lambda: len(labelled(fleet)) == labels, f"outcomes of {labels} labels")
    fleet.await_scores(len(season.before) + len(season.during))
    fleet.publish(season.after)
    return fleet.await_scores(sum(map(len, season[:3])))


def labelled(fleet: Fleet) -> dict[str, set[str]]:
    """Return the statuses of the labels of each transaction."""
    statuses: dict[str, set[str]] = {}
    for record in fleet.read("outcomes"):
        outcome = json.loads(record.value)
        statuses.setdefault(outcome["transaction_id"], set()).add(outcome["status"])
    return statuses


def check_all_once(season: Season, valid: list[Score]) -> None:
    assert Counter(score.transaction_id for score in valid) == Counter(
        one["transaction_id"] for part in season[:3] for one in part
    )
    assert set(sources(valid).values()) == {1}


def quantiles(scores: list[Score]) -> str:
    latencies = [score.latency_ms for score in scores]
    low, high, worst = np.percentile(latencies, (50, 99, 100)).tolist()
    return f"{len(scores)} decisions, latency p50 {low:.0f} p99 {high:.0f} max {worst:.0f} ms"


def p99_ms(scores: list[Score]) -> float:
    return float(np.percentile([score.latency_ms for score in scores], 99))


def between(scores: list[Score], since_ms: int, until_ms: int) -> list[Score]:
    return [one for one in scores if since_ms < scored_ms(one) < until_ms]


def waited_until(scores: list[Score], moment_ms: int) -> list[Score]:
    """Return the decisions of records that had arrived by a moment."""
    return [one for one in scores if scored_ms(one) - one.latency_ms < moment_ms]


def scored_ms(score: Score) -> int:
    return parse_time_ms(score.scored_at).epoch_ms


@pytest.mark.acceptance
def test_decisions_wait_while_redis_is_away_under_load_and_equal_a_recount_afterwards(
    apart: Fleet, own_redis: OwnRedis, report: Callable[[str], None]
) -> None:
    season = a_season(1_000, 40 * RATE, 300, SEED)
    (worker,) = apart.go_live()
    prepare(apart, season)
    with load(apart, season.during, RATE):
        time.sleep(4.0)
        own_redis.pause()
        gone = now_ms()
        apart.publish(season.late_labels, topic="labels")
        assert "redis" in str(worker.await_not_ready()).lower()
        time.sleep(AWAY_SECONDS)
        own_redis.resume()
        back = now_ms()
    valid = finish(apart, season)
    check_all_once(season, valid)
    assert {score.degraded for score in valid} == {()}
    assert between(valid, gone + 1_500, back) == []
    assert len({score.epoch for score in valid}) == 1, "its partitions moved"
    assert set.union(*labelled(apart).values()) == {"applied"}
    assert differing(valid, recounted(apart)) == []
    caught_up = max(map(scored_ms, waited_until(valid, back))) - back
    report(f"seed {SEED}: all that waited decided {caught_up / 1000:.1f} s after Redis was back; {quantiles(valid)}")


@pytest.mark.acceptance
def test_decisions_without_redis_under_load_are_marked_and_all_others_equal_a_recount(
    proxied: tuple[Fleet, RedisProxy], report: Callable[[str], None]
) -> None:
    fleet, proxy = proxied
    season = a_season(1_000, 40 * RATE, 300, SEED)
    fleet.go_live(REDIS_DOWN="degrade")
    prepare(fleet, season)
    with load(fleet, season.during, RATE):
        time.sleep(4.0)
        proxy.stall()
        gone = now_ms()
        fleet.publish(season.late_labels, topic="labels")
        time.sleep(AWAY_SECONDS / 2)
        fleet.publish(season.before[-100:])  # a producer's retries, whose cards are cached
        time.sleep(AWAY_SECONDS / 2)
        proxy.resume()
        back = now_ms()
    valid = finish(fleet, season)
    check_all_once(season, valid)
    assert {score.degraded for score in valid} == {(), ("history_incomplete",)}
    meanwhile = between(valid, gone + NOTICED_MS, back)
    assert len(meanwhile) > 0.8 * AWAY_SECONDS * RATE
    assert all(score.degraded for score in meanwhile)
    assert p99_ms(meanwhile) < max(500, 3 * p99_ms(between(valid, gone - 3_000, gone))), quantiles(meanwhile)
    assert set.union(*labelled(fleet).values()) == {"applied"}
    assert differing([score for score in valid if not score.degraded], recounted(fleet)) == []
    whole = max(scored_ms(score) for score in valid if score.degraded) - back
    report(f"seed {SEED}: whole again {whole / 1000:.1f} s after Redis was back; meanwhile {quantiles(meanwhile)}")


@pytest.mark.acceptance
def test_payments_decided_without_redis_are_applied_by_the_worker_that_takes_over(
    proxied: tuple[Fleet, RedisProxy], report: Callable[[str], None]
) -> None:
    fleet, proxy = proxied
    season = a_season(800, 20 * RATE, 400, SEED)
    first, second = fleet.go_live(workers=2, REDIS_DOWN="degrade")
    prepare(fleet, season)
    with load(fleet, season.during, RATE):
        time.sleep(2.0)
        proxy.stall()
        time.sleep(4.0)
        first.signal(signal.SIGKILL)
        time.sleep(6.0)
        marked = sum(bool(score.degraded) for score in fleet.scores()[0])
        second.signal(signal.SIGKILL)
        fleet.worker(REDIS_DOWN="wait")
        time.sleep(2.0)
        fleet.publish(season.late_labels, topic="labels")
        proxy.resume()
    valid = finish(fleet, season)
    check_all_once(season, valid)
    assert marked > 3 * RATE
    assert differing([score for score in valid if not score.degraded], recounted(fleet)) == []
    report(f"seed {SEED}: {sum(bool(score.degraded) for score in valid)} decided without Redis by two workers killed")


def test_labels_of_payments_decided_without_redis_are_applied_after_them_by_the_worker_that_takes_over(
    proxied: tuple[Fleet, RedisProxy],
) -> None:
    fleet, proxy = proxied
    (first,) = fleet.go_live(REDIS_DOWN="degrade")
    season = a_season(0, 600, 1, SEED)
    proxy.stall()
    fleet.publish(season.during)
    assert all(score.degraded for score in fleet.await_scores(len(season.during)))
    fleet.publish(season.late_labels, topic="labels")
    first.signal(signal.SIGKILL)
    proxy.resume()
    fleet.worker(REDIS_DOWN="degrade", POLL_RECORDS="20")
    fleet.await_outcomes(len(season.late_labels))
    statuses = Counter(json.loads(record.value)["status"] for record in fleet.read("outcomes"))
    assert set(statuses) <= {"applied", "corrected"}, statuses


@pytest.mark.acceptance
@pytest.mark.parametrize("redis_down", ["wait", "degrade"])
def test_a_slow_redis_delays_decisions_and_changes_none(
    proxied: tuple[Fleet, RedisProxy], redis_down: str, report: Callable[[str], None]
) -> None:
    fleet, proxy = proxied
    season = a_season(600, 15 * RATE, 200, SEED)
    fleet.go_live(REDIS_DOWN=redis_down)
    prepare(fleet, season)
    proxy.delay_s = 0.2
    with load(fleet, season.during, RATE):
        fleet.publish(season.late_labels, topic="labels")
    slow = fleet.await_scores(len(season.before) + len(season.during))[-len(season.during) :]
    valid = finish(fleet, season)
    check_all_once(season, valid)
    assert {score.degraded for score in valid} == {()}
    assert len({score.epoch for score in valid}) == 1, "its partitions moved"
    latencies = [score.latency_ms for score in slow if score.transaction_id.startswith("p-1-")]
    assert 200 <= np.percentile(latencies, 50) < 1_000
    assert max(latencies) < 5_000
    assert differing(valid, recounted(fleet)) == []
    report(f"seed {SEED}, {redis_down}, 200 ms a call: {quantiles(slow)}")
