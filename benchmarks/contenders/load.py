"""An open loop on librdkafka: payments on their schedule, and when each score was there.

Both clients are librdkafka's, with threads of their own, so that the load keeps its schedule whatever the contender
does. Latency counts from the time at which a payment was due.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition
from hdrh.histogram import HdrHistogram

from benchmarks.contenders.results import OfferedLoad
from fraudstream.bench.payments import PublishedPayment
from stream.errors import MeasurementError

_LEAST_US, _MOST_US, _DIGITS = 1, 600_000_000, 3
_POLL_SECONDS = 0.05
_FLUSH_SECONDS = 60.0
_READ_AT_ONCE = 512


class _Named(msgspec.Struct):
    transaction_id: str


class Patience(NamedTuple):
    """How long to wait for scores; `check` raises once none can come any more."""

    seconds: float
    check: Callable[[], object]


class ScoreReader:
    """Reads scores on a thread: how many there are of each payment, and when the first came.

    Args:
        brokers: bootstrap addresses.
        topic: of the scores.
        partitions: how many it has.
    """

    def __init__(self, brokers: str, topic: str, partitions: int) -> None:
        self.counts: Counter[str] = Counter()
        self.first_at: dict[str, float] = {}
        self.values: dict[str, bytes] = {}
        self.appended_ms: list[int] = []
        """Broker's time of each score, where the topic has it (`LogAppendTime`)."""
        self._consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": "contenders",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 5,
            }
        )
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="scores")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._consumer.close()

    def _read(self) -> None:
        decode = msgspec.json.Decoder(_Named).decode
        while not self._ended.is_set():
            first = self._consumer.poll(_POLL_SECONDS)
            if first is None:
                continue
            for message in (first, *self._consumer.consume(_READ_AT_ONCE, 0)):
                if message.error() is not None:
                    continue
                now, value = time.monotonic(), message.value() or b""
                name = decode(value).transaction_id
                self.counts[name] += 1
                if self.counts[name] == 1:
                    self.first_at[name] = now
                    self.values[name] = value
                self.appended_ms.append(message.timestamp()[1])

    def await_count(self, count: int, patience: Patience) -> None:
        """Wait until so many payments have a score.

        Raises:
            MeasurementError: there are fewer in time, or the contender has ended.
        """
        seconds = patience.seconds
        deadline = time.monotonic() + seconds
        while len(self.first_at) < count:
            patience.check()
            if time.monotonic() >= deadline:
                raise MeasurementError(f"{len(self.first_at):,} of {count:,} payments have a score after {seconds:g} s")
            time.sleep(_POLL_SECONDS)


class Load:
    """A producer of payments.

    Args:
        brokers: bootstrap addresses.
        topic: of the payments.
    """

    def __init__(self, brokers: str, topic: str) -> None:
        self._topic = topic
        self._producer = Producer({"bootstrap.servers": brokers, "linger.ms": 0, "enable.idempotence": True})

    def publish(self, payments: Sequence[PublishedPayment]) -> None:
        """Publish as fast as possible, and wait for the acknowledgements.

        Raises:
            MeasurementError: some are not acknowledged in time.
        """
        for one in payments:
            self.send(one)
        self.flush()

    def send(self, payment: PublishedPayment) -> None:
        """Hand one payment to the client; wait only while its queue is full."""
        while True:
            try:
                self._producer.produce(self._topic, payment.value, payment.key)
                break
            except BufferError:
                self._producer.poll(_POLL_SECONDS)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait for the acknowledgements of all payments.

        Raises:
            MeasurementError: some do not come in time.
        """
        if left := self._producer.flush(_FLUSH_SECONDS):
            raise MeasurementError(f"{left} payments are not acknowledged after {_FLUSH_SECONDS:g} s")

    def paced(self, payments: Sequence[PublishedPayment], rate: float) -> Iterator[float]:
        """Send each payment when it is due, whatever became of those before; yield when that was."""
        began = time.monotonic()
        for at, one in enumerate(payments):
            due_at = began + at / rate
            if (early := due_at - time.monotonic()) > 0:
                time.sleep(early)
            self.send(one)
            yield due_at

    def offer(
        self, payments: Sequence[PublishedPayment], rate: float, scores: ScoreReader, patience: Patience
    ) -> OfferedLoad:
        """Publish at a rate, and wait until all have a score.

        Raises:
            MeasurementError: they have none in time.
        """
        before, due, waiting_before = len(scores.first_at), dict[str, float](), 0
        began = time.monotonic()
        for at, (one, due_at) in enumerate(zip(payments, self.paced(payments, rate), strict=True)):
            due[one.transaction_id] = due_at
            if at == len(payments) * 2 // 3:
                waiting_before = at + 1 - (len(scores.first_at) - before)
        seconds = time.monotonic() - began
        waiting = len(payments) - (len(scores.first_at) - before)
        self.flush()
        scores.await_count(before + len(payments), patience)
        histogram = HdrHistogram(_LEAST_US, _MOST_US, _DIGITS)
        for name, due_at in due.items():
            histogram.record_value(max(_LEAST_US, round((scores.first_at[name] - due_at) * 1e6)))
        p50, p99, p999 = (histogram.get_value_at_percentile(one) / 1000 for one in (50, 99, 99.9))
        return OfferedLoad(rate, len(payments), seconds, p50, p99, p999, waiting_before, waiting)
