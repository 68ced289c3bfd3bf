"""Put together histories that are lost, or from now on kept for longer: each worker applies its own partitions again.

Whatever ends a repair in the middle (the partition goes, the worker dies, Redis loses something again), whoever owns
the partition then goes on from what was reported. Nothing here decides; when decisions wait for it is `waiting`'s.

Of which models do features look further back than histories are whole yet, and how far must they be for decisions?

A model that would decide on histories that lack something is not accepted: putting them together goes on beside
decisions, which wait for nothing but what their own model looks at. Nothing here repairs anything; `repairing` does.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from aiokafka.errors import KafkaError

from features.errors import StoreUnavailableError
from features.history.store import Entity, RetentionPolicy
from features.redis.progress import NO_END, LogPart
from features.redis.retention import Coverage, EpochCoverage
from features.redis.store import RedisStore
from features.vector.sets import FeatureSets
from models.problems import Problem, ProblemCode
from stream.control.model_cache import ServingModels
from stream.kafka.topics import LABELS, TRANSACTIONS
from stream.kafka.transport import BatchConsumer
from stream.recovery.repair import Repair, RepairDeps
from stream.scoring.facts import FactListener
from stream.settings import Settings

log = logging.getLogger("fraudstream.repairing")

_LOOK_SECONDS = 0.2
_RETRY_SECONDS = 1.0
_MARK_SECONDS = 10.0


def needed_horizons(sets: FeatureSets, serving: ServingModels | None) -> Mapping[Entity, int]:
    """Return how far back the model that decides looks, and the one that stands in for it; nowhere where none does."""
    models = [] if serving is None else [serving.live, serving.fallback]
    looks = [sets.by_fingerprint[model.fingerprint].horizons_ms for model in models if model is not None]
    return {kind: max(look.get(kind, 0) for look in looks) for kind in Entity if any(kind in look for look in looks)}


class WarmupCheck:
    """Says what speaks against a candidate; `how_far` the repair is, for people."""

    def __init__(self, sets: FeatureSets, store: RedisStore, how_far: Callable[[], str]) -> None:
        self._sets = sets
        self._store = store
        self._how_far = how_far

    def problems(self, fingerprint: str) -> tuple[Problem, ...]:
        """Return why a model with features that are computed here cannot be served yet; nothing where it can."""
        horizons_ms = self._sets.by_fingerprint[fingerprint].horizons_ms
        if not self._store.lacks(horizons_ms):
            return ()
        detail = (
            f"its features look back further ({Coverage.of(horizons_ms)}) than histories are put together from Kafka "
            f"yet ({self._store.state.complete.cover}): {self._how_far()}. Decisions go on meanwhile; send the command "
            "again when that is through"
        )
        return (Problem(ProblemCode.FEATURES_WARMING, detail),)


class RepairerDeps(NamedTuple):
    """What repairing works with: `store` is the one that decisions ask, `decided` how far each partition is decided.

    `decided` is None while that is not known of all partitions; `withheld` tells whether what was done of a topic is
    not in Redis yet.
    """

    settings: Settings
    keeping: RetentionPolicy
    store: RedisStore
    consumer: Callable[[], BatchConsumer | None]
    decided: Callable[[], Mapping[int, int] | None]
    withheld: Callable[[str], bool]
    emit: FactListener


class _Situation(NamedTuple):
    """What is to be repaired, an epoch and how far back, and under which assignment of ours."""

    repair: EpochCoverage
    assignment: int


class Repairer:
    """Repairs what this worker owns, whenever there is something to repair."""

    def __init__(self, yard: RepairerDeps) -> None:
        self._yard = yard
        self._assignment: int | None = None
        self._assignments = 0
        self._mending: Repair | None = None

    @property
    def pending_parts(self) -> int:
        """How many of our parts are not yet applied again."""
        return 0 if self._mending is None else sum(one.at < one.end for one in self._mending.ranges.values())

    def reasons(self) -> list[str]:
        """Say that histories are not whole, and how far that is; empty where they are."""
        if not self._yard.store.incomplete:
            return []
        return [f"Redis lacks histories, which are put together again from Kafka: {self.progress_text}"]

    @property
    def progress_text(self) -> str:
        """How far that is, for people."""
        seen = None if self._mending is None else self._mending.status
        return "not begun" if seen is None else str(seen)

    def assigned(self) -> None:
        """Repair under a new assignment, if there is something to repair."""
        self._assignments += 1
        self._assignment = self._assignments

    def revoked(self) -> None:
        """Leave it to who comes next."""
        self._assignment = None

    async def run(self) -> None:
        """Repair whenever that is due, for ever; in between, note how far histories are applied."""
        mark_due = 0.0
        while True:
            situation = self._situation()
            if situation is not None:
                await self._under(situation)
                mark_due = 0.0
            elif time.monotonic() >= mark_due:
                mark_due = time.monotonic() + _MARK_SECONDS
                await self._mark()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _mark(self) -> None:
        """Note below which offsets our partitions are applied, for a repair after the loss of a server."""
        consumer = self._yard.consumer()
        if consumer is None or self._assignment is None:
            return
        marks: dict[LogPart, int] = {}
        for layout in (TRANSACTIONS, LABELS):
            topic = self._yard.settings.topic(layout.name)
            done = {} if self._yard.withheld(topic) else consumer.finished_offsets(topic)
            marks |= {LogPart(layout is LABELS, partition): offset for partition, offset in done.items() if offset}
        try:
            await self._yard.store.checkpoint(marks)
        except StoreUnavailableError as error:
            log.info("how far histories are applied is not noted: %s", error)

    def _situation(self) -> _Situation | None:
        missing = self._yard.store.state.pending_repair
        if self._assignment is None or missing is None:
            return None
        return _Situation(missing, self._assignment)

    async def _under(self, situation: _Situation) -> None:
        """Repair until the situation is another; what is away is asked again."""
        yard = self._yard
        self._mending = Repair(RepairDeps(yard.settings, yard.keeping, situation.repair, yard.emit, yard.store.lock))
        work = asyncio.create_task(self._mending.run(self._ends))
        try:
            while self._situation() == situation and not (work.done() and work.exception()):
                await asyncio.wait({work}, timeout=_LOOK_SECONDS)
                await asyncio.sleep(_LOOK_SECONDS if work.done() else 0)
        finally:
            work.cancel()
            (error,) = await asyncio.gather(work, return_exceptions=True)
            self._mending = None
        match error:
            case KafkaError() | StoreUnavailableError() | OSError():
                log.warning("histories are not put together, trying again: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
            case Exception():
                raise error

    async def _ends(self) -> dict[LogPart, int]:
        """Return how far our transactions were handed out, or decided under an earlier assignment; labels to their end.

        What a label's owner told of it before it was killed may lie behind what it committed: decisions have seen it.
        """
        consumer = self._yard.consumer()
        while consumer is None or (decided := self._yard.decided()) is None:
            await asyncio.sleep(_LOOK_SECONDS)
            consumer = self._yard.consumer()
        settings = self._yard.settings
        labels = await consumer.delivered_offsets(settings.topic(LABELS.name))
        transactions = await consumer.delivered_offsets(settings.topic(TRANSACTIONS.name))
        return {
            **{LogPart(of_labels=True, partition=partition): NO_END for partition in labels},
            **{
                LogPart(of_labels=False, partition=partition): max(offset, decided.get(partition, 0))
                for partition, offset in transactions.items()
            },
        }
