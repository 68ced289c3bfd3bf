"""A load of payments by a durable producer, and a consumer of their valid scores that notes when each is seen.

Together they tell how long after a fault each partition is decided again, as a consumer of decisions sees it.
"""

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from fraudstream_client.validity import ValidScores
from support.fleet.fleet import Fleet, until
from support.fleet.payments import PARTITIONS, partition_of, payment

FLUSH_SECONDS = 120.0
CARDS, MERCHANTS = 400, 100
POLL_SECONDS = 0.05


class Sent(NamedTuple):
    """When a payment was handed to the producer, by the monotonic clock, and to which partition."""

    at: float
    partition: int


class Load:
    """Publishes payments at a rate and watches their scores, while its `with` block lasts.

    The producer is idempotent and waits for all replicas in sync, so that what it loses is not its fault. At the end,
    everything that was sent is acknowledged. `parties` are the numbers of cards and merchants: of a load that lasts
    long there must be many, since every decision reads the whole history of its own.
    """

    def __init__(
        self, fleet: Fleet, rate: int, partitions: int = PARTITIONS, parties: tuple[int, int] = (CARDS, MERCHANTS)
    ) -> None:
        self.sent: dict[str, Sent] = {}
        self.seen: dict[str, float] = {}
        self.refused: list[str] = []
        self._fleet, self._rate, self._partitions = fleet, rate, partitions
        self._cards, self._merchants = parties
        options = {
            "bootstrap.servers": fleet.brokers,
            "log_level": 0,
            "reconnect.backoff.max.ms": 500,
            "socket.timeout.ms": 5_000,
        }
        durable = {"acks": "all", "enable.idempotence": True, "linger.ms": 5}
        self._producer = Producer(options | durable | {"message.timeout.ms": int(FLUSH_SECONDS * 1000)})
        self._consumer = Consumer(options | {"group.id": f"{fleet.prefix}watch", "enable.auto.commit": False})
        self._noting = threading.Lock()
        self._over = threading.Event()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=run, name=run.__name__) for run in (self._publish, self._watch)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        publishing, watching = self._threads
        publishing.join()
        try:
            if kind is None:
                assert (self._producer.flush(FLUSH_SECONDS), self.refused) == (0, [])
                until(lambda: self.sent.keys() <= self.seen.keys(), "all payments that were sent are decided", 90)
        finally:
            self._producer.purge()
            self._done.set()
            watching.join()

    def _publish(self) -> None:
        began, topic = time.monotonic(), f"{self._fleet.prefix}transactions"
        while not self._over.wait(POLL_SECONDS):
            for number in range(len(self.sent), int((time.monotonic() - began) * self._rate)):
                one = payment(number, cards=self._cards, merchants=self._merchants)
                partition = partition_of(one["card_id"], self._partitions)
                self.sent[one["transaction_id"]] = Sent(time.monotonic(), partition)
                value = msgspec.json.encode(one)
                self._producer.produce(topic, value, one["card_id"], partition, on_delivery=self._delivered)
            self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self.refused.append(str(error))

    def _watch(self) -> None:
        topic, valid = f"{self._fleet.prefix}scores", ValidScores[Message]()
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(self._partitions)])
        while not self._done.is_set():
            records = [one for one in self._consumer.consume(500, POLL_SECONDS) if one.error() is None]
            for _, score in valid.of(records):
                with self._noting:
                    self.seen.setdefault(score.transaction_id, time.monotonic())
        self._consumer.close()

    # --- what was seen

    def first_after(self, moment: float) -> Mapping[int, float]:
        """Return for each partition after how many seconds a payment was decided that was sent after a moment."""
        found: dict[int, float] = {}
        with self._noting:
            seen = self.seen.copy()
        for name, at in seen.items():
            sent = self.sent.get(name)
            if sent is not None and sent.at > moment:
                found[sent.partition] = min(found.get(sent.partition, at - moment), at - moment)
        return found

    def await_decisions(self, moment: float, seconds: float = 60.0, within: Any = None) -> Mapping[int, float]:
        """Wait until each of these partitions, by default all, has decided a payment that was sent after a moment."""
        wanted = set(range(self._partitions) if within is None else within)
        until(lambda: wanted <= self.first_after(moment).keys(), "every partition is decided again", seconds)
        return self.first_after(moment)
