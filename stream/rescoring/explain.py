"""Finds, for a decision that differs from itself rescored, which of its features each reason can explain.

A reason never excuses a whole row, only the features that it can have changed.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from features.aggregates import Aggregate
from features.declaration import FeatureSet
from features.history.store import Entity, Ints
from stream.dataset.database import connect_memory, quoted
from stream.rescoring.history_pass import Flags
from stream.rescoring.late_answers import seen_before_answer
from stream.rescoring.reasons import Reason
from stream.rescoring.tasks import DECIDE
from stream.rescoring.workdir import Workdir

_NO_FLOOR = -(1 << 62)
"""Stands for a floor where everything was read."""


def _within(reach_ms: int) -> str:
    """Return a condition, as SQL, on the transactions that a row looks back at."""
    return f"other.occurred_ms >= asked.occurred_ms - {reach_ms}"


class DifferingRows(NamedTuple):
    """k decisions that differ: the columns of their records, and how many records each saw, by kind of entity."""

    columns: Mapping[str, Any]
    numbers: Ints
    visible: Mapping[Entity, Ints]

    def times(self) -> Ints:
        """Return when they occurred, in epoch milliseconds."""
        return np.asarray(self.columns["occurred_ms"], np.int64)

    def flags(self, name: str) -> Flags:
        """Return a boolean column; NULL is false."""
        return np.ma.filled(np.ma.asarray(self.columns[name], np.bool_), fill_value=False)

    def integers(self, name: str, absent: int) -> Ints:
        """Return a column of integers; NULL is `absent`."""
        return np.ma.filled(np.ma.asarray(self.columns[name], np.int64), absent)


class Explainer:
    """Explains differences in the features of one feature set."""

    def __init__(self, workdir: Workdir, feature_set: FeatureSet) -> None:
        self._workdir = workdir
        rows = feature_set.rows
        horizons_ms = feature_set.horizons_ms
        self._rows = rows
        self._schedules = feature_set.schedules
        self._kinds = [row.entity for row in rows]
        # Another set of the run may read histories that this one does not.
        self._read = tuple(kind for kind in workdir.entities if kind in self._kinds)
        self._horizon_ms = horizons_ms[Entity.CARD]
        # A feature without a window looks as far back as its history goes.
        reach = [row.reach_ms if row.window_ms is not None else horizons_ms.get(row.entity, 0) for row in rows]
        self._reach_ms = np.array(reach, np.int64)
        self._delay_ms = np.array([row.delay_ms for row in rows], np.int64)
        without_labels = set(Aggregate) - {Aggregate.FRAUD_SHARE}  # a formula may look at them
        self._is_of_labels = np.array([row.aggregate not in without_labels for row in rows], np.bool_)

    def of(self, *kinds: Entity) -> Flags:
        """Tell which columns look at histories of these kinds."""
        return np.array([kind in kinds for kind in self._kinds], np.bool_)

    def explain(self, rows: DifferingRows) -> Iterator[tuple[Reason, Flags]]:
        """Yield each reason with the features that it explains, shape (k, features)."""
        of_histories = self.of(*self._workdir.entities)
        yield Reason.DEGRADED, rows.flags("incomplete")[:, np.newaxis] & of_histories
        yield Reason.UNDECIDABLE, np.repeat(rows.flags("undecidable")[:, np.newaxis], len(self._kinds), axis=1)
        answered, unanswered = self._seen_before_answer(rows)
        yield Reason.HISTORY_EPOCH_CHANGED, self._lost_records(rows) | answered
        yield Reason.BEYOND_RETENTION, self._before_floor(rows)
        yield Reason.CARD_ON_TWO_PARTITIONS, self._on_other_partition(rows)
        yield Reason.ORDER_UNKNOWN, self._order_unknown(rows) | unanswered

    def fate(self, rows: DifferingRows) -> Iterator[tuple[Reason, Flags]]:
        """Yield each reason with the decisions, shape (k,), for which it explains that they would not be made now."""
        yield Reason.DEGRADED, rows.flags("incomplete")
        yield Reason.BEYOND_RETENTION, rows.times() - self._horizon_ms < rows.integers("card_floor_ms", _NO_FLOOR)
        is_divided = np.zeros(len(rows.numbers), np.bool_)
        is_divided[[line for line, _ in self._of_other_partitions(rows, self._horizon_ms)]] = True
        yield Reason.CARD_ON_TWO_PARTITIONS, is_divided

    def _lost_records(self, rows: DifferingRows) -> Flags:
        """Tell where the position shows fewer records before the decision than the logs, under a later epoch."""
        found = np.zeros((len(rows.numbers), len(self._kinds)), np.bool_)
        for kind in self._read:
            position = rows.integers(f"{kind.value}_position", np.iinfo(np.int64).max)
            short = rows.flags("is_later_epoch") & (position < rows.visible[kind] - 1)
            found |= short[:, np.newaxis] & self.of(kind)
        return found

    def _before_floor(self, rows: DifferingRows) -> Flags:
        """Tell where a feature looks back beyond what was read."""
        since = rows.times()[:, np.newaxis] - self._reach_ms
        card = since < rows.integers("card_floor_ms", _NO_FLOOR)[:, np.newaxis]
        other = since < rows.integers("other_floor_ms", _NO_FLOOR)[:, np.newaxis]
        return (card & self.of(Entity.CARD)) | (other & self.of(*self._workdir.others))

    def _on_other_partition(self, rows: DifferingRows) -> Flags:
        """Tell where a transaction of the same card on another partition is in a feature's window, or moves it."""
        found = np.zeros((len(rows.numbers), len(self._kinds)), np.bool_)
        self._mark(found, rows, Entity.CARD, self._of_other_partitions(rows, int(self._reach_ms.max())))
        return found

    def _of_other_partitions(self, rows: DifferingRows, reach_ms: int) -> list[tuple[int, int]]:
        """Return, by row, the age of each transaction of the same card on another partition, below 0 if newer."""
        on_another = "asked.partition <> other.partition"
        asked = self._asked(rows, Entity.CARD) | {"partition": rows.columns["partition"]}
        found = self._of_same_entity(asked, self._workdir.divided_cards, f"{on_another} AND {_within(reach_ms)}")
        return [(at, age_ms) for at, age_ms, _ in found]

    def _order_unknown(self, rows: DifferingRows) -> Flags:
        """Tell where a transaction of unknown position is in a feature's window, or moves its floor."""
        found = np.zeros((len(rows.numbers), len(self._kinds)), np.bool_)
        for kind in self._read:
            self._mark(found, rows, kind, self._unordered(rows, kind))
        return found

    def _seen_before_answer(self, rows: DifferingRows) -> tuple[Flags, Flags]:
        """Tell where a record may have been seen that was answered under a later epoch only, and one without answer."""
        after_loss, never = (np.zeros((len(rows.numbers), len(self._kinds)), np.bool_) for _ in range(2))
        fates = self._workdir.fates()
        for kind in self._read:
            asked = self._asked(rows, kind) | {
                "history_epoch": rows.columns["history_epoch"],
                "scored_ms": rows.columns["scored_ms"],
                "position": rows.columns[f"{kind.value}_position"],
            }
            late = [
                one
                for one in seen_before_answer(self._workdir, kind, asked, int(self._reach_ms.max()))
                if fates[one.number] == DECIDE
            ]
            for found, is_answered in ((after_loss, True), (never, False)):
                some = [one for one in late if one.is_answered is is_answered]
                self._mark(found, rows, kind, [(one.line, one.age_ms) for one in some if not one.is_label])
                for one in some:
                    if one.is_label:
                        found[one.line] |= self._in_window(kind, one.age_ms) & self._is_of_labels
        return after_loss, never

    def _mark(self, found: Flags, rows: DifferingRows, kind: Entity, ages_ms: Iterable[tuple[int, int]]) -> None:
        """Mark the features that transactions of these ages, by row, can have changed."""
        times, newest = rows.times(), dict[int, int]()
        for at, age_ms in ages_ms:
            found[at] |= self._in_window(kind, age_ms)
            newest[at] = max(newest.get(at, 0), -age_ms)
        for at, ahead_ms in newest.items():
            if ahead_ms:
                found[at] |= self._limited(kind, int(times[at]), int(times[at]) + ahead_ms)

    def _in_window(self, kind: Entity, age_ms: int) -> Flags:
        """Tell which features look at a transaction of this age."""
        return self.of(kind) & (self._delay_ms <= age_ms) & (age_ms < self._reach_ms)

    def _limited(self, kind: Entity, time_ms: int, newest_ms: int) -> Flags:
        """Tell which features of a late transaction see less, or coarser panes, behind one that occurred later."""
        schedule, since_ms = self._schedules[kind], time_ms - self._reach_ms
        floors_ms = np.array(
            [schedule.seen_after(newest_ms, row.resolution_ms) if row.entity is kind else 0 for row in self._rows]
        )
        coarser = np.array([row.is_paned for row in self._rows]) & (time_ms <= schedule.exact_after(newest_ms))
        return self.of(kind) & ((since_ms < floors_ms) | coarser)

    def _unordered(self, rows: DifferingRows, kind: Entity) -> Iterator[tuple[int, int]]:
        """Yield, by row, the age of each transaction of the same entity of unknown position, below 0 if newer."""
        is_visible = (
            f"asked.number <> other.number AND {_within(int(self._reach_ms.max()))} "
            f"AND coalesce(asked.scored_ms <= other.uncertain_until_ms, true)"
        )
        asked = self._asked(rows, kind) | {"scored_ms": rows.columns["scored_ms"]}
        found = self._of_same_entity(asked, self._workdir.unordered(kind), is_visible)
        fates = self._workdir.fates()
        return ((at, age_ms) for at, age_ms, number in found if fates[number] == DECIDE)

    def _of_same_entity(self, asked: dict[str, Any], file: Path, condition: str) -> list[tuple[int, int, int]]:
        """Return line, age and number of each transaction in a file that is of a row's entity and meets a condition."""
        with connect_memory(self._workdir.folder, self._workdir.memory_mb) as connection:
            connection.register("asked", asked)
            found: list[tuple[int, int, int]] = connection.execute(
                f"SELECT line, asked.occurred_ms - other.occurred_ms, other.number FROM asked "
                f"JOIN read_parquet({quoted(file)}) AS other ON asked.entity_id = other.entity_id AND {condition}"
            ).fetchall()
        return found

    def _asked(self, rows: DifferingRows, kind: Entity) -> dict[str, Any]:
        """Return what identifies the rows in the logs of a kind of entity."""
        asked = {"line": np.arange(len(rows.numbers)), "number": rows.numbers, "occurred_ms": rows.times()}
        return asked | {"entity_id": rows.columns[f"{kind.value}_id"]}
