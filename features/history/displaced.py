"""Displaced records: a repair appends lost records after those that were not lost, so they are out of order.

For a record in its place, everything before it was there first. For a displaced one only the offsets of its own source
(topic and partition) tell what was there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from features.history import records
from features.history.store import Ints


@dataclass(frozen=True, slots=True)
class Displaced:
    """The records below an offset of their source (see `records.source`), or all records."""

    below: Mapping[int, int] = field(default_factory=dict)
    everything: bool = False

    def holds(self, row: Ints) -> bool:
        """Tell whether one record, shape (6,), may be displaced."""
        return self.everything or bool(
            self.below and row[records.OFFSET] < self.below.get(int(row[records.FLAGS]) & records.SOURCE_MASK, 0)
        )

    def among(self, rows: Ints) -> list[bool]:
        """Tell it for each of n records, shape (n, 6)."""
        if not self.below or self.everything:
            return [self.everything] * len(rows)
        return [self.holds(row) for row in rows]


NONE_DISPLACED = Displaced()
"""These histories were never repaired."""
ALL_DISPLACED = Displaced(everything=True)
"""Any record may be displaced: these histories are not complete."""
