"""Finds, for a decision that differs from itself rescored, which of its features each reason can explain.

A reason never excuses a whole row, only the features that it can have changed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from features.aggregates import OF_LABELS, Aggregate
from features.declaration import FeatureSet
from features.history.store import Entity, Ints
from fraudstream.lab.rescoring.entity_ages import EntityAges, SeenAge
from fraudstream.lab.rescoring.history_pass import Flags
from fraudstream.lab.rescoring.late_answers import seen_before_answer
from fraudstream.lab.rescoring.reasons import Reason
from fraudstream.lab.rescoring.workdir import Workdir

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
        self._reads_predictions = Entity.PREDICTION in self._kinds
        # A feature without a window looks as far back as its history goes.
        reach = [row.reach_ms if row.window_ms is not None else horizons_ms.get(row.entity, 0) for row in rows]
        self._reach_ms = np.array(reach, np.int64)
        self._delay_ms = np.array([row.delay_ms for row in rows], np.int64)
        without_labels = set(Aggregate) - OF_LABELS  # a formula may look at them
        self._is_of_labels = np.array([row.aggregate not in without_labels for row in rows], np.bool_)

    def of(self, *kinds: Entity) -> Flags:
        """Tell which columns look at histories of these kinds."""
        return np.array([kind in kinds for kind in self._kinds], np.bool_)

    def explain(self, rows: DifferingRows) -> Iterator[tuple[Reason, Flags]]:
        """Yield each reason with the features that it explains, shape (k, features)."""
        of_histories = self.of(*self._workdir.entities, Entity.PREDICTION)
        yield Reason.DEGRADED, rows.flags("incomplete")[:, np.newaxis] & of_histories
        yield Reason.UNDECIDABLE, np.repeat(rows.flags("undecidable")[:, np.newaxis], len(self._kinds), axis=1)
        answered, unanswered = self._seen_before_answer(rows)
        yield Reason.HISTORY_EPOCH_CHANGED, self._lost_records(rows) | answered | self._doubted(rows, "answered_later")
        yield Reason.BEYOND_RETENTION, self._before_floor(rows)
        yield Reason.CARD_ON_TWO_PARTITIONS, self._on_other_partition(rows)
        yield Reason.ORDER_UNKNOWN, self._order_unknown(rows) | unanswered | self._doubted(rows, "unanswered")

    def fate(self, rows: DifferingRows) -> Iterator[tuple[Reason, Flags]]:
        """Yield each reason with the decisions, shape (k,), for which it explains that they would not be made now."""
        yield Reason.DEGRADED, rows.flags("incomplete")
        yield Reason.BEYOND_RETENTION, rows.times() - self._horizon_ms < rows.integers("card_floor_ms", _NO_FLOOR)
        is_divided = np.zeros(len(rows.numbers), np.bool_)
        is_divided[[one.line for one in self._of_other_partitions(rows, self._horizon_ms)]] = True
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
        found: Flags = (card & self.of(Entity.CARD)) | (other & self.of(*self._workdir.others))
        if self._reads_predictions:
            prediction = since < rows.integers("prediction_floor_ms", _NO_FLOOR)[:, np.newaxis]
            found |= prediction & self.of(Entity.PREDICTION)
        return found

    def _doubted(self, rows: DifferingRows, why: str) -> Flags:
        """Tell where a prediction from storage may have been seen, or not, see `prediction_tables`."""
        if not self._reads_predictions:
            return np.zeros((len(rows.numbers), len(self._kinds)), np.bool_)
        doubted: Flags = rows.flags(f"prediction_{why}")[:, np.newaxis] & self.of(Entity.PREDICTION)
        return doubted

    def _on_other_partition(self, rows: DifferingRows) -> Flags:
        """Tell where a feature's window has, or is moved by, a transaction whose card is on several partitions.

        It is of the row's card, on another partition; or it came on several partitions itself, and around a loss the
        logs may have either record.
        """
        found = np.zeros((len(rows.numbers), len(self._kinds)), np.bool_)
        self._mark(found, rows, Entity.CARD, self._of_other_partitions(rows, int(self._reach_ms.max())))
        for kind in self._read:
            self._mark(found, rows, kind, self._of_ambiguous(rows, kind, "other.is_divided"))
        return found

    def _of_other_partitions(self, rows: DifferingRows, reach_ms: int) -> Sequence[SeenAge]:
        """Return the ages of transactions of the same card on another partition."""
        asked = self._asked(rows, Entity.CARD) | {"partition": rows.columns["partition"]}
        condition = f"asked.partition <> other.partition AND {_within(reach_ms)}"
        with self._ages(asked) as ages:
            return ages.of_file(self._workdir.divided_cards, condition, only_decided=False)

    def _order_unknown(self, rows: DifferingRows) -> Flags:
        """Tell where a transaction of unknown position is in a feature's window, or moves its floor."""
        found = np.zeros((len(rows.numbers), len(self._kinds)), np.bool_)
        for kind in self._read:
            self._mark(found, rows, kind, self._unordered(rows, kind))
            self._mark(found, rows, kind, self._of_ambiguous(rows, kind, "NOT other.is_divided"))
        return found

    def _seen_before_answer(self, rows: DifferingRows) -> tuple[Flags, Flags]:
        """Tell where a record may have been seen that was answered under a later epoch only, and one without answer."""
        after_loss, never = (np.zeros((len(rows.numbers), len(self._kinds)), np.bool_) for _ in range(2))
        for kind in self._read:
            asked = self._asked(rows, kind) | {
                "history_epoch": rows.columns["history_epoch"],
                "timestamp_ms": rows.columns["timestamp_ms"],
                "scored_ms": rows.columns["scored_ms"],
                "position": rows.columns[f"{kind.value}_position"],
            }
            with self._ages(asked) as ages:
                late = seen_before_answer(self._workdir, kind, ages, int(self._reach_ms.max()))
            for found, is_answered in ((after_loss, True), (never, False)):
                some = [one for one in late if one.is_answered is is_answered]
                self._mark(found, rows, kind, [one for one in some if not one.is_label])
                for one in some:
                    if one.is_label:
                        found[one.line] |= self._in_window(kind, one.age_ms) & self._is_of_labels
        return after_loss, never

    def _mark(self, found: Flags, rows: DifferingRows, kind: Entity, seen: Iterable[SeenAge]) -> None:
        """Mark the features that transactions of these ages can have changed."""
        times, newest = rows.times(), dict[int, int]()
        for one in seen:
            found[one.line] |= self._in_window(kind, one.age_ms)
            newest[one.line] = max(newest.get(one.line, 0), -one.age_ms)
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

    def _unordered(self, rows: DifferingRows, kind: Entity) -> Sequence[SeenAge]:
        """Return the ages of transactions of the same entity of unknown position."""
        is_visible = (
            f"asked.number <> other.number AND {_within(int(self._reach_ms.max()))} "
            f"AND coalesce(asked.scored_ms <= other.uncertain_until_ms, true)"
        )
        with self._ages(self._asked(rows, kind) | {"scored_ms": rows.columns["scored_ms"]}) as ages:
            return ages.of_file(self._workdir.unordered(kind), is_visible, only_decided=True)

    def _of_ambiguous(self, rows: DifferingRows, kind: Entity, condition: str) -> Sequence[SeenAge]:
        """Return the ages of transactions of the same entity of which the logs may have one of several records."""
        is_visible = f"asked.number <> other.number AND {_within(int(self._reach_ms.max()))} AND {condition}"
        with self._ages(self._asked(rows, kind)) as ages:
            return ages.of_file(self._workdir.ambiguous(kind), is_visible, only_decided=False)

    def _ages(self, asked: dict[str, Any]) -> EntityAges:
        return EntityAges(self._workdir, asked, np.concatenate([self._delay_ms, self._reach_ms]))

    def _asked(self, rows: DifferingRows, kind: Entity) -> dict[str, Any]:
        """Return what identifies the rows in the logs of a kind of entity."""
        asked = {"line": np.arange(len(rows.numbers)), "number": rows.numbers, "occurred_ms": rows.times()}
        return asked | {"entity_id": rows.columns[f"{kind.value}_id"]}
