"""Let nothing be decided on histories that lack what decisions look at: it is observed again when that is there.

Nothing here repairs anything; `repairing` does. How far back decisions look, `warming` knows.
"""

from collections.abc import Sequence

from features.errors import StoreUnavailableError
from features.history.store import Label, Labelled, Observed, Transactions
from features.redis.store import RedisStore


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

    async def label(self, labels: Sequence[Label]) -> Sequence[Labelled]:
        """Apply labels, likewise.

        Raises:
            StoreUnavailableError: Redis is away, or lost something.
        """
        self._require_whole()
        labelled = await self._inner.label(labels)
        self._require_whole()
        return labelled

    async def tidy(self) -> None:
        """Trim what has become invisible."""
        await self._inner.tidy()

    def _require_whole(self) -> None:
        if self._inner.incomplete:
            raise _lost()


def _lost() -> StoreUnavailableError:
    return StoreUnavailableError("Redis lacks histories, and they are not all put together again from Kafka yet")
