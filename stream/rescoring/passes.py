"""Histories run through in order, one kind of entity at a time: cards judge, the others take in what is to be decided.

A feature looks at one entity's history alone, so cards and merchants need not be run together, nor all cards at once.
This is the one module here that drafts on histories and makes vectors of them; it knows no file, topic or process.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.declaration import FeatureSet
from features.history import records
from features.history.append import (
    NO_ENTITY,
    AcceptedRows,
    Visibility,
    append_card_label,
    append_label,
    append_to_cards,
    append_to_others,
    labels_of,
    rows_by_entity,
    visible_histories,
)
from features.history.compaction import compact_in_memory
from features.history.displaced import NONE_DISPLACED, Displaced
from features.history.frames import Floats
from features.history.history import History
from features.history.store import Entity, Fate, Ints, Label, Observed, Transactions
from features.redis.append import NO_EPOCH
from features.vector.sets import FeatureSets, narrowed
from features.vector.vectorise import vectorise

OTHERS = MappingProxyType({Entity.MERCHANT: records.merchant_hash, Entity.DEVICE: records.device_hash})
"""The parties whose histories take in what cards judged, and how they are named."""
MOST_RECORDS = 100_000
"""The most records (5 MB, what a core keeps at hand) that are looked at together, unless one history has more."""
Flags = NDArray[np.bool_]


def columns_of(feature_set: FeatureSet, entity: Entity) -> list[int]:
    """Return which columns of the vector a pass over `entity` computes; those of no entity go with the cards."""
    kinds = {entity, Entity.NONE} if entity is Entity.CARD else {entity}
    return [column for column, row in enumerate(feature_set.rows) if row.entity in kinds]


def looked_at(sets: FeatureSets) -> tuple[Entity, ...]:
    """Return the other parties that some feature looks at."""
    return tuple(kind for kind in OTHERS if any(columns_of(one, kind) for one in sets.sets))


class VisibleFeatures(NamedTuple):
    """Of k transactions: for each feature set their vectors, and how many records each saw, its own included.

    A matrix has shape (k, columns of the pass).
    """

    vectors: Sequence[Floats]
    visible: Ints


class LabelMark(NamedTuple):
    """A label that comes before transaction `at` of a batch; `number` is the caller's name for it."""

    at: int
    number: int
    label: Label


class ForwardedLabel(NamedTuple):
    """A label's record on its way to the history `party` of another kind.

    It goes there at the place of the label `number`; or, if that is None, it waited for its transaction and follows it.
    """

    kind: Entity
    party: int
    number: int | None
    row: Ints


class JudgedBatch(NamedTuple):
    """What became of a batch: n fates, what the transactions asked for saw, and what goes on to other parties."""

    fates: Sequence[Fate]
    seen: VisibleFeatures
    going_on: Sequence[ForwardedLabel]


class PlacedLabel(NamedTuple):
    """A label's record that comes before transaction `at` of a batch, into the history `party`."""

    at: int
    party: int
    row: Ints


class AppendedBatch(NamedTuple):
    """What was taken into histories: n transactions' records, histories and positions, and labels with theirs."""

    rows: Ints
    histories: Sequence[History]
    positions: Sequence[int]
    labels: Sequence[tuple[History, int]]


class _HistoryPass:
    """The histories of one kind, and how they are looked at."""

    def __init__(self, sets: FeatureSets, kind: Entity, displaced: Displaced = NONE_DISPLACED) -> None:
        self._sets = sets
        self._kind = kind
        self._keep = sets.retentions[kind]
        self._sight = Visibility(self._keep, displaced)
        own = [tuple(one.rows[column] for column in columns_of(one, kind)) for one in sets.sets]
        self._features = [FeatureSet(rows) if rows else None for rows in own]
        self._histories: dict[int, History] = {}

    def _history(self, name: int) -> History:
        history = self._histories.get(name)
        if history is None:
            history = self._histories[name] = History(name, "", records.COLUMNS[self._kind])
        return history

    def _settle(self, touched: Iterable[History]) -> None:
        """Confirm what was drafted, and shorten rather than let a buffer grow, as the store in memory does."""
        for history in touched:
            history.commit()
            if history.is_full:
                compact_in_memory(history, self._keep, NO_EPOCH)

    def look(self, batch: Transactions, at: Sequence[tuple[int, History, int]], rows: Ints) -> VisibleFeatures:
        """Make the vectors of some transactions of a batch: each by number, history and its record's position."""
        vectors = [[np.empty((0, 0 if one is None else len(one)))] for one in self._features]
        visible = [np.empty(0, np.int64)]
        for part in _bounded(at):
            which, histories, positions = zip(*part, strict=True)
            view = visible_histories(histories, positions, rows[list(which)], self._sight)
            observed = Observed([Fate.DECIDE] * len(which), {self._kind: view}, history_epoch=0, incomplete=False)
            for made, one in zip(vectors, self._vectors(chosen(batch, which), observed), strict=True):
                made.append(one)
            visible.append(view.lengths)
        return VisibleFeatures([np.concatenate(made) for made in vectors], np.concatenate(visible))

    def _vectors(self, batch: Transactions, observed: Observed) -> Iterator[Floats]:
        for whole, own in zip(self._sets.sets, self._features, strict=True):
            if own is None:
                yield np.empty((len(batch), 0))
            else:
                yield vectorise(own, batch, narrowed(observed, self._sets.retentions, whole.schedules))


class CardPass(_HistoryPass):
    """Judges transactions by their cards' histories, in the order of the log."""

    def __init__(self, sets: FeatureSets) -> None:
        super().__init__(sets, Entity.CARD)
        self._others = looked_at(sets)

    def take(self, batch: Transactions, marks: Sequence[LabelMark], wanted: Flags) -> JudgedBatch:
        """Judge n transactions and, between them, labels in the order of `marks`.

        Those of the transactions that are `wanted`, shape (n,), and to be decided are looked at, in their order.
        """
        theirs = rows_by_entity(batch, ())[Entity.CARD]
        rows, cards = theirs.rows, [self._history(name) for name in theirs.hashes]
        touched = set(cards)
        fates: list[Fate] = []
        positions: list[int] = []
        going_on: list[ForwardedLabel] = []
        for part, labels in _parts(len(batch), marks):
            judged, placed = append_to_cards(cards[part], rows[part], self._keep.horizon_ms)
            fates += judged
            positions += placed
            for i, waiting in labels_of(cards[part], rows[part], judged).items():
                going_on += [one for label in waiting for one in self._following(rows[part][i], None, label)]
            for mark in labels:
                touched.add(self._history(records.card_hash(mark.label.card_id)))
                going_on += self._note(mark)
        owed = [i for i in np.flatnonzero(wanted).tolist() if fates[i] is Fate.DECIDE]
        at = [(i, cards[i], positions[i]) for i in owed]
        looked = self.look(batch, at, rows)
        self._settle(touched)
        return JudgedBatch(fates, looked, going_on)

    def note(self, marks: Sequence[LabelMark]) -> Sequence[ForwardedLabel]:
        """Append labels that come behind all transactions."""
        return [one for mark in marks for one in self._note(mark)]

    def _note(self, mark: LabelMark) -> Iterator[ForwardedLabel]:
        """Append a label to its card's history; it goes on where its transaction is known."""
        card, row = self._history(records.card_hash(mark.label.card_id)), records.label_row(mark.label)
        transaction = append_card_label(card, row, self._sight).verdict.transaction
        if transaction is not None:
            row[records.AMOUNT] = transaction[records.TIME]
            yield from self._following(transaction, mark.number, row)

    def _following(self, transaction: Ints, number: int | None, row: Ints) -> Iterator[ForwardedLabel]:
        for kind in self._others:
            party = records.entity_hash(transaction, kind)
            if party != NO_ENTITY:
                yield ForwardedLabel(kind, party, number, row[: records.SHARED_COLUMNS])


class OtherPass(_HistoryPass):
    """Takes decided transactions, and the labels that go on with them, into the histories of another kind of party.

    With `displaced`, what is taken together sees all that is there but what its own partition has behind it.
    """

    def take(
        self, batch: Transactions, placed: Sequence[PlacedLabel], waiting: Mapping[tuple[int, int], Ints], wanted: Flags
    ) -> VisibleFeatures:
        """Take in n transactions that are to be decided, in the order of this party's log, and look at the wanted ones.

        Each has such a party. `waiting` has, by party and transaction, the records of labels that follow it.
        """
        drafted = self.draft(batch, placed, waiting)
        at = [(i, drafted.histories[i], drafted.positions[i]) for i in np.flatnonzero(wanted).tolist()]
        looked = self.look(batch, at, drafted.rows)
        self._settle({*drafted.histories, *(history for history, _ in drafted.labels)})
        return looked

    def draft(
        self, batch: Transactions, placed: Sequence[PlacedLabel], waiting: Mapping[tuple[int, int], Ints]
    ) -> AppendedBatch:
        """Take in n transactions and labels, as `take` does, as drafts, and look at nothing."""
        theirs = rows_by_entity(batch, (self._kind,))[self._kind]
        rows, histories = theirs.rows, [self._history(name) for name in theirs.hashes]
        positions: list[int] = []
        noted: list[tuple[History, int]] = []
        for part, labels in _parts(len(batch), placed):
            names = list(zip(theirs.hashes[part], rows[part, records.ID].tolist(), strict=True))
            following = {i: waiting[name] for i, name in enumerate(names) if name in waiting}
            positions += append_to_others(histories[part], rows[part], AcceptedRows([True] * len(names), following))
            noted += map(self._note, labels)
        return AppendedBatch(rows, histories, positions, noted)

    def hashes(self, names: Iterable[str]) -> list[int]:
        """Return which histories are meant."""
        return list(map(OTHERS[self._kind], names))

    def _note(self, label: PlacedLabel) -> tuple[History, int]:
        history = self._history(label.party)
        return history, append_label(history, label.row, int(label.row[records.AMOUNT]))


def about(row: Ints) -> int:
    """Return which transaction a label's record is about, as `waiting` names it."""
    return int(row[records.OTHER])


def chosen(batch: Transactions, which: Sequence[int] | Ints) -> Transactions:
    """Return some transactions of a batch, by number."""
    numbers = np.asarray(which, np.int64)
    values: dict[str, Any] = {field.name: getattr(batch, field.name) for field in fields(batch)}
    for name, value in values.items():
        values[name] = value[numbers] if isinstance(value, np.ndarray) else [value[i] for i in numbers.tolist()]
    return Transactions(**values)


def _parts(count: int, marks: Sequence[LabelMark] | Sequence[PlacedLabel]) -> Iterator[tuple[slice, Sequence[Any]]]:
    """Cut a batch of `count` where labels come between: each part, and the labels behind it."""
    start = 0
    for at, labels in groupby(marks, key=lambda mark: mark.at):
        yield slice(start, at), list(labels)
        start = at
    yield slice(start, count), ()


def _bounded(at: Sequence[tuple[int, History, int]]) -> Iterator[Sequence[tuple[int, History, int]]]:
    """Cut what is to be looked at so that no part has more than MOST_RECORDS, if it can be helped."""
    start, records_seen = 0, 0
    for end, (_, history, position) in enumerate(at):
        length = position - history.base + 1
        if records_seen + length > MOST_RECORDS and end > start:
            yield at[start:end]
            start, records_seen = end, 0
        records_seen += length
    if start < len(at):
        yield at[start:]
