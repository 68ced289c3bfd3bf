"""Read `model-events` from its beginning, and go on: what it says of a deployment, and the answers to commands."""

from collections.abc import Collection
from typing import Self

from aiokafka import TopicPartition

from models.commands import Event, EventKind, read_event
from models.event_log import EventLog
from models.worker_records import WorkerRecords
from stream.errors import ControlLogError
from stream.kafka.client import connection_options, require_topic
from stream.kafka.stray import PlainConsumer
from stream.kafka.topics import MODEL_EVENTS
from stream.settings import Settings

_VERDICTS = (EventKind.ACCEPTED, EventKind.REFUSED)
_REPORTS = frozenset(EventKind) - set(_VERDICTS)
"""All that is no verdict."""


class LogReader:
    """A reader of the event log, from its beginning; open as long as more is to be read."""

    def __init__(self, settings: Settings, reports: Collection[EventKind] = _REPORTS) -> None:
        """Read for `settings.deployment`; of what workers report, a reader for months keeps only what it needs."""
        self.log = EventLog(settings.deployment)
        self.workers = WorkerRecords()
        """What the workers of all deployments have said of themselves."""
        self._deployment = settings.deployment
        self._tp = TopicPartition(settings.topic(MODEL_EVENTS.name), 0)
        self._reports = reports
        self._other: dict[str, Event] = {}
        self._verdicts: dict[str, Event] = {}
        self._consumer = PlainConsumer(
            **connection_options(settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
            consumer_timeout_ms=1_000,  # so often it looks for what to fetch, besides where it is told
        )

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
            await self.require_topic(self._tp.topic)
        except BaseException:  # a cancellation as well
            await self._consumer.stop()
            raise
        self._consumer.assign([self._tp])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def require_topic(self, topic: str) -> None:
        """Fail at once if a topic is missing."""
        await require_topic(self._consumer, topic)

    async def read_to_end(self) -> None:
        """Read up to the end that the log has now.

        Nothing is fetched before the next reading: a broker answers what is asked only after the fetch before, which
        waits for records, and asking again and again costs an idle process most of its time.
        """
        end = (await self._consumer.end_offsets([self._tp]))[self._tp]
        begin = (await self._consumer.beginning_offsets([self._tp]))[self._tp]
        self._consumer.seek(self._tp, self.log.seek(begin, end))
        while await self._consumer.position(self._tp) < end:
            await self.read()
        self._consumer.pause(self._tp)

    async def read(self) -> None:
        """Read new events; waits briefly if there are none."""
        if self._consumer.paused():
            self._consumer.resume(self._tp)
        for record in (await self._consumer.getmany(self._tp, timeout_ms=200)).get(self._tp, []):
            event = self.log.add(record.offset, record.value or b"")
            if event is not None:
                self.workers.add(event)
            if event is None or event.deployment != self._deployment:
                continue
            if event.kind in _VERDICTS and event.command_id is not None:
                self._verdicts.setdefault(event.command_id, event)
            elif event.kind in self._reports:
                self._other.setdefault(event.event_id, event)

    def require_trusted(self) -> None:
        """Raise if the log has lost records, so that its fold may be another deployment's past.

        Raises:
            ControlLogError: it has.
        """
        if (loss := self.log.why_untrusted(self._tp.topic)) is not None:
            raise ControlLogError(loss)

    def revision(self) -> int:
        """Return the current revision; of a log that has lost records, the newest that it still names.

        Raises:
            ControlLogError: it names none.
        """
        if self.log.why_untrusted(self._tp.topic) is None:
            return self.log.fold.lineup.revision
        accepted = [event.revision for event in self._verdicts.values() if event.kind is EventKind.ACCEPTED]
        if not accepted:
            self.require_trusted()
        return max(accepted)

    def term(self) -> int:
        """Return the number of the present term.

        Raises:
            ControlLogError: the log has lost records, so that it may be a later one.
        """
        self.require_trusted()
        return self.log.fold.term.number

    def answer_to(self, command_id: str) -> Event | None:
        """Return the verdict on a command; where the log has lost records, the first that names it."""
        if self.log.why_untrusted(self._tp.topic) is None:
            return self.log.fold.lineup.answers.get(command_id)
        return self._verdicts.get(command_id)

    @property
    def reported(self) -> int:
        """The number of reports that are kept."""
        return len(self._other)

    def events(self) -> list[Event]:
        """Return the deployment's events, verdicts first."""
        verdicts = (read_event(value) for value in self.log.kept.values())
        own = [event for event in verdicts if isinstance(event, Event) and event.deployment == self._deployment]
        return [*own, *self._other.values()]
