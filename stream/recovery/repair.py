"""One repair of some parts of the log: applied again under an epoch, labels first, and reported so that others go on.

Labels come first, those of all who repair: a transaction that is applied again takes its labels along, wherever they
lie, but a label finds no transaction that its card no longer sees. Decisions may go on meanwhile: where histories are
whole, and put together further back, or where they do not wait. Nothing here knows whose the parts are, or why.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from features.history.store import RetentionPolicy
from features.redis.progress import NO_END, LogPart, PartProgress
from features.redis.retention import NO_COVERAGE, EpochCoverage
from features.redis.store import RedisStore, StoreOptions
from stream.clock import now_ms
from stream.recovery.reapply import (
    FULL_SPEED,
    THROTTLED,
    OffsetRange,
    ReapplyDeps,
    log_reader,
    part_count,
    reapply,
    topic_partition,
)
from stream.scoring.facts import FactListener, Reapplied
from stream.settings import Settings

REPORT_SECONDS = 0.5
_TIDY_SECONDS = 10.0
_CACHE_BYTES = 256 << 20

Ends = Callable[[], Awaitable[Mapping[LogPart, int]]]
"""Answers how far which parts are to be applied again, as offsets."""


@dataclass(frozen=True, slots=True)
class RepairStatus:
    """How far all who repair are together, as was last read, of so many parts."""

    progress: Mapping[LogPart, PartProgress]
    parts: int

    @property
    def labels_done(self) -> bool:
        """Whether all labels are applied again."""
        return 2 * sum(part.of_labels and reached.done for part, reached in self.progress.items()) >= self.parts

    @property
    def parts_done(self) -> int:
        """How many parts are applied again."""
        return sum(reached.done for reached in self.progress.values())

    @property
    def applied(self) -> int:
        """How many records are applied again."""
        return sum(reached.reached - reached.first for reached in self.progress.values())

    @property
    def wanted(self) -> int:
        """How many are to be, of the parts that somebody has begun."""
        return sum(reached.end - reached.first for reached in self.progress.values())

    def __str__(self) -> str:
        """Say it for people."""
        return f"{self.applied:,} of {self.wanted:,} records so far, {self.parts_done} of {self.parts} parts done"


class RepairDeps(NamedTuple):
    """What is repaired, and who hears of it: `emit` of records, whoever reads `Repair.status` of parts.

    `repair` is the epoch and how far back; `turns` the lock of the store that decisions of this process ask.
    """

    settings: Settings
    keeping: RetentionPolicy
    repair: EpochCoverage
    emit: FactListener
    turns: asyncio.Lock | None = None


class Repair:
    """Repairs parts of the log, over connections of its own.

    Attributes:
        seen: how far all are; None until that is known.
        open: the parts that are repaired here, and how far.
    """

    def __init__(self, terms: RepairDeps) -> None:
        self.status: RepairStatus | None = None
        self.ranges: Mapping[LogPart, OffsetRange] = {}
        self._terms = terms

    async def run(self, ends: Ends) -> bool:
        """Apply parts again, and wait for what others apply; return whether the epoch is whole then, or over.

        Raises:
            StoreUnavailableError: Redis is away; what was reported need not be done again.
            aiokafka.errors.KafkaError: so is Kafka.
        """
        settings, keeping, _, _, turns = self._terms
        options = StoreOptions(cache_bytes=_CACHE_BYTES, other_store_lock=turns)
        store = RedisStore(settings.redis_url, settings.deployment, keeping, now_ms, options)
        try:
            await store.connect(emptied=True)  # if it was emptied again meanwhile
            gently = settings.redis_down == "degrade" or store.state.complete is not NO_COVERAGE
            async with log_reader(settings) as reader:
                again = ReapplyDeps(reader, settings, store, THROTTLED if gently else FULL_SPEED)
                await self._all(_Work(store, again, part_count(reader, settings), gently), ends)
            return self._goes_on(store)
        finally:
            await store.close()

    async def _all(self, work: "_Work", ends: Ends) -> None:
        """Go through it step by step, each when all who repair are through with the one before."""
        seen = await self._look(work)
        self.ranges = {one.part: one for one in await self._stretches(work, await ends(), seen.progress)}
        await self._apply(work, of_labels=True)
        while self._goes_on(work.store) and not seen.labels_done:
            seen = await self._look(work, REPORT_SECONDS)
        await self._apply(work, of_labels=False)
        while self._goes_on(work.store) and seen.parts_done < work.parts:
            seen = await self._look(work, REPORT_SECONDS)
        if work.gently:
            await self._conclude(work)
        while self._goes_on(work.store) and work.store.state.pending_repair:
            await self._look(work, REPORT_SECONDS)

    def _goes_on(self, store: RedisStore) -> bool:
        """Tell whether this repair is still the one that is wanted."""
        return store.state.target == self._terms.repair

    async def _look(self, work: "_Work", after_s: float = 0.0) -> RepairStatus:
        """Read how far all are, and whether that is still asked."""
        await asyncio.sleep(after_s)
        await work.store.refresh()
        self.status = RepairStatus(await work.store.repair_progress.parts(self._terms.repair), work.parts)
        return self.status

    async def _stretches(
        self, work: "_Work", ends: Mapping[LogPart, int], progress: Mapping[LogPart, PartProgress]
    ) -> list[OffsetRange]:
        """Return what is to be applied again here, from where whoever began it was; what is done included.

        What nobody has begun begins at its mark, if the log still has that, else with all that the log has.
        """
        tps = {part: topic_partition(self._terms.settings, part) for part in ends}
        begins = await work.again.reader.beginning_offsets(list(tps.values()))
        log_ends = await work.again.reader.end_offsets(list(tps.values()))
        marks = await work.store.repair_progress.checkpoints(self._terms.repair.cover)
        found = []
        for part, tp in tps.items():
            first = marks.get(part, 0)
            first = first if begins[tp] <= first <= log_ends[tp] else begins[tp]
            before = progress.get(part, PartProgress(first, first, NO_END))
            end = before.reached if before.done else max(before.reached, min(ends[part], log_ends[tp]))
            found.append(OffsetRange(part, before.first, before.reached, end, log_ends[tp]))
        return found

    async def _apply(self, work: "_Work", *, of_labels: bool) -> None:
        """Apply the parts of one topic again, and report."""
        mine = [stretch for part, stretch in self.ranges.items() if part.of_labels is of_labels]
        due = tidy_due = 0.0

        async def note(stretches: Sequence[OffsetRange], applied: int) -> bool:
            nonlocal due, tidy_due
            self.ranges = {**self.ranges, **{stretch.part: stretch for stretch in stretches}}
            self._terms.emit(Reapplied("labels" if of_labels else "transactions", applied))
            now = time.monotonic()
            if now >= due or all(stretch.at >= stretch.end for stretch in stretches):
                due = now + REPORT_SECONDS
                if not await self._report(work, stretches, final=not work.gently):
                    return False
                await self._look(work)
            if now >= tidy_due and not of_labels:
                tidy_due = now + _TIDY_SECONDS
                await work.store.compact()
            return self._goes_on(work.store)

        if mine:
            await reapply(work.again, mine, note)

    async def _conclude(self, work: "_Work") -> None:
        """Report our parts for the last time, where decisions have gone on.

        What they have appended before everything was applied again may be displaced: all that is in the log by now.
        """
        tps = {part: topic_partition(self._terms.settings, part) for part in self.ranges}
        log_ends = await work.again.reader.end_offsets(list(tps.values()))
        self.ranges = {part: one._replace(displaced_below=log_ends[tps[part]]) for part, one in self.ranges.items()}
        await self._report(work, list(self.ranges.values()), final=True)

    async def _report(self, work: "_Work", stretches: Sequence[OffsetRange], *, final: bool) -> bool:
        """Write the reports; return whether this repair is still the one that is wanted."""
        reports = {stretch.part: stretch.report._replace(final=final) for stretch in stretches}
        return await work.store.repair_progress.report(self._terms.repair, reports, work.parts) is not None


class _Work(NamedTuple):
    """What works, of how many parts the log is made, and whether decisions go on meanwhile."""

    store: RedisStore
    again: ReapplyDeps
    parts: int
    gently: bool
