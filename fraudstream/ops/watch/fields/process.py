"""The part of a guard's process that watches the fields of payments: count slots, judge, write to `incidents`.

It keeps nothing: a guard that was restarted counts the slots of the last day again, and `incidents` says what is open.
"""

import asyncio
import logging
from contextlib import AsyncExitStack

from fraudstream.ops.folds.run import LoopTerms, run_fold
from fraudstream.ops.watch.fields.judgement import LOOK_BACK_MS, SLOT_MS, SPANS_MS, FieldFindings, SlotCounts, judge
from fraudstream.ops.watch.fields.sample import read_slots, rules_of
from fraudstream.ops.watch.fields.telling import open_fields, records_of
from fraudstream.ops.watch.incidents.told import ToldReader, write_incident
from fraudstream_client.incidents import IncidentRule
from stream.clock import now_ms
from stream.contract.attributes import FieldRules
from stream.kafka.client import producer_options, require_topic
from stream.kafka.stray import PlainProducer
from stream.kafka.topics import INCIDENTS
from stream.settings import Settings
from stream.telemetry.metrics import Gauges, Values

log = logging.getLogger("fraudstream.fields")

_TERMS = LoopTerms(
    log,
    "the fields of payments are not watched",
    "the fields of payments are watched again",
    retry_seconds=5.0,
    keep_seconds=3_600.0,
    troubles=(),
)
_TURN_SECONDS = 1.0
_AT_START = 3
"""Of the slots of the day before, every third is read at the start."""
_MARGIN_MS = 5_000
"""A record reaches its topic so much later than its timestamp says, at most."""


class FieldWatcher:
    """Watches the fields of a deployment's payments until it is cancelled.

    Attributes:
        trouble: why it does not watch now, in words; None if it does.
        unknown: why the declared fields are not known, so that those of the contract alone are watched; empty if they
            are.
    """

    def __init__(self, settings: Settings) -> None:
        self.trouble: str | None = None
        self.unknown = ""
        self._settings = settings
        self._topic = settings.topic(INCIDENTS.name)
        self._rules: FieldRules | None = None
        self._slots: dict[int, SlotCounts] = {}
        self._looked_to_ms = 0
        self._shares: dict[Values, float] = {}
        self._stopped: dict[Values, float] = {}
        self._begun: dict[Values, float] = {}

    def gauges(self) -> Gauges:
        """Return the function that reads each metric."""
        return {
            "fraudstream.field.begun": lambda: self._begun,
            "fraudstream.field.share": lambda: self._shares,
            "fraudstream.field.stopped": lambda: self._stopped,
        }

    async def run(self) -> None:
        """Watch for ever; where Kafka does not answer, try again."""
        await run_fold(self._settings, self, _TERMS)

    async def close(self) -> None:
        """Do nothing: all is read again."""

    async def keep(self) -> None:
        """Do nothing, likewise."""

    async def connect(self, stack: AsyncExitStack) -> tuple[ToldReader, PlainProducer]:
        """Connect; `stack` disconnects.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond, or a topic is missing.
        """
        told = await stack.enter_async_context(ToldReader(self._settings))
        producer = PlainProducer(**producer_options(self._settings))
        stack.push_async_callback(producer.stop)
        await producer.start()
        await require_topic(producer, self._topic)
        return told, producer

    async def turn(self, connection: tuple[ToldReader, PlainProducer]) -> bool:
        """Count the slots that are over and were not counted yet, and tell what follows from them."""
        end_ms = (now_ms() - _MARGIN_MS) // SLOT_MS * SLOT_MS
        if end_ms != self._looked_to_ms:
            await self._count(end_ms)
            await self._tell(judge(self._slots.values(), end_ms), *connection)
            self._looked_to_ms = end_ms
        await asyncio.sleep(_TURN_SECONDS)
        return True

    async def _count(self, end_ms: int) -> None:
        wanted = range(end_ms - LOOK_BACK_MS - SPANS_MS[-1], end_ms, SLOT_MS)
        self._slots = {begin_ms: one for begin_ms, one in self._slots.items() if begin_ms in wanted}
        newest_ms = max(self._slots, default=None)
        if newest_ms is None:  # at the start: of what is only compared with, a part will do
            recent_ms = end_ms - SPANS_MS[-1] - SPANS_MS[0]
            missing = [at for at in wanted if at >= recent_ms or at // SLOT_MS % _AT_START == 0]
        else:
            missing = [at for at in wanted if at > newest_ms]
        if self._rules is None:
            self._rules, self.unknown = rules_of(self._settings)
        async for counts in read_slots(self._settings, missing, self._rules):
            self._slots[counts.begin_ms] = counts

    async def _tell(self, found: FieldFindings, told: ToldReader, producer: PlainProducer) -> None:
        """Write what is news, and show what is open.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond, or refuse; it is written at the next turn.
        """
        self._shares = {(one.name,): one.now for one in found.shares if one.now is not None}
        await told.read_to_end()
        for incident in records_of(found, told.told.open_ones(), self._settings):
            await write_incident(self._settings, producer, incident)
            log.warning("incident %s %s: %s", incident.incident_id, incident.kind, incident.text)
        await told.read_to_end()
        is_open = told.told.open_ones()
        self._stopped = {(name,): 1 for name in sorted(open_fields(is_open, IncidentRule.FIELD_STOPPED))}
        self._begun = {(name,): 1 for name in sorted(open_fields(is_open, IncidentRule.FIELD_BEGUN))}
