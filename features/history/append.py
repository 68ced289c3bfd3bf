"""Appends a batch to histories in memory, uncommitted: every record once, refused ones nowhere.

Both stores use it. The memory store commits at once; the Redis store sends the records and commits when the server has
appended all of them. Every transaction is in its card's history and its merchant's, and in its device's if it has one
and device histories are kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from features.history import records
from features.history.displaced import NONE_DISPLACED, Displaced
from features.history.history import History, RowView, known_before
from features.history.retention import Retention
from features.history.rules import LabelVerdict, judge_label, judge_transaction, labels_about
from features.history.store import NOWHERE, Entity, Fate, Histories, Ints, LongHistory, Transactions
from features.history.views import HistoryViews

NO_ENTITY = 0
"""The hash of an absent entity."""
NO_HORIZON_MS = 1 << 61
NO_LIMIT = 1 << 62
"""As many bytes as there are."""
LONG = 8192
"""From so many rows on, sharing a history takes less time than copying it; shorter ones are copied side by side."""
SHARE = 16
"""A batch that reads a long history many times has to end too: each further reading counts as so small a part of it."""
NO_HORIZONS: Mapping[Entity, int] = MappingProxyType({})
HistoriesByKind = Mapping[Entity, Sequence[History | None]]
"""One history of each kind for each of n transactions, the same object for the same entity; None: no entity."""


@dataclass(frozen=True, slots=True)
class EntityRows:
    """One entity kind for n transactions: hashes (NO_ENTITY: none), ids ("": none) and records.

    `erases` tells which are no transactions but erasures; None: none is.
    """

    hashes: Sequence[int]
    ids: Sequence[str]
    rows: Ints
    erases: Sequence[bool] | None = None

    def first(self, count: int) -> "EntityRows":
        """Return those of the first transactions."""
        erases = self.erases and self.erases[:count]
        return EntityRows(self.hashes[:count], self.ids[:count], self.rows[:count], erases)


class AppendResult(NamedTuple):
    """Fates, and the positions of the records by kind of history; NOWHERE for a record that is in none."""

    fates: list[Fate]
    positions: dict[Entity, list[int]]


class AcceptedRows(NamedTuple):
    """Which of n transactions the card histories accepted, and the labels to append with them, by index."""

    mask: Sequence[bool]
    labels: Mapping[int, Ints]


class Visibility(NamedTuple):
    """How long records of one kind are visible, and which records may be out of order after a repair.

    With `shares_long`, the transactions of a batch that see the same long history share its rows.
    """

    retention: Retention
    displaced: Displaced = NONE_DISPLACED
    shares_long: bool = False


class AppendedLabel(NamedTuple):
    """A label's verdict and its position in its card's history."""

    card: History
    verdict: LabelVerdict
    position: int

    def entity(self, kind: Entity) -> int | None:
        """Return the hash of the transaction's merchant or device; None if it has none or is unknown."""
        return None if self.verdict.transaction is None else records.entity_hash(self.verdict.transaction, kind) or None

    def append_to(self, history: History, row: Ints, *, allows_panes: bool) -> int | None:
        """Append the label's record to a merchant's or device's history, and return its position there.

        Histories with panes get all labels about the transaction once one of them says fraud, and none before.
        """
        transaction = self.verdict.transaction
        assert transaction is not None  # noqa: S101 - only a known transaction has entities
        occurred_ms = int(transaction[records.TIME])
        if not allows_panes:
            return append_label(history, row, occurred_ms)
        for about in _fraud_labels({0: labels_about(self.card, int(transaction[records.ID]))}).values():
            for label in about:
                append_label(history, label, occurred_ms)
        return history.find(int(row[records.ID]))


def rows_by_entity(batch: Transactions, kinds: Sequence[Entity]) -> Mapping[Entity, EntityRows]:
    """Return a batch's hashes, ids and records by entity kind, cards first."""
    rows = records.card_rows(batch)
    cards = list(map(records.card_hash, batch.card_ids))
    shared = records.shared_rows(rows, np.array(cards, np.int64))
    found = {
        Entity.CARD: EntityRows(cards, batch.card_ids, rows, batch.erases),
        Entity.MERCHANT: EntityRows(rows[:, records.OTHER].tolist(), batch.merchant_ids, shared),
    }
    if Entity.DEVICE in kinds:
        ids = [device_id or "" for device_id in batch.device_ids]
        found[Entity.DEVICE] = EntityRows(rows[:, records.DEVICE].tolist(), ids, shared)
    return found


def fitting(histories: HistoriesByKind, most_bytes: int) -> int:
    """Return how many of the first transactions see at most `most_bytes` together; at least one, if there is any."""
    count = max((len(some) for some in histories.values()), default=0)
    if most_bytes >= NO_LIMIT or count <= 1:
        return count
    longest = sum((one.length + count) * one.columns for some in histories.values() for one in some if one is not None)
    if longest * records.COLUMN_BYTES <= most_bytes:
        return count
    counter, total = SeenCounter(), 0
    for at, some in enumerate(zip(*histories.values(), strict=True)):
        total += counter.add(some)
        if total > most_bytes and at:
            return at
    return count


class SeenCounter:
    """Counts the bytes that transactions see at most, one after the other, each of which is appended as well.

    Of a long history the first transaction counts all, since the others share its rows; they count a part, for the
    time that they take.
    """

    def __init__(self) -> None:
        self._appended: dict[History, int] = {}

    def add(self, histories: Iterable[History | None]) -> int:
        """Return what the next transaction sees in its histories."""
        total = 0
        for history in histories:
            if history is not None:
                self._appended[history] = appended = self._appended.get(history, 0) + 1
                length = history.length + appended
                shares = length >= LONG and appended > 1
                total += (length // SHARE if shares else length) * history.columns
        return total * records.COLUMN_BYTES


def append_transactions(
    histories: HistoriesByKind,
    entity_rows: Mapping[Entity, EntityRows],
    retentions: Mapping[Entity, Retention],
    skip_expired_ms: Mapping[Entity, int] = NO_HORIZONS,
    displaced: Displaced = NONE_DISPLACED,
) -> AppendResult:
    """Judge n transactions in order, and append those that get a decision to the histories that lack them.

    Labels about a transaction that its card's history holds are appended to the other histories with it. In kinds
    with an entry in `skip_expired_ms` (a horizon) a record beyond it is not appended.
    """
    cards = [card for card in histories[Entity.CARD] if card is not None]
    rows = entity_rows[Entity.CARD].rows
    erases = entity_rows[Entity.CARD].erases
    fates, positions = append_to_cards(cards, rows, retentions[Entity.CARD].horizon_ms, erases)
    result = AppendResult(fates, {Entity.CARD: positions})
    decided = [fate is Fate.DECIDE for fate in fates]
    labels = labels_of(cards, rows, result, Visibility(retentions[Entity.CARD], displaced))
    for kind, others in histories.items():
        if kind is not Entity.CARD:
            accepted = AcceptedRows(decided, _fraud_labels(labels) if retentions[kind].allows_panes else labels)
            skip_ms = skip_expired_ms.get(kind, NO_HORIZON_MS)
            result.positions[kind] = append_to_others(others, entity_rows[kind].rows, accepted, skip_ms)
    return result


def append_to_cards(
    cards: Sequence[History], rows: Ints, horizon_ms: int, erases: Sequence[bool] | None = None
) -> tuple[list[Fate], list[int]]:
    """Judge n transactions in order, append those that get a decision to their cards, and return fates and positions.

    A new transaction in time, as nearly all are, needs no search. One that was in time when it first came and has
    expired since (as in a repair) is not appended to its card. An erasure is appended once.
    """
    ids: list[int] = rows[:, records.ID].tolist()
    times: list[int] = rows[:, records.TIME].tolist()
    present = set(known_before(cards, rows[:, records.ID]))
    appended: set[int] = set()
    fates, positions = [], []
    for i, card in enumerate(cards):
        if erases is not None and erases[i]:
            position = card.find(ids[i])
            positions.append(card.append(rows[i], None) if position is None else position)
            fates.append(Fate.ERASURE)
            continue
        fate, position = Fate.DECIDE, None
        expired = times[i] <= card.newest_ms - horizon_ms
        if i in present or ids[i] in appended or expired:
            fate, position = judge_transaction(card, rows[i], horizon_ms)
            if fate is not Fate.DECIDE or (position is None and expired):
                position = NOWHERE
        appended.add(ids[i])
        fates.append(fate)
        positions.append(card.append(rows[i], times[i]) if position is None else position)
    return fates, positions


def labels_of(cards: Sequence[History], rows: Ints, appended: AppendResult, visibility: Visibility) -> dict[int, Ints]:
    """Return the labels that card histories hold about transactions that get a decision, by index.

    A redelivered transaction does not get labels that came when it was beyond its card's horizon: they are unknown.
    """
    ids: list[int] = rows[:, records.ID].tolist()
    positions = appended.positions[Entity.CARD]
    return {
        i: _applicable(card, labels_about(card, ids[i]), positions[i], visibility)
        for i, card in enumerate(cards)
        if appended.fates[i] is Fate.DECIDE and ids[i] in (card.labelled or ())
    }


def _applicable(card: History, labels: Ints, position: int, visibility: Visibility) -> Ints:
    """Return those of a transaction's labels that came before it, or found it within its card's horizon."""
    if position == NOWHERE:
        return labels
    horizon_ms, displaced = visibility.retention.horizon_ms, visibility.displaced
    places = [card.find(int(label[records.ID])) for label in labels]
    applicable = [
        place is None or place < position or judge_label(card, label, horizon_ms, displaced).transaction is not None
        for place, label in zip(places, labels, strict=True)
    ]
    kept: Ints = labels[applicable]
    return kept


def append_to_others(
    histories: Sequence[History | None], rows: Ints, accepted: AcceptedRows, skip_expired_ms: int = NO_HORIZON_MS
) -> list[int]:
    """Append the accepted transactions, if absent, to histories of one other kind, with the labels about them.

    A record newer than all of a history is not in it, so nearly all need no search.
    """
    positions = [NOWHERE] * len(histories)
    ids: list[int] = rows[:, records.ID].tolist()
    times: list[int] = rows[:, records.TIME].tolist()
    known = {i: history for i, history in enumerate(histories) if history is not None and accepted.mask[i]}
    older = {i: history for i, history in known.items() if times[i] <= history.newest_ms}
    which = list(older)
    present = {which[place] for place in known_before(list(older.values()), rows[which, records.ID])}
    appended: set[int] = set()
    for i, history in known.items():
        position = history.find(ids[i], times[i]) if i in present or ids[i] in appended else None
        if position is None and history.notes is not None:
            position = history.position_if_compacted(rows[i])
        appended.add(ids[i])
        if position is None and times[i] <= history.newest_ms - skip_expired_ms:
            continue
        positions[i] = history.append(rows[i], times[i]) if position is None else position
        for label in accepted.labels.get(i, ()):
            append_label(history, label, times[i])
    return positions


def append_card_label(card: History, row: Ints, visibility: Visibility) -> AppendedLabel:
    """Judge a label and append it to its card's history, if absent."""
    verdict = judge_label(card, row, visibility.retention.horizon_ms, visibility.displaced)
    if verdict.position is not None:
        return AppendedLabel(card, verdict, verdict.position)
    if verdict.transaction is not None:
        row[records.AMOUNT] = verdict.transaction[records.TIME]
    return AppendedLabel(card, verdict, card.append(row, None))


def append_label(history: History, label: Ints, occurred_ms: int) -> int:
    """Append a label, with its transaction's time, to a merchant's or device's history if absent; return its place."""
    position = history.find(int(label[records.ID]))
    if position is None:
        row = label[: records.SHARED_COLUMNS].copy()
        row[records.AMOUNT] = occurred_ms
        position = history.append(row, None)
    return position


def visible_histories(
    histories: Sequence[History | None], positions: Sequence[int], own: Ints, visibility: Visibility
) -> Histories:
    """Return what each of n transactions may see in one kind of history: its own record alone at position NOWHERE.

    A displaced record sees everything but what came later from its own source.
    """
    long: dict[History, list[int]] = {}
    views: list[RowView] = []
    own = np.ascontiguousarray(own)
    own_at, width, displaced = own.ctypes.data, own.strides[0], visibility.displaced.among(own)
    for i, (history, position) in enumerate(zip(histories, positions, strict=True)):
        if history is None or position == NOWHERE:
            views.append((own, i, i + 1, own_at + i * width))
        elif visibility.shares_long and history.length >= LONG and not history.is_erased:
            long.setdefault(history, []).append(i)
        elif history.notes is not None or displaced[i] or history.is_erased:
            seen = np.ascontiguousarray(history.seen_by(own[i], position, displaced=displaced[i]))
            views.append((seen, 0, len(seen), seen.ctypes.data))
        else:
            views.append(history.view_upto(position))
    shared = [_shared(history, numbers, (positions, own, visibility)) for history, numbers in long.items()]
    if not views:
        return Histories(own[:0], np.empty(0, np.int64), np.array(positions, np.int64), shared)
    return HistoryViews(views, visibility.retention, np.array(positions, np.int64), shared)


def _shared(history: History, numbers: Sequence[int], of_all: tuple[Sequence[int], Ints, Visibility]) -> LongHistory:
    """Return a long history for those transactions of a batch that see it.

    Its rows stay as they are: a buffer is replaced, or written behind what is committed.
    """
    positions, own, visibility = of_all
    own = own[numbers]
    rows = history.whole
    rows.setflags(write=False)
    return LongHistory(
        rows=rows,
        numbers=np.array(numbers, np.int64),
        own=own,
        places=np.array([history.place_of(positions[i]) for i in numbers], np.int64),
        displaced=visibility.displaced.among(own),
        compacted=history.notes is not None,
        within=visibility.retention,
    )


def _fraud_labels(labels: Mapping[int, Ints]) -> dict[int, Ints]:
    """Return the labels about transactions that have at least one fraud label.

    Histories with panes get no other labels: a transaction labelled genuine counts like an unlabelled one, and a
    bank may label everything.
    """
    return {i: about for i, about in labels.items() if (about[:, records.FLAGS] & records.FRAUD_BIT).any()}
