"""Histories of very many cards, written to Redis at once, and payments of random ones of these cards.

A worker would need a quarter of an hour or more to make the histories of a million cards from their payments. So they
are written as a worker stores them, each in one command: the same records for each card, spread evenly over the 28 days
before the first payment. Merchants have histories as well, and equally many of them at every number of cards, so that
only cards grow.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec
import numpy as np
from redis import Redis

from benchmarks.contenders.scorers import Payment, decoded
from features.declaration import DAY_MS
from features.history import records
from features.history.store import Entity, Ints
from features.redis.cache import CachedHistory
from features.redis.keys import SINGLE_SERVER_SHARDS, KeyLayout
from fraudstream.bench.keys import PREFIX
from fraudstream.bench.payments import PublishedPayment, payments
from stream.settings import Settings

RECORDS = 60
"""Of each card and each merchant."""
MERCHANTS = 2_000
SPAN_MS = 28 * DAY_MS
BEGAN_MS = 1_765_000_000_000
"""When the first payment occurs; the records are before."""
EACH_MS = 20
"""Each payment occurs so long after the one before."""
_PATTERNS = 5_000
"""Simulated payments, of which all others have their amounts, channels and places."""
_AT_ONCE = 500
_OTHER_TOPIC = 1 << 20
"""The partition of the records; the topic of the payments does not have it."""


class CardSupply:
    """Payments of so many cards.

    Args:
        cards: how many.
        seed: of the order of the cards and of the patterns.
    """

    def __init__(self, cards: int, seed: int) -> None:
        self._cards = cards
        self._random = np.random.default_rng(seed)
        self._patterns = [msgspec.json.decode(one.value) for one in payments(_PATTERNS, seed)]
        self._made = 0

    def once_each(self, most: int) -> list[PublishedPayment]:
        """Return one payment of each card in random order, or of `most` of them."""
        return list(self._payments(self._random.permutation(self._cards)[:most]))

    def at_random(self, count: int) -> list[PublishedPayment]:
        """Return payments of cards that are drawn independently."""
        return list(self._payments(self._random.integers(self._cards, size=count)))

    def _payments(self, cards: Ints) -> Iterator[PublishedPayment]:
        merchants = self._random.integers(MERCHANTS, size=len(cards))
        for card, merchant in zip(cards.tolist(), merchants.tolist(), strict=True):
            occurred = datetime.fromtimestamp((BEGAN_MS + self._made * EACH_MS) / 1000, UTC)
            own = {
                "transaction_id": f"payment-of-growth-{self._made:x}",
                "card_id": card_name(card),
                "merchant_id": merchant_name(merchant),
                "occurred_at": occurred.isoformat(timespec="milliseconds"),
            }
            value = msgspec.json.encode(self._patterns[self._made % _PATTERNS] | own)
            self._made += 1
            yield PublishedPayment(own["transaction_id"], own["card_id"].encode(), value)


def card_name(number: int) -> str:
    """Return a card's id."""
    return f"card-of-growth-{number:x}"


def merchant_name(number: int) -> str:
    """Return a merchant's id."""
    return f"shop-of-growth-{number:x}"


def stored_rows(seed: int) -> Ints:
    """Return the records of a card's history, shape (60, 9): of simulated payments, the last one before the first."""
    some = [Payment(one.key, one.value) for one in payments(RECORDS, seed)]
    rows = records.card_rows(decoded(some))
    rows[:, records.TIME] = BEGAN_MS - np.arange(RECORDS, 0, -1) * (SPAN_MS // (RECORDS + 1))
    rows[:, records.FLAGS] |= _OTHER_TOPIC << records.PARTITION_SHIFT
    rows[:, records.OFFSET] = np.arange(RECORDS)
    return rows


def write_histories(settings: Settings, cards: int, seed: int) -> None:
    """Write the histories of cards and merchants to Redis, under the keys of a deployment whose worker has started."""
    rows = stored_rows(seed)
    shared = records.shared_rows(rows, np.arange(RECORDS))
    keys = KeyLayout(PREFIX, settings.deployment, SINGLE_SERVER_SHARDS)
    client = Redis.from_url(settings.redis_url)
    try:
        _write(client, keys, Entity.MERCHANT, (merchant_name(number) for number in range(MERCHANTS)), shared)
        _write(client, keys, Entity.CARD, (card_name(number) for number in range(cards)), rows)
    finally:
        client.close()


def _write(client: Redis, keys: KeyLayout, kind: Entity, names: Iterable[str], rows: Ints) -> None:
    stored, pipeline = rows.astype(records.STORED).tobytes(), client.pipeline(transaction=False)
    for name in names:
        entity = records.HASHES[kind](name)
        key = keys.key(kind, entity)
        pipeline.set(key, CachedHistory(kind, entity, name, key).header() + stored)
        if len(pipeline) >= _AT_ONCE:
            pipeline.execute()
    pipeline.execute()
