"""Payments whose histories are all about as long: some 60 visible records a card, some 100 a merchant.

They come as the columns that a store is asked with, evenly in time, so nothing of decoding is in what they are used to
measure. Some payments have a device, and one in a hundred is labelled as fraud a day later.

Payments to measure with: an invented population's, in order, as they would lie on the topic.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import msgspec
import numpy as np

from features.declaration import DAY_MS
from features.history import records
from features.history.store import Label, Transactions
from stream.demo.world.world import Plan, simulate
from stream.demo.world.writing import live

_START_MS = 1_759_968_000_000
_CARDS_PER_THOUSAND = 20
_DAYS = 60
_LEAST_MERCHANTS = 200
_WITH_DEVICE = 3
_LABELLED = 100
_CURRENCY_DECIMALS = 2
_ZONE_MINUTES = 120


class PublishedPayment(NamedTuple):
    """One record as it is published, and the transaction that it is."""

    transaction_id: str
    key: bytes
    value: bytes


def payments(count: int, seed: int) -> list[PublishedPayment]:
    """Make `count` transactions, some fifty to a card."""
    cards = max(50, count * _CARDS_PER_THOUSAND // 1000)
    plan = Plan(_START_MS, history_days=1, live_days=_DAYS, cards=cards, merchants=max(_LEAST_MERCHANTS, cards // 5))
    made = list(islice(_records(simulate_rows(plan, seed)), count))
    if len(made) < count:
        raise ValueError(f"{cards} cards made {len(made)} payments in {_DAYS} days where {count} are wanted")
    return made


def simulate_rows(plan: Plan, seed: int) -> Iterator[dict[str, object]]:
    """Yield the transactions of a plan's live days."""
    return (one.transaction for one in live(simulate(np.random.default_rng(seed), plan)))


def _records(transactions: Iterator[dict[str, object]]) -> Iterator[PublishedPayment]:
    for transaction in transactions:
        key = str(transaction["card_id"]).encode()
        yield PublishedPayment(str(transaction["transaction_id"]), key, msgspec.json.encode(transaction))


class LabelledBatch(NamedTuple):
    """A batch, and the labels of its frauds."""

    batch: Transactions
    labels: list[Label]


class Crowd:
    """A stream of payments of so many cards; the same `seed` makes the same one.

    60 payments of a card are within the default set's 37 days, and 100 of a merchant within its 44.

    Attributes:
        before: payments until every history is as long as it will be.
    """

    def __init__(self, cards: int, seed: int) -> None:
        self._cards = cards
        self._merchants = cards * 5 // 7
        self._gap_ms = 37 * DAY_MS // (60 * cards)
        self.before = 45 * DAY_MS // self._gap_ms
        self._random = np.random.default_rng(seed)
        self._made = 0

    def next(self, count: int) -> LabelledBatch:
        """Make the next payments."""
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
