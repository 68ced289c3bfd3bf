"""What a batch adds to histories: every record once, refused ones nowhere, as drafts in memory.

Both stores draft in the same way. The one in memory confirms at once; the one on Redis sends the drafts and confirms
them when the server has taken all of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from features import records
from features.histories import History, known_before, visible
from features.judging import Standing, judge_label, judge_transaction, labels_about
from features.store import Fate, Histories, Ints

NOWHERE = -1
"""The position of what is in no history."""


class Rows(NamedTuple):
    """A batch's records as cards hold them and as merchants hold them, int64 of shape (n, 6) each."""

    card: Ints
    merchant: Ints


class Draft(NamedTuple):
    """Fates, and the positions of the records; a transaction that is not to be decided has none (NOWHERE)."""

    fates: list[Fate]
    card_positions: list[int]
    merchant_positions: list[int]


def draft_transactions(
    cards: Sequence[History],
    merchants: Sequence[History],
    rows: Rows,
    horizon_ms: int,
) -> Draft:
    """Judge n transactions in order, and append each that is to be decided to its card and its merchant, if absent.

    `cards` and `merchants` name one history for each transaction, the same object where it is the same entity.
    Labels that waited for their transaction in the card's history follow it into the merchant's.
    """
    fates, card_positions = _draft_cards(cards, rows.card, horizon_ms)
    ids: list[int] = rows.merchant[:, records.ID].tolist()
    times: list[int] = rows.merchant[:, records.TIME].tolist()
    present = set(known_before(merchants, records.ID, rows.merchant[:, records.ID]))
    drafted: set[int] = set()
    merchant_positions = []
    for i, merchant in enumerate(merchants):
        position: int | None = NOWHERE
        if fates[i] is Fate.DECIDE:
            position = merchant.find(ids[i]) if i in present or ids[i] in drafted else None
            drafted.add(ids[i])
        if position is None:
            position = merchant.append(rows.merchant[i], times[i])
        if fates[i] is Fate.DECIDE and cards[i].has_labels:
            for label in labels_about(cards[i], ids[i], card_positions[i]):
                draft_label(merchant, label, times[i])
        merchant_positions.append(position)
    return Draft(fates, card_positions, merchant_positions)


def _draft_cards(cards: Sequence[History], rows: Ints, horizon_ms: int) -> tuple[list[Fate], list[int]]:
    """Judge in order; what is new, alone on its card and in time, as nearly all are, is settled without a search."""
    times: list[int] = rows[:, records.TIME].tolist()
    lengths = [card.length for card in cards]
    present = set(known_before(cards, records.ID, rows[:, records.ID]))
    fates, positions = [], []
    for i, card in enumerate(cards):
        fate, position = Fate.DECIDE, None
        if i in present or card.length != lengths[i] or times[i] <= card.newest_ms - horizon_ms:
            fate, position = judge_transaction(card, rows[i], horizon_ms)
            position = position if fate is Fate.DECIDE else NOWHERE
        fates.append(fate)
        positions.append(card.append(rows[i], times[i]) if position is None else position)
    return fates, positions


def seen(histories: Sequence[History], positions: Sequence[int], own: Ints, horizon_ms: int) -> Histories:
    """Return what each of n transactions may see of its card or of its merchant: its own record alone if NOWHERE."""
    parts = [
        own[i : i + 1] if position == NOWHERE else history.upto(position)
        for i, (history, position) in enumerate(zip(histories, positions, strict=True))
    ]
    return visible(parts, horizon_ms)


def draft_label(merchant: History, label: Ints, occurred_ms: int) -> int:
    """Append a label with its transaction's time to a merchant's history, if absent, and return its position."""
    position = merchant.find(int(label[records.ID]))
    if position is None:
        row = label.copy()
        row[records.AMOUNT] = occurred_ms
        position = merchant.append(row, None)
    return position


class Noted(NamedTuple):
    """A label's standing and its position in its card's history."""

    standing: Standing
    position: int


def draft_card_label(card: History, row: Ints, horizon_ms: int) -> Noted:
    """Judge a label and append it to its card's history, if absent."""
    standing = judge_label(card, row, horizon_ms)
    if standing.position is not None:
        return Noted(standing, standing.position)
    if standing.transaction is not None:
        row[records.AMOUNT] = standing.transaction[records.TIME]
    return Noted(standing, card.append(row, None))
