"""What a batch adds to histories: every record once, refused ones nowhere, as drafts in memory.

Both stores draft in the same way. The one in memory confirms at once; the one on Redis sends the drafts and confirms
them when the server has taken all of them.

Whose histories a batch's transactions belong to, and the records as each of these holds them.

Every transaction is in its card's history and its merchant's; in its device's where one is told and devices' are kept.
Nothing here knows a history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from features.history import records
from features.history.displaced import NONE_DISPLACED, Displaced
from features.history.history import History, known_before, visible
from features.history.retention import Retention
from features.history.rules import LabelVerdict, judge_label, judge_transaction, labels_about
from features.history.store import NOWHERE, Entity, Fate, Histories, Ints, Transactions

NO_ENTITY = 0
"""The hash of whoever is not there."""


@dataclass(frozen=True, slots=True)
class EntityRows:
    """One kind of entity, for n transactions: their hashes (NOBODY: none) and ids ("": none), and their records."""

    hashes: Sequence[int]
    ids: Sequence[str]
    rows: Ints


def rows_by_entity(batch: Transactions, kinds: Sequence[Entity]) -> Mapping[Entity, EntityRows]:
    """Return a batch's parties of each kind, cards first."""
    rows = records.card_rows(batch)
    cards = list(map(records.card_hash, batch.card_ids))
    shared = records.shared_rows(rows, np.array(cards, np.int64))
    found = {
        Entity.CARD: EntityRows(cards, batch.card_ids, rows),
        Entity.MERCHANT: EntityRows(rows[:, records.OTHER].tolist(), batch.merchant_ids, shared),
    }
    if Entity.DEVICE in kinds:
        ids = [device_id or "" for device_id in batch.device_ids]
        found[Entity.DEVICE] = EntityRows(rows[:, records.DEVICE].tolist(), ids, shared)
    return found


class AppendResult(NamedTuple):
    """Fates, and the positions of the records in each kind of history; NOWHERE of what is in none."""

    fates: list[Fate]
    positions: dict[Entity, list[int]]


HistoriesByKind = Mapping[Entity, Sequence[History | None]]
"""One history of each kind for each of n transactions, the same object where it is the same entity; None: nobody's."""

NO_HORIZON_MS = 1 << 61
NO_HORIZONS: Mapping[Entity, int] = MappingProxyType({})


def append_transactions(
    histories: HistoriesByKind,
    entity_rows: Mapping[Entity, EntityRows],
    retentions: Mapping[Entity, Retention],
    skip_expired_ms: Mapping[Entity, int] = NO_HORIZONS,
) -> AppendResult:
    """Judge n transactions in order, and append each that is to be decided to the histories that lack it.

    A transaction's labels that are in the card's history, before it or behind, follow it into the others'. Those whose
    horizon is in `skip_expired_ms` are spared what is out of their sight.
    """
    cards = [card for card in histories[Entity.CARD] if card is not None]
    rows = entity_rows[Entity.CARD].rows
    fates, positions = append_to_cards(cards, rows, retentions[Entity.CARD].horizon_ms)
    decided, labels = [fate is Fate.DECIDE for fate in fates], labels_of(cards, rows, fates)
    draft = AppendResult(fates, {Entity.CARD: positions})
    for kind, others in histories.items():
        if kind is not Entity.CARD:
            accepted = AcceptedRows(decided, _fraud_labels(labels) if retentions[kind].allows_panes else labels)
            skip_ms = skip_expired_ms.get(kind, NO_HORIZON_MS)
            draft.positions[kind] = append_to_others(others, entity_rows[kind].rows, accepted, skip_ms)
    return draft


def append_to_cards(cards: Sequence[History], rows: Ints, horizon_ms: int) -> tuple[list[Fate], list[int]]:
    """Judge n transactions in order, append those that are to be decided to their cards, and say where they are.

    What is new and in time, as nearly all are, is settled without a search. What was in time when it came and is out
    of sight by now, as a repair may meet it, is not appended to its card.
    """
    ids: list[int] = rows[:, records.ID].tolist()
    times: list[int] = rows[:, records.TIME].tolist()
    present = set(known_before(cards, rows[:, records.ID]))
    drafted: set[int] = set()
    fates, positions = [], []
    for i, card in enumerate(cards):
        fate, position = Fate.DECIDE, None
        expired = times[i] <= card.newest_ms - horizon_ms
        if i in present or ids[i] in drafted or expired:
            fate, position = judge_transaction(card, rows[i], horizon_ms)
            if fate is not Fate.DECIDE or (position is None and expired):
                position = NOWHERE
        drafted.add(ids[i])
        fates.append(fate)
        positions.append(card.append(rows[i], times[i]) if position is None else position)
    return fates, positions


class AcceptedRows(NamedTuple):
    """Which of n transactions go on from their cards to other parties, and the labels that go with them, by number."""

    mask: Sequence[bool]
    labels: Mapping[int, Ints]


def labels_of(cards: Sequence[History], rows: Ints, fates: Sequence[Fate]) -> dict[int, Ints]:
    """Return the labels that the cards' histories hold about transactions that are to be decided, by their number."""
    ids: list[int] = rows[:, records.ID].tolist()
    return {
        i: labels_about(card, ids[i])
        for i, card in enumerate(cards)
        if fates[i] is Fate.DECIDE and ids[i] in (card.labelled or ())
    }


def append_to_others(
    histories: Sequence[History | None], rows: Ints, accepted: AcceptedRows, skip_expired_ms: int = NO_HORIZON_MS
) -> list[int]:
    """Append what the cards' histories took to those of one other kind, if absent, with the labels about it.

    What is newer than all of a history is not in it, so nearly all is settled without a search.
    """
    positions = [NOWHERE] * len(histories)
    ids: list[int] = rows[:, records.ID].tolist()
    times: list[int] = rows[:, records.TIME].tolist()
    known = {i: history for i, history in enumerate(histories) if history is not None and accepted.mask[i]}
    older = {i: history for i, history in known.items() if times[i] <= history.newest_ms}
    which = list(older)
    present = {which[place] for place in known_before(list(older.values()), rows[which, records.ID])}
    drafted: set[int] = set()
    for i, history in known.items():
        position = history.find(ids[i], times[i]) if i in present or ids[i] in drafted else None
        if position is None and history.notes is not None:
            position = history.position_if_compacted(rows[i])
        drafted.add(ids[i])
        if position is None and times[i] <= history.newest_ms - skip_expired_ms:
            continue
        positions[i] = history.append(rows[i], times[i]) if position is None else position
        for label in accepted.labels.get(i, ()):
            append_label(history, label, times[i])
    return positions


def _fraud_labels(labels: Mapping[int, Ints]) -> dict[int, Ints]:
    """Return the labels about those transactions of which some label says fraud.

    Where histories fold, what is labelled genuine and nothing else is as good as unlabelled, and a bank may label
    everything.
    """
    return {i: about for i, about in labels.items() if (about[:, records.FLAGS] & records.FRAUD_BIT).any()}


class Visibility(NamedTuple):
    """How far back one kind of history is visible, and which records may not lie in it where they came in."""

    retention: Retention
    displaced: Displaced = NONE_DISPLACED


def visible_histories(
    histories: Sequence[History | None], positions: Sequence[int], own: Ints, visibility: Visibility
) -> Histories:
    """Return what each of n transactions may see of one kind of history: its own record alone if that is NOWHERE.

    One that may be displaced sees all but what its own partition has behind it.
    """
    if not len(own):
        return Histories(own, np.empty(0, np.int64), np.empty(0, np.int64))
    parts = [
        own[i : i + 1]
        if history is None or position == NOWHERE
        else history.without_later(position, own[i])
        if apart
        else history.upto(position)
        if history.notes is None
        else history.upto_with_own(position, own[i])
        for i, (history, position, apart) in enumerate(
            zip(histories, positions, visibility.displaced.among(own), strict=True)
        )
    ]
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    return Histories(*visible(np.concatenate(parts), lengths, visibility.retention), np.array(positions, np.int64))


def append_label(history: History, label: Ints, occurred_ms: int) -> int:
    """Append a label with its transaction's time to another party's history, if absent, and return its position."""
    position = history.find(int(label[records.ID]))
    if position is None:
        row = label[: records.SHARED_COLUMNS].copy()
        row[records.AMOUNT] = occurred_ms
        position = history.append(row, None)
    return position


class AppendedLabel(NamedTuple):
    """A label's standing and its position in its card's history."""

    card: History
    verdict: LabelVerdict
    position: int

    def party(self, kind: Entity) -> int | None:
        """Return whose history of another kind the label's transaction is in; None where nobody's, or not known."""
        return None if self.verdict.transaction is None else records.entity_hash(self.verdict.transaction, kind) or None

    def follow(self, history: History, row: Ints, *, allows_panes: bool) -> int | None:
        """Append the label's record to another party's history, and return its position there.

        Where histories fold, all labels about the transaction go there once one says fraud, and none before.
        """
        transaction = self.verdict.transaction
        assert transaction is not None  # noqa: S101 - only a known transaction has parties
        occurred_ms = int(transaction[records.TIME])
        if not allows_panes:
            return append_label(history, row, occurred_ms)
        for about in _fraud_labels({0: labels_about(self.card, int(transaction[records.ID]))}).values():
            for label in about:
                append_label(history, label, occurred_ms)
        return history.find(int(row[records.ID]))


def append_card_label(card: History, row: Ints, visibility: Visibility) -> AppendedLabel:
    """Judge a label and append it to its card's history, if absent."""
    verdict = judge_label(card, row, visibility.retention.horizon_ms, visibility.displaced)
    if verdict.position is not None:
        return AppendedLabel(card, verdict, verdict.position)
    if verdict.transaction is not None:
        row[records.AMOUNT] = verdict.transaction[records.TIME]
    return AppendedLabel(card, verdict, card.append(row, None))
