"""Histories run through in order, one kind of entity at a time: cards judge, the others take in what is to be decided.

A feature looks at one entity's history alone, so cards and merchants need not be run together, nor all cards at once.
This is the one module here that drafts on histories and makes vectors of them; it knows no file, topic or process.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features import records
from features.declaration import FeatureSet
from features.drafting import NOWHERE, draft_card_label, draft_cards, draft_label, draft_others, labels_that_wait, seen
from features.frames import Floats
from features.histories import History
from features.records import Entity, card_hash, merchant_hash
from features.store import Fate, Histories, Ints, Label, Observed, Transactions
from features.windows import vectorise

OTHERS = (Entity.MERCHANT,)
"""The parties whose histories take in what cards judged."""
MOST_RECORDS = 100_000
"""The most records (5 MB, what a core keeps at hand) that are looked at together, unless one history has more."""
Flags = NDArray[np.bool_]


def columns_of(feature_set: FeatureSet, entity: Entity) -> list[int]:
    """Return which columns of the vector a pass over `entity` computes; those of no entity go with the cards."""
    kinds = {entity, Entity.NONE} if entity is Entity.CARD else {entity}
    return [column for column, row in enumerate(feature_set.rows) if row.entity in kinds]


class Seen(NamedTuple):
    """Of k transactions: their vectors of shape (k, columns of the pass), and how many records each saw, its own in."""

    vectors: Floats
    visible: Ints


class Mark(NamedTuple):
    """A label that comes before transaction `at` of a batch; `number` is the caller's name for it."""

    at: int
    number: int
    label: Label


class GoingOn(NamedTuple):
    """A label's record on its way to the history `entity` of another party.

    It goes there at the place of the label `number`; or, if that is None, it waited for its transaction and follows it.
    """

    entity: int
    number: int | None
    row: Ints


class Judged(NamedTuple):
    """What became of a batch: n fates, what the transactions asked for saw, and what goes on to other parties."""

    fates: Sequence[Fate]
    seen: Seen
    going_on: Mapping[Entity, Sequence[GoingOn]]


class Placed(NamedTuple):
    """A label's record that comes before transaction `at` of a batch, into the history `entity`."""

    at: int
    entity: int
    row: Ints


class _Pass:
    """The histories of one kind, and how they are looked at."""

    def __init__(self, feature_set: FeatureSet, entity: Entity) -> None:
        rows = tuple(feature_set.rows[column] for column in columns_of(feature_set, entity))
        self._features = FeatureSet(rows) if rows else None
        self._horizon_ms = feature_set.horizon_ms(entity)
        self._histories: dict[int, History] = {}

    def _history(self, entity: int) -> History:
        history = self._histories.get(entity)
        if history is None:
            history = self._histories[entity] = History(entity, "")
        return history

    def _settle(self, touched: Iterable[History]) -> None:
        """Confirm what was drafted, and trim rather than let a buffer grow, as the store in memory does."""
        for history in touched:
            history.settle()
            if history.is_full:
                count = history.invisible(self._horizon_ms)
                if count:
                    history.trim(count)

    def _look(self, batch: Transactions, at: Sequence[tuple[int, History, int]], rows: Ints) -> Seen:
        """Make the vectors of some transactions of a batch: each by number, history and its record's position."""
        if self._features is None:
            return Seen(np.empty((len(at), 0)), np.ones(len(at), np.int64))
        vectors, visible = [np.empty((0, len(self._features)))], [np.empty(0, np.int64)]
        for part in _bounded(at):
            which, histories, positions = zip(*part, strict=True)
            view = seen(histories, positions, rows[list(which)], self._horizon_ms)
            vectors.append(vectorise(self._features, chosen(batch, which), _observed(view)))
            visible.append(view.lengths)
        return Seen(np.concatenate(vectors), np.concatenate(visible))


class CardPass(_Pass):
    """Judges transactions by their cards' histories, in the order of the log."""

    def __init__(self, feature_set: FeatureSet) -> None:
        super().__init__(feature_set, Entity.CARD)

    def take(self, batch: Transactions, marks: Sequence[Mark], wanted: Flags) -> Judged:
        """Judge n transactions and, between them, labels in the order of `marks`.

        Those of the transactions that are `wanted`, shape (n,), and to be decided are looked at, in their order.
        """
        rows = records.card_rows(batch)
        cards = [self._history(card_hash(card_id)) for card_id in batch.card_ids]
        touched = set(cards)
        fates: list[Fate] = []
        positions: list[int] = []
        going_on: list[GoingOn] = []
        for part, labels in _parts(len(batch), marks):
            judged, placed = draft_cards(cards[part], rows[part], self._horizon_ms)
            fates += judged
            positions += placed
            for mark in labels:
                touched.add(self._history(card_hash(mark.label.card_id)))
                going_on += self._note(mark)
        for i, labels_before in labels_that_wait(cards, rows, positions).items():
            going_on += [GoingOn(int(rows[i, records.OTHER]), None, label.copy()) for label in labels_before]
        at = [(i, cards[i], positions[i]) for i in np.flatnonzero(wanted).tolist() if positions[i] != NOWHERE]
        looked = self._look(batch, at, rows)
        self._settle(touched)
        return Judged(fates, looked, {Entity.MERCHANT: going_on})

    def note(self, marks: Sequence[Mark]) -> Mapping[Entity, Sequence[GoingOn]]:
        """Append labels that come behind all transactions."""
        return {Entity.MERCHANT: [one for mark in marks for one in self._note(mark)]}

    def _note(self, mark: Mark) -> Iterator[GoingOn]:
        """Append a label to its card's history; it goes on where its transaction is known."""
        card, row = self._history(card_hash(mark.label.card_id)), records.label_row(mark.label)
        transaction = draft_card_label(card, row, self._horizon_ms).standing.transaction
        if transaction is not None:
            row[records.AMOUNT] = transaction[records.TIME]
            yield GoingOn(int(transaction[records.OTHER]), mark.number, row)


class OtherPass(_Pass):
    """Takes decided transactions, and the labels that go on with them, into the histories of another party."""

    def __init__(self, feature_set: FeatureSet, entity: Entity) -> None:
        super().__init__(feature_set, entity)

    def take(
        self, batch: Transactions, placed: Sequence[Placed], waiting: Mapping[tuple[int, int], Ints], wanted: Flags
    ) -> Seen:
        """Take in n transactions that are to be decided, in the order of this party's log, and look at the wanted ones.

        `waiting` has, by party and transaction, the records of labels that follow it.
        """
        rows = records.merchant_rows(batch, records.card_rows(batch))
        parties = self.hashes(batch.merchant_ids)
        histories = [self._history(party) for party in parties]
        touched = set(histories)
        positions: list[int] = []
        for part, labels in _parts(len(batch), placed):
            ids = rows[part, records.ID].tolist()
            following = {
                i: waiting[key] for i, key in enumerate(zip(parties[part], ids, strict=True)) if key in waiting
            }
            positions += draft_others(histories[part], rows[part], [True] * len(ids), following)
            for label in labels:
                touched.add(self._note(label))
        looked = self._look(batch, [(i, histories[i], positions[i]) for i in np.flatnonzero(wanted).tolist()], rows)
        self._settle(touched)
        return looked

    def hashes(self, names: Iterable[str]) -> list[int]:
        """Return which histories are meant."""
        return list(map(merchant_hash, names))

    def _note(self, label: Placed) -> History:
        history = self._history(label.entity)
        draft_label(history, label.row, int(label.row[records.AMOUNT]))
        return history


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


def _parts(count: int, marks: Sequence[Mark] | Sequence[Placed]) -> Iterator[tuple[slice, Sequence[Any]]]:
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


def _observed(view: Histories) -> Observed:
    """Dress one entity's histories as an answer; what is said of the other entities is not looked at."""
    nothing = np.zeros(len(view.lengths), np.int64)
    return Observed(
        fates=[Fate.DECIDE] * len(nothing),
        cards=view,
        merchants=view,
        card_positions=nothing,
        merchant_positions=nothing,
        history_epoch=0,
        incomplete=False,
    )
