"""The histories of a batch side by side, and what several aggregates need of them: columns, windows, exact sums.

Everything is an integer; each answer ends with one conversion, one division or one square root of exact integers, so
that its bits do not depend on trimming, batching or memory layout.
"""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from features.history import panes, records
from features.history.retention import ResolutionSchedule
from features.history.store import Histories, Ints

View = TypeVar("View")
Kind = TypeVar("Kind", np.int64, np.bool_)
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FINEST = 4
"""Decimals of the finest currency (CLF): amounts are exact integers of 10^-4 major units."""
PER_MAJOR = 10**FINEST
USUAL = 2
"""Most currencies have at most so many decimals: coarser units leave more room in 64 bits."""
POWERS = np.array([10**k for k in range(FINEST + 1)], np.int64)

SAFE_SUM = float(2**62)
"""Below it no sum of a history's amounts can overflow int64, with room for the bound's own rounding."""
SAFE_ROOT = 2**26.5
"""Below it n times the largest amount, squared, is an exact float64, and so is every difference of such squares."""
NEVER_MS = np.int64(1 << 62)
"""Longer than any age."""
MANY = 4096
"""More records than so many are worth another way to count."""
MIX = np.int64(-7_046_029_254_386_353_131)
"""An odd constant (2^64 divided by the golden ratio): spreads a history's number over the 64 bits of an id."""


def major_units(amounts: Ints, exponents: Ints) -> Floats:
    """Return amounts in major units, given in minor units of currencies with so many decimals."""
    major: Floats = amounts * POWERS[FINEST - exponents] / PER_MAJOR
    return major


class WindowSums(Protocol):
    """The sums that `Window` and `features.vector.paned.PanedWindow` both have for each history, shape (n,)."""

    @property
    def count(self) -> Ints:
        """Number of transactions."""
        ...

    @property
    def empty(self) -> Flags:
        """Whether the window has no transaction."""
        ...

    @property
    def total(self) -> Floats:
        """Sum of the amounts in units of 10^-4: the float64 that is nearest to the exact integer."""
        ...

    @property
    def largest(self) -> Floats:
        """The largest amount in units of 10^-4; 0 in an empty window."""
        ...

    @property
    def spread(self) -> Floats:
        """Count * sum(a^2) - (sum a)^2 in units of 10^-8: the float64 that is nearest to the exact integer."""
        ...

    def own_times_count(self) -> Floats:
        """Own amount times the count, in units of 10^-4: the float64 that is nearest to the exact integer."""
        ...


class Columns:
    """Rows of histories as contiguous columns, each made on first use.

    A beginning of other columns has the same values, as views of them.
    """

    def __init__(self, rows: Ints, *, allows_panes: bool = False, whole: "Columns | None" = None) -> None:
        self.rows = rows
        self._allows_panes = allows_panes
        self._whole = whole

    def _made(self, name: str, make: Callable[[], NDArray[Kind]]) -> NDArray[Kind]:
        """Take a column from the whole, or make it."""
        return make() if self._whole is None else cast("NDArray[Kind]", getattr(self._whole, name)[: len(self.rows)])

    def _column(self, name: str, number: int) -> Ints:
        if self._whole is None:
            return np.ascontiguousarray(self.rows[:, number])
        return self._made(name, lambda: self.rows[:, number])

    @cached_property
    def time(self) -> Ints:
        """When each transaction occurred, or since when a label is known."""
        return self._column("time", records.TIME)

    @cached_property
    def flags(self) -> Ints:
        """The bits of `features.history.records`."""
        return self._column("flags", records.FLAGS)

    @cached_property
    def labels(self) -> Flags:
        """Whether each row is a label."""
        return self._made("labels", lambda: records.is_label(self.flags))

    @cached_property
    def transactions(self) -> Flags:
        """Whether each row is a single transaction."""
        return self._made(
            "transactions", lambda: records.is_transaction(self.flags) if self._allows_panes else ~self.labels
        )

    @cached_property
    def counts(self) -> Ints:
        """Transactions that each row stands for: as many as a pane holds, none for a label."""
        return self._made("counts", lambda: panes.counts(self.rows))

    @cached_property
    def ids(self) -> Ints:
        """The ids of the records."""
        return self._column("ids", records.ID)

    @cached_property
    def others(self) -> Ints:
        """The counterparties; for a label its transaction."""
        return self._column("others", records.OTHER)

    @cached_property
    def traits(self) -> Ints:
        """The traits of card records, packed as in `features.history.records`; 0 for a label."""
        return self._column("traits", records.TRAITS)

    @cached_property
    def devices(self) -> Ints:
        """The device hashes of card records; 0 if absent, and for a label."""
        return self._column("devices", records.DEVICE)

    @cached_property
    def exponents(self) -> Ints:
        """The decimals of each record's currency."""
        return self._made("exponents", lambda: records.exponents(self.flags))

    @cached_property
    def decimals(self) -> int:
        """The decimals of `amounts`: 2, or 4 as soon as a finer currency is there."""
        if self._whole is not None:
            return self._whole.decimals
        return USUAL if int(self.exponents.max()) <= USUAL else FINEST

    @cached_property
    def scale(self) -> int:
        """How many units of 10^-4 one unit of `amounts` is."""
        return int(POWERS[FINEST - self.decimals])

    @cached_property
    def minor(self) -> Ints:
        """Amounts in minor units of each currency; undefined for labels."""
        return self._column("minor", records.AMOUNT)

    @cached_property
    def amounts(self) -> Ints:
        """Exact amounts in units of `scale`; 0 for rows that are no transactions."""
        return self._made("amounts", self._exact_amounts)

    def _exact_amounts(self) -> Ints:
        scaled = self.minor * POWERS[self.decimals - self.exponents]
        return np.where(self.transactions, scaled, 0)


class Beginning(NamedTuple):
    """What a transaction sees of a history whose columns others share: their first rows, later than a moment."""

    columns: Columns
    after_ms: int


class Frame(Columns):
    """The histories of n transactions as contiguous columns; the own record is the last of each.

    Attributes:
        own_ms: the transactions' own times, shape (n,).
        starts: where each history starts in the columns, shape (n,).
        earlier: the transactions not later than one's own, nor so old that a pane may hold them.
    """

    def __init__(
        self,
        histories: Histories,
        own_ms: Ints,
        schedule: ResolutionSchedule | None = None,
        seen: Beginning | None = None,
    ) -> None:
        allows_panes = schedule is not None and schedule.allows_panes
        super().__init__(histories.rows, allows_panes=allows_panes, whole=None if seen is None else seen.columns)
        self.own_ms = own_ms
        self.lengths = histories.lengths
        ends = np.cumsum(self.lengths)
        self.last = ends - 1
        self.starts = ends - self.lengths
        self.age = self.spread_out(own_ms) - self.time
        self.earlier = (self.age >= 0) & self.transactions
        if schedule is not None and schedule.allows_panes:
            self.earlier &= self.time > self.spread_out(schedule.exact_after(self.newest_ms))
            self.earlier[self.last] = True
        if seen is not None:
            self._hide(self.time <= seen.after_ms)

    def _hide(self, expired: Flags) -> None:
        """Take records that are not visible for none: neither a transaction nor a label; the own one is visible."""
        expired[self.last] = False
        if expired.any():
            self.earlier &= ~expired
            self.labels = self.labels & ~expired

    @cached_property
    def newest_ms(self) -> Ints:
        """The time of each history's newest transaction, shape (n,)."""
        newest: Ints = np.maximum.reduceat(np.where(self.transactions, self.time, records.NO_TIME_MS), self.starts)
        return newest

    @cached_property
    def trait_differences(self) -> Ints:
        """The bits of `traits` in which a record differs from its history's own record."""
        return self.traits ^ self.of_own(self.traits)

    def spread_out(self, values: NDArray[Kind]) -> NDArray[Kind]:
        """Repeat the values of n histories for all records of each; a single value broadcasts by itself."""
        return values if len(values) == 1 else np.repeat(values, self.lengths)

    def of_own(self, column: NDArray[Kind]) -> NDArray[Kind]:
        """Return the own records' values of a column, repeated for all records of each history."""
        return self.spread_out(column[self.last])

    @cached_property
    def number(self) -> Ints:
        """The index of each record's history."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def keyed(self, ids: Ints, number: Ints) -> Ints:
        """Return ids made distinct by history: a transaction may be in several histories of a batch."""
        return ids + number * MIX

    @cached_property
    def bound(self) -> Floats:
        """An upper bound of every sum over a window of a history, in units of `scale`, shape (n,)."""
        peaks = np.maximum.reduceat(self.amounts, self.starts)
        return peaks.astype(np.float64) * self.lengths

    @cached_property
    def unsafe(self) -> list[int]:
        """Indexes of the histories whose sums may exceed 64 bits: few, if any."""
        found: list[int] = (self.bound * self.scale >= SAFE_SUM).nonzero()[0].tolist()
        return found

    @cached_property
    def own_amounts(self) -> Ints:
        """Amounts of the own records, in units of `scale`, shape (n,)."""
        return self.amounts[self.last]


class Window:
    """The transactions of each history in (t - delay - length, t - delay].

    Several lengths, as a column of shape (k, 1), make k windows at once: results of shape (n,) are then (k, n). A
    few aggregates are asked for many windows, and one call of numpy costs a batch of one as much as all its
    records.
    """

    def __init__(self, frame: Frame, length_ms: int | Ints, delay_ms: int) -> None:
        self.frame = frame
        self.inside = frame.earlier & (frame.age < delay_ms + length_ms)
        if delay_ms:
            self.inside &= frame.age >= delay_ms
        self._views: dict[Callable[[Window], object], object] = {}

    def without_own(self) -> "Window":
        """Return the window of the others alone."""
        found = object.__new__(Window)
        found.frame, found.inside, found._views = self.frame, self.others, {}
        return found

    def view(self, kind: Callable[["Window"], View]) -> View:
        """Return a value that several features share in this window, computed once."""
        if kind not in self._views:
            self._views[kind] = kind(self)
        return cast("View", self._views[kind])

    def counted(self, which: Flags) -> Ints:
        """Count the records of `which` by history; many of a single one ten times as fast."""
        if len(self.frame.starts) == 1 and which.size > MANY:
            each = [np.count_nonzero(one) for one in which.reshape(-1, which.shape[-1])]
            return np.array(each, np.int64).reshape(*which.shape[:-1], 1)
        counts: Ints = np.add.reduceat(which, self.frame.starts, axis=-1, dtype=np.int64)
        return counts

    @cached_property
    def count(self) -> Ints:
        """Number of transactions, shape (n,), or (k, n) for several lengths."""
        return self.counted(self.inside)

    @cached_property
    def own(self) -> Flags:
        """Whether the own record is in the window: it is unless the window is delayed."""
        return self.inside[self.frame.last]

    @cached_property
    def others(self) -> Flags:
        """Marks the records in the window other than the own one."""
        others: Flags = self.inside.copy()
        others[self.frame.last] = False
        return others

    @cached_property
    def empty(self) -> Flags:
        """Whether the window has no transaction."""
        none: Flags = self.count == 0
        return none

    @cached_property
    def amounts(self) -> Ints:
        """The frame's amounts, 0 outside the window."""
        return self.frame.amounts * self.inside

    @cached_property
    def total(self) -> Floats:
        """Sum of the amounts in units of 10^-4: the float64 nearest to the exact integer."""
        sums = np.add.reduceat(self.amounts, self.frame.starts, axis=-1)
        result: Floats = (sums * self.frame.scale).astype(np.float64)
        for i in self.frame.unsafe:
            part = slice(self.frame.starts[i], self.frame.last[i] + 1)
            for inside, totals in zip(np.atleast_2d(self.inside), np.atleast_2d(result), strict=True):
                totals[i] = float(sum(self.frame.amounts[part][inside[part]].tolist()) * self.frame.scale)
        return result

    def exact(self, i: int) -> list[int]:
        """Return the amounts of history i in units of 10^-4, as Python integers, which do not overflow."""
        part = slice(self.frame.starts[i], self.frame.last[i] + 1)
        scale = self.frame.scale
        return [amount * scale for amount in self.frame.amounts[part][self.inside[part]].tolist()]

    @cached_property
    def largest(self) -> Floats:
        """The largest amount in units of 10^-4; 0 in an empty window."""
        peaks = np.maximum.reduceat(self.amounts, self.frame.starts, axis=-1)
        return (peaks * self.frame.scale).astype(np.float64)

    @cached_property
    def spread(self) -> Floats:
        """Count * sum(a^2) - (sum a)^2 in units of 10^-8: the float64 nearest to the exact integer."""
        amounts, starts, scale = self.amounts, self.frame.starts, self.frame.scale
        sums = np.add.reduceat(amounts, starts)
        squares = np.add.reduceat(amounts * amounts, starts)
        result: Floats = (self.count * squares - sums * sums).astype(np.float64) * float(scale * scale)
        for i in np.flatnonzero(self.frame.bound >= SAFE_ROOT).tolist():
            exact = self.exact(i)
            result[i] = float(len(exact) * sum(a * a for a in exact) - sum(exact) ** 2)
        return result

    def own_times_count(self) -> Floats:
        """Own amount times count, in units of 10^-4: the float64 nearest to the exact integer."""
        frame = self.frame
        result: Floats = (frame.own_amounts * self.count * frame.scale).astype(np.float64)
        for i in frame.unsafe:
            result[i] = float(int(frame.own_amounts[i]) * int(self.count[i]) * frame.scale)
        return result
