"""Kafka, or its dead-letter topic, is away: no record is lost or decided twice."""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from support.fleet.fleet import Fleet, new_fleet, sources, until
from support.fleet.payments import PARTITIONS, payment
from support.fleet.workers import Worker
from support.kafka.cluster import Cluster


def test_a_dead_letter_that_could_not_be_written_is_written_after_a_restart(fleet: Fleet) -> None:
    (worker,) = fleet.go_live()
    asyncio.run(delete_topic(fleet.brokers, f"{fleet.prefix}dead-letters"))
    card = payment(1)["card_id"]
    fleet.publish([payment(1), (card, b"{"), payment(2, card_id=card)])
    until(lambda: "dead-letters" in worker.log() or len(fleet.scores()[0]) > 1, "it is known that the topic is gone")
    worker.signal(signal.SIGKILL)
    assert fleet.cli("topics", "apply", "--partitions", str(PARTITIONS)).returncode == 0
    fleet.worker().await_ready()
    valid = fleet.await_scores(2)
    (letter,) = fleet.await_dead_letters(1)
    assert (dict(letter.headers)["error.code"], letter.key) == (b"not_json", card.encode())
    assert set(sources(valid).values()) == {1}


async def delete_topic(brokers: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        await admin.delete_topics([name])
    finally:
        await admin.close()


def test_a_kafka_outage_loses_no_payment_and_decides_none_twice(
    kafka_outage: Cluster, redis_url: str, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> None:
    if kafka_outage.kind == "embedded":
        pytest.skip("the embedded broker forgets everything when it stops")
    fleet = new_fleet(kafka_outage, redis_url, topic_prefix, tmp_path, start_worker)
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
