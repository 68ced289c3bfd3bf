"""Bounds the backfilled payments that are applied in memory while Redis is away, in favour of those to be decided.

Nobody waits for a backfilled payment, and each takes a place of those that may be kept until Redis is back
(`stream.recovery.outage`). Beyond a share of these places, a partition waits at its backfilled payments, as all do with
`FRAUDSTREAM_REDIS_DOWN=wait`: they are delivered again, in their order, and the other partitions go on.
"""

from collections.abc import Callable, Sequence

from stream.contract.backfill import backfill_mark
from stream.engine.batches import Batch, Record

MOST_WITHOUT_REDIS = 100_000
"""A fifth of the payments that may be kept, so a short outage delays no payment behind a backfilled one."""


class BackfilledShare:
    """Counts the backfilled payments that are applied without Redis; `degraded` tells whether it is away.

    The batch during which that is noticed is not counted. One that is delivered or tried again counts again, since its
    payments are kept again.
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
