"""Go on without Redis where that is wanted: decide by what is seen meanwhile, mark it, and apply it afterwards.

A worker that ends while Redis is away takes what it has not applied with it; so does none of the scores.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from features.errors import StoreUnavailableError
from features.memory_store import MemoryStore
from features.store import HistoryStore, Keeping, Label, Labelled, Observed, Transactions

log = logging.getLogger("fraudstream.degrading")

_ASK_AGAIN_SECONDS = 1.0
_MOST_PENDING = 500_000


class DegradingStore:
    """Answers from memory while `inner` is away, as `incomplete`, and lets `inner` catch up before it goes on.

    Labels wait. A retry of a transaction that was decided before the outage is not recognised during it.
    """

    def __init__(self, inner: HistoryStore, keeping: Keeping) -> None:
        self._inner = inner
        self._keeping = keeping
        self._stopgap: MemoryStore | None = None
        self._pending: list[Transactions] = []
        self._ask_at = 0.0

    @property
    def degraded(self) -> bool:
        """Whether decisions are made without Redis now."""
        return self._stopgap is not None

    async def observe(self, transactions: Transactions) -> Observed:
        """Ask Redis, or answer from what was seen since it went away.

        Raises:
            StoreUnavailableError: it is away and too much waits to be applied.
        """
        if self._stopgap is None or time.monotonic() >= self._ask_at:
            try:
                return await self._caught_up(transactions)
            except StoreUnavailableError as error:
                self._ask_at = time.monotonic() + _ASK_AGAIN_SECONDS
                if self._stopgap is None:
                    log.warning("deciding without histories from now on: %s", error)
                    self._stopgap = MemoryStore(self._keeping)
        if sum(map(len, self._pending)) + len(transactions) > _MOST_PENDING:
            raise StoreUnavailableError(f"Redis is away and {_MOST_PENDING} transactions wait to be applied")
        self._pending.append(transactions)
        return replace(await self._stopgap.observe(transactions), incomplete=True)

    async def label(self, labels: Sequence[Label]) -> Sequence[Labelled]:
        """Apply labels, which can wait."""
        return await self._inner.label(labels)

    async def tidy(self) -> None:
        """Trim what has become invisible."""
        await self._inner.tidy()

    async def _caught_up(self, transactions: Transactions) -> Observed:
        """Apply what waits, then ask."""
        while self._pending:
            await self._inner.observe(self._pending[0])
            del self._pending[0]
        observed = await self._inner.observe(transactions)
        if self._stopgap is not None:
            log.warning("histories are back, and what was decided without them is applied")
            self._stopgap = None
        return observed
