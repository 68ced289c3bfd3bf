"""Publish what a worker reports on `model-events`: who it is, its answers for candidates, its cutovers to a revision.

A candidate is answered once, with `ready` and the hash of its probes or with `not_ready` and the problems. The model
cache finds out whether a model can go live, the challenger's process whether it can go into the shadow. A cutover event
is an index of what `scores` records anyway.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar
from uuid import uuid4

from aiokafka.errors import KafkaError

from guards.excluded import exclusion_key_check
from models.commands import CAPABILITIES, Event, EventKind
from models.problems import Problem
from models.verdict_events import Origin
from models.worker_records import WorkerRecord
from stream.clock import now_ms, now_ns
from stream.code_version import code_version
from stream.control.follower import CandidateNotice, Follower
from stream.deciding_settings import deciding_settings
from stream.engine.publisher import Publisher
from stream.engine.tracing import Attributes, OperationTrace
from stream.settings import Settings
from stream.tasks import until_tick

log = logging.getLogger("fraudstream.announcements")

_LOOK_SECONDS = 60.0

T = TypeVar("T")

AnswerNames = Callable[[str], Sequence[str]]
"""Returns the names under which a worker answers now: those by which the judge may know it."""

ProbeOutcome = str | tuple[Problem, ...]
"""The probe hash of a loaded model, or why it is not loaded or may not be served."""


class Cutover(NamedTuple):
    """The first offset of a partition that was decided under a revision."""

    partition: int
    revision: int
    offset: int


class Handover(NamedTuple):
    """The first offset of a partition that the deployment published in a term, and the revision of that decision."""

    partition: int
    term: int
    revision: int
    offset: int


async def announce(publisher: Publisher, settings: Settings, found: Cutover | Handover) -> None:
    """Publish the event once; a lost one does no harm: `scores` say the same."""
    fields = found._asdict()
    kind = EventKind.HANDOVER if isinstance(found, Handover) else EventKind.CUTOVER
    event = new_origin(settings.worker_id).event(settings.deployment, kind, fields.pop("revision"), **fields)
    try:
        await publisher.publish_event(event)
    except KafkaError as error:
        log.warning("%s could not be announced: %s", found, error)


def own_name_only(worker: str) -> Sequence[str]:
    """Return a worker's own name, by which judges of this version know it."""
    return (worker,)


class OwnRecord:
    """Writes what this worker is, before it joins its group: nothing is decided under settings that are not on record.

    The log is kept for ever, so nothing is repeated: neither what the log has as the last of this worker, nor lines
    that any worker has written.
    """

    def __init__(self, settings: Settings, follower: Follower, publisher: Publisher) -> None:
        deciding = deciding_settings(settings)
        self._record = WorkerRecord(settings.group, code_version(), deciding.hash, CAPABILITIES, exclusion_key_check())
        self._lines = deciding.lines
        self._name = settings.deployment, settings.worker_id
        self._follower = follower
        self._publisher = publisher

    async def write(self) -> None:
        """Write it unless the log has it, and wait until it is acknowledged.

        Raises:
            aiokafka.errors.KafkaError: it was not; try again.
        """
        (deployment, worker), workers = self._name, self._follower.workers
        has_lines = workers.lines(self._record.settings) == self._lines
        if has_lines and workers.last(deployment, worker) == self._record:
            return
        lines = () if has_lines else self._lines
        event = new_origin(worker).event(
            deployment, EventKind.READY, self._follower.lineup.revision, settings_lines=lines, **self._record._asdict()
        )
        await self._follower.wait_past(await self._publisher.publish_event(event))

    async def run(self) -> None:
        """Write it again where a restore of the log has left it out, for ever.

        Not at once: a restore whose records another one parted is repeated, and this record must not part them again.
        """
        while True:
            await until_tick(_LOOK_SECONDS)
            if not self._follower.caught_up or self._follower.workers.last(*self._name) is not None:
                continue
            try:
                await self.write()
            except KafkaError as error:
                log.warning("what this worker is could not be written, retrying: %s", error)


class CandidateAnswers:
    """Tracks which candidates this process has answered; answers in the log may be those of its predecessor."""

    def __init__(
        self, follower: Follower, publisher: Publisher, worker: str, names: AnswerNames = own_name_only
    ) -> None:
        self._follower = follower
        self._publisher = publisher
        self._worker = worker
        self._names = names
        self._answered: set[str] = set()
        self._traces: dict[str, OperationTrace] = {}

    def unanswered(self, candidates: Mapping[str, T]) -> dict[str, T]:
        """Return the candidates by `command_id` without an answer; forget those that have a verdict."""
        pending = self._follower.candidates.pending
        self._answered &= pending.keys()
        for command_id in self._traces.keys() - pending.keys():
            self._traces.pop(command_id).failed("settled")
        return {command_id: one for command_id, one in candidates.items() if command_id not in self._answered}

    async def answer(self, command_id: str, model: str | None, outcome: ProbeOutcome) -> None:
        """Publish an answer, for several models one without `model`; if that fails, the candidate stays unanswered."""
        lineup, trace = self._follower.lineup, self._trace(command_id)
        events = [
            new_origin(name).event(
                lineup.deployment,
                EventKind.READY if isinstance(outcome, str) else EventKind.NOT_READY,
                lineup.revision,
                command_id=command_id,
                code_version=code_version(),
                model=model,
                probe_hash=outcome if isinstance(outcome, str) else None,
                problems=() if isinstance(outcome, str) else outcome,
            )
            for name in self._names(self._worker)
        ]
        try:
            for event in events:
                await self._publisher.publish_event(event, trace.headers)
        except KafkaError as error:
            log.warning("the answer to command %s could not be written, retrying: %s", command_id, error)
        else:
            self._answered.add(command_id)
            self._traces.pop(command_id, None)
            trace.done(outcome_attributes(events[0]))

    def _trace(self, command_id: str) -> OperationTrace:
        """Return the trace of the answer, which began when the candidate was received."""
        if command_id not in self._traces:
            notice = self._follower.candidate_notices.get(command_id) or CandidateNotice((), now_ns())
            begin = self._follower.operations.begin
            self._traces[command_id] = begin("load and answer", notice.headers, notice.received_ns)
        return self._traces[command_id]


def new_origin(worker: str) -> Origin:
    """Return the origin of an event that `worker` writes now, with a new id."""
    return Origin(uuid4().hex, worker, now_ms())


def outcome_attributes(event: Event) -> Attributes:
    """Return the trace attributes of a verdict or an answer: codes, no texts."""
    attributes: Attributes = {
        "fraudstream.command.outcome": event.kind,
        "fraudstream.revision": event.revision,
        "fraudstream.worker": event.worker,
        "fraudstream.problems": tuple(problem.code for problem in event.problems),
    }
    return attributes if event.model is None else attributes | {"fraudstream.model.digest": event.model}
