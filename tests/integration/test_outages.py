"""Services that go away: nothing is lost, nothing is decided twice, and what is decided meanwhile says so."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from fleet import Fleet, new_fleet, sources, until
from payments import payment
from redis.asyncio import Redis
from workers import Worker

from stream.embedded.processes import Child, free_port
from stream.embedded.redis import redis_binary


class OwnRedis:
    """A server of one test's own, that can go away and come back with what it knew."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        options = ["--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always"]
        options += ["--maxmemory-policy", "noeviction", "--notify-keyspace-events", "Ege"]
        command = (redis_binary(), "--port", str(self.port), *options)
        self._new = lambda: Child(command, folder / "redis.log", {})
        self._child = self._new()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._child = self._new()
        self._child.start()
        until(lambda: asyncio.run(self._answers()), "redis answers")

    def kill(self) -> None:
        self._child.kill()

    def pause(self) -> None:
        self._child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._child.signal(signal.SIGCONT)

    async def empty(self) -> None:
        client = Redis(port=self.port)
        await client.flushall()
        await client.aclose()

    async def _answers(self) -> bool:
        client = Redis(port=self.port)
        try:
            return bool(await client.ping())
        except (OSError, ConnectionError):
            return False
        finally:
            await client.aclose()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    (tmp_path / "redis").mkdir()
    server = OwnRedis(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def apart(
    kafka: Cluster, own_redis: OwnRedis, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> Fleet:
    """A fleet on a Redis of its own."""
    return new_fleet(kafka.brokers, own_redis.url, topic_prefix, tmp_path, start_worker)


def test_with_redis_away_decisions_wait_and_then_come_as_if_nothing_had_happened(
    apart: Fleet, own_redis: OwnRedis
) -> None:
    (worker,) = apart.go_live()
    apart.publish(payment(number) for number in range(300))
    apart.await_scores(300)
    own_redis.pause()
    apart.publish(payment(number) for number in range(300, 600))
    assert "redis" in str(worker.await_not_ready()).lower()
    time.sleep(2.0)
    assert len(apart.scores()[0]) == 300
    own_redis.resume()
    valid = apart.await_scores(600)
    worker.await_ready()
    assert set(sources(valid).values()) == {1}
    assert all(not score.degraded for score in valid)
    last = max(valid, key=lambda score: int(score.transaction_id[2:]))
    earlier = sum(payment(number)["card_id"] == last.card_id for number in range(600))
    assert last.features is not None
    assert last.features["card_count_30d"] == earlier


def test_degrading_decides_without_redis_says_so_and_applies_it_afterwards(apart: Fleet, own_redis: OwnRedis) -> None:
    apart.go_live(REDIS_DOWN="degrade")
    apart.publish(payment(number) for number in range(300))
    apart.await_scores(300)
    own_redis.pause()
    apart.publish(payment(number) for number in range(300, 600))
    marked = [score for score in apart.await_scores(600) if score.degraded]
    assert {score.degraded for score in marked} == {("history_incomplete",)}
    assert len(marked) == 300
    own_redis.resume()
    time.sleep(1.5)
    apart.publish(payment(number) for number in range(600, 900))
    valid = apart.await_scores(900)
    last = max(valid, key=lambda score: int(score.transaction_id[2:]))
    assert last.degraded == ()
    assert last.features is not None
    assert last.features["card_count_30d"] == sum(payment(n)["card_id"] == last.card_id for n in range(900))


def test_a_restarted_redis_is_taken_for_one_that_lost_records_and_decisions_say_so(
    apart: Fleet, own_redis: OwnRedis
) -> None:
    apart.go_live()
    apart.publish(payment(number) for number in range(100))
    before = apart.await_scores(100)
    own_redis.kill()
    own_redis.start()
    apart.publish(payment(number) for number in range(100, 200))
    after = [score for score in apart.await_scores(200) if int(score.transaction_id[2:]) >= 100]
    assert {score.degraded for score in before} == {()}
    assert {score.degraded for score in after} == {("history_incomplete",)}
    epochs = {score.positions.history_epoch for score in before}, {score.positions.history_epoch for score in after}
    assert max(epochs[0]) < min(epochs[1])


def test_a_redis_emptied_while_no_worker_ran_is_noticed_and_stays_so_through_restarts(
    apart: Fleet, own_redis: OwnRedis
) -> None:
    (worker,) = apart.go_live()
    apart.publish(payment(number) for number in range(100))
    apart.await_scores(100)
    assert worker.terminate() == 0
    asyncio.run(own_redis.empty())
    for more in (200, 300):
        worker = apart.worker()
        worker.await_ready()
        apart.publish(payment(number) for number in range(more - 100, more))
        after = [score for score in apart.await_scores(more) if int(score.transaction_id[2:]) >= more - 100]
        assert {score.degraded for score in after} == {("history_incomplete",)}
        assert worker.terminate() == 0


def test_with_kafka_away_nothing_is_lost_or_decided_twice(
    kafka_outage: Cluster, redis_url: str, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> None:
    if kafka_outage.kind == "embedded":
        pytest.skip("the embedded broker forgets everything when it stops")
    fleet = new_fleet(kafka_outage.brokers, redis_url, topic_prefix, tmp_path, start_worker)
    (worker,) = fleet.go_live()
    fleet.publish(payment(number) for number in range(3_000))
    kafka_outage.kill()
    time.sleep(3.0)
    kafka_outage.start()
    until(
        lambda: worker.exit_code is not None or len(fleet.scores()[0]) >= 3_000, "all decided, or the worker ended", 90
    )
    if worker.exit_code is not None:
        assert worker.exit_code == 70
        fleet.worker()
    valid = fleet.await_scores(3_000, seconds=90)
    assert set(sources(valid).values()) == {1}
    assert len(valid) == 3_000
