"""Deliver what is on `incidents` to the webhook: one guard of several does, and another goes on where it ended.

The guards are a consumer group of their own; its commit says up to where the receiver has accepted everything. So
nothing is lost while the receiver, the guard or Kafka is away, and nothing that was delivered is sent after a restart.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from fraudstream.ops.rollout.guard.presence import guard_consumer
from fraudstream.ops.watch.incidents.told import Told, read_incident
from fraudstream.ops.watch.incidents.webhook import SendOutcome, Webhook, weaknesses
from fraudstream_client.incidents import Incident
from stream.clock import now_ms
from stream.kafka.client import explain_error, require_topic
from stream.kafka.stray import PlainConsumer, given_up_as_error
from stream.kafka.topics import INCIDENTS
from stream.scan import FetchedRecord
from stream.settings import Settings
from stream.tasks import end_tasks
from stream.telemetry.metrics import Gauges, Values

log = logging.getLogger("fraudstream.webhook")

_FETCH_MS = 500
_POLL_SECONDS = 1.0
_RETRY_SECONDS = 2.0
_BEFORE_START_MS = 3_600_000
"""A group without a commit begins with what was told of in the hour before: the first incident must not be missed."""


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """Notes whether the partition of `incidents` belongs to this process."""

    def __init__(self) -> None:
        self.number = 0
        self.is_own = False

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Stop: another process may send from now on."""
        self.is_own = False if list(revoked) else self.is_own

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin anew where the group's commit is."""
        if list(assigned):
            self.number, self.is_own = self.number + 1, True


class Deliveries:
    """Sends what is told of a deployment's incidents to its webhook, until it is cancelled."""

    def __init__(self, settings: Settings) -> None:
        self._webhook = Webhook(settings.incident_webhook, settings.incident_secret)
        self._unread: str | None = None
        self._settings = settings
        self._tp = TopicPartition(settings.topic(INCIDENTS.name), 0)
        self._started_ms = now_ms()
        self._outcomes = Counter[Values]({(SendOutcome.DELIVERED.value,): 0, (SendOutcome.GIVEN_UP.value,): 0})
        self._waiting = 0

    def gauges(self) -> Gauges:
        """Return the function that reads each metric."""
        return {
            "fraudstream.webhook.events": lambda: dict(self._outcomes),
            "fraudstream.webhook.waiting": lambda: {(): self._waiting},
        }

    @property
    def trouble(self) -> str | None:
        """Why it does not send now, in words; None if it does, or if there is nothing to send."""
        return self._unread or self._webhook.trouble

    async def run(self) -> None:
        """Send for ever; where Kafka does not answer, or refuses, try again."""
        for weakness in weaknesses(self._settings):
            log.warning("%s", weakness)
        async with self._webhook:
            while True:
                try:
                    await self._connected()
                except KafkaError as error:
                    said = await explain_error(self._settings, error)
                    if said != self._unread:
                        log.warning("incidents are not sent to the webhook, retrying: %s", said)
                    self._unread = said
                    await asyncio.sleep(_RETRY_SECONDS)

    async def close(self) -> None:
        """Nothing is kept: the group's commit says what was sent."""

    async def _connected(self) -> None:
        assignment = _Assignment()
        consumer = guard_consumer(self._settings)
        try:
            with given_up_as_error():
                await consumer.start()
                await require_topic(consumer, self._tp.topic)
            consumer.subscribe([self._tp.topic], listener=assignment)
            while True:
                with given_up_as_error():
                    await self._serve(consumer, assignment)
                self._unread = None
        finally:
            await consumer.stop()

    async def _serve(self, consumer: PlainConsumer, assignment: _Assignment) -> None:
        """Send for one assignment of the partition; wait for a moment if it belongs to another process."""
        if not assignment.is_own:
            self._waiting = 0
            self._webhook.rest()
            await consumer.getmany(timeout_ms=_FETCH_MS)
            return
        turn = _Turn(consumer, assignment, Told(self._settings.deployment))
        try:
            sent_to = await self._sent_to(consumer)
            await consumer.seek_to_beginning(self._tp)
            while turn.goes_on():
                for record in (await consumer.getmany(self._tp, timeout_ms=_FETCH_MS)).get(self._tp, ()):
                    await self._pass(turn, record, sent_to)
                self._waiting, self._unread = 0, None
        except IllegalStateError:  # the partition was taken away between two steps
            log.info("another process sends incidents to the webhook")

    async def _pass(self, turn: "_Turn", record: FetchedRecord, sent_to: int) -> None:
        """Send what the next record tells of, unless that was sent, and commit."""
        incident = read_incident(record.value)
        is_news = incident is not None and turn.told.add(incident)
        if record.offset < sent_to or not turn.goes_on():
            return
        self._waiting = (await turn.consumer.end_offsets([self._tp]))[self._tp] - record.offset
        if incident is None:
            log.warning(
                "the record at offset %d of %s is not sent: this version cannot read it", record.offset, self._tp[0]
            )
        elif is_news:
            await self._send(turn, incident)
        if turn.goes_on():
            await turn.consumer.commit({self._tp: record.offset + 1})

    async def _sent_to(self, consumer: PlainConsumer) -> int:
        """Return the offset from which on nothing was sent yet."""
        committed, end = await consumer.committed(self._tp), (await consumer.end_offsets([self._tp]))[self._tp]
        if committed is not None and committed <= end:
            return int(committed)
        if committed is not None:
            log.warning(
                "%s ends before what was sent of it: it was made anew, and is sent from its beginning", self._tp[0]
            )
            return 0
        found = await consumer.offsets_for_times({self._tp: max(self._started_ms - _BEFORE_START_MS, 0)})
        return int(end if found.get(self._tp) is None else found[self._tp].offset)

    async def _send(self, turn: "_Turn", incident: Incident) -> None:
        """Send one event, and meanwhile show the group that this process is well.

        If another process has to send it from now on, this one stops, even between two attempts.
        """
        sending = asyncio.create_task(self._webhook.deliver(incident))
        try:
            turn.consumer.pause(self._tp)
            while turn.goes_on() and not sending.done():
                await turn.consumer.getmany(timeout_ms=0)
                await asyncio.wait({sending}, timeout=_POLL_SECONDS)
            if sending.done():
                self._outcomes[(sending.result().value,)] += 1
            if turn.goes_on():
                turn.consumer.resume(self._tp)
        finally:
            await end_tasks(sending)


class _Turn:
    """One assignment of the partition of `incidents` to this process."""

    def __init__(self, consumer: PlainConsumer, assignment: _Assignment, told: Told) -> None:
        self.consumer = consumer
        self.told = told
        self._assignment = assignment
        self._number = assignment.number

    def goes_on(self) -> bool:
        """Tell whether the partition still belongs to this process, without a break."""
        return self._assignment.is_own and self._assignment.number == self._number
