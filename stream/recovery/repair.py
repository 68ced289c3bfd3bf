"""One repair: apply parts of the log again under a history epoch, labels first, and report the progress in Redis.

All labels of all repairing workers come first: a transaction that is applied again takes its labels with it, wherever
they lie, but a label cannot find a transaction that its card no longer sees. Predictions from storage, where features
read any, come before the transactions as well: what is decided after the repair has seen all of them. Decisions may
continue meanwhile: while histories are complete and are extended further back, or with `redis_down=degrade`. Another
worker resumes a part from its reported progress.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from features.history.store import Entity, RetentionPolicy
from features.redis.progress import NO_END, LogPart, PartProgress, TopicName
from features.redis.retention import NO_COVERAGE, Coverage, EpochCoverage
from features.redis.store import RedisStore
from fraudstream_client.validity import log_and_offset, place_of
from stream.recovery.reapply import (
    FULL_SPEED,
    THROTTLED,
    LogReplay,
    OffsetRange,
    ProgressCallback,
    apply_erasures,
    log_reader,
    own_store,
    partitions_of_log,
    topic_partition,
)
from stream.recovery.replayed_input import read_input
from stream.scoring.facts import FactListener, Reapplied
from stream.settings import Settings
from stream.tasks import until_tick

REPORT_SECONDS = 0.5
_COMPACT_SECONDS = 10.0
_CACHE_BYTES = 256 << 20

Ends = Callable[[Mapping[TopicName, int]], Awaitable[Mapping[LogPart, int]]]
"""Returns the parts to apply again here, each with its end offset, of topics with so many partitions."""


def ends_of(
    transactions: Mapping[int, int], labels: Iterable[int], predictions: Iterable[int] = ()
) -> dict[LogPart, int]:
    """Return the end offset of each part: of transactions as given by partition; labels and predictions have none."""
    return {
        **{LogPart(of_labels=True, partition=one): NO_END for one in labels},
        **{LogPart(of_labels=False, partition=one, of_predictions=True): NO_END for one in predictions},
        **{LogPart(of_labels=False, partition=one): end for one, end in transactions.items()},
    }


def needs_predictions(cover: Coverage) -> bool:
    """Tell whether histories that are complete so far back include predictions from storage."""
    return Entity.PREDICTION.value in cover.horizons_ms


@dataclass(frozen=True, slots=True)
class RepairStatus:
    """The progress of all repairing workers together, as last read.

    `partitions` is the number of partitions of each topic of the log, each of which is a part.
    """

    progress: Mapping[LogPart, PartProgress]
    partitions: Mapping[TopicName, int]

    @property
    def parts(self) -> int:
        """The number of parts of the log."""
        return sum(self.partitions.values())

    @property
    def transactions_may_begin(self) -> bool:
        """Whether all labels, and predictions, are applied."""
        done = Counter(part.topic for part, reached in self.progress.items() if reached.done)
        return all(done[topic] >= count for topic, count in self.partitions.items() if topic != "transactions")

    @property
    def parts_done(self) -> int:
        """The number of parts that are applied."""
        return sum(reached.done for reached in self.progress.values())

    @property
    def applied(self) -> int:
        """The number of records that are applied."""
        return sum(reached.reached - reached.first for reached in self.progress.values())

    @property
    def wanted(self) -> int:
        """The number of records to apply, in the parts that have been started."""
        return sum(reached.end - reached.first for reached in self.progress.values())

    def __str__(self) -> str:
        """Return the progress as text."""
        return f"{self.applied:,} of {self.wanted:,} records so far, {self.parts_done} of {self.parts} parts done"


class Repair:
    """Repairs parts of the log, with connections of its own.

    `target` is the epoch and how far back histories are to reach, `emit` receives facts. `read_to` returns the offset
    up to which each partition of transactions that is repaired here was read, None until it is known. `store_lock` is
    the lock of the store that decides in this process, if any.

    Attributes:
        status: the progress of all repairing workers; None until it has been read.
        ranges: the parts that are repaired here, with their progress.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        policy: RetentionPolicy,
        target: EpochCoverage,
        emit: FactListener,
        read_to: Callable[[], Mapping[int, int] | None],
        store_lock: asyncio.Lock | None = None,
    ) -> None:
        self.status: RepairStatus | None = None
        self.ranges: Mapping[LogPart, OffsetRange] = {}
        self._settings = settings
        self._policy = policy
        self._target = target
        self._emit = emit
        self._read_to = read_to
        self._store_lock = store_lock

    async def run(self, ends: Ends) -> bool:
        """Apply parts again, and wait for those of other workers; return whether this repair is still the current one.

        Raises:
            StoreUnavailableError: Redis does not respond; what was reported need not be repeated.
            aiokafka.errors.KafkaError: Kafka does not respond.
        """
        settings = self._settings
        store = own_store(settings, self._policy, _CACHE_BYTES, self._store_lock)
        try:
            await store.connect(emptied=True)  # it may have been emptied again meanwhile
            throttled = settings.redis_down == "degrade" or store.state.complete is not NO_COVERAGE
            async with log_reader(settings, predictions=self._has_predictions) as reader:
                partitions = partitions_of_log(reader, settings, predictions=self._has_predictions)
                own = await ends(partitions)  # before the letters are read: each one below these ends is written
                while (read_to := self._read_to()) is None:
                    await until_tick(REPORT_SECONDS)
                replayed = await read_input(settings, read_to)
                rate = THROTTLED if throttled else FULL_SPEED
                replay = LogReplay(reader=reader, input=replayed, store=store, rate=rate)
                await self._run_phases(_Run(replay, partitions, throttled), own)
            return self._is_current(store)
        finally:
            await store.close()

    @property
    def _has_predictions(self) -> bool:
        """Whether some worker of the deployment needs predictions from storage."""
        return needs_predictions(self._target.cover)

    async def _run_phases(self, run: "_Run", own: Mapping[LogPart, int]) -> None:
        """Apply labels, then transactions; each phase starts when all workers have finished the one before."""
        status = await self._refresh(run)
        self.ranges = {one.part: one for one in await self._find_ranges(run, own, status.progress)}
        await self._apply(run, "labels")
        await self._apply(run, "predictions")
        while self._is_current(run.store) and not status.transactions_may_begin:
            status = await self._refresh(run, REPORT_SECONDS)
        await self._apply(run, "transactions")
        while self._is_current(run.store) and status.parts_done < status.parts:
            status = await self._refresh(run, REPORT_SECONDS)
        if run.throttled:
            await self._report_final(run)
        while self._is_current(run.store) and run.store.state.pending_repair:
            await self._refresh(run, REPORT_SECONDS)

    def _is_current(self, store: RedisStore) -> bool:
        """Tell whether this is still the repair that Redis's state calls for."""
        return store.state.target == self._target

    async def _refresh(self, run: "_Run", after_s: float = 0.0) -> RepairStatus:
        """Read the progress of all workers and the state in Redis."""
        await asyncio.sleep(after_s)
        await run.store.refresh()
        progress = await run.store.repair_progress.parts(self._target)
        self.status = RepairStatus(progress, run.partitions)
        return self.status

    async def _find_ranges(
        self, run: "_Run", ends: Mapping[LogPart, int], progress: Mapping[LogPart, PartProgress]
    ) -> list[OffsetRange]:
        """Return the ranges to apply here, resumed from the reported progress; finished parts are included.

        A part without progress starts at its checkpoint if the log still holds that offset, else at the beginning.
        """
        tps = {part: topic_partition(self._settings, part) for part in ends}
        begins = await run.replay.reader.beginning_offsets(list(tps.values()))
        log_ends = await run.replay.reader.end_offsets(list(tps.values()))
        checkpoints = await run.store.repair_progress.checkpoints(self._target.cover)
        found = []
        for part, tp in tps.items():
            log, first = log_and_offset(checkpoints.get(part, 0))
            is_there = log == run.replay.input.log(tp.topic) and begins[tp] <= first <= log_ends[tp]
            first = first if is_there else begins[tp]
            before = progress.get(part, PartProgress(first, first, NO_END))
            end = before.reached if before.done else max(before.reached, min(ends[part], log_ends[tp]))
            displaced = place_of(run.replay.input.log(tp.topic), log_ends[tp])
            found.append(OffsetRange(part, before.first, before.reached, end, displaced))
        return found

    async def _apply(self, run: "_Run", topic: TopicName) -> None:
        """Apply the parts of one topic again, and report."""
        own = [one for part, one in self.ranges.items() if part.topic == topic]
        report_due = compact_due = 0.0

        async def progress(ranges: Sequence[OffsetRange], applied: int) -> bool:
            nonlocal report_due, compact_due
            self.ranges = {**self.ranges, **{one.part: one for one in ranges}}
            self._emit(Reapplied(topic, applied))
            now = time.monotonic()
            if now >= report_due or all(one.at >= one.end for one in ranges):
                report_due = now + REPORT_SECONDS
                if not await self._report(run, ranges, final=not run.throttled):
                    return False
                await self._refresh(run)
            if now >= compact_due and topic == "transactions":
                compact_due = now + _COMPACT_SECONDS
                await run.store.compact()
            return self._is_current(run.store)

        if own and topic == "transactions":
            # First: nothing that is decided meanwhile sees what was erased, wherever in the log that was asked for.
            await run.replay.run(own, self._go_on(run), apply_erasures)
        if own:
            await run.replay.run(own, progress)

    def _go_on(self, run: "_Run") -> ProgressCallback:
        """Return what tells whether to continue, and keeps that up to date."""
        refresh_due = 0.0

        async def go_on(_ranges: Sequence[OffsetRange], _applied: int) -> bool:
            nonlocal refresh_due
            if time.monotonic() >= refresh_due:
                refresh_due = time.monotonic() + REPORT_SECONDS
                await self._refresh(run)
            return self._is_current(run.store)

        return go_on

    async def _report_final(self, run: "_Run") -> None:
        """Report our parts for the last time, after decisions continued during the repair.

        Records that they appended before all was applied may be out of order: all that the log holds by now.
        """
        tps = {part: topic_partition(self._settings, part) for part in self.ranges}
        log_ends = await run.replay.reader.end_offsets(list(tps.values()))
        below = {part: place_of(run.replay.input.log(tp.topic), log_ends[tp]) for part, tp in tps.items()}
        self.ranges = {part: one._replace(displaced_below=below[part]) for part, one in self.ranges.items()}
        await self._report(run, list(self.ranges.values()), final=True)

    async def _report(self, run: "_Run", ranges: Sequence[OffsetRange], *, final: bool) -> bool:
        """Report progress; tell whether this repair is still the current one."""
        reports = {one.part: one.report._replace(final=final) for one in ranges}
        parts = sum(run.partitions.values())
        return await run.store.repair_progress.report(self._target, reports, parts) is not None


class _Run(NamedTuple):
    """One run of a repair: what it applies again, the partitions of each topic, and whether decisions continue."""

    replay: LogReplay
    partitions: Mapping[TopicName, int]
    throttled: bool

    @property
    def store(self) -> RedisStore:
        """The store that is repaired."""
        return self.replay.store
