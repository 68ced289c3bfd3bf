"""A loop written by hand on confluent-kafka: `event` scores one payment after the other, `poll` all that has come.

`copy` writes each record as it came: how fast and how soon records can be moved at all. Offsets are committed behind
what the broker has acknowledged, once a second.
"""

import sys
import time
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from redis import Redis

from benchmarks.contenders.scorers import Payment, open_scorer
from benchmarks.contenders.task import ContenderTask, read_task

Decide = Callable[[Sequence[Message]], None]
_COMMIT_SECONDS = 1.0
_MOST = 256
_WAIT_SECONDS = 0.1


class ConfluentLoop:
    """Reads, scores and writes."""

    def __init__(self, task: ContenderTask) -> None:
        self._task = task
        self._client = Redis.from_url(task.redis_url)
        self._producer = Producer({"bootstrap.servers": task.brokers, "linger.ms": 0, "enable.idempotence": True})
        self._consumer = Consumer(
            {
                "bootstrap.servers": task.brokers,
                "group.id": task.group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 5,
            }
        )
        self._done: dict[int, int] = {}

    def run(self, by: str) -> None:
        """Run until the process is ended."""
        decide = self._copier() if by == "copy" else self._decider()
        size = 1 if by == "event" else _MOST
        self._consumer.subscribe([self._task.inputs])
        commit_due = time.monotonic() + _COMMIT_SECONDS
        while True:
            messages = self._poll()
            for first in range(0, len(messages), size):
                decide(messages[first : first + size])
            self._producer.poll(0)
            for message in messages:
                self._done[message.partition() or 0] = (message.offset() or 0) + 1
            if time.monotonic() >= commit_due:
                commit_due = time.monotonic() + _COMMIT_SECONDS
                self._commit()

    def _poll(self) -> Sequence[Message]:
        """Return what is there: the first as soon as it comes, and what has come with it."""
        first = self._consumer.poll(_WAIT_SECONDS)
        if first is None:
            return ()
        return [one for one in (first, *self._consumer.consume(_MOST - 1, 0)) if one.error() is None]

    def _copier(self) -> Decide:
        produce, outputs = self._producer.produce, self._task.outputs

        def copy(messages: Sequence[Message]) -> None:
            for message in messages:
                produce(outputs, message.value(), message.key())

        return copy

    def _decider(self) -> Decide:
        scorer, produce, outputs = open_scorer(self._task), self._producer.produce, self._task.outputs

        def decide(messages: Sequence[Message]) -> None:
            pipeline = self._client.pipeline(transaction=False)
            asked = scorer.ask(pipeline, [Payment(one.key() or b"", one.value() or b"") for one in messages])
            scores = scorer.answer(asked, pipeline.execute())
            for one, score in zip(messages, scores, strict=True):
                produce(outputs, score, one.key())

        return decide

    def _commit(self) -> None:
        self._producer.flush()
        if self._done:
            offsets = [TopicPartition(self._task.inputs, at, offset) for at, offset in self._done.items()]
            self._consumer.commit(offsets=offsets, asynchronous=False)
            self._done = {}


if __name__ == "__main__":
    ConfluentLoop(read_task()).run(sys.argv[1])
