"""Answers the judge before a hand-over: whether this worker could publish the decisions of its partitions now."""

from collections.abc import Callable, Iterator

from fraudstream_client.validity import log_and_offset
from models.problems import Problem, ProblemCode
from stream.control.announcements import AnswerNames, CandidateAnswers, ProbeOutcome, own_name_only
from stream.control.follower import Follower
from stream.control.model_cache import LoadedModels
from stream.engine.publisher import Publisher
from stream.engine.transport import BatchConsumer
from stream.worker.positions import DecisionPositions
from stream.worker.role import PublishedScores

FAR_BEHIND = 1_000
"""A partition further behind than this would hold up its payments for too long: they wait until it has caught up."""
_POLL_SECONDS = 0.5


class PublishingGates:
    """Finds what keeps a worker of a silent deployment from publishing.

    `reasons` are those of `/health/ready`, `incomplete` tells whether histories lack what Kafka has.
    """

    def __init__(
        self,
        reasons: Callable[[], list[str]],
        incomplete: Callable[[], bool],
        positions: DecisionPositions,
        published: PublishedScores,
        consumer: Callable[[], BatchConsumer | None],
    ) -> None:
        self._reasons = reasons
        self._incomplete = incomplete
        self._positions = positions
        self._published = published
        self._consumer = consumer

    def problems(self) -> tuple[Problem, ...]:
        """Return what keeps this worker from publishing; empty if it could."""
        found = [Problem(ProblemCode.NOT_READY, reason) for reason in self._reasons()]
        if self._incomplete():
            detail = "Redis lacks histories or decisions that Kafka has; wait until the repair is finished"
            found.append(Problem(ProblemCode.NOT_READY, detail))
        return (*found, *self._lags())

    def _lags(self) -> Iterator[Problem]:
        """Yield the partitions that are too far behind what is published."""
        consumer, positions = self._consumer(), self._positions
        finished = {} if consumer is None else consumer.finished_offsets(positions.topic)
        for partition in sorted(() if positions.role.publishes else positions.partitions):
            place = self._published.last_place(partition)
            if place is None:
                detail = f"partition {partition}: the published scores have not been read to their end"
                yield Problem(ProblemCode.FAR_BEHIND, detail)
                continue
            log, offset = log_and_offset(place)
            read_to = finished.get(partition, 0) if log == positions.log else 0
            if (behind := offset + 1 - read_to) > FAR_BEHIND:
                detail = f"partition {partition}: {behind} payments behind what is published, more than {FAR_BEHIND}"
                yield Problem(ProblemCode.FAR_BEHIND, f"{detail}; wait until it has caught up")


class CutOverAnswers:
    """Answers for each hand-over that waits for the workers, with the problems or the live model's probe hash."""

    def __init__(
        self,
        follower: Follower,
        models: LoadedModels,
        publisher: Publisher,
        worker: str,
        gates: PublishingGates,
        *,
        names: AnswerNames = own_name_only,
    ) -> None:
        self._follower = follower
        self._models = models
        self._gates = gates
        self._answers = CandidateAnswers(follower, publisher, worker, names)

    async def run(self) -> None:
        """Answer at every change of the event log, for ever."""
        while True:
            for command_id, digest in self._answers.unanswered(self._follower.candidates.cut_overs()).items():
                await self._answers.answer(command_id, digest, self._outcome(digest))
            await self._follower.wait_for_change(_POLL_SECONDS)

    def _outcome(self, digest: str) -> ProbeOutcome:
        problems, model = self._gates.problems(), self._models.get(digest)
        if model is None:
            problems = (*problems, Problem(ProblemCode.NOT_READY, f"model {digest[:12]} is not loaded"))
        return problems if problems or model is None else model.probe_hash
