"""Follow `model-events`: every worker folds the same log of verdicts into the same lineup."""

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from models.commands import Event, EventKind, read_event
from models.lineup import Candidates, Lineup, follow, follow_candidates
from models.logs import Logs, follow_logs
from models.terms import Term, follow_term
from stream.clock import now_ns
from stream.consumer import trace_headers
from stream.kafka.batches import Record
from stream.kafka.client import connection_options, explain_error
from stream.kafka.publisher import Headers
from stream.kafka.topics import MODEL_EVENTS
from stream.kafka.tracing import NoOperationTracing, OperationTracing
from stream.settings import Settings

log = logging.getLogger("fraudstream.follower")

_RETRY_SECONDS = 1.0


class CandidateNotice(NamedTuple):
    """How a candidate was announced: the headers of its trace, and when the event was received here."""

    headers: Headers
    received_ns: int


class Follower:
    """The lineup of one deployment, as far as its log has been read; waiters wake at every change."""

    def __init__(self, settings: Settings, operations: OperationTracing | None = None) -> None:
        self.lineup = Lineup(settings.deployment)
        self.candidates = Candidates(settings.deployment)
        self.logs = Logs()
        """The logs of the input topics, as all deployments have accepted them."""
        self.term = Term()
        """The term: which deployment publishes."""
        self.caught_up = False
        """Whether the log has been read to the end that it had at the start."""
        self.last_error: str | None = None
        """Why the last attempt to read the log failed; None if it succeeded."""
        self.operations: OperationTracing = NoOperationTracing() if operations is None else operations
        """Traces the judging of commands and the answers for candidates."""
        self.candidate_notices: dict[str, CandidateNotice] = {}
        """The notices of pending candidates, by `command_id`."""
        self._settings = settings
        self._tp = TopicPartition(settings.topic(MODEL_EVENTS.name), 0)
        self._next_offset = 0
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        """Read the log for ever; retry when the broker does not respond."""
        while True:
            try:
                await self._read()
            except KafkaError as error:
                self.last_error = await explain_error(self._settings, error)
                log.warning("%s could not be read, retrying: %s", self._tp.topic, self.last_error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def wait_past(self, offset: int) -> None:
        """Wait until the event at `offset` has been folded."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._next_offset > offset)

    async def wait_until_caught_up(self) -> None:
        """Wait until the log has been read to the end that it had at the start."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.caught_up)

    async def wait_for_change(self, timeout: float) -> None:  # noqa: ASYNC109 - a poll, not a failure
        """Wait until an event has been folded, at most `timeout` seconds."""
        async with self._changed:
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
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
            await self._apply([], end)
            while True:
                fetched = await consumer.getmany(self._tp, timeout_ms=1000)
                self.last_error = None
                await self._apply(fetched.get(self._tp, []), end)
        finally:
            await consumer.stop()

    async def _apply(self, records: Sequence[Record], end: int) -> None:
        for record in records:
            event = read_event(record.value or b"")
            if isinstance(event, Event):
                self._fold(event, record.headers)
            else:
                log.warning("%s offset %d is not an event: %s", self._tp.topic, record.offset, event.problems)
            self._next_offset = record.offset + 1
        if records or not self.caught_up:
            self.caught_up = self.caught_up or self._next_offset >= end
            async with self._changed:
                self._changed.notify_all()

    def _fold(self, event: Event, headers: Headers) -> None:
        self.lineup = follow(self.lineup, event)
        self.candidates = follow_candidates(self.candidates, event)
        self.logs = follow_logs(self.logs, event)
        self.term = follow_term(self.term, event)
        if event.kind is EventKind.CANDIDATE and event.command_id:
            self.candidate_notices.setdefault(event.command_id, CandidateNotice(trace_headers(headers), now_ns()))
        if self.candidate_notices.keys() - self.candidates.pending.keys():
            self.candidate_notices = {
                command_id: notice
                for command_id, notice in self.candidate_notices.items()
                if command_id in self.candidates.pending
            }


async def end_offset(settings: Settings, partition: TopicPartition) -> int:
    """Return the current end offset of a partition."""
    consumer = AIOKafkaConsumer(**connection_options(settings), enable_auto_commit=False)
    await consumer.start()
    try:
        end: int = (await consumer.end_offsets([partition]))[partition]
        return end
    finally:
        await consumer.stop()
