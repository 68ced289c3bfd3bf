"""Which records may not lie in their histories where they came in: a repair puts what was lost behind what was not.

Of a record in its place, everything before it was there first. Of a displaced one only its source's offsets tell.
Nothing here knows how a repair works.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from features.history import records
from features.history.store import Ints


@dataclass(frozen=True, slots=True)
class Displaced:
    """Records below an offset of their source (see `records.source`), or all there are."""

    below: Mapping[int, int] = field(default_factory=dict)
    everything: bool = False

    def holds(self, row: Ints) -> bool:
        """Tell whether one record, shape (6,), may be displaced."""
        return self.everything or bool(
            self.below and row[records.OFFSET] < self.below.get(int(row[records.FLAGS]) & records.SOURCE_MASK, 0)
        )

    def among(self, rows: Ints) -> list[bool]:
        """Tell it of each of n records, shape (n, 6)."""
        if not self.below or self.everything:
            return [self.everything] * len(rows)
        return [self.holds(row) for row in rows]


NONE_DISPLACED = Displaced()
"""Nothing is displaced: these histories were never repaired."""
ALL_DISPLACED = Displaced(everything=True)
"""Everything may be: these histories are not whole."""
