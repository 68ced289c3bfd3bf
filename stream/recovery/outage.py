"""Go on without Redis where that is wanted: decide by what is remembered and seen meanwhile, mark it, apply it later.

What waits to be applied is in memory, and in Kafka: as long as something waits, the offsets of transactions are not
committed, so whoever goes on behind a worker that ended applies them. Nothing here knows an offset.

Let nothing be decided on histories that lack what decisions look at: it is observed again when that is there.

Nothing here repairs anything; `repairing` does. How far back decisions look, `warming` knows.
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
from features.history.store import HistoryStore, Label, LabelResult, Observed, Transactions
from features.memory_store import MemoryStore
from features.redis.store import RedisStore

log = logging.getLogger("fraudstream.degrading")

_MOST_PENDING = 500_000
_AT_ONCE = 4096
"""Catching up has to be faster than what comes in, however slow a call is."""


class WaitingStore:
    """Answers from `inner` as long as that is whole, and is unavailable while it is not; to labels alone if so wanted.

    A label can wait, and what is said of it goes by all that came before it.
    """

    def __init__(self, inner: RedisStore, *, labels_alone: bool = False) -> None:
        self._inner = inner
        self._labels_alone = labels_alone

    async def observe(self, transactions: Transactions) -> Observed:
        """Ask Redis; an answer in which a loss was noticed is none.

        Raises:
            StoreUnavailableError: Redis is away, or lost something.
        """
        if self._labels_alone:
            return await self._inner.observe(transactions)
        self._require_whole()
        observed = await self._inner.observe(transactions)
        if observed.incomplete:
            raise _lost()
        return observed

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        """Apply labels, likewise.

        Raises:
            StoreUnavailableError: Redis is away, or lost something.
        """
        self._require_whole()
        labelled = await self._inner.label(labels)
        self._require_whole()
        return labelled

    async def compact(self) -> None:
        """Trim what has become invisible."""
        await self._inner.compact()

    def _require_whole(self) -> None:
        if self._inner.incomplete:
            raise _lost()


def _lost() -> StoreUnavailableError:
    return StoreUnavailableError("Redis lacks histories, and they are not all put together again from Kafka yet")


class DegradingStore:
    """Answers from memory while `inner` is away, as `incomplete`, and lets `inner` catch up before it asks it again.

    `stopgap` makes that memory, which begins with what is remembered of histories: so a card that was met lately keeps
    nearly all of its history, and a retry of its earlier payments is recognised. Labels wait. Whether `inner` is back
    is found out in the background, by `catch_up`; no decision waits for that.
    """

    def __init__(self, inner: HistoryStore, stopgap: Callable[[], MemoryStore]) -> None:
        self._inner = inner
        self._new_stopgap = stopgap
        self._stopgap: MemoryStore | None = None
        self._pending: deque[Transactions] = deque()
        self._waiting = 0
        self._deciding = asyncio.Lock()

    @property
    def degraded(self) -> bool:
        """Whether decisions are made without Redis now."""
        return self._stopgap is not None

    @property
    def has_pending(self) -> bool:
        """Whether something was answered for that `inner` does not have yet."""
        return bool(self._pending)

    async def observe(self, transactions: Transactions) -> Observed:
        """Ask Redis, or answer from what was seen since it went away.

        Raises:
            StoreUnavailableError: it is away and too much waits to be applied.
        """
        async with self._deciding:
            if self._stopgap is None:
                try:
                    return await self._inner.observe(transactions)
                except StoreUnavailableError as error:
                    log.warning("deciding without Redis from now on: %s", error)
                    self._stopgap = self._new_stopgap()
            return await self._improvise(self._stopgap, transactions)

    async def _improvise(self, stopgap: MemoryStore, transactions: Transactions) -> Observed:
        """Answer from memory, and keep what is to be applied."""
        if self._waiting + len(transactions) > _MOST_PENDING:
            raise StoreUnavailableError(f"Redis is away and {self._waiting} transactions wait to be applied")
        if len(transactions):
            self._pending.append(transactions)
            self._waiting += len(transactions)
        return replace(await stopgap.observe(transactions), incomplete=True, stopgap=True)

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        """Apply labels, which can wait: until what came before them is applied.

        Raises:
            StoreUnavailableError: Redis is away, or has not caught up yet.
        """
        if self._stopgap is not None:
            raise StoreUnavailableError(
                f"labels wait until Redis is back and has caught up on {self._waiting} decisions"
            )
        return await self._inner.label(labels)

    async def compact(self) -> None:
        """Trim what has become invisible."""
        await self._inner.compact()

    async def catch_up(self) -> None:
        """Apply what waits, in the order of the decisions, if Redis is back.

        More may come in meanwhile; only for the last step decisions wait, or there would be no end.

        Raises:
            StoreUnavailableError: it is not back.
        """
        if self._stopgap is None:
            return
        await self._apply_first()
        while len(self._first()) < len(self._pending):
            await self._apply_first()
        async with self._deciding:
            while self._pending:
                await self._apply_first()
            self._stopgap = None
        log.warning("Redis is back, and what was decided without it is applied")

    async def _apply_first(self) -> None:
        """Apply some of what waits.

        Raises:
            StoreUnavailableError: `inner` is away, as far as is known.
        """
        first = self._first()
        await self._inner.observe(_joined(first))
        for batch in first:
            self._waiting -= len(batch)
            self._pending.popleft()

    def _first(self) -> list[Transactions]:
        """Return the first batches that wait, as many as go together; one at least."""
        fitting = sum(1 for _ in takewhile(lambda end: end <= _AT_ONCE, accumulate(map(len, self._pending))))
        return list(islice(self._pending, max(1, fitting)))


def _joined(batches: Sequence[Transactions]) -> Transactions:
    """Make one batch of several."""
    return Transactions(
        **{field.name: _column([getattr(b, field.name) for b in batches]) for field in fields(batches[0])}
    )


def _column(parts: Sequence[Any]) -> Any:  # noqa: ANN401 - an array of arrays, or a list of sequences
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else list(chain.from_iterable(parts))
