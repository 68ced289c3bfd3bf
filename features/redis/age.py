"""How far back a deployment's histories go, as all its workers know: the days of its payments, in a hash in HOME_SHARD.

A worker writes a day when it has appended the first payment of that day, at its next `sync`; the same holds for
payments that are applied again after a loss, so that a repair brings the days back with the histories.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import numpy as np

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
DAY_MS = 86_400_000
KEPT_DAYS = 1_000
"""Days that lie further back than this from the newest are not kept: no feature looks so far."""


class PaymentDays:
    """The days, counted from 1970 in UTC, on which at least one payment occurred; they say how far histories go back.

    Their beginning is the earliest day from which on at least half of the days have payments. So a payment that a
    terminal with a wrong clock dates months back makes no history older, and neither weekends nor an outage make one
    younger.
    """

    def __init__(self) -> None:
        self._days: set[int] = set()
        self._ages: dict[int, int] = {}

    def __len__(self) -> int:
        """Return how many days there are."""
        return len(self._days)

    def __contains__(self, day: int) -> bool:
        """Tell whether a payment occurred on that day."""
        return day in self._days

    @property
    def newest(self) -> int | None:
        """The last of the days; None if there are none."""
        return max(self._days, default=None)

    @property
    def age(self) -> int:
        """How many days the histories go back on the newest day; 0 without payments."""
        newest = self.newest
        return 0 if newest is None else self.age_on(newest)

    def add(self, days: Iterable[int]) -> set[int]:
        """Add days, and return those that are new."""
        new = {*days} - self._days
        newest = max(self._days | new, default=0)
        new = {day for day in new if day > newest - KEPT_DAYS}
        if new:
            self._days = {day for day in self._days | new if day > newest - KEPT_DAYS}
            self._ages.clear()
        return new

    def clear(self) -> None:
        """Remove all days."""
        self._days.clear()
        self._ages.clear()

    def age_on(self, day: int) -> int:
        """Return how many days before `day` the histories begin; 0 without earlier payments."""
        age = self._ages.get(day)
        if age is None:
            age = self._ages[day] = self._count_age(day)
        return age

    def _count_age(self, day: int) -> int:
        age = 0
        for count, begin in enumerate(sorted((one for one in self._days if one <= day), reverse=True), 1):
            if 2 * count >= day - begin + 1:
                age = day - begin
        return age


def days_of(times_ms: Ints) -> Ints:
    """Return the day of each time, counted from 1970 in UTC."""
    return times_ms // DAY_MS


def stored_days(reply: Sequence[bytes]) -> Iterable[int]:
    """Return the days that Redis holds, from the fields and values of the hash."""
    return (int(day) for day in reply[::2] if day.isdigit() and len(day) <= _DAY_DIGITS)


def missing_days(days: PaymentDays | None, look_back_days: int) -> int:
    """Return how many days histories lack of what features look back; 0 where their days are not known."""
    return 0 if days is None else max(0, look_back_days - days.age)


def young_history(days: PaymentDays | None, look_back_days: int) -> list[str]:
    """Return the warning about histories of these days; empty if they go back far enough, or are not known."""
    missing = missing_days(days, look_back_days)
    if days is None or not missing:
        return []
    text = (
        f"histories go back {days.age} days, but features look back {look_back_days}: expect another share of alerts "
        f"for {missing} more days of payments, or fill older ones in by `fraudstream backfill` before the stream begins"
    )
    if days.newest is None:
        return [text]
    begin = datetime.fromtimestamp((days.newest - days.age) * DAY_MS / 1000, UTC).date()
    rule = "the earliest day since which half of the days have payments: what lies before a long gap does not count"
    return [f"{text}. They begin on {begin}, {rule}"]


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
    def known(self) -> PaymentDays | None:
        """The days on which payments occurred; None while they are not known."""
        return None if self._read_ms == _NEVER_MS else self._days

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
            self._days.add(stored_days(reply))
            self._read_ms = now_ms
