"""Records near the broker's size limit, and large batches, get their outputs."""

import asyncio
import re
import time
from collections import Counter
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from stream.card_search import find_numbers
from stream.kafka.topics import SCORES
from support.acceptance import sized
from support.fleet.fleet import Fleet
from support.fleet.payments import partition_of, payment
from support.fleet.workers import patient

NEAR_THE_LIMIT = 1_040_000
COUNT = 3_000
MANY = 1_024
"""The largest bound of the histogram of batch sizes."""
MEGABYTE = 1_000_000
MANY_DASHES = 3 * MEGABYTE // 2
MANY_SLOW = sized(5, 20)
"""Megabytes that a search for card numbers takes a second each for, if it compares each group of digits with others."""
STANDING = {"DEAD_LETTER_VALUES": "redacted"}
UNPACKED = 64 * MEGABYTE
ANSWER_SECONDS = 5.0
"""How long a worker may take to answer while it works on such records, beside other tests."""


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


def test_the_outputs_of_records_near_the_size_limit_keep_their_headers(standing: Fleet) -> None:
    heavy = [("note", b"x" * NEAR_THE_LIMIT)]
    good = msgspec.json.encode(payment(1))
    bad = msgspec.json.encode(payment(2, amount_minor=-1))
    label: dict[str, Any] = {"transaction_id": "t-1", "card_id": payment(1)["card_id"], "fraud": True}
    label |= {"labelled_at": "2026-01-01T00:00:00Z", "reported_by": "analyst"}
    for topic, value in (("transactions", good), ("transactions", bad), ("labels", msgspec.json.encode(label))):
        asyncio.run(send(standing, topic, value, heavy))
    standing.publish([payment(3)])
    standing.await_decisions(["t-1", "t-3"])
    for topic in ("outcomes", "dead-letters"):
        record = standing.await_records(topic, 1)[0]
        assert ("note", heavy[0][1]) in record.headers
    heaviest = max(standing.read("scores"), key=lambda record: len(record.headers))
    assert ("note", heavy[0][1]) in heaviest.headers


async def send_compressed(fleet: Fleet, topic: str, key: str, values: list[bytes]) -> None:
    """Send values of any size, which gzip makes small enough for a broker, in one batch."""
    producer = AIOKafkaProducer(
        bootstrap_servers=fleet.brokers,
        compression_type="gzip",
        max_request_size=UNPACKED,
        max_batch_size=UNPACKED,
        linger_ms=100,
    )
    await producer.start()
    try:
        where = fleet.prefix + topic
        sent = [await producer.send(where, value, key.encode(), partition_of(key)) for value in values]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


@pytest.mark.full_size
def test_compressed_records_that_unpack_to_megabytes_become_dead_letters_and_hold_nothing_up(standing: Fleet) -> None:
    (worker,), known = standing.workers, standing.dead_letters()
    key = payment(0)["card_id"]
    dashes, noted = b"5-" * MANY_DASHES, msgspec.json.encode(payment(1, card_id=key, note="x" * 9 * MEGABYTE))
    slow = msgspec.json.encode(payment(2, card_id="5-" * (MEGABYTE // 2)))
    label = msgspec.json.encode({"transaction_id": "t-0", "card_id": key, "fraud": 1, "note": "5-" * MANY_DASHES})
    standing.publish([payment(20)])
    for batch in ([dashes, noted], *([slow] * 5,) * (MANY_SLOW // 5)):  # each unpacks to less than 16 MiB
        asyncio.run(send_compressed(standing, "transactions", key, batch))
    asyncio.run(send_compressed(standing, "labels", key, [label]))
    standing.publish(payment(number, card_id=f"card-{number}") for number in range(21, 31))
    deadline = time.monotonic() + patient(150)
    while sum(standing.ends("dead-letters").values()) < len(known) + MANY_SLOW + 3:
        assert worker.get("/health/live", patient(ANSWER_SECONDS))[0] == 200
        assert time.monotonic() < deadline, worker.log()
    standing.await_decisions(f"t-{at}" for at in range(20, 31))
    assert worker.exit_code is None
    assert worker.readiness() == (True, [])
    letters = [(dict(letter.headers), letter.value) for letter in standing.dead_letters(known)]
    cut = [headers["error.truncated"] for headers, _ in letters if "error.truncated" in headers]
    assert sorted(cut) == sorted(b"value of %d bytes" % len(value) for value in (dashes, noted, label))
    codes = Counter(headers["error.code"] for headers, _ in letters)
    assert codes == {b"too_large": 1, b"not_json": 1, b"invalid_field": MANY_SLOW + 1}
    assert all(not find_numbers(value) for _, value in letters)
    assert all(len(value) > MEGABYTE // 2 for _, value in letters)


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
