"""Payments whose histories have about the same length: some 60 visible records a card, some 100 a merchant.

They are columns, as a store takes them, evenly spread over time, so that decoding is not part of what is measured. Some
payments have a device, and one in a hundred is labelled as fraud a day later.
"""

from typing import NamedTuple

import numpy as np

from features.declaration import DAY_MS
from features.history import records
from features.history.store import Label, Transactions

_START_MS = 1_759_968_000_000
_WITH_DEVICE = 3
_LABELLED = 100
_CURRENCY_DECIMALS = 2
_ZONE_MINUTES = 120


class LabelledBatch(NamedTuple):
    """A batch, and the labels of its frauds."""

    batch: Transactions
    labels: list[Label]


class Workload:
    """An endless stream of payments of `cards` cards; the same `seed` gives the same stream.

    60 payments of a card are within the default set's 37 days, and 100 of a merchant within its 44.

    Attributes:
        before: payments until every history has reached its length.
    """

    def __init__(self, cards: int, seed: int) -> None:
        self._cards = cards
        self._merchants = cards * 5 // 7
        self._gap_ms = 37 * DAY_MS // (60 * cards)
        self.before = 45 * DAY_MS // self._gap_ms
        self._random = np.random.default_rng(seed)
        self._made = 0

    def next(self, count: int) -> LabelledBatch:
        """Return the next payments."""
        numbers = np.arange(self._made, self._made + count)
        self._made += count
        cards = self._random.integers(0, self._cards, count).tolist()
        merchants = self._random.integers(0, self._merchants, count).tolist()
        batch = Transactions(
            transaction_ids=[f"bench-{number:09d}" for number in numbers],
            card_ids=[f"card-{card:05d}" for card in cards],
            merchant_ids=[f"shop-{merchant:05d}" for merchant in merchants],
            occurred_ms=_START_MS + numbers * self._gap_ms + self._random.integers(0, self._gap_ms, count),
            utc_offset_minutes=np.full(count, _ZONE_MINUTES, np.int64),
            amount_minor=np.rint(np.exp(self._random.normal(8.0, 1.0, count))).astype(np.int64) + 1,
            exponent=np.full(count, _CURRENCY_DECIMALS, np.int64),
            content=self._random.integers(0, 1 << 63, count).astype(np.uint64),
            partition=numbers % 4,
            offset=numbers,
            device_ids=[None if card % _WITH_DEVICE else f"phone-{card:05d}" for card in cards],
            place=np.array([records.pack_place(52.0 + merchant * 1e-3, 4.0) for merchant in merchants], np.int64),
            traits=np.array([_traits(merchant) for merchant in merchants], np.int64),
        )
        frauds = np.flatnonzero(numbers % _LABELLED == 0).tolist()
        return LabelledBatch(batch, [_fraud(batch, place) for place in frauds])


def _traits(merchant: int) -> int:
    packed = records.pack_traits(f"{5000 + merchant % 50}", "NL", records.CHANNELS[merchant % 2], _ZONE_MINUTES, "EUR")
    return packed | (1 << records.HAS_PLACE.shift)


def _fraud(batch: Transactions, place: int) -> Label:
    occurred_ms = int(batch.occurred_ms[place])
    return Label(
        transaction_id=batch.transaction_ids[place],
        card_id=batch.card_ids[place],
        fraud=True,
        labelled_ms=occurred_ms + DAY_MS,
        reported_by="chargeback",
        merchant_id=batch.merchant_ids[place],
        occurred_ms=occurred_ms,
        partition=int(batch.partition[place]),
        offset=int(batch.offset[place]),
    )
