"""Somebody leaves a transaction open on `scores` or `dead-letters`: what lies behind it may be our own, and counts."""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from confluent_kafka import Producer

from support.fleet.fleet import Fleet, sources, until
from support.fleet.payments import partition_of, payment
from support.fleet.shipments import librdkafka_producer
from support.fleet.workers import Worker

pytestmark = pytest.mark.usefixtures("apache_kafka")

PART = 60
OPEN_MS = 120_000
NO_SCORE = b"no score"


def publish(fleet: Fleet, part: int) -> None:
    fleet.publish(payment(number) for number in range(part * PART, (part + 1) * PART))


@contextmanager
def open_transaction(fleet: Fleet, partition: int, on: str = "scores") -> Iterator[Producer]:
    """Leave another producer's transaction open on a partition of the scores, or of another topic."""
    topic = f"{fleet.prefix}{on}"
    with librdkafka_producer(fleet.brokers, transactional_id=topic, transaction_ms=OPEN_MS) as producer:
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(topic, NO_SCORE, b"card", partition=partition)
        assert producer.flush(30) == 0
        yield producer


def written(fleet: Fleet) -> Counter[tuple[int, int]]:
    """Return how often each payment has a score, valid or not, committed or not."""
    scores = [msgspec.json.decode(one.value)["source"] for one in fleet.read("scores") if one.value != NO_SCORE]
    return Counter((source["partition"], source["offset"]) for source in scores)


def await_held_up(fleet: Fleet, worker: Worker, partition: int) -> None:
    named = f"{fleet.prefix}scores partition {partition}: up to "
    until(lambda: any(one.startswith(named) for one in worker.readiness()[1]), "a reason names the transaction")


@pytest.mark.parametrize("end", ["commit", pytest.param("abort", marks=pytest.mark.acceptance)])
def test_a_partition_waits_for_the_end_of_a_transaction_on_its_scores_and_the_others_go_on(
    end: str, fleet: Fleet
) -> None:
    (worker,) = fleet.go_live()
    publish(fleet, 0)
    fleet.await_scores(PART)
    partition = partition_of("card-1")
    elsewhere = sum(partition_of(payment(number)["card_id"]) != partition for number in range(3 * PART))
    with open_transaction(fleet, partition) as producer:
        publish(fleet, 1)
        await_held_up(fleet, worker, partition)
        publish(fleet, 2)
        until(
            lambda: sum(count for (at, _), count in written(fleet).items() if at != partition) == elsewhere,
            "the other partitions go on",
        )
        await_held_up(fleet, worker, partition)
        assert set(written(fleet).values()) == {1}, "what lies behind the transaction is not decided again"
        _ = producer.commit_transaction(30) if end == "commit" else producer.abort_transaction(30)
    valid = fleet.await_scores(3 * PART)
    worker.await_ready()
    assert (set(sources(valid).values()), len(valid)) == ({1}, 3 * PART)
    assert set(written(fleet).values()) == {1}
    assert worker.terminate() == 0


@pytest.mark.acceptance
def test_a_worker_that_takes_over_reads_its_predecessors_scores_behind_the_transaction_first(fleet: Fleet) -> None:
    (first,) = fleet.go_live(COMMIT_INTERVAL="600")
    publish(fleet, 0)
    fleet.await_scores(PART)
    partition = partition_of("card-1")
    with open_transaction(fleet, partition) as producer:
        publish(fleet, 1)
        await_held_up(fleet, first, partition)
        before = written(fleet)
        assert len([at for at, _ in before if at == partition]) > 0
        first.signal(signal.SIGKILL)
        second = fleet.worker()
        await_held_up(fleet, second, partition)
        assert set(written(fleet).values()) == {1}
        producer.commit_transaction(30)
    valid = fleet.await_scores(2 * PART)
    second.await_ready()
    assert (set(sources(valid).values()), len(valid)) == ({1}, 2 * PART)
    assert set(written(fleet).values()) == {1}
    assert second.terminate() == 0


@pytest.mark.acceptance
def test_a_worker_that_takes_over_reads_its_predecessors_letters_behind_the_transaction_first(fleet: Fleet) -> None:
    (first,) = fleet.go_live(COMMIT_INTERVAL="600")
    with open_transaction(fleet, 0, "dead-letters") as producer:
        fleet.publish([payment(number) if number % 2 else (f"card-{number}", b"{}") for number in range(PART)])
        until(lambda: len(fleet.read("scores")) == PART // 2, "the good ones are decided")
        first.signal(signal.SIGKILL)
        second = fleet.worker()
        named = f"{fleet.prefix}dead-letters: up to "
        until(lambda: any(one.startswith(named) for one in second.readiness()[1]), "a reason names the transaction")
        producer.commit_transaction(30)
    second.await_ready()
    fleet.publish(payment(number) for number in range(PART, PART + 10))
    fleet.await_scores(PART // 2 + 10)
    letters = [one for one in fleet.read("dead-letters") if one.value != NO_SCORE]
    assert len(letters) == PART // 2, "what was refused is not judged again"
    assert second.terminate() == 0
