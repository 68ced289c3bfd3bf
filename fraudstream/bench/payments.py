"""Payments to measure with: those of a simulated population, in the order in which they would be on the topic.

Their transactions and cards have random identifiers, as tokens are: a counter would compress better than those do.
They are letters, since one in a thousand with digits would pass for a card number.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import msgspec
import numpy as np

from fraudstream.demo.world.world import Plan, simulate
from fraudstream.demo.world.writing import live

_START_MS = 1_759_968_000_000
_CARDS_PER_THOUSAND = 20
_DAYS = 60
_LEAST_MERCHANTS = 200
_FIRST_SEED = 5
_MADE_AGAIN = 10_000
_LETTERS = str.maketrans("0123456789", "ghijklmnop")


class PublishedPayment(NamedTuple):
    """One record as it is published, and its transaction."""

    transaction_id: str
    key: bytes
    value: bytes


def payments(count: int, seed: int) -> list[PublishedPayment]:
    """Simulate `count` transactions, some fifty for each card."""
    cards = max(50, count * _CARDS_PER_THOUSAND // 1000)
    plan = Plan(_START_MS, history_days=1, live_days=_DAYS, cards=cards, merchants=max(_LEAST_MERCHANTS, cards // 5))
    simulated = live(simulate(np.random.default_rng(seed), plan))
    found = list(islice(_records((one.transaction for one in simulated), seed), count))
    if len(found) < count:
        raise ValueError(f"{cards} cards made {len(found)} payments in {_DAYS} days where {count} are wanted")
    return found


def _records(transactions: Iterator[dict[str, object]], seed: int) -> Iterator[PublishedPayment]:
    random = np.random.default_rng((seed, 1))

    def identifier() -> str:
        return random.bytes(16).hex().translate(_LETTERS)

    cards: defaultdict[object, str] = defaultdict(identifier)
    for transaction in transactions:
        named = {"transaction_id": identifier(), "card_id": cards[transaction["card_id"]]}
        value = msgspec.json.encode(transaction | named)
        yield PublishedPayment(named["transaction_id"], named["card_id"].encode(), value)


class PaymentSupply:
    """Payments that were not published yet; `first` are simulated at once, and more when they run out."""

    def __init__(self, first: int) -> None:
        self._seed = _FIRST_SEED
        self._made = iter(payments(first, self._seed))

    async def take(self, count: int) -> list[PublishedPayment]:
        """Return the next payments, and simulate those that are missing in another thread."""
        found = list(islice(self._made, count))
        while len(found) < count:
            self._seed += 1
            self._made = iter(await asyncio.to_thread(payments, max(_MADE_AGAIN, count), self._seed))
            found += islice(self._made, count - len(found))
        return found
