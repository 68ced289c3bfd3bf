"""The two stores that decisions use while Redis is unavailable or lacks histories, by the setting `redis_down`.

`WaitingStore` refuses until histories are complete, so the batch is retried. `DegradingStore` decides with what is in
memory, marks those decisions and applies their transactions to Redis later. They are kept in memory until then, and
the offsets of transactions are not committed, so a worker that takes over a partition applies them from Kafka.
`BackfilledShare` bounds how many of them may be backfilled ones, which nobody waits for.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from itertools import accumulate, chain, islice, takewhile
from typing import Any

import numpy as np

from features.errors import StoreUnavailableError
from features.history.store import (
    Fate,
    HistoryStore,
    Label,
    LabelResult,
    Observed,
    Prediction,
    PredictionResult,
    Transactions,
    observe_all,
)
from features.memory_store import MemoryStore
from features.redis.store import RedisStore
from stream.contract.transaction import backfill_mark
from stream.engine.batches import Batch, Record

log = logging.getLogger("fraudstream.outage")

MOST_WITHOUT_REDIS = 100_000
"""A fifth of the payments that may be kept, so a short outage delays no payment behind a backfilled one."""
_MAX_PENDING = 500_000
_TAKEN = {Fate.DECIDE, Fate.ERASURE}
_CATCH_UP_BATCH = 4096
"""Large, so that catching up is faster than the incoming stream even if each call is slow."""


class BackfilledShare:
    """Counts the backfilled payments that are applied without Redis; `degraded` tells whether it is away.

    Each takes a place of those that may be kept until Redis is back. Beyond a share of these places, a partition waits
    at its backfilled payments, as all do with `FRAUDSTREAM_REDIS_DOWN=wait`: they are delivered again, in their order,
    and the other partitions go on. The batch during which that is noticed is not counted. One that is delivered or
    tried again counts again, since its payments are kept again.
    """

    def __init__(self, degraded: Callable[[], bool]) -> None:
        self._degraded = degraded
        self._count = 0

    def admit(self, batch: Batch) -> None:
        """Set aside the partitions of a batch whose backfilled payments exceed the share, and count the others."""
        if not self._degraded():
            self._count = 0
            return
        for partition in batch.current():
            found = _count_marked(batch.records[partition])
            if found and self._count + found > MOST_WITHOUT_REDIS:
                batch.set_aside(
                    partition,
                    f"Redis is unavailable, and {self._count} backfilled payments wait to be applied: those of this "
                    "partition wait for it, with what is behind them",
                )
            else:
                self._count += found


def _count_marked(records: Sequence[Record]) -> int:
    return sum(1 for one in records if one.headers and backfill_mark(one.headers) is not None)


class WaitingStore:
    """Passes calls to `inner` while its histories are complete, else raises; with `labels_alone` only for labels.

    Labels can wait, and their outcome depends on all earlier transactions.
    """

    degraded = False
    has_pending = False

    def __init__(self, inner: RedisStore, *, labels_alone: bool = False) -> None:
        self._inner = inner
        self._labels_alone = labels_alone

    async def observe(self, transactions: Transactions) -> Observed:
        """Observe in Redis; a result during which a loss was detected is discarded.

        Raises:
            StoreUnavailableError: Redis does not respond, or has lost histories.
        """
        if self._labels_alone:
            return await self._inner.observe(transactions)
        self._require_whole()
        observed = await self._inner.observe(transactions, whole=True)
        if observed.incomplete:
            raise _incomplete()
        return observed

    async def holds(self, transactions: Transactions) -> Sequence[bool]:
        """Tell which transactions are in their cards' histories.

        Raises:
            StoreUnavailableError: Redis does not respond.
        """
        return await self._inner.holds(transactions)

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        """Apply labels, under the same conditions.

        Raises:
            StoreUnavailableError: Redis does not respond, or has lost histories.
        """
        self._require_whole()
        labelled = await self._inner.label(labels)
        self._require_whole()
        return labelled

    async def predict(self, predictions: Sequence[Prediction]) -> Sequence[PredictionResult]:
        """Apply predictions, under the same conditions as labels.

        Raises:
            StoreUnavailableError: Redis does not respond, or has lost histories.
        """
        self._require_whole()
        predicted = await self._inner.predict(predictions)
        self._require_whole()
        return predicted

    async def compact(self) -> None:
        """Trim records that no decision can see any more."""
        await self._inner.compact()

    async def catch_up(self) -> None:
        """Return at once: nothing is decided without Redis, so nothing waits to be applied."""

    def _require_whole(self) -> None:
        if self._inner.incomplete:
            raise _incomplete()


def _incomplete() -> StoreUnavailableError:
    return StoreUnavailableError("Redis has lost histories, and they are not fully rebuilt from Kafka yet")


class DegradingStore:
    """Answers from memory, marked `incomplete`, while `inner` is unavailable; `inner` catches up before its next use.

    `stopgap` creates the store in memory, which starts with the cached histories: a recently seen card keeps nearly all
    of its history, and repeated payments are recognised. Labels wait. `catch_up` runs in the background and finds out
    whether `inner` is back; no decision waits for it.
    """

    def __init__(self, inner: HistoryStore, stopgap: Callable[[], MemoryStore]) -> None:
        self._inner = inner
        self._new_stopgap = stopgap
        self._stopgap: MemoryStore | None = None
        self._pending: deque[Transactions] = deque()
        self._pending_count = 0
        # Batches are decided at the same time, and `catch_up` beside them. Under the lock only one of them begins a
        # stopgap, and none is decided in memory after `catch_up` has applied the last pending one.
        self._deciding = asyncio.Lock()

    @property
    def degraded(self) -> bool:
        """Whether decisions are currently made without Redis."""
        return self._stopgap is not None

    @property
    def has_pending(self) -> bool:
        """Whether transactions were observed that `inner` does not have yet."""
        return bool(self._pending)

    async def observe(self, transactions: Transactions) -> Observed:
        """Observe in Redis, or in memory if Redis is unavailable.

        Raises:
            StoreUnavailableError: it is unavailable, and too many transactions wait to be applied.
        """
        async with self._deciding:
            if self._stopgap is None:
                try:
                    return await self._inner.observe(transactions)
                except StoreUnavailableError as error:
                    log.warning("Redis is unavailable, deciding without it from now on: %s", error)
                    self._stopgap = self._new_stopgap()
            return await self._observe_stopgap(self._stopgap, transactions)

    async def _observe_stopgap(self, stopgap: MemoryStore, transactions: Transactions) -> Observed:
        """Observe in memory, and keep the transactions that entered a history, to apply them later.

        One that was refused would be accepted by a Redis that has lost the payment with which it is in conflict.
        """
        if self._pending_count + len(transactions) > _MAX_PENDING:
            raise StoreUnavailableError(
                f"Redis is unavailable, and {self._pending_count} transactions wait to be applied"
            )
        observed = await stopgap.observe(transactions)
        taken = [at for at, fate in enumerate(observed.fates) if fate in _TAKEN]
        if taken:
            self._pending.append(transactions.at(taken))
            self._pending_count += len(taken)
        return replace(observed, incomplete=True, stopgap=True)

    async def holds(self, transactions: Transactions) -> Sequence[bool]:
        """Tell which transactions are in their cards' histories; while Redis is unavailable, in those in memory."""
        if self._stopgap is None:
            try:
                return await self._inner.holds(transactions)
            except StoreUnavailableError as error:
                log.warning("Redis is unavailable, refusing without it: %s", error)
                return [False] * len(transactions)
        return await self._stopgap.holds(transactions)

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        """Apply labels; they wait until all earlier transactions are applied.

        Raises:
            StoreUnavailableError: Redis is unavailable, or has not caught up yet.
        """
        if self._stopgap is not None:
            raise StoreUnavailableError(
                f"labels wait until Redis is back and has caught up on {self._pending_count} decisions"
            )
        return await self._inner.label(labels)

    async def predict(self, predictions: Sequence[Prediction]) -> Sequence[PredictionResult]:
        """Apply predictions; they wait as labels do.

        Raises:
            StoreUnavailableError: Redis is unavailable, or has not caught up yet.
        """
        if self._stopgap is not None:
            raise StoreUnavailableError("predictions wait until Redis is back and has caught up")
        return await self._inner.predict(predictions)

    async def compact(self) -> None:
        """Trim records that no decision can see any more."""
        await self._inner.compact()

    async def catch_up(self) -> None:
        """Apply the pending transactions in the order of the decisions, if Redis is back.

        Decisions continue meanwhile and add more; only the last step blocks them, else it might never end.

        Raises:
            StoreUnavailableError: it is not back.
        """
        if self._stopgap is None:
            return
        await self._apply_next()
        while len(self._next()) < len(self._pending):
            await self._apply_next()
        async with self._deciding:
            while self._pending:
                await self._apply_next()
            self._stopgap = None
        log.warning("Redis is back, and all transactions decided without it are applied")

    async def _apply_next(self) -> None:
        """Apply the next pending transactions.

        Raises:
            StoreUnavailableError: `inner` is unavailable, as far as is known.
        """
        batches = self._next()
        async for _ in observe_all(self._inner, _concat(batches)):
            pass
        for batch in batches:
            self._pending_count -= len(batch)
            self._pending.popleft()

    def _next(self) -> list[Transactions]:
        """Return the first pending batches that together fit into one call; at least one."""
        fitting = sum(1 for _ in takewhile(lambda end: end <= _CATCH_UP_BATCH, accumulate(map(len, self._pending))))
        return list(islice(self._pending, max(1, fitting)))


def _concat(batches: Sequence[Transactions]) -> Transactions:
    """Concatenate batches."""
    columns = [field.name for field in fields(batches[0]) if field.name not in {"erases", "own"}]
    erases = [is_one for b in batches for is_one in b.erases or [False] * len(b)]
    return Transactions(
        **{name: _column([getattr(b, name) for b in batches]) for name in columns},
        erases=erases if any(erases) else None,
        own=None if batches[0].own is None else list(chain.from_iterable(b.own or [{}] * len(b) for b in batches)),
    )


def _column(parts: Sequence[Any]) -> Any:  # noqa: ANN401 - an array of arrays, or a list of sequences
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else list(chain.from_iterable(parts))
