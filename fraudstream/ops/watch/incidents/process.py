"""The part of a guard's process that tells of incidents: read, fold, write to `incidents`.

It shares with the guard's own work what is fetched and nothing else; that goes on whatever happens here.
"""

import asyncio
import logging
import math
from collections.abc import Mapping
from contextlib import AsyncExitStack

from fraudstream.ops.folds.run import LoopTerms, run_fold
from fraudstream.ops.folds.tail import SharedTail
from fraudstream.ops.folds.topics import FetchedPart
from fraudstream.ops.watch.incidents.checkpoint import IncidentCheckpoint, StoredIncidents
from fraudstream.ops.watch.incidents.commands import AcceptedCommands, command_log
from fraudstream.ops.watch.incidents.gauges import IncidentGauges
from fraudstream.ops.watch.incidents.notices import incident_of
from fraudstream.ops.watch.incidents.reader import IncidentReader
from fraudstream.ops.watch.incidents.resume import new_state
from fraudstream.ops.watch.incidents.told import ToldReader, write_incident
from fraudstream.ops.watch.incidents.waiting import PartitionProgress, WaitingPayments
from fraudstream_client.incidents import Incident, IncidentRule
from stream.clock import now_ms
from stream.control.log_reader import LogReader
from stream.errors import ControlLogError
from stream.kafka.client import producer_options, require_topic
from stream.kafka.stray import PlainProducer, given_up_as_error
from stream.kafka.topics import INCIDENTS, TRANSACTIONS
from stream.settings import Settings

log = logging.getLogger("fraudstream.incidents")

_LOOK_SECONDS = 5.0
"""So often it is looked at which payments wait."""
_COMMANDS_SECONDS = 2.0
"""So often the event log is read where nothing comes and nothing says that it changed: it may have lost records."""
_TURN_SECONDS = 0.5
_MANY_RECORDS = 1_000
_TERMS = LoopTerms(
    log,
    "incidents are not told of",
    "incidents are told of again",
    retry_seconds=2.0,
    keep_seconds=30.0,
    troubles=(ControlLogError,),
)
_RECENT_MS = 10_000
"""A partition of scores that was read to its end so long ago tells how far its transactions are."""


class Connections:
    """What one connection to the brokers reads and writes by."""

    def __init__(self, settings: Settings) -> None:
        self.events = LogReader(settings, ())
        self.told = ToldReader(settings)
        self.waiting = WaitingPayments(settings)
        self.producer = PlainProducer(**producer_options(settings))

    async def start(self, stack: AsyncExitStack, topic: str) -> None:
        """Connect; `stack` disconnects.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond, or a topic is missing.
        """
        stack.push_async_callback(self.producer.stop)
        for one in (self.events, self.told, self.waiting):
            await stack.enter_async_context(one)
        with given_up_as_error():
            await self.producer.start()
        await require_topic(self.producer, topic)


class IncidentTeller:
    """Tells of a deployment's incidents until it is cancelled.

    Attributes:
        gauges: what its metrics show.
        trouble: why it does not tell of incidents now, in words; None if it does.
    """

    def __init__(
        self, settings: Settings, checkpoint: IncidentCheckpoint | None, tail: SharedTail | None = None
    ) -> None:
        self.gauges = IncidentGauges()
        self.trouble: str | None = None
        self._settings = settings
        self._topic = settings.topic(INCIDENTS.name)
        self._checkpoint = checkpoint
        self._tail = tail
        self._reader: IncidentReader | None = None
        self._fetched: FetchedPart | None = None
        self._outbox: list[Incident] = []
        self._kept = -1
        self._looks = 0
        self._look_at = 0.0
        self._commands_at = -math.inf

    async def run(self) -> None:
        """Tell for ever; where Kafka does not answer, or refuses, try again."""
        await run_fold(self._settings, self, _TERMS)

    async def close(self) -> None:
        """Keep what is known, and disconnect."""
        await self.keep()
        if self._reader is not None:
            await self._reader.topics.close()

    async def connect(self, stack: AsyncExitStack) -> Connections:
        """Connect; `stack` disconnects.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond, or a topic is missing.
        """
        connections = Connections(self._settings)
        await connections.start(stack, self._topic)
        self._look_at, self._looks, self._commands_at = asyncio.get_running_loop().time(), 0, -math.inf
        return connections

    async def turn(self, connections: Connections) -> bool:
        """Read once what is new, look at what is complete, and tell of it."""
        if self._reader is None:
            self._reader = await self._new_reader(connections)
        reader, began = self._reader, asyncio.get_running_loop().time()
        # If the commands cannot be read, what was fetched is counted at the next turn.
        fetched = self._fetched = self._fetched or await reader.topics.fetch()
        if fetched.events or fetched.size or began >= self._commands_at + _COMMANDS_SECONDS:
            await self._read_commands(reader, connections.events)
            self._commands_at = began
        reader.count(fetched)
        self._fetched = None
        await self._look(reader, connections.waiting)
        notices = reader.fold.advance(reader.complete_ms) if self._may_advance(reader) else []
        self._outbox += [incident_of(notice, self._settings, reader.fold.commands) for notice in notices]
        self._show(reader)  # now, since Kafka may refuse what is to be written
        await self._tell(connections)
        self._show(reader)
        await self._rest(fetched.size, asyncio.get_running_loop().time() - began)
        return True

    def _show(self, reader: IncidentReader) -> None:
        self.gauges.show(reader.fold.state, reader.read_until_ms, len(self._outbox))

    @staticmethod
    async def _rest(records: int, worked_s: float) -> None:
        """Leave the processor to the guard's own work: half of it while there is much to read, else nearly all."""
        await asyncio.sleep(worked_s if records >= _MANY_RECORDS else max(0.0, _TURN_SECONDS - worked_s))

    async def _new_reader(self, connections: Connections) -> IncidentReader:
        """Begin where the checkpoint ends; without one, where `incidents` says."""
        stored = None if self._checkpoint is None else self._checkpoint.load(self._settings)
        if stored is not None:
            self._outbox = list(stored.outbox)
            since_ms = stored.state.at_s * 1000
            return IncidentReader(self._settings, stored.state, since_ms, stored.topic_ids, self._tail)
        await connections.told.read_to_end()
        await connections.events.read_to_end()
        commands = self._commands(connections.events)
        state = new_state([one.last for one in connections.told.told.incidents.values()], commands, now_ms())
        return IncidentReader(self._settings, state, state.begin_s * 1000, {}, self._tail)

    async def _read_commands(self, reader: IncidentReader, events: LogReader) -> None:
        """Read the event log to its end.

        Raises:
            ControlLogError: it has lost records.
        """
        await events.read_to_end()
        events.require_trusted()
        if self._kept != len(events.log.kept):
            reader.fold.commands = self._commands(events)
            self._kept = len(events.log.kept)

    def _commands(self, events: LogReader) -> AcceptedCommands:
        return command_log(self._settings.deployment, events.events(), events.log.fold.term.publisher)

    async def _look(self, reader: IncidentReader, waiting: WaitingPayments) -> None:
        """Look which payments wait, if that is due and this deployment is the one that decides them."""
        now, fold = asyncio.get_running_loop().time(), reader.fold
        progress = self._progress(reader)
        if now < self._look_at or len(progress) < len(fold.state.partitions):
            return
        self._looks, self._look_at = self._looks + 1, now + _LOOK_SECONDS
        decides = fold.commands.publisher == self._settings.deployment
        for fact in await waiting.look(progress if decides else {}, now_ms()):
            fold.add_standstill(fact)
        fold.waiting = waiting.waiting

    def _progress(self, reader: IncidentReader) -> Mapping[int, PartitionProgress]:
        state, since_ms = reader.fold.state, now_ms() - _RECENT_MS
        topic = self._settings.topic(TRANSACTIONS.name)
        return {
            number: PartitionProgress(
                read.last_place, state.letters_seen.get(f"{topic} {number}", (-1, 0))[0], read.last_ms or 0
            )
            for number, read in state.partitions.items()
            if reader.is_at_end(number, since_ms)
        }

    def _may_advance(self, reader: IncidentReader) -> bool:
        """Tell whether seconds may be looked at: of an open standstill it must be known whether it goes on.

        The second look tells it, since a partition stands still if it has made no progress since the first.
        """
        still = any(key.startswith(IncidentRule.NO_WORKER) for key in reader.fold.state.episodes)
        return self._looks > 1 or not still

    # --- tell

    async def _tell(self, connections: Connections) -> None:
        """Write what is to be told and was not yet, by whichever guard.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond, or refuse; it is written at the next turn.
        """
        while self._outbox:
            await connections.told.read_to_end()
            incident = connections.told.told.next_of(self._outbox[0])
            if incident is not None:
                await write_incident(self._settings, connections.producer, incident)
                log.warning("incident %s %s: %s", incident.incident_id, incident.kind, incident.text)
            self._outbox.pop(0)

    async def keep(self) -> None:
        """Store what is known, if anywhere."""
        if self._checkpoint is None or self._reader is None:
            return
        stored = StoredIncidents(
            self._settings.deployment,
            self._settings.topic_prefix,
            self._reader.fold.state,
            self._reader.topics.topic_ids,
            list(self._outbox),
        )
        await self._checkpoint.save(stored)
