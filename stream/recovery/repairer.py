"""Rebuild histories that are lost, or that must reach further back: each worker applies its own partitions again.

If a repair is interrupted (the partition moves, the worker dies, Redis loses data again), the partition's owner resumes
from the reported progress. `needed_horizons` and `WarmupCheck` say how far back histories must reach: a candidate is
not accepted while they lack what its features look at, and decisions wait only for what their own models look at.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from features.errors import StoreRefusedError, StoreUnavailableError
from features.history.store import Entity, RetentionPolicy
from features.redis.progress import LogPart, TopicName
from features.redis.retention import Coverage, EpochCoverage
from features.redis.store import RedisStore
from features.vector.sets import FeatureSets
from fraudstream_client.validity import place_of
from models.problems import Problem, ProblemCode
from stream.control.model_cache import ServingModels
from stream.engine.transport import BatchConsumer
from stream.fates import Phase, is_retried
from stream.kafka.topics import LABELS, PREDICTIONS, TRANSACTIONS
from stream.recovery.damage import DamageRepairer
from stream.recovery.repair import Repair, ends_of
from stream.scoring.facts import FactListener
from stream.settings import Settings
from stream.tasks import end_tasks, until_tick

log = logging.getLogger("fraudstream.repairer")

_POLL_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_CHECKPOINT_SECONDS = 10.0


def needed_horizons(sets: FeatureSets, serving: ServingModels | None) -> Mapping[Entity, int]:
    """Return the horizons in ms that the models that decide need, and the fallback; empty if no model is live."""
    models = () if serving is None else serving.models
    needs = [sets.by_fingerprint[model.fingerprint].horizons_ms for model in models]
    return {kind: max(need.get(kind, 0) for need in needs) for kind in Entity if any(kind in need for need in needs)}


class NeededHorizons:
    """The horizons that the models of `serving` need; each batch asks for them, so they are kept until these change."""

    def __init__(self, sets: FeatureSets, serving: Callable[[], ServingModels | None]) -> None:
        self._sets = sets
        self._serving = serving
        self._kept: tuple[tuple[str, ...], Mapping[Entity, int]] = ((), {})

    def __call__(self) -> Mapping[Entity, int]:
        """Return `needed_horizons` of the models now."""
        serving = self._serving()
        fingerprints = () if serving is None else tuple(model.fingerprint for model in serving.models)
        if fingerprints != self._kept[0]:
            self._kept = fingerprints, needed_horizons(self._sets, serving)
        return self._kept[1]


class WarmupCheck:
    """Tells why a candidate cannot be served yet; `progress_text` returns the repair's progress as text."""

    def __init__(self, sets: FeatureSets, store: RedisStore, progress_text: Callable[[], str]) -> None:
        self._sets = sets
        self._store = store
        self._progress_text = progress_text

    def problems(self, fingerprint: str) -> tuple[Problem, ...]:
        """Return why a model with features that are computed here cannot be served yet; empty if it can."""
        horizons_ms = self._sets.by_fingerprint[fingerprint].horizons_ms
        if not self._store.lacks(horizons_ms):
            return ()
        detail = (
            f"its features look back further ({Coverage.of(horizons_ms)}) than histories have been rebuilt from Kafka "
            f"({self._store.state.complete.cover}): {self._progress_text()}. Decisions continue meanwhile; send the "
            "command again when that is finished"
        )
        return (Problem(ProblemCode.FEATURES_WARMING, detail),)


class RepairProgress:
    """The progress of this worker's repair: the repairer sets it, the warm-up check and the gauges read it."""

    def __init__(self) -> None:
        self._repair: Repair | None = None
        self.damaged = 0
        """The number of single histories that were damaged, as far as this worker rebuilds them."""

    @property
    def pending_parts(self) -> int:
        """The number of our parts that are not fully applied yet."""
        return 0 if self._repair is None else sum(one.at < one.end for one in self._repair.ranges.values())

    def show_damaged(self, count: int) -> None:
        """Set the number of damaged histories."""
        self.damaged = count

    def started(self, repair: Repair) -> None:
        """Set the repair that runs now."""
        self._repair = repair

    def ended(self) -> None:
        """Set that no repair runs now."""
        self._repair = None

    def text(self) -> str:
        """Return the progress as text."""
        status = None if self._repair is None else self._repair.status
        return "not started" if status is None else str(status)


class _Situation(NamedTuple):
    """What to repair (an epoch and how far back), and the assignment under which it runs."""

    repair: EpochCoverage
    assignment: int


class Repairer:
    """Repairs this worker's partitions whenever that is needed; `store` is the one that decides.

    `read_to` returns the offset up to which each own partition was read, None until that is known for all.
    `begun_are_done` waits until no batch is being decided that was begun before; `withheld` tells whether finished
    records of a topic are not in Redis yet; `log` returns the number of a topic's log.
    """

    def __init__(  # noqa: PLR0913 - each part of a worker is named where all are wired
        self,
        *,
        settings: Settings,
        policy: RetentionPolicy,
        store: RedisStore,
        consumer: Callable[[], BatchConsumer | None],
        read_to: Callable[[], Mapping[int, int] | None],
        begun_are_done: Callable[[], Awaitable[None]],
        withheld: Callable[[str], bool],
        emit: FactListener,
        progress: RepairProgress,
        log: Callable[[str], int],
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._store = store
        self._consumer = consumer
        self._read_to = read_to
        self._begun_are_done = begun_are_done
        self._withheld = withheld
        self._emit = emit
        self._progress = progress
        self._log = log
        self._assignment: int | None = None
        self._assignments = 0

    def reasons(self) -> list[str]:
        """Return that histories are incomplete, with the progress; empty if they are complete."""
        if not self._store.incomplete:
            return []
        return [f"Redis has lost histories, which are being rebuilt from Kafka: {self._progress.text()}"]

    def assigned(self) -> None:
        """Repair under a new assignment, if needed."""
        self._assignments += 1
        self._assignment = self._assignments

    def revoked(self) -> None:
        """Leave the repair to the partitions' next owners."""
        self._assignment = None

    async def run(self) -> None:
        """Repair whenever needed, for ever: all histories that are lost, and single ones that were damaged."""
        damaged = DamageRepairer(
            settings=self._settings,
            policy=self._policy,
            store=self._store,
            read_to=self._read_to,
            emit=self._emit,
            show=self._progress.show_damaged,
        )
        await asyncio.gather(self._repair_lost(), damaged.run())

    async def _repair_lost(self) -> None:
        """Repair whenever needed; in between, store checkpoints of how far histories are applied."""
        checkpoint_due = 0.0
        while True:
            situation = self._situation()
            if situation is not None:
                await self._repair_until_changed(situation)
                checkpoint_due = 0.0
            elif time.monotonic() >= checkpoint_due:
                checkpoint_due = time.monotonic() + _CHECKPOINT_SECONDS
                await self._checkpoint()
            await until_tick(_POLL_SECONDS)

    async def _checkpoint(self) -> None:
        """Store the offsets below which our partitions are applied, for a repair after the loss of a server."""
        consumer = self._consumer()
        if consumer is None or self._assignment is None:
            return
        checkpoints: dict[LogPart, int] = {}
        for layout in (TRANSACTIONS, LABELS, PREDICTIONS):
            topic = self._settings.topic(layout.name)
            done = {} if self._withheld(topic) else consumer.finished_offsets(topic)
            log_number = self._log(topic)
            checkpoints |= {
                LogPart(layout is LABELS, partition, layout is PREDICTIONS): place_of(log_number, offset)
                for partition, offset in done.items()
                if offset
            }
        try:
            await self._store.checkpoint(checkpoints)
        except (StoreUnavailableError, StoreRefusedError) as error:
            log.info("the checkpoints could not be stored in Redis: %s", error)

    def _situation(self) -> _Situation | None:
        missing = self._store.state.pending_repair
        if self._assignment is None or missing is None:
            return None
        return _Situation(missing, self._assignment)

    async def _repair_until_changed(self, situation: _Situation) -> None:
        """Repair until the situation changes; if Kafka or Redis does not respond, the caller retries."""
        repair = Repair(
            settings=self._settings,
            policy=self._policy,
            target=situation.repair,
            emit=self._emit,
            read_to=self._read_to,
            store_lock=self._store.lock,
        )
        self._progress.started(repair)
        task = asyncio.create_task(repair.run(self._ends))
        try:
            while self._situation() == situation and not (task.done() and task.exception()):
                await asyncio.wait({task}, timeout=_POLL_SECONDS)
                await asyncio.sleep(_POLL_SECONDS if task.done() else 0)
        finally:
            (error,) = await end_tasks(task)
            self._progress.ended()
        if isinstance(error, Exception):
            if not is_retried(error, Phase.REPAIR):
                raise error
            log.warning("histories could not be rebuilt, retrying: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _ends(self, partitions: Mapping[TopicName, int]) -> dict[LogPart, int]:
        """Return the offsets up to which our transactions were read before or got a verdict; labels have no end.

        Nor have predictions from storage, where some worker needs them: who owns a partition of labels applies them,
        whether it reads them itself or not, and those of partitions that `labels` does not have yet.

        A batch in progress may have been observed before the loss, so what becomes of it is awaited first. What has no
        verdict yet is left out: its own attempt appends it, unless the worker that was there before has refused it.

        A killed worker may have applied labels past its last commit, and decisions have seen them.
        """
        await self._begun_are_done()
        consumer = self._consumer()
        while consumer is None or (read_to := self._read_to()) is None:
            await asyncio.sleep(_POLL_SECONDS)
            consumer = self._consumer()
        settings = self._settings
        labels = await consumer.offsets_to_repair(settings.topic(LABELS.name))
        finished = await consumer.offsets_to_repair(settings.topic(TRANSACTIONS.name))
        stored = (
            one
            for partition in labels
            for one in range(partition, partitions.get("predictions", 0), partitions["labels"])
        )
        read = {one: max(offset, read_to.get(one, 0)) for one, offset in finished.items()}
        return ends_of(read, labels, stored)
