"""Announces where a partition's decisions went over to another revision.

It is an index of what `scores` records anyway; nothing here decides where that is.
"""

import logging
from typing import NamedTuple
from uuid import uuid4

from aiokafka.errors import KafkaError

from models.commands import Event, EventKind
from models.times import format_time
from stream.clock import now_ms
from stream.publishing import Publisher
from stream.settings import Settings

log = logging.getLogger("fraudstream.cutovers")


class Cutover(NamedTuple):
    """The first offset of a partition that was decided under a revision."""

    partition: int
    revision: int
    offset: int


async def announce_cutover(publisher: Publisher, settings: Settings, cutover: Cutover) -> None:
    """Write the event; one that gets lost costs nothing."""
    event = Event(
        event_id=uuid4().hex,
        deployment=settings.deployment,
        kind=EventKind.CUTOVER,
        revision=cutover.revision,
        worker=settings.worker_id,
        at=format_time(now_ms()),
        partition=cutover.partition,
        offset=cutover.offset,
    )
    try:
        await publisher.announce(event)
    except KafkaError as error:
        log.warning("%s was not announced: %s", cutover, error)
