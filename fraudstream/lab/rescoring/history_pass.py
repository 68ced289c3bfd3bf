"""Passes over histories in the order of their logs, one kind of entity at a time: fates, feature vectors, labels.

A feature reads the history of one entity alone, so cards and merchants run in separate passes, and entities in separate
shards. Cards go first: their pass decides the fate of each transaction, and the other passes take only those that are
to be decided. The only module of rescoring that appends to histories and makes vectors of them; it knows no file.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    AppendResult,
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
"""The kinds of entities other than cards, and the hash of their ids."""
MAX_RECORDS = 100_000
"""The most records (5 MB, what a core's cache holds) that are vectorised together, unless one history has more."""
Flags = NDArray[np.bool_]


def columns_of(feature_set: FeatureSet, entity: Entity) -> Ints:
    """Return the columns of the vector that a pass over `entity` computes; those of no entity go with the cards.

    They are integers also where there are none: one of several sets may have no feature of an entity.
    """
    kinds = {entity, Entity.NONE} if entity is Entity.CARD else {entity}
    return np.array([column for column, row in enumerate(feature_set.rows) if row.entity in kinds], np.int64)


def other_entities(sets: FeatureSets) -> tuple[Entity, ...]:
    """Return the kinds of entities other than cards that some feature looks at."""
    return tuple(kind for kind in OTHERS if any(len(columns_of(one, kind)) for one in sets.sets))


class VisibleFeatures(NamedTuple):
    """Of k transactions: their vectors by each feature set, and how many records each saw, its own included.

    A matrix has shape (k, columns of the pass).
    """

    vectors: Sequence[Floats]
    visible: Ints


class CardLabel(NamedTuple):
    """A label that comes before transaction `at` of a batch; `number` is the caller's id for it."""

    at: int
    number: int
    label: Label


class ForwardedLabel(NamedTuple):
    """A label's record, forwarded from its card to the history `party` of another kind.

    Its place there is that of label `number`; with None it waited for its transaction, and directly follows it.
    """

    kind: Entity
    party: int
    number: int | None
    row: Ints


class JudgedBatch(NamedTuple):
    """What a batch came to: n fates, what the wanted transactions saw, and labels forwarded to other parties."""

    fates: Sequence[Fate]
    seen: VisibleFeatures
    forwarded: Sequence[ForwardedLabel]


class PartyLabel(NamedTuple):
    """A label's record for the history `party`; it comes before transaction `at` of a batch."""

    at: int
    party: int
    row: Ints


class AppendedBatch(NamedTuple):
    """What was appended: records, histories and positions of n transactions, histories and positions of labels."""

    rows: Ints
    histories: Sequence[History]
    positions: Sequence[int]
    labels: Sequence[tuple[History, int]]


class _HistoryPass:
    """The histories of one kind of entity, and the features that look at them."""

    def __init__(self, sets: FeatureSets, kind: Entity, displaced: Displaced = NONE_DISPLACED) -> None:
        self._sets = sets
        self._kind = kind
        self._keep = sets.retentions[kind]
        self._visibility = Visibility(self._keep, displaced)
        own = [tuple(one.rows[column] for column in columns_of(one, kind)) for one in sets.sets]
        self._features = [
            FeatureSet(rows, one.fields) if rows else None for rows, one in zip(own, sets.sets, strict=True)
        ]
        self._histories: dict[int, History] = {}

    def _history(self, name: int) -> History:
        history = self._histories.get(name)
        if history is None:
            history = self._histories[name] = History(name, "", records.COLUMNS[self._kind])
        return history

    def _settle(self, touched: Iterable[History]) -> None:
        """Confirm the drafts; a full buffer is shortened rather than grown, as in the memory store."""
        for history in touched:
            history.commit()
            if history.is_full:
                compact_in_memory(history, self._keep, NO_EPOCH)

    def features_at(self, batch: Transactions, at: Sequence[tuple[int, History, int]], rows: Ints) -> VisibleFeatures:
        """Return what transactions of a batch saw; each is given by number, history and position of its record."""
        vectors = [[np.empty((0, 0 if one is None else len(one)))] for one in self._features]
        visible = [np.empty(0, np.int64)]
        for part in _limited(at):
            which, histories, positions = zip(*part, strict=True)
            view = visible_histories(histories, positions, rows[list(which)], self._visibility)
            observed = Observed([Fate.DECIDE] * len(which), {self._kind: view}, history_epoch=0, incomplete=False)
            for found, matrix in zip(vectors, self._vectors(batch.at(which), observed), strict=True):
                found.append(matrix)
            visible.append(view.lengths)
        return VisibleFeatures([np.concatenate(found) for found in vectors], np.concatenate(visible))

    def _vectors(self, batch: Transactions, observed: Observed) -> Iterator[Floats]:
        for whole, own in zip(self._sets.sets, self._features, strict=True):
            if own is None:
                yield np.empty((len(batch), 0))
            else:
                yield vectorise(own, batch, narrowed(observed, self._sets.retentions, whole.schedules))


class CardPass(_HistoryPass):
    """Decides the fates of transactions by their cards' histories, in the order of the log.

    `erased` says by card up to when nothing sees its records: also those that were decided before it was erased.
    """

    def __init__(self, sets: FeatureSets, erased: Mapping[int, int] = MappingProxyType({})) -> None:
        super().__init__(sets, Entity.CARD)
        self._others = other_entities(sets)
        self._erased = erased

    def _history(self, name: int) -> History:
        history = super()._history(name)
        if name in self._erased:
            history.erase_until(self._erased[name])
        return history

    def judge_batch(self, batch: Transactions, labels: Sequence[CardLabel], wanted: Flags) -> JudgedBatch:
        """Append n transactions and the labels between them, and return fates, features and forwarded labels.

        Features are computed for the transactions that are `wanted`, shape (n,), and are to be decided, in their order.
        """
        cards_of = rows_by_entity(batch, ())[Entity.CARD]
        rows, cards = cards_of.rows, [self._history(name) for name in cards_of.hashes]
        touched = set(cards)
        fates: list[Fate] = []
        positions: list[int] = []
        forwarded: list[ForwardedLabel] = []
        for part, following in _split_at_labels(len(batch), labels):
            part_fates, part_positions = append_to_cards(cards[part], rows[part], self._keep.horizon_ms)
            fates += part_fates
            positions += part_positions
            judged = AppendResult(part_fates, {Entity.CARD: part_positions})
            for i, parked in labels_of(cards[part], rows[part], judged, self._visibility).items():
                forwarded += [one for label in parked for one in self._forward(rows[part][i], None, label)]
            for label in following:
                touched.add(self._history(records.card_hash(label.label.card_id)))
                forwarded += self._append_label(label)
        accepted = [i for i in np.flatnonzero(wanted).tolist() if fates[i] is Fate.DECIDE]
        visible = self.features_at(batch, [(i, cards[i], positions[i]) for i in accepted], rows)
        self._settle(touched)
        return JudgedBatch(fates, visible, forwarded)

    def append_labels(self, labels: Sequence[CardLabel]) -> Sequence[ForwardedLabel]:
        """Append labels that come after all transactions."""
        return [one for label in labels for one in self._append_label(label)]

    def _append_label(self, label: CardLabel) -> Iterator[ForwardedLabel]:
        """Append a label to its card's history, and forward it where its transaction is known."""
        card, row = self._history(records.card_hash(label.label.card_id)), records.label_row(label.label)
        transaction = append_card_label(card, row, self._visibility).verdict.transaction
        if transaction is not None:
            row[records.AMOUNT] = transaction[records.TIME]
            yield from self._forward(transaction, label.number, row)

    def _forward(self, transaction: Ints, number: int | None, row: Ints) -> Iterator[ForwardedLabel]:
        for kind in self._others:
            party = records.entity_hash(transaction, kind)
            if party != NO_ENTITY:
                yield ForwardedLabel(kind, party, number, row[: records.SHARED_COLUMNS])


class OtherPass(_HistoryPass):
    """Appends the transactions to be decided, and the labels forwarded to them, to histories of another kind of entity.

    With `displaced`, transactions of one batch see everything in the log but what their own partition has after them.
    """

    def judge_batch(
        self, batch: Transactions, labels: Sequence[PartyLabel], parked: Mapping[tuple[int, int], Ints], wanted: Flags
    ) -> VisibleFeatures:
        """Append n transactions in the order of this party's log, and return the features of the `wanted` ones.

        Each transaction is to be decided and has such a party. `parked` has, by party and transaction, the records of
        labels that directly follow it.
        """
        drafted = self.draft(batch, labels, parked)
        at = [(i, drafted.histories[i], drafted.positions[i]) for i in np.flatnonzero(wanted).tolist()]
        visible = self.features_at(batch, at, drafted.rows)
        self._settle({*drafted.histories, *(history for history, _ in drafted.labels)})
        return visible

    def draft(
        self, batch: Transactions, labels: Sequence[PartyLabel], parked: Mapping[tuple[int, int], Ints]
    ) -> AppendedBatch:
        """Append n transactions and labels as `process` does, but leave them as drafts and compute no features."""
        members = rows_by_entity(batch, (self._kind,))[self._kind]
        rows, histories = members.rows, [self._history(name) for name in members.hashes]
        positions: list[int] = []
        appended: list[tuple[History, int]] = []
        for part, following in _split_at_labels(len(batch), labels):
            names = list(zip(members.hashes[part], rows[part, records.ID].tolist(), strict=True))
            attached = {i: parked[name] for i, name in enumerate(names) if name in parked}
            positions += append_to_others(histories[part], rows[part], AcceptedRows([True] * len(names), attached))
            appended += map(self._append_label, following)
        return AppendedBatch(rows, histories, positions, appended)

    def hashes(self, names: Iterable[str]) -> list[int]:
        """Return the hashes of entity ids, by which histories are named here."""
        return list(map(OTHERS[self._kind], names))

    def _append_label(self, label: PartyLabel) -> tuple[History, int]:
        history = self._history(label.party)
        return history, append_label(history, label.row, int(label.row[records.AMOUNT]))


def transaction_key(row: Ints) -> int:
    """Return the transaction that a label's record is about, as the keys of `parked` name it."""
    return int(row[records.OTHER])


def _split_at_labels(
    count: int, labels: Sequence[CardLabel] | Sequence[PartyLabel]
) -> Iterator[tuple[slice, Sequence[Any]]]:
    """Split a batch of `count` transactions at the labels between them; yield each part and the labels after it."""
    start = 0
    for at, following in groupby(labels, key=lambda label: label.at):
        yield slice(start, at), list(following)
        start = at
    yield slice(start, count), ()


def _limited(at: Sequence[tuple[int, History, int]]) -> Iterator[Sequence[tuple[int, History, int]]]:
    """Split transactions so that the histories of a part have at most MAX_RECORDS, or it has one transaction."""
    start, total = 0, 0
    for end, (_, history, position) in enumerate(at):
        length = position - history.base + 1
        if total + length > MAX_RECORDS and end > start:
            yield at[start:end]
            start, total = end, 0
        total += length
    if start < len(at):
        yield at[start:]
