"""What a folded history says of itself, in rows of notes at its very beginning.

    first note   TIME the history epoch, AMOUNT how many notes, OTHER how many panes, OFFSET how many labels follow,
                 ID up to when nothing is kept any more
    bounds       one for each resolution: AMOUNT the resolution, TIME up to when all is at least so coarse
    offsets      one for each partition: OFFSET the highest offset among the transactions that were folded

Behind the notes come the panes, then labels of folded transactions, then the log. These three parts have no positions
of their own: the log's base counts what was folded. Nothing here folds anything; `folding` does.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from features import records
from features.store import Ints

_FIRST = records.NOTE_BIT | records.PANE_BIT
_BOUND = records.NOTE_BIT | records.LABEL_BIT


class Folded(NamedTuple):
    """The notes of one folded history.

    `epoch` is the history epoch under which it was folded: only as long as that holds is all there that it counts.
    `since_ms` is up to when nothing is kept any more.
    `bounds_ms` says by resolution, the finest first, up to which time everything is in panes at least so wide.
    `offsets` holds by partition the highest offset among the transactions that were folded.
    """

    epoch: int
    since_ms: int
    panes: int
    labels: int
    bounds_ms: Mapping[int, int]
    offsets: Mapping[int, int]

    @property
    def hidden(self) -> int:
        """How many notes there are."""
        return 1 + len(self.bounds_ms) + len(self.offsets)

    @property
    def named(self) -> int:
        """Where the rows begin that are known by an id: labels, then the log."""
        return self.hidden + self.panes

    @property
    def carried(self) -> int:
        """How many rows lie before the log."""
        return self.named + self.labels

    @property
    def until_ms(self) -> int:
        """No transaction later than this was folded."""
        return max(self.bounds_ms.values())

    def holds(self, row: Ints) -> bool:
        """Tell whether a transaction that is not in the log was folded.

        Each partition's transactions come to a history in the order of their offsets. So one whose offset is not above
        the highest that was folded was folded too, or is in the log still. Its time is looked at as well, so that new
        transactions of a topic that was made anew, whose offsets begin again, are not taken for folded ones.
        """
        partition = int(row[records.FLAGS]) >> records.PARTITION_SHIFT
        in_time = self.since_ms < row[records.TIME] <= self.until_ms
        return bool(in_time) and int(row[records.OFFSET]) <= self.offsets.get(partition, -1)

    def notes(self, columns: int) -> Ints:
        """Write the notes as rows."""
        rows = np.zeros((self.hidden, columns), np.int64)
        rows[0, records.TIME], rows[0, records.AMOUNT] = self.epoch, self.hidden
        rows[0, records.OTHER], rows[0, records.OFFSET] = self.panes, self.labels
        rows[0, records.ID] = self.since_ms
        rows[0, records.FLAGS] = _FIRST
        bounds = rows[1 : 1 + len(self.bounds_ms)]
        bounds[:, records.AMOUNT], bounds[:, records.TIME] = list(self.bounds_ms), list(self.bounds_ms.values())
        bounds[:, records.FLAGS] = _BOUND
        offsets = rows[1 + len(self.bounds_ms) :]
        offsets[:, records.OFFSET] = list(self.offsets.values())
        offsets[:, records.FLAGS] = np.array(list(self.offsets), np.int64) << records.PARTITION_SHIFT
        offsets[:, records.FLAGS] |= records.NOTE_BIT
        return rows


def read(rows: Ints) -> Folded | None:
    """Read the notes at a history's beginning; None where it is not folded."""
    if not len(rows) or rows[0, records.FLAGS] != _FIRST:
        return None
    first = rows[0].tolist()
    notes = rows[1 : first[records.AMOUNT]]
    bound = notes[:, records.FLAGS] == _BOUND
    bounds, offsets = notes[bound], notes[~bound]
    partitions = (offsets[:, records.FLAGS] & ~records.NOTE_BIT) >> records.PARTITION_SHIFT
    return Folded(
        epoch=first[records.TIME],
        since_ms=first[records.ID],
        panes=first[records.OTHER],
        labels=first[records.OFFSET],
        bounds_ms=_mapping(bounds[:, records.AMOUNT], bounds[:, records.TIME]),
        offsets=_mapping(partitions, offsets[:, records.OFFSET]),
    )


def _mapping(keys: Ints, values: Ints) -> Mapping[int, int]:
    return MappingProxyType(dict(zip(keys.tolist(), values.tolist(), strict=True)))
