"""Put lost histories together again: each worker applies its own partitions anew, and all know when that is done.

Labels come first, those of all workers: a transaction that is applied again takes its labels along, wherever they lie,
but a label finds no transaction that its card no longer sees. Whatever ends a repair in the middle (the partition goes,
the worker dies, Redis loses something again), whoever owns the partition then goes on from what was reported.
Nothing here decides; when decisions wait for it is `waiting`'s.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from features.errors import StoreUnavailableError
from features.redis_store import Options, RedisStore
from features.store import Keeping
from features.wholeness import NO_END, Part, Reached
from stream.clock import now_ms
from stream.facts import Listen, Reapplied
from stream.reapplying import Stretch, log_reader, part_count, place, reapply
from stream.settings import Settings
from stream.topics import LABELS, TRANSACTIONS
from stream.transport import BatchConsumer

log = logging.getLogger("fraudstream.repairing")

_LOOK_SECONDS = 0.2
_RETRY_SECONDS = 1.0
_REPORT_SECONDS = 0.5
_TIDY_SECONDS = 10.0
_CACHE_BYTES = 256 << 20


class Yard(NamedTuple):
    """What repairing works with: `store` is the one that decisions ask, `decided` how far each partition is decided.

    `decided` is None while that is not known of all partitions.
    """

    settings: Settings
    keeping: Keeping
    store: RedisStore
    consumer: Callable[[], BatchConsumer | None]
    decided: Callable[[], Mapping[int, int] | None]
    tell: Listen


class Situation(NamedTuple):
    """Under which epoch, and which assignment of ours, something is to be repaired."""

    epoch: int
    assignment: int


@dataclass(slots=True)
class Seen:
    """How far all workers together are, as was last read."""

    progress: Mapping[Part, Reached]
    parts: int

    @property
    def labels_done(self) -> bool:
        """Whether all labels are applied again."""
        return 2 * sum(part.of_labels and reached.done for part, reached in self.progress.items()) >= self.parts

    def __str__(self) -> str:
        """Say it for people."""
        applied = sum(reached.reached - reached.first for reached in self.progress.values())
        wanted = sum(reached.end - reached.first for reached in self.progress.values())
        done = sum(reached.done for reached in self.progress.values())
        return f"{applied:,} of {wanted:,} records so far, {done} of {self.parts} parts done"


class Repairer:
    """Repairs what this worker owns, whenever there is something to repair."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._assignment: int | None = None
        self._assignments = 0
        self._seen: Seen | None = None
        self._open: Mapping[Part, Stretch] = {}

    @property
    def open_parts(self) -> int:
        """How many of our parts are not yet applied again."""
        return sum(stretch.at < stretch.end for stretch in self._open.values())

    def reasons(self) -> list[str]:
        """Say that histories are not whole, and how far that is; empty where they are."""
        if not self._yard.store.incomplete:
            return []
        how_far = f": {self._seen}" if self._seen is not None else ""
        return [f"Redis lost histories, which are put together again from Kafka{how_far}"]

    def assigned(self) -> None:
        """Repair under a new assignment, if there is something to repair."""
        self._assignments += 1
        self._assignment = self._assignments

    def revoked(self) -> None:
        """Leave it to who comes next."""
        self._assignment = None

    async def run(self) -> None:
        """Repair whenever that is due, for ever."""
        while True:
            situation = self._situation()
            if situation is not None:
                await self._under(situation)
            await asyncio.sleep(_LOOK_SECONDS)

    def _situation(self) -> Situation | None:
        store = self._yard.store
        if self._assignment is None or not store.incomplete:
            return None
        return Situation(store.history_epoch, self._assignment)

    async def _under(self, situation: Situation) -> None:
        """Repair until the situation is another; what is away is asked again."""
        work = asyncio.create_task(self._repair(situation))
        try:
            while not work.done() and self._situation() == situation:
                await asyncio.wait({work}, timeout=_LOOK_SECONDS)
        finally:
            work.cancel()
            (error,) = await asyncio.gather(work, return_exceptions=True)
            self._open, self._seen = {}, None
        match error:
            case KafkaError() | StoreUnavailableError() | OSError():
                log.warning("histories are not put together, trying again: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
            case Exception():
                raise error

    async def _repair(self, situation: Situation) -> None:
        """Apply our parts again, labels first, and wait for the others'."""
        yard = self._yard
        options = Options(cache_bytes=_CACHE_BYTES)
        store = RedisStore(yard.settings.redis_url, yard.settings.deployment, yard.keeping, now_ms, options)
        try:
            await store.connect(emptied=True)  # if it was emptied again meanwhile
            async with log_reader(yard.settings) as reader:
                work = _Work(yard, situation, store, reader, part_count(reader, yard.settings))
                self._seen = Seen(await store.wholeness.progress(situation.epoch), work.parts)
                self._open = {stretch.part: stretch for stretch in await work.stretches(self._seen.progress)}
                await self._apply(work, of_labels=True)
                while not self._seen.labels_done:
                    await self._look(work)
                await self._apply(work, of_labels=False)
                while True:
                    await self._look(work)
        finally:
            await store.close()

    async def _look(self, work: "_Work") -> None:
        await asyncio.sleep(_REPORT_SECONDS)
        self._seen = Seen(await work.store.wholeness.progress(work.situation.epoch), work.parts)

    async def _apply(self, work: "_Work", *, of_labels: bool) -> None:
        """Apply our parts of one topic again, and report."""
        mine = [stretch for part, stretch in self._open.items() if part.of_labels is of_labels]
        due = tidy_due = 0.0

        async def note(stretches: Sequence[Stretch], applied: int) -> bool:
            nonlocal due, tidy_due
            self._open = {**self._open, **{stretch.part: stretch for stretch in stretches}}
            self._yard.tell(Reapplied("labels" if of_labels else "transactions", applied))
            now = time.monotonic()
            if now >= due or all(stretch.at >= stretch.end for stretch in stretches):
                due = now + _REPORT_SECONDS
                if not await work.report(stretches):
                    return False
                self._seen = Seen(await work.store.wholeness.progress(work.situation.epoch), work.parts)
            if now >= tidy_due and not of_labels:
                tidy_due = now + _TIDY_SECONDS
                await work.store.tidy()
            return work.store.history_epoch == work.situation.epoch

        if mine:
            await reapply(work.reader, self._yard.settings, work.store, mine, note)


class _Work(NamedTuple):
    """One repair of ours: a connection of its own to either side."""

    yard: Yard
    situation: Situation
    store: RedisStore
    reader: AIOKafkaConsumer
    parts: int

    async def stretches(self, progress: Mapping[Part, Reached]) -> list[Stretch]:
        """Return what we have to apply again, those that are done included."""
        ends = await self._ends()
        tps = {part: place(self.yard.settings, part) for part in ends}
        begins = await self.reader.beginning_offsets(list(tps.values()))
        log_ends = await self.reader.end_offsets(list(tps.values()))
        degrades = self.yard.settings.redis_down == "degrade"
        found = []
        for part, tp in tps.items():
            before = progress.get(part)
            first = begins[tp] if before is None else before.first
            at = begins[tp] if before is None else before.reached
            end = at if before is not None and before.done else max(at, min(ends[part], log_ends[tp]))
            found.append(Stretch(part, first, at, end, NO_END if degrades else log_ends[tp]))
        return found

    async def _ends(self) -> dict[Part, int]:
        """Return how far our partitions were handed out, or decided under an earlier assignment."""
        consumer = self.yard.consumer()
        while consumer is None or (decided := self.yard.decided()) is None:
            await asyncio.sleep(_LOOK_SECONDS)
            consumer = self.yard.consumer()
        settings = self.yard.settings
        labels = await consumer.handed_out(settings.topic(LABELS.name))
        transactions = await consumer.handed_out(settings.topic(TRANSACTIONS.name))
        return {
            **{Part(of_labels=True, partition=partition): offset for partition, offset in labels.items()},
            **{
                Part(of_labels=False, partition=partition): max(offset, decided.get(partition, 0))
                for partition, offset in transactions.items()
            },
        }

    async def report(self, stretches: Iterable[Stretch]) -> bool:
        """Report how far they are; False where the epoch is another."""
        reports = {stretch.part: stretch.report for stretch in stretches}
        return await self.store.wholeness.report(self.situation.epoch, reports, self.parts) is not None
