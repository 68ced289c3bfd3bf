"""What the payments of a batch see of their histories, as places in memory: nothing is copied unless somebody asks.

A history's buffer is written only behind its committed rows, or replaced, so rows that were seen stay as they are.
"""

from collections.abc import Sequence
from operator import sub
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.history.history import RowView, visible
from features.history.retention import ResolutionSchedule, Retention
from features.history.store import Histories, Ints, LongHistory

EVERYTHING_MS = -1
"""The horizon of rows that are all visible."""


class RowSpans(NamedTuple):
    """Where the rows of n histories lie, each a contiguous matrix with the transaction's own record last.

    `table`, int64 of shape (4, n), has their addresses, their numbers of rows, and room for who reads it; it lies at
    `address`. `columns` are those of a row. Rows whose time is not after the history's newest transaction less
    `horizon_ms` are not visible, the last one always is. `kept` holds the memory.
    """

    table: Ints
    address: int
    columns: int
    horizon_ms: int
    kept: object


class HistoryViews(Histories):
    """Histories whose rows lie where they were appended; they are put side by side when first asked for."""

    __slots__ = ("_joined", "_spans", "_views", "_within")
    _joined: tuple[Ints, Ints] | None
    _spans: RowSpans | None
    _views: Sequence[RowView]
    _within: ResolutionSchedule | Retention

    def __init__(
        self,
        views: Sequence[RowView],
        within: ResolutionSchedule | Retention,
        positions: Ints,
        long: Sequence[LongHistory],
    ) -> None:
        put = object.__setattr__  # the class is frozen
        put(self, "positions", positions)
        put(self, "long", long)
        put(self, "_views", views)
        put(self, "_within", within)
        put(self, "_joined", None)
        put(self, "_spans", None)

    @property
    def rows(self) -> Ints:
        """The visible rows, concatenated."""
        return self._side_by_side()[0]

    @property
    def lengths(self) -> Ints:
        """The number of visible rows of each."""
        return self._side_by_side()[1]

    def _side_by_side(self) -> tuple[Ints, Ints]:
        if self._joined is None:
            object.__setattr__(self, "_joined", self._join(self._views))
        assert self._joined is not None  # noqa: S101 - it was set
        return self._joined

    def part(self, which: NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """Return the visible rows and lengths of some, of which there must be one."""
        return self._join([view for view, wanted in zip(self._views, which.tolist(), strict=True) if wanted])

    def _join(self, views: Sequence[RowView]) -> tuple[Ints, Ints]:
        pieces = [matrix[first:stop] for matrix, first, stop, _ in views]
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
        return visible(np.concatenate(pieces), lengths, self._within)

    def spans(self) -> RowSpans | None:
        """Return where the rows lie; None if what is visible does not follow from one horizon in ms."""
        if self._spans is None and not self._within.allows_panes:
            matrices, firsts, stops, starts = zip(*self._views, strict=True)
            spans = _spans(
                starts, list(map(sub, stops, firsts)), matrices[0].shape[1], self._within.horizon_ms, matrices
            )
            object.__setattr__(self, "_spans", spans)
        return self._spans


def spans_of(histories: Histories) -> RowSpans:
    """Return where the rows of the short ones lie; there must be some."""
    spans = histories.spans() if isinstance(histories, HistoryViews) else None
    if spans is not None:
        return spans
    rows, lengths = np.ascontiguousarray(histories.rows), histories.lengths
    columns = rows.shape[1]
    starts = (np.cumsum(lengths) - lengths) * (columns * rows.itemsize) + rows.ctypes.data
    return _spans(starts, lengths, columns, EVERYTHING_MS, rows)


def spans_of_long(histories: Histories) -> tuple[Ints, RowSpans] | None:
    """Return the numbers of the transactions that see just a beginning of a long history, and where these lie.

    Compacted histories and displaced transactions are left out. None if there is none, or if what is visible does not
    follow from one horizon in ms.
    """
    plain = [long for long in histories.long if not long.compacted and not long.within.allows_panes]
    if not plain:
        return None
    which = [~np.array(long.displaced, np.bool_) for long in plain]
    numbers = np.concatenate([long.numbers[is_plain] for long, is_plain in zip(plain, which, strict=True)])
    lengths = np.concatenate([long.places[is_plain] + 1 for long, is_plain in zip(plain, which, strict=True)])
    starts = np.repeat([long.rows.ctypes.data for long in plain], [np.count_nonzero(is_plain) for is_plain in which])
    first = plain[0]
    return numbers, _spans(starts, lengths, first.rows.shape[1], first.within.horizon_ms, plain)


def _spans(
    starts: Sequence[int] | Ints, lengths: Sequence[int] | Ints, columns: int, horizon_ms: int, kept: object
) -> RowSpans:
    table = np.empty((4, len(starts)), np.int64)
    table[0], table[1] = starts, lengths
    return RowSpans(table, table.ctypes.data, columns, horizon_ms, kept)
