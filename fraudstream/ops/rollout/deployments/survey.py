"""What the command line looks at: the deployments of a topic prefix, and the comparison with one that is silent."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from aiokafka.errors import UnknownTopicOrPartitionError

from fraudstream.ops.rollout.deployments.comparison import Comparison, TimeSpan, compare
from fraudstream.ops.rollout.deployments.publishers import Publishers, read_publishers
from fraudstream.ops.rollout.deployments.state import DeploymentState, Target, read_states, target_of
from models.worker_records import WorkerRecord
from stream.clock import now_ms
from stream.deciding_settings import differing
from stream.errors import DeploymentError
from stream.settings import Settings

_MINUTE_MS = 60_000


class SurveyRequest(NamedTuple):
    """What to look at.

    `deployment` is the one that may take over; None: the only one that is silent, if there is only one. `groups` names
    groups of deployments that have another than the default one. Decisions are compared since `since_ms`, None: for
    `minutes` until now; faults are counted for `fault_minutes`.
    """

    settings: Settings
    deployment: str | None
    groups: Mapping[str, str]
    minutes: float
    since_ms: int | None
    fault_minutes: float


class Survey(NamedTuple):
    """What was found: the state of each deployment that was looked at, and the comparison, None if there is none.

    `target` is the deployment that may take over; None if it is not clear which, or if it publishes already.
    """

    publishers: Publishers
    states: tuple[DeploymentState, ...]
    target: Target | None
    comparison: Comparison | None

    @property
    def is_way_back(self) -> bool:
        """Whether a hand-over to the target only takes back the last one."""
        return self.target is not None and self.publishers.is_way_back(self.target.name)

    @property
    def settings_differing(self) -> dict[str, dict[str, list[str]]]:
        """The settings that decide and in which running workers differ: by setting and value, `deployment/worker`."""
        lines = {name: self.publishers.workers.lines(said.settings) for name, said in self._running()}
        return differing({name: some for name, some in lines.items() if some is not None})

    @property
    def settings_unknown(self) -> tuple[str, ...]:
        """The running workers whose settings are not on record, as those of earlier versions; `deployment/worker`."""
        known = {name for name, said in self._running() if self.publishers.workers.lines(said.settings) is not None}
        return tuple(
            name for one in self.states for worker in one.workers if (name := f"{one.deployment}/{worker}") not in known
        )

    def _running(self) -> Iterator[tuple[str, WorkerRecord]]:
        for one in self.states:
            yield from ((f"{one.deployment}/{worker}", said) for worker, said in one.running.items())

    def state(self, deployment: str) -> DeploymentState:
        """Return the state of a deployment that was looked at."""
        return next(one for one in self.states if one.deployment == deployment)


async def survey(request: SurveyRequest, *, always_compare: bool) -> Survey:
    """Look at the deployments; on the way back decisions are compared only if `always_compare`.

    Raises:
        DeploymentError: nobody publishes yet, or a silent deployment has no topic for its decisions.
        ControlLogError: the event log has lost records.
        aiokafka.errors.KafkaError: the brokers do not answer, or a topic is missing.
    """
    publishers, now = await read_publishers(request.settings), now_ms()
    publisher = publishers.term.publisher
    if publisher is None:
        raise DeploymentError(
            "no deployment publishes yet, so there is nothing to hand over: the first one whose model is promoted does "
            "(fraudstream model promote)"
        )
    names = _names(publishers, publisher, request.deployment)
    targets = {name: target_of(request.settings, name, request.groups, publishers.workers) for name in names}
    states = await read_states([*targets.values()], publishers, now - round(request.fault_minutes * _MINUTE_MS))
    others = names[1:]
    silent = request.deployment or (others[0] if len(others) == 1 else None)
    if silent is None or silent == publisher:
        return Survey(publishers, tuple(states), None, None)
    span = TimeSpan(request.since_ms or now - round(request.minutes * _MINUTE_MS), now)
    if publishers.is_way_back(silent) and not always_compare:
        return Survey(publishers, tuple(states), targets[silent], None)
    try:
        found = await compare(targets[publisher].settings, targets[silent].settings, span)
    except UnknownTopicOrPartitionError as error:
        if request.deployment is None:
            return Survey(publishers, tuple(states), None, None)
        raise DeploymentError(f"{error.args[0]} with FRAUDSTREAM_DEPLOYMENT={silent}") from error
    return Survey(publishers, tuple(states), targets[silent], found)


def _names(publishers: Publishers, publisher: str, wanted: str | None) -> tuple[str, ...]:
    """Return the deployments to look at, the one that publishes first."""
    others = publishers.silent if wanted is None else (wanted,)
    return tuple(dict.fromkeys((publisher, *others)))
