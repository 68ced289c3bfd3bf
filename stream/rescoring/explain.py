"""What explains that a decision's features differ from those made over again: for each reason, which features it can.

A reason never excuses a row, only the features that it can have changed. Nothing here scores.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from features.declaration import FeatureSet
from features.history.store import Entity, Ints
from stream.dataset.database import connect_memory, quoted
from stream.rescoring.passes import Flags
from stream.rescoring.reasons import Reason
from stream.rescoring.tasks import DECIDE
from stream.rescoring.workdir import Workdir


class DifferingRows(NamedTuple):
    """k decisions that differ: what their records say, by column, and how many records each saw, by kind."""

    columns: Mapping[str, Any]
    numbers: Ints
    visible: Mapping[Entity, Ints]

    def times(self) -> Ints:
        """Return when they occurred."""
        return np.asarray(self.columns["occurred_ms"], np.int64)

    def flags(self, name: str) -> Flags:
        """Return a column of truth."""
        return np.ma.filled(np.ma.asarray(self.columns[name], np.bool_), fill_value=False)

    def integers(self, name: str, absent: int) -> Ints:
        """Return a column of integers."""
        return np.ma.filled(np.ma.asarray(self.columns[name], np.int64), absent)


class Explainer:
    """Explains differences in one table of features."""

    def __init__(self, place: Workdir, feature_set: FeatureSet) -> None:
        self._place = place
        rows = feature_set.rows
        horizons_ms = feature_set.horizons_ms
        self._kinds = [row.entity for row in rows]
        self._horizon_ms = horizons_ms[Entity.CARD]
        # What looks at no window looks as far as its history goes.
        reach = [row.reach_ms if row.window_ms is not None else horizons_ms.get(row.entity, 0) for row in rows]
        self._reach_ms = np.array(reach, np.int64)
        self._delay_ms = np.array([row.delay_ms for row in rows], np.int64)

    def of(self, *kinds: Entity) -> Flags:
        """Tell which columns look at such a history."""
        return np.array([kind in kinds for kind in self._kinds], np.bool_)

    def explain(self, rows: DifferingRows) -> Iterator[tuple[Reason, Flags]]:
        """Yield each reason with the features that it explains, shape (k, features)."""
        of_histories = self.of(*self._place.entities)
        yield Reason.DEGRADED, rows.flags("incomplete")[:, np.newaxis] & of_histories
        yield Reason.HISTORY_EPOCH_CHANGED, self._lost(rows)
        yield Reason.BEYOND_RETENTION, self._unheld(rows)
        yield Reason.ORDER_UNKNOWN, self._unplaced(rows)

    def fate(self, rows: DifferingRows) -> Iterator[tuple[Reason, Flags]]:
        """Yield each reason with the decisions that it explains although they would not be made again, shape (k,)."""
        yield Reason.DEGRADED, rows.flags("incomplete")
        yield Reason.BEYOND_RETENTION, rows.times() - self._horizon_ms < rows.integers("card_floor_ms", _NO_FLOOR)

    def _lost(self, rows: DifferingRows) -> Flags:
        """Tell where fewer records lay before the decision than the logs show, in a history of a later epoch."""
        found = np.zeros((len(rows.numbers), len(self._kinds)), np.bool_)
        for kind in self._place.entities:
            position = rows.integers(f"{kind.value}_position", np.iinfo(np.int64).max)
            short = rows.flags("is_later_epoch") & (position < rows.visible[kind] - 1)
            found |= short[:, np.newaxis] & self.of(kind)
        return found

    def _unheld(self, rows: DifferingRows) -> Flags:
        """Tell where a feature looks back to before what was read."""
        since = rows.times()[:, np.newaxis] - self._reach_ms
        card = since < rows.integers("card_floor_ms", _NO_FLOOR)[:, np.newaxis]
        other = since < rows.integers("other_floor_ms", _NO_FLOOR)[:, np.newaxis]
        return (card & self.of(Entity.CARD)) | (other & self.of(*self._place.others))

    def _unplaced(self, rows: DifferingRows) -> Flags:
        """Tell where a transaction of unknown place lies in a feature's window."""
        found = np.zeros((len(rows.numbers), len(self._kinds)), np.bool_)
        for kind in self._place.entities:
            for at, age_ms in self._loose(rows, kind):
                found[at] |= self.of(kind) & (self._delay_ms <= age_ms) & (age_ms < self._reach_ms)
        return found

    def _loose(self, rows: DifferingRows, kind: Entity) -> Iterator[tuple[int, int]]:
        """Yield, by row, how old each transaction of the same party is whose place nobody knows."""
        asked = {"line": np.arange(len(rows.numbers)), "number": rows.numbers, "occurred_ms": rows.times()}
        asked["who"] = rows.columns[f"{kind.value}_id"]
        with connect_memory(self._place.folder, self._place.memory_mb) as connection:
            connection.register("asked", asked)
            found = connection.execute(
                f"SELECT line, asked.occurred_ms - loose.occurred_ms, loose.number FROM asked "
                f"JOIN read_parquet({quoted(self._place.loose(kind))}) AS loose "
                f"ON asked.who = loose.who AND asked.number <> loose.number "
                f"AND loose.occurred_ms BETWEEN asked.occurred_ms - {int(self._reach_ms.max())} AND asked.occurred_ms"
            ).fetchall()
        fates = self._place.fates()
        return ((at, age_ms) for at, age_ms, number in found if fates[number] == DECIDE)


_NO_FLOOR = -(1 << 62)
"""All was read."""
