"""How far back a deployment's histories go, as all its workers know: the days of its payments, in a hash in HOME_SHARD.

A worker writes a day when it has appended the first payment of that day, at its next `sync`; the same holds for
payments that are applied again after a loss, so that a repair brings the days back with the histories.
"""

from collections.abc import Callable, Sequence

import numpy as np

from features.history.age import PaymentDays, days_of
from features.history.store import Fate, Ints
from features.redis.append import NO_EPOCH
from features.redis.connection import Call, Connection
from features.redis.keys import HOME_SHARD, KeyLayout
from features.redis.progress import PROGRESS_EXPIRY_MS

REREAD_MS = 60_000
"""A worker learns of days that others have written within this time."""
_NEVER_MS = -(1 << 62)
_DAY_DIGITS = 6
"""A field of more digits is no day."""


class HistoryAge:
    """The age of the histories of the deployment with these keys; `now_ms` is the clock."""

    def __init__(self, connection: Connection, layout: KeyLayout, now_ms: Callable[[], int]) -> None:
        self._connection = connection
        self._key = layout.payment_days
        self._now_ms = now_ms
        self._days = PaymentDays()
        self._unwritten: set[int] = set()
        self._read_ms = _NEVER_MS
        self._epoch = NO_EPOCH

    @property
    def days(self) -> int | None:
        """How many days the histories go back on the newest day; 0 without payments, None while it is not known."""
        newest = self._days.newest
        if self._read_ms == _NEVER_MS:
            return None
        return 0 if newest is None else self._days.age_on(newest)

    def note(self, times_ms: Ints, fates: Sequence[Fate]) -> None:
        """Note when the payments of a batch occurred that were appended, or had been before."""
        days: list[int] = days_of(times_ms).tolist()
        if all(day in self._days for day in set(days)):
            return
        decided = {day for day, fate in zip(days, fates, strict=True) if fate is Fate.DECIDE}
        self._unwritten |= self._days.add(decided)

    def at(self, times_ms: Ints) -> Ints | None:
        """Return how many days the histories go back at each time; None while it is not known."""
        if self._read_ms == _NEVER_MS:
            return None
        days: list[int] = days_of(times_ms).tolist()
        ages = {day: self._days.age_on(day) for day in set(days)}
        return np.array([ages[day] for day in days], np.int64)

    async def sync(self, epoch: int) -> None:
        """Write the days that are new here, and read those of all workers from time to time.

        Under another history epoch than before, histories may be lost: only what is stored counts.

        Raises:
            StoreUnavailableError: the server does not answer; call it again.
        """
        if epoch != self._epoch:
            self._days.clear()
            self._epoch, self._read_ms = epoch, _NEVER_MS
        if self._unwritten:
            written = sorted(self._unwritten)
            pairs = [word for day in written for word in (str(day).encode(), b"1")]
            await self._connection.run("set_fields", [Call(HOME_SHARD, (self._key,), [PROGRESS_EXPIRY_MS, *pairs])])
            self._unwritten.difference_update(written)
        now_ms = self._now_ms()
        if now_ms - self._read_ms >= REREAD_MS:
            (reply,) = await self._connection.run("hgetall", [Call(HOME_SHARD, (self._key,), ())])
            self._days.add(int(day) for day in reply[::2] if day.isdigit() and len(day) <= _DAY_DIGITS)
            self._read_ms = now_ms
