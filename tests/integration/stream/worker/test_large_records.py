"""Records near the broker's size limit, and large batches, get their outputs."""

import asyncio
import re
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from stream.kafka.topics import SCORES
from support.fleet.fleet import Fleet
from support.fleet.payments import partition_of, payment

NEAR_THE_LIMIT = 1_040_000
COUNT = 3_000
MANY = 1_024
"""The largest bound of the histogram of batch sizes."""


async def send(fleet: Fleet, topic: str, value: bytes, headers: list[tuple[str, bytes]]) -> None:
    key = msgspec.json.decode(value)["card_id"]
    producer = AIOKafkaProducer(bootstrap_servers=fleet.brokers, max_request_size=2**21)
    await producer.start()
    try:
        await producer.send_and_wait(
            fleet.prefix + topic, value=value, key=key.encode(), partition=partition_of(key), headers=headers
        )
    finally:
        await producer.stop()


def test_the_outputs_of_records_near_the_size_limit_keep_their_headers(fleet: Fleet) -> None:
    fleet.go_live()
    heavy = [("note", b"x" * NEAR_THE_LIMIT)]
    good = msgspec.json.encode(payment(1))
    bad = msgspec.json.encode(payment(2, amount_minor=-1))
    label: dict[str, Any] = {"transaction_id": "t-1", "card_id": payment(1)["card_id"], "fraud": True}
    label |= {"labelled_at": "2026-01-01T00:00:00Z", "reported_by": "analyst"}
    for topic, value in (("transactions", good), ("transactions", bad), ("labels", msgspec.json.encode(label))):
        asyncio.run(send(fleet, topic, value, heavy))
    fleet.publish([payment(3)])
    assert {score.transaction_id for score in fleet.await_scores(2)} == {"t-1", "t-3"}
    for topic in ("outcomes", "dead-letters"):
        (record,) = fleet.await_records(topic, 1)
        assert ("note", heavy[0][1]) in record.headers
    heaviest = max(fleet.read("scores"), key=lambda record: len(record.headers))
    assert ("note", heavy[0][1]) in heaviest.headers


def test_payments_decided_together_have_more_scores_than_fit_into_one_batch_of_kafka(fleet: Fleet) -> None:
    (stopped,) = fleet.go_live()
    assert stopped.terminate() == 0
    card = payment(0)["card_id"]
    fleet.publish(payment(number, card_id=card) for number in range(COUNT))
    worker = fleet.worker(POLL_RECORDS=str(2 * COUNT))
    valid = fleet.await_scores(COUNT)
    assert [score.source.offset for score in valid] == list(range(COUNT))
    scores = fleet.read("scores")
    least = sum(sorted(len(record.value) for record in scores)[:MANY])
    assert least > SCORES.largest_bytes
    page = worker.get("/metrics")[1]
    counts = dict(re.findall(r'^fraudstream_batch_size_bucket\{le="([^"]+)"\} (\S+)$', page, re.MULTILINE))
    assert float(counts["+Inf"]) > float(counts[f"{MANY}.0"]), "no batch was as large as that"
