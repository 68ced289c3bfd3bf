"""Payments to measure with: an invented population's, in order, as they would lie on the topic."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import msgspec
import numpy as np

from stream.simulation.world import Plan, simulate
from stream.simulation.writing import live

_START_MS = 1_759_968_000_000
_CARDS_PER_THOUSAND = 20
_DAYS = 60
_LEAST_MERCHANTS = 200


class Sent(NamedTuple):
    """One record as it is published, and the transaction that it is."""

    transaction_id: str
    key: bytes
    value: bytes


def payments(count: int, seed: int) -> list[Sent]:
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


def _records(transactions: Iterator[dict[str, object]]) -> Iterator[Sent]:
    for transaction in transactions:
        key = str(transaction["card_id"]).encode()
        yield Sent(str(transaction["transaction_id"]), key, msgspec.json.encode(transaction))
