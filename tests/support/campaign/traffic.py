"""The traffic of a fault campaign: weeks of payments, sent in chunks by ever other means, and what disturbs them.

Every chunk is acknowledged before the next is sent, so a card's payments are in the order of time whoever sends them. A
chunk whose fate is unknown is sent again, as a producer does; the contract recognises it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import KafkaException, Producer

from stream.clock import now_ms
from stream.contract.codes import DeadLetterCode
from support.fleet.fleet import Fleet
from support.fleet.payments import START_MS, partition_of
from support.fleet.shipments import CODECS, librdkafka_producer
from support.handbook import LABEL_DELAY_MS, transaction
from support.kafka.raw_batches import (
    ENCODE,
    ProduceRefused,
    RawRecord,
    lz4_with_wrong_checksum,
    produce,
    record_batch,
    records_section,
)
from support.kafka.three_brokers import ThreeBrokers

GAP_MS = 40 * 60_000
A_WEEK = LABEL_DELAY_MS // GAP_MS
CARDS, MERCHANTS = 40, 10
CHUNKS = 21
SECONDS = 30.0
LARGE = 3 * 1024 * 1024
OPEN_SECONDS = 2.0
ODD_HEADERS = ((b"kept", b"1"), (b"\xff\xfe", b"2"), (b"", None), (b"caf\xe9", b"3"))
Rows = Sequence[Mapping[str, Any]]


def weeks(seed: int) -> Iterator[Rows]:
    """Yield weeks of payments without end; labels of one week matter from the next but one on."""
    random, at = np.random.default_rng(seed), 0
    while True:
        yield [_row(at + number, random) for number in range(A_WEEK)]
        at += A_WEEK


def _row(number: int, random: np.random.Generator) -> dict[str, Any]:
    return {
        "transaction_id": f"t-{number}",
        "card_id": f"card-{random.integers(CARDS)}",
        "merchant_id": f"merchant-{random.integers(MERCHANTS)}",
        "occurred_at": START_MS - 400 * 86_400_000 + number * GAP_MS,
        "amount_minor": int(random.integers(100, 50_000)),
        "currency": "EUR",
        "fraud": bool(random.random() < 0.1),
    }


class Traffic:
    """Publishes weeks of payments; `dead` counts the dead letters that have to come of it, by code."""

    def __init__(self, cluster: ThreeBrokers, fleet: Fleet, draw: np.random.Generator) -> None:
        self.dead: Counter[str] = Counter()
        self._cluster, self._fleet, self._draw = cluster, fleet, draw
        self._topic = f"{fleet.prefix}transactions"
        self._producers: dict[str, Producer] = {}
        self._aborted = 0

    def publish(self, rows: Rows, disturbances: Sequence[str], seconds: float) -> None:
        """Publish a week's payments over about so many seconds, and these disturbances somewhere in between."""
        size = -(-len(rows) // CHUNKS)
        chunks = [rows[at : at + size] for at in range(0, len(rows), size)]
        places = sorted(self._draw.integers(1, len(chunks), len(disturbances)).tolist())
        due: dict[int, list[str]] = {}
        for at, name in zip(places, disturbances, strict=True):
            due.setdefault(at, []).append(name)
        for at, chunk in enumerate(chunks):
            sent = False
            for name in due.get(at, ()):
                sent |= DISTURBANCES[name](self, chunks[at - 1], chunk)
            if not sent:
                self.send(chunk)
            time.sleep(seconds / len(chunks))

    def _codec(self) -> str:
        return CODECS[self._draw.integers(len(CODECS))]

    def send(self, rows: Rows) -> None:
        """Send payments by a producer that waits for all replicas in sync."""
        self._send_raw([(row["card_id"], msgspec.json.encode(transaction(dict(row)))) for row in rows])

    def _send_raw(self, records: Sequence[tuple[str, bytes]]) -> None:
        codec = self._codec()
        if codec not in self._producers:
            self._producers[codec] = librdkafka_producer(self._fleet.brokers, codec)
        producer, lost = self._producers[codec], list[str]()
        for key, value in records:
            producer.produce(
                self._topic,
                value,
                key,
                partition_of(key),
                on_delivery=lambda error, _: error and lost.append(str(error)),
            )
        assert (producer.flush(4 * SECONDS), lost) == (0, [])

    def reconnect(self) -> None:
        """Use new producers: those of a topic that was deleted do not go on in one of the same name."""
        self._producers.clear()

    # --- what disturbs; each gets the chunk before and the next one, and tells whether it has sent the next one

    def abort(self, _: Rows, rows: Rows) -> bool:
        """Send payments of the same cards in a transaction that is aborted."""
        self._aborted += 1
        copies = [{**row, "transaction_id": f"aborted-{self._aborted}-{row['transaction_id']}"} for row in rows]
        self._in_transaction(copies, lambda producer: producer.abort_transaction(SECONDS))
        return False

    def leave_open(self, _: Rows, rows: Rows) -> bool:
        """Send the next payments in a transaction that stays open for some seconds."""

        def commit_late(producer: Producer) -> None:
            time.sleep(OPEN_SECONDS)
            producer.commit_transaction(SECONDS)

        return self._in_transaction(rows, commit_late)

    def _in_transaction(self, rows: Rows, end: Callable[[Producer], None]) -> bool:
        """Return whether the transaction has ended as it should; it cannot while too many brokers are away."""
        with librdkafka_producer(self._fleet.brokers, self._codec(), f"{self._topic}-campaign") as producer:
            try:
                producer.init_transactions(SECONDS)
                producer.begin_transaction()
                for row in rows:
                    key = row["card_id"]
                    producer.produce(self._topic, msgspec.json.encode(transaction(dict(row))), key, partition_of(key))
                producer.flush(SECONDS)
                end(producer)
            except KafkaException:
                return False
        return True

    def odd_headers(self, _: Rows, rows: Rows) -> bool:
        """Send the next payments with headers that no client library would send."""
        by_partition: dict[int, list[RawRecord]] = {}
        for row in rows:
            one = RawRecord(row["card_id"].encode(), msgspec.json.encode(transaction(dict(row))), ODD_HEADERS)
            by_partition.setdefault(partition_of(row["card_id"]), []).append(one)
        codec = self._codec()
        for partition, records in by_partition.items():
            self._store(partition, record_batch(ENCODE[codec](records_section(records)), len(records), now_ms(), codec))
        return True

    def corrupt(self, _: Rows, rows: Rows) -> bool:
        """Store a batch that no client can unpack: its record becomes a dead letter."""
        record = RawRecord(rows[0]["card_id"].encode(), b"{}")
        batch = record_batch(lz4_with_wrong_checksum(records_section([record])), 1, now_ms(), "lz4")
        self._store(partition_of(rows[0]["card_id"]), batch)
        self.dead[DeadLetterCode.UNREADABLE_RECORD] += 1
        return False

    def _store(self, partition: int, batch: bytes) -> None:
        """Store a batch at the partition's leader."""
        deadline = time.monotonic() + 2 * SECONDS
        while not self._is_stored(partition, batch):
            assert time.monotonic() < deadline, f"partition {partition} has no leader"
            time.sleep(0.2)

    def _is_stored(self, partition: int, batch: bytes) -> bool:
        try:
            leader = self._cluster.leaders(self._topic)[partition]
            produce(self._cluster.nodes[leader].port, self._topic, partition, batch)
        except (ProduceRefused, OSError, KeyError):
            return False
        return True

    def repeat(self, before: Rows, _: Rows) -> bool:
        """Send the payments before once more, as a producer that missed the acknowledgement."""
        self.send(before)
        return False

    def conflict(self, before: Rows, _: Rows) -> bool:
        """Send a payment under the id of another."""
        self.send([{**before[0], "amount_minor": before[0]["amount_minor"] + 1}])
        self.dead[DeadLetterCode.TRANSACTION_CONFLICT] += 1
        return False

    def no_payment(self, _: Rows, rows: Rows) -> bool:
        """Send what is no payment."""
        self._send_raw([(rows[0]["card_id"], b"no payment")])
        self.dead[DeadLetterCode.NOT_JSON] += 1
        return False

    def large(self, _: Rows, rows: Rows) -> bool:
        """Send what is no payment and unpacks to more than any topic takes."""
        one = {**transaction(dict(rows[0])), "amount_minor": -1, "note": "x" * LARGE}
        with librdkafka_producer(self._fleet.brokers, "zstd") as producer:
            producer.produce(self._topic, msgspec.json.encode(one), one["card_id"], partition_of(one["card_id"]))
            assert producer.flush(4 * SECONDS) == 0
        self.dead[DeadLetterCode.INVALID_FIELD] += 1
        return False


DISTURBANCES: Mapping[str, Callable[[Traffic, Rows, Rows], bool]] = {
    one.__name__: one
    for one in (
        Traffic.abort,
        Traffic.leave_open,
        Traffic.odd_headers,
        Traffic.corrupt,
        Traffic.repeat,
        Traffic.conflict,
        Traffic.no_payment,
        Traffic.large,
    )
}
"""What a producer does to a fleet."""
