"""Follow `model-events`: every worker folds the same log of verdicts into the same lineup.

A log that has lost records is not followed: whoever is live by the rest of it may be another model. `EventLog` tells.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from fraudstream_client.validity import trace_headers
from models.commands import Event, EventKind
from models.event_log import EventLog
from models.lineup import Candidates, Lineup
from models.logs import Logs
from models.model_record import ModelRecord
from models.terms import Term
from models.two_persons import NOBODY
from models.worker_records import WorkerRecords
from stream.clock import now_ns
from stream.engine.batches import Record
from stream.engine.publisher import Headers
from stream.engine.tracing import NoOperationTracing, OperationTracing
from stream.kafka.client import connection_options, explain_error
from stream.kafka.stray import PlainConsumer, given_up_as_error
from stream.kafka.topics import MODEL_EVENTS
from stream.settings import Settings
from stream.tasks import timeout_at_tick

log = logging.getLogger("fraudstream.follower")

_RETRY_SECONDS = 1.0
_CHECK_SECONDS = 10.0
"""How often the log's beginning is asked for."""
_FETCH_WAIT_MS = 1_000
"""An event ends the wait; an idle worker asks for little."""


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
        self.countersigned = NOBODY
        """Who countersigned commands that have no answer yet."""
        self.record = ModelRecord()
        """What the log says against models."""
        self.workers = WorkerRecords(only=(settings.deployment, settings.worker_id))
        """What this worker has said of itself, the lines of settings, and the deployments' groups."""
        self.caught_up = False
        """Whether the log has been read to the end that it had at the start, and no record of it was lost before."""
        self.last_error: str | None = None
        """Why the last attempt to read the log failed; None if it succeeded."""
        self.operations: OperationTracing = NoOperationTracing() if operations is None else operations
        """Traces the judging of commands and the answers for candidates."""
        self.candidate_notices: dict[str, CandidateNotice] = {}
        """The notices of pending candidates, by `command_id`."""
        self._settings = settings
        self._tp = TopicPartition(settings.topic(MODEL_EVENTS.name), 0)
        self.log = EventLog(settings.deployment)
        """The log as far as it has been read."""
        self._reached_end = False
        self._said_loss: str | None = None
        self._changed = asyncio.Condition()

    def log_number(self, topic: str) -> int:
        """Return the number of an input topic's last log."""
        return self.logs.last(topic)

    async def run(self) -> None:
        """Read the log for ever; retry when the broker does not respond."""
        while True:
            try:
                with given_up_as_error():
                    await self._read()
            except KafkaError as error:
                self.last_error = await explain_error(self._settings, error)
                log.warning("%s could not be read, retrying: %s", self._tp.topic, self.last_error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def wait_past(self, offset: int) -> None:
        """Wait until the event at `offset` has been folded."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.log.next_offset > offset)

    async def wait_until_caught_up(self) -> None:
        """Wait until the log has been read to the end that it had at the start."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.caught_up)

    async def wait_for_change(self, timeout: float) -> None:  # noqa: ASYNC109 - a poll, not a failure
        """Wait until an event has been folded, at most until the next tick of `timeout` seconds."""
        async with self._changed:
            try:
                async with timeout_at_tick(timeout):
                    await self._changed.wait()
            except TimeoutError:
                return

    async def wake(self) -> None:
        """Wake those that wait for a change: something else has happened that decisions wait for."""
        async with self._changed:
            self._changed.notify_all()

    @property
    def loss(self) -> str | None:
        """What of the log is lost that this worker has not read, and what to do; None if nothing is."""
        return self.log.why_untrusted(self._tp.topic)

    async def _read(self) -> None:
        consumer = PlainConsumer(
            **connection_options(self._settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            consumer_timeout_ms=_FETCH_WAIT_MS,
        )
        try:
            await consumer.start()
            consumer.assign([self._tp])
            end = (await consumer.end_offsets([self._tp]))[self._tp]
            begin = (await consumer.beginning_offsets([self._tp]))[self._tp]
            if end < self.log.next_offset:
                log.error("%s ends at offset %d, before the last record read: it was made anew", self._tp.topic, end)
            consumer.seek(self._tp, self.log.seek(begin, end))
            await self._apply([], end)
            due = time.monotonic() + _CHECK_SECONDS
            while True:
                records = (await consumer.getmany(self._tp, timeout_ms=1000)).get(self._tp, [])
                self.last_error = None
                position = await consumer.position(self._tp)
                passed_over = (records[0].offset if records else position) > self.log.next_offset
                if passed_over or time.monotonic() >= due:
                    due = time.monotonic() + _CHECK_SECONDS
                    self._note_beginning((await consumer.beginning_offsets([self._tp]))[self._tp], position)
                await self._apply(records, end, position)
        finally:
            await consumer.stop()

    def _note_beginning(self, begin: int, position: int) -> None:
        """Say it once if the log has lost records: this worker goes on if it has read them, but none can start."""
        before = self.log.lost
        self.log.seek(begin, position)
        if self.log.lost > before and self.loss is None:
            log.error(
                "%s has lost %d records: this worker has read them and goes on, but one that starts now cannot know "
                "which model is live. Restore them by `fraudstream model restore`",
                self._tp.topic,
                self.log.lost,
            )

    async def _apply(self, records: Sequence[Record], end: int, position: int = 0) -> None:
        """Fold records; there is nothing more before `position`, since the log's last offsets may hold no record."""
        for record in records:
            event = self.log.add(record.offset, record.value or b"")
            if event is None:
                log.warning("%s offset %d is not an event of this version", self._tp.topic, record.offset)
            else:
                self.workers.add(event)
                self._noted(event, record.headers)
        self.log.read_to(position)
        fold = self.log.fold
        self.lineup, self.candidates = fold.lineup, fold.candidates
        self.logs, self.term, self.countersigned, self.record = fold.logs, fold.term, fold.countersigned, fold.record
        if self.loss != self._said_loss:
            self._said_loss = self.loss
            log.error("%s", self.loss or f"{self._tp.topic} is whole again")
        if records or not self.caught_up or self.loss:
            self._reached_end = self._reached_end or self.log.next_offset >= end
            self.caught_up = self._reached_end and self.loss is None
            async with self._changed:
                self._changed.notify_all()

    def _noted(self, event: Event, headers: Headers) -> None:
        """Note when a candidate was announced, as long as it is pending."""
        pending = self.log.fold.candidates.pending
        if event.kind is EventKind.CANDIDATE and event.command_id:
            self.candidate_notices.setdefault(event.command_id, CandidateNotice(trace_headers(headers), now_ns()))
        if self.candidate_notices.keys() - pending.keys():
            self.candidate_notices = {
                command_id: notice for command_id, notice in self.candidate_notices.items() if command_id in pending
            }


async def end_offset(settings: Settings, partition: TopicPartition) -> int:
    """Return the current end offset of a partition."""
    consumer = PlainConsumer(**connection_options(settings), enable_auto_commit=False)
    try:
        await consumer.start()
        end: int = (await consumer.end_offsets([partition]))[partition]
        return end
    finally:
        await consumer.stop()
