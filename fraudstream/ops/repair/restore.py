"""Write the events of `model-events` back that Kafka has lost, from a snapshot and from what the log still has.

All of them are written, in their order, between the events `restoring` and `restored`. A reader trusts them only if no
other record lies between those two: then they are written once more. A second restore finds nothing to do.
"""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import uuid4

from aiokafka import TopicPartition

from models.commands import EventKind, encode
from models.event_log import EventLog
from models.lineup import Lineup
from models.snapshot import RestorePlan, plan_restore
from stream.control.announcements import new_origin
from stream.errors import ControlLogError
from stream.kafka.client import connection_options, producer_options, require_topic
from stream.kafka.stray import PlainConsumer, PlainProducer
from stream.kafka.topics import MODEL_EVENTS
from stream.settings import Settings

_ATTEMPTS = 5
_MOST_NAMED = 100


class RestoreRequest(NamedTuple):
    """Who restores from which snapshot's events, and why; `unproved` are ids of acceptances that nobody can prove."""

    snapshot: Mapping[str, bytes]
    actor: str
    reason: str
    unproved: tuple[str, ...] = ()


class LogState(NamedTuple):
    """The log as it is now, and whether it still has its first record."""

    log: EventLog
    from_start: bool


async def read_log(settings: Settings) -> LogState:
    """Read `model-events` to its end.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond, or the topic does not exist.
    """
    consumer = PlainConsumer(
        **connection_options(settings), enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50
    )
    tp, log = TopicPartition(settings.topic(MODEL_EVENTS.name), 0), EventLog(settings.deployment)
    try:
        await consumer.start()
        await require_topic(consumer, tp.topic)
        consumer.assign([tp])
        begin, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
        consumer.seek(tp, log.seek(begin, end))
        while await consumer.position(tp) < end:
            for record in (await consumer.getmany(tp, timeout_ms=200)).get(tp, []):
                log.add(record.offset, record.value or b"")
        return LogState(log, begin == 0)
    finally:
        await consumer.stop()


async def plan(settings: Settings, snapshot: Mapping[str, bytes]) -> RestorePlan:
    """Read the log, and plan what has to be written.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond, or the topic does not exist.
    """
    log, from_start = await read_log(settings)
    return plan_restore(settings.deployment, snapshot, log, from_start=from_start)


async def restore(settings: Settings, request: RestoreRequest) -> Lineup:
    """Write what is needed, check it as a worker that starts would, and return the lineup.

    Raises:
        ControlLogError: it must not be written, or other writers were in the way each time.
        aiokafka.errors.KafkaError: the broker does not respond, or the topic does not exist.
    """
    for _ in range(_ATTEMPTS):
        planned = await plan(settings, request.snapshot)
        if planned.problems:
            raise ControlLogError("\n".join(planned.problems))
        if not planned.needed:
            return planned.lineup
        await _write(settings, request, planned)
    raise ControlLogError(
        f"{_ATTEMPTS} times another record came between the restored ones: try again while no commands are sent"
    )


async def _write(settings: Settings, request: RestoreRequest, planned: RestorePlan) -> None:
    """Write the events, and around them who wrote them."""
    topic, key, restore_id = settings.topic(MODEL_EVENTS.name), settings.deployment.encode(), uuid4().hex
    revision = planned.lineup.revision
    begun = new_origin(_WRITER).event(
        settings.deployment,
        EventKind.RESTORING,
        revision,
        command_id=restore_id,
        actor=request.actor,
        reason=request.reason,
        records=planned.missing,
        evidence={"unproved": request.unproved[:_MOST_NAMED]} if request.unproved else None,
    )
    done = new_origin(_WRITER).event(
        settings.deployment, EventKind.RESTORED, revision, command_id=restore_id, records=len(planned.events)
    )
    producer = PlainProducer(**producer_options(settings))
    try:
        await producer.start()
        for value in (encode(begun), *planned.events.values(), encode(done)):
            sent = await producer.send(topic, value, key, 0)
        await producer.flush()
        await sent
    finally:
        await producer.stop()


_WRITER = "restore"
"""The name of the command in the place of a worker's."""
