"""A loop written by hand on aiokafka: `event` scores one payment after the other, `poll` all that a poll returned.

`copy` writes each record as it came: what the client alone costs, and how soon it moves a record.
Offsets are committed by hand behind what the broker has acknowledged, once a second, so that a crash loses nothing.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from redis.asyncio import Redis

from benchmarks.contenders.scorers import Payment, open_scorer
from benchmarks.contenders.task import ContenderTask, read_task

_COMMIT_SECONDS = 1.0
_MOST = 256
Offsets = dict[TopicPartition, int]
Decide = Callable[[Sequence[ConsumerRecord]], Awaitable[None]]


class AiokafkaLoop:
    """Reads, scores and writes; `done` holds the offsets behind what was sent."""

    def __init__(self, task: ContenderTask) -> None:
        self._task = task
        self._consumer = AIOKafkaConsumer(
            task.inputs,
            bootstrap_servers=task.brokers,
            group_id=task.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=5,
            max_poll_records=_MOST,
        )
        self._producer = AIOKafkaProducer(bootstrap_servers=task.brokers, linger_ms=0)
        self._sent: list[asyncio.Future[object]] = []
        self._done: Offsets = {}

    async def run(self, by: str) -> None:
        """Run until the process is ended."""
        await self._consumer.start()
        await self._producer.start()
        decide = self._copy if by == "copy" else self._decider()
        commit_due = time.monotonic() + _COMMIT_SECONDS
        while True:
            polled: Mapping[TopicPartition, Sequence[ConsumerRecord]] = await self._consumer.getmany(timeout_ms=100)
            records = [record for some in polled.values() for record in some]
            size = 1 if by == "event" else _MOST
            for first in range(0, len(records), size):
                await decide(records[first : first + size])
            self._done |= {tp: some[-1].offset + 1 for tp, some in polled.items()}
            if time.monotonic() >= commit_due:
                commit_due = time.monotonic() + _COMMIT_SECONDS
                await self._commit()

    async def _copy(self, records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            self._sent.append(await self._producer.send(self._task.outputs, record.value, record.key))

    def _decider(self) -> Decide:
        scorer, client = open_scorer(self._task), Redis.from_url(self._task.redis_url)

        async def decide(records: Sequence[ConsumerRecord]) -> None:
            pipeline = client.pipeline(transaction=False)
            asked = scorer.ask(pipeline, [Payment(record.key, record.value) for record in records])
            scores = scorer.answer(asked, await pipeline.execute())
            for record, score in zip(records, scores, strict=True):
                self._sent.append(await self._producer.send(self._task.outputs, score, record.key))

        return decide

    async def _commit(self) -> None:
        await asyncio.gather(*self._sent)
        self._sent.clear()
        if self._done:
            await self._consumer.commit(self._done)
            self._done = {}


async def main(by: str) -> None:
    """Run until the process is ended; the clients want a running event loop when they are made."""
    await AiokafkaLoop(read_task()).run(by)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
