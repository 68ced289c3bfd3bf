"""Follow `model-events`: every worker folds the same log of verdicts into the same lineup.

Nothing here judges a command (`judging` does) or loads a model (`shelf` does).
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from models.commands import Event, EventKind, read_event
from models.lineup import Candidates, Lineup, follow, follow_candidates
from stream.clock import now_ns
from stream.consumer import trace_headers
from stream.kafka.batches import Record
from stream.kafka.client import connection_options, explain_error
from stream.kafka.publisher import Headers
from stream.kafka.topics import MODEL_EVENTS
from stream.kafka.tracing import NoOperationTracing, OperationTracing
from stream.settings import Settings

log = logging.getLogger("fraudstream.control")

_RETRY_SECONDS = 1.0


class CandidateNotice(NamedTuple):
    """How a candidate was announced: with which trace, and when that was heard here."""

    headers: Headers
    received_ns: int


class Follower:
    """The lineup of one deployment as far as its log has been read; wakes whoever waits at every step."""

    def __init__(self, settings: Settings) -> None:
        self.lineup = Lineup(settings.deployment)
        self.candidates = Candidates(settings.deployment)
        self.caught_up = False
        """Whether the log had been read to the end that it had when we began."""
        self.last_error: str | None = None
        """Why it could not be read at the last attempt; None since it could."""
        self.operations: OperationTracing = NoOperationTracing()
        """Where the steps of commands are traced."""
        self.candidate_notices: dict[str, CandidateNotice] = {}
        """How pending candidates were announced, by `command_id`."""
        self._settings = settings
        self._tp = TopicPartition(settings.topic(MODEL_EVENTS.name), 0)
        self._next_offset = 0
        self._moved = asyncio.Condition()

    async def run(self) -> None:
        """Read the log for ever; a broker that is away is asked again."""
        while True:
            try:
                await self._read()
            except KafkaError as error:
                self.last_error = await explain_error(self._settings, error)
                log.warning("reading %s failed, trying again: %s", self._tp.topic, self.last_error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def wait_past(self, offset: int) -> None:
        """Wait until the event at `offset` has been folded."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._next_offset > offset)

    async def wait_until_caught_up(self) -> None:
        """Wait until the log has been read to the end that it had when we began."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.caught_up)

    async def wait_for_change(self, timeout: float) -> None:  # noqa: ASYNC109 - a poll, not a failure
        """Wait until something was folded, or for so many seconds."""
        async with self._moved:
            try:
                async with asyncio.timeout(timeout):
                    await self._moved.wait()
            except TimeoutError:
                return

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            **connection_options(self._settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=self._settings.fetch_wait_ms * 5,
        )
        await consumer.start()
        try:
            consumer.assign([self._tp])
            end = (await consumer.end_offsets([self._tp]))[self._tp]
            consumer.seek(self._tp, min(self._next_offset, end))
            await self._step([], end)
            while True:
                taken = await consumer.getmany(self._tp, timeout_ms=1000)
                self.last_error = None
                await self._step(taken.get(self._tp, []), end)
        finally:
            await consumer.stop()

    async def _step(self, records: Sequence[Record], end: int) -> None:
        for record in records:
            event = read_event(record.value or b"")
            if isinstance(event, Event):
                self._fold(event, record.headers)
            else:
                log.warning("%s offset %d is no event: %s", self._tp.topic, record.offset, event.problems)
            self._next_offset = record.offset + 1
        if records or not self.caught_up:
            self.caught_up = self.caught_up or self._next_offset >= end
            async with self._moved:
                self._moved.notify_all()

    def _fold(self, event: Event, headers: Headers) -> None:
        self.lineup = follow(self.lineup, event)
        self.candidates = follow_candidates(self.candidates, event)
        if event.kind is EventKind.CANDIDATE and event.command_id:
            self.candidate_notices.setdefault(event.command_id, CandidateNotice(trace_headers(headers), now_ns()))
        if self.candidate_notices.keys() - self.candidates.pending.keys():
            self.candidate_notices = {
                one: asked for one, asked in self.candidate_notices.items() if one in self.candidates.pending
            }


async def end_offset(settings: Settings, partition: TopicPartition) -> int:
    """Ask the broker how long a log is now."""
    consumer = AIOKafkaConsumer(**connection_options(settings), enable_auto_commit=False)
    await consumer.start()
    try:
        end: int = (await consumer.end_offsets([partition]))[partition]
        return end
    finally:
        await consumer.stop()
