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
from features.history.displaced import IN_PLACE, Displaced
from features.history.history import History, known_before, visible
from features.history.retention import Retention
from features.history.rules import LabelVerdict, judge_label, judge_transaction, labels_about
from features.history.store import NOWHERE, Entity, Fate, Histories, Ints, Transactions

NOBODY = 0
"""The hash of whoever is not there."""


@dataclass(frozen=True, slots=True)
class Parties:
    """One kind of entity, for n transactions: their hashes (NOBODY: none) and ids ("": none), and their records."""

    hashes: Sequence[int]
    ids: Sequence[str]
    rows: Ints


def parties(batch: Transactions, kinds: Sequence[Entity]) -> Mapping[Entity, Parties]:
    """Return a batch's parties of each kind, cards first."""
    rows = records.card_rows(batch)
    cards = list(map(records.card_hash, batch.card_ids))
    shared = records.shared_rows(rows, np.array(cards, np.int64))
    found = {
        Entity.CARD: Parties(cards, batch.card_ids, rows),
        Entity.MERCHANT: Parties(rows[:, records.OTHER].tolist(), batch.merchant_ids, shared),
    }
    if Entity.DEVICE in kinds:
        ids = [device_id or "" for device_id in batch.device_ids]
        found[Entity.DEVICE] = Parties(rows[:, records.DEVICE].tolist(), ids, shared)
    return found


class Draft(NamedTuple):
    """Fates, and the positions of the records in each kind of history; NOWHERE of what is in none."""

    fates: list[Fate]
    positions: dict[Entity, list[int]]


Kept = Mapping[Entity, Sequence[History | None]]
"""One history of each kind for each of n transactions, the same object where it is the same entity; None: nobody's."""

FOR_EVER_MS = 1 << 61
NOT_SPARED: Mapping[Entity, int] = MappingProxyType({})


def draft_transactions(
    histories: Kept,
    parties: Mapping[Entity, Parties],
    keeps: Mapping[Entity, Retention],
    spared_ms: Mapping[Entity, int] = NOT_SPARED,
) -> Draft:
    """Judge n transactions in order, and append each that is to be decided to the histories that lack it.

    A transaction's labels that are in the card's history, before it or behind, follow it into the others'. Those whose
    horizon is in `spared_ms` are spared what is out of their sight.
    """
    cards = [card for card in histories[Entity.CARD] if card is not None]
    rows = parties[Entity.CARD].rows
    fates, positions = draft_cards(cards, rows, keeps[Entity.CARD].horizon_ms)
    owed, labels = [fate is Fate.DECIDE for fate in fates], labels_of(cards, rows, fates)
    draft = Draft(fates, {Entity.CARD: positions})
    for kind, theirs in histories.items():
        if kind is not Entity.CARD:
            following = Following(owed, _telling(labels) if keeps[kind].folds else labels)
            spared = spared_ms.get(kind, FOR_EVER_MS)
            draft.positions[kind] = draft_others(theirs, parties[kind].rows, following, spared)
    return draft


def draft_cards(cards: Sequence[History], rows: Ints, horizon_ms: int) -> tuple[list[Fate], list[int]]:
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
        invisible = times[i] <= card.newest_ms - horizon_ms
        if i in present or ids[i] in drafted or invisible:
            fate, position = judge_transaction(card, rows[i], horizon_ms)
            if fate is not Fate.DECIDE or (position is None and invisible):
                position = NOWHERE
        drafted.add(ids[i])
        fates.append(fate)
        positions.append(card.append(rows[i], times[i]) if position is None else position)
    return fates, positions


class Following(NamedTuple):
    """Which of n transactions go on from their cards to other parties, and the labels that go with them, by number."""

    owed: Sequence[bool]
    labels: Mapping[int, Ints]


def labels_of(cards: Sequence[History], rows: Ints, fates: Sequence[Fate]) -> dict[int, Ints]:
    """Return the labels that the cards' histories hold about transactions that are to be decided, by their number."""
    ids: list[int] = rows[:, records.ID].tolist()
    return {
        i: labels_about(card, ids[i])
        for i, card in enumerate(cards)
        if fates[i] is Fate.DECIDE and ids[i] in (card.labelled or ())
    }


def draft_others(
    theirs: Sequence[History | None], rows: Ints, following: Following, spared_ms: int = FOR_EVER_MS
) -> list[int]:
    """Append what the cards' histories took to those of one other kind, if absent, with the labels about it.

    What is newer than all of a history is not in it, so nearly all is settled without a search.
    """
    positions = [NOWHERE] * len(theirs)
    ids: list[int] = rows[:, records.ID].tolist()
    times: list[int] = rows[:, records.TIME].tolist()
    known = {i: history for i, history in enumerate(theirs) if history is not None and following.owed[i]}
    older = {i: history for i, history in known.items() if times[i] <= history.newest_ms}
    which = list(older)
    present = {which[place] for place in known_before(list(older.values()), rows[which, records.ID])}
    drafted: set[int] = set()
    for i, history in known.items():
        position = history.find(ids[i], times[i]) if i in present or ids[i] in drafted else None
        if position is None and history.folded is not None:
            position = history.place_of_folded(rows[i])
        drafted.add(ids[i])
        if position is None and times[i] <= history.newest_ms - spared_ms:
            continue
        positions[i] = history.append(rows[i], times[i]) if position is None else position
        for label in following.labels.get(i, ()):
            draft_label(history, label, times[i])
    return positions


def _telling(labels: Mapping[int, Ints]) -> dict[int, Ints]:
    """Return the labels about those transactions of which some label says fraud.

    Where histories fold, what is labelled genuine and nothing else is as good as unlabelled, and a bank may label
    everything.
    """
    return {i: about for i, about in labels.items() if (about[:, records.FLAGS] & records.FRAUD_BIT).any()}


class Visibility(NamedTuple):
    """How far back one kind of history is visible, and which records may not lie in it where they came in."""

    keep: Retention
    displaced: Displaced = IN_PLACE


def seen(theirs: Sequence[History | None], positions: Sequence[int], own: Ints, sight: Visibility) -> Histories:
    """Return what each of n transactions may see of one kind of history: its own record alone if that is NOWHERE.

    One that may be displaced sees all but what its own partition has behind it.
    """
    if not len(own):
        return Histories(own, np.empty(0, np.int64), np.empty(0, np.int64))
    parts = [
        own[i : i + 1]
        if history is None or position == NOWHERE
        else history.but_later(position, own[i])
        if apart
        else history.upto(position)
        if history.folded is None
        else history.upto_own(position, own[i])
        for i, (history, position, apart) in enumerate(zip(theirs, positions, sight.displaced.among(own), strict=True))
    ]
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    return Histories(*visible(np.concatenate(parts), lengths, sight.keep), np.array(positions, np.int64))


def draft_label(history: History, label: Ints, occurred_ms: int) -> int:
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
    standing: LabelVerdict
    position: int

    def party(self, kind: Entity) -> int | None:
        """Return whose history of another kind the label's transaction is in; None where nobody's, or not known."""
        return None if self.standing.transaction is None else records.party(self.standing.transaction, kind) or None

    def follow(self, history: History, row: Ints, *, folds: bool) -> int | None:
        """Append the label's record to another party's history, and return its position there.

        Where histories fold, all labels about the transaction go there once one says fraud, and none before.
        """
        transaction = self.standing.transaction
        assert transaction is not None  # noqa: S101 - only a known transaction has parties
        occurred_ms = int(transaction[records.TIME])
        if not folds:
            return draft_label(history, row, occurred_ms)
        for about in _telling({0: labels_about(self.card, int(transaction[records.ID]))}).values():
            for label in about:
                draft_label(history, label, occurred_ms)
        return history.find(int(row[records.ID]))


def draft_card_label(card: History, row: Ints, sight: Visibility) -> AppendedLabel:
    """Judge a label and append it to its card's history, if absent."""
    standing = judge_label(card, row, sight.keep.horizon_ms, sight.displaced)
    if standing.position is not None:
        return AppendedLabel(card, standing, standing.position)
    if standing.transaction is not None:
        row[records.AMOUNT] = standing.transaction[records.TIME]
    return AppendedLabel(card, standing, card.append(row, None))
