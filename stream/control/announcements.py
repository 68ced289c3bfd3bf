"""Answer for candidates: `ready` with the hash of the probes, or `not_ready` with what is wrong, once for each.

Whether a model can be served is found out elsewhere: by the shelf for one that shall be live, by the challenger's own
process for one that shall be in the shadow.

Announces where a partition's decisions went over to another revision.

It is an index of what `scores` records anyway; nothing here decides where that is.
"""

import logging
from collections.abc import Mapping
from typing import NamedTuple
from uuid import uuid4

from aiokafka.errors import KafkaError

from models.commands import Event, EventKind
from models.problems import Problem
from models.times import format_time
from stream.clock import now_ms, now_ns
from stream.control.follower import CandidateNotice, Follower
from stream.kafka.publisher import Publisher
from stream.kafka.tracing import Attributes, OperationTrace
from stream.settings import Settings

log = logging.getLogger("fraudstream.answering")

ProbeOutcome = str | tuple[Problem, ...]
"""The probe hash of a model that is loaded, or why it is not."""


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
        await publisher.publish_event(event)
    except KafkaError as error:
        log.warning("%s was not announced: %s", cutover, error)


class CandidateAnswers:
    """Remembers which candidates have heard from this process; an answer of the log may be that of one before it."""

    def __init__(self, follower: Follower, publisher: Publisher, worker: str) -> None:
        self._follower = follower
        self._publisher = publisher
        self._worker = worker
        self._given: set[str] = set()
        self._steps: dict[str, OperationTrace] = {}

    def unanswered(self, candidates: Mapping[str, str]) -> dict[str, str]:
        """Return the candidates, model by `command_id`, that have no answer; forget those that are settled."""
        pending = self._follower.candidates.pending
        self._given &= pending.keys()
        for command_id in self._steps.keys() - pending.keys():
            self._steps.pop(command_id).failed("settled")
        return {command_id: model for command_id, model in candidates.items() if command_id not in self._given}

    async def answer(self, command_id: str, model: str, found: ProbeOutcome) -> None:
        """Answer; a broker that does not take it leaves the answer owed."""
        ready = isinstance(found, str)
        step = self._step(command_id)
        event = Event(
            event_id=uuid4().hex,
            deployment=self._follower.lineup.deployment,
            kind=EventKind.READY if ready else EventKind.NOT_READY,
            revision=self._follower.lineup.revision,
            worker=self._worker,
            at=format_time(now_ms()),
            command_id=command_id,
            model=model,
            probe_hash=found if isinstance(found, str) else None,
            problems=() if isinstance(found, str) else found,
        )
        try:
            await self._publisher.publish_event(event, step.headers)
        except KafkaError as error:
            log.warning("could not answer for candidate %s, trying again: %s", model[:12], error)
        else:
            self._given.add(command_id)
            self._steps.pop(command_id, None)
            step.done(outcome_attributes(event))

    def _step(self, command_id: str) -> OperationTrace:
        """Return the step that began when this worker was asked."""
        if command_id not in self._steps:
            asked = self._follower.candidate_notices.get(command_id) or CandidateNotice((), now_ns())
            self._steps[command_id] = self._follower.operations.begin(
                "load and answer", asked.headers, asked.received_ns
            )
        return self._steps[command_id]


def outcome_attributes(event: Event) -> Attributes:
    """Say what a command came to, as the judge or a worker wrote it: codes, not texts."""
    said: Attributes = {
        "fraudstream.command.outcome": event.kind,
        "fraudstream.revision": event.revision,
        "fraudstream.worker": event.worker,
        "fraudstream.problems": tuple(problem.code for problem in event.problems),
    }
    return said if event.model is None else said | {"fraudstream.model.digest": event.model}
