"""Whose histories a batch's transactions belong to, and the records as each of these holds them.

Every transaction is in its card's history and its merchant's; in its device's where one is told and devices' are kept.
Nothing here knows a history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from features import records
from features.entities import Entity
from features.store import Ints, Transactions

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
