"""Features as an author writes them by hand: a sorted set for each card, a hash of daily counts for each merchant.

27 of our 45 columns have a value, the others are undefined to the model. They are cheaper and less exact than ours:
amounts are floats, a merchant's counts are of whole days, and a label never arrives.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np

from features.history.frames import Floats

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
_WINDOWS = (("10m", 10 * _MINUTE_S), ("1h", _HOUR_S), ("1d", _DAY_S), ("7d", 7 * _DAY_S), ("30d", 30 * _DAY_S))
_KEPT_S = 30 * _DAY_S
_MERCHANT_DAYS = (("1d", 1), ("7d", 7), ("30d", 30))
_LAST_NIGHT_HOUR = 6
_SATURDAY = 5
_MINOR = 100.0
_COMMANDS = 5
COLUMNS = (
    *(f"card_{what}_{name}" for name, _ in _WINDOWS for what in ("count", "amount_sum", "amount_mean", "amount_max")),
    "card_seconds_since_last",
    "card_merchants_30d",
    *(f"merchant_count_delayed_{name}" for name, _ in _MERCHANT_DAYS),
    "is_night",
    "is_weekend",
)
"""The columns that have a value, in the order in which `_values` makes them."""


class _Payment(msgspec.Struct):
    transaction_id: str
    card_id: str
    merchant_id: str
    amount_minor: int
    occurred_at: datetime


class _Past(NamedTuple):
    """An earlier payment of a card, as its sorted set has it."""

    at_s: float
    amount: float
    merchant: str


class SimpleFeatures:
    """Asks Redis and computes the columns; keys begin with `keys`, `names` are the model's columns."""

    def __init__(self, names: Sequence[str], keys: str) -> None:
        self._keys = keys
        self._width = len(names)
        self._places = np.array([names.index(name) for name in COLUMNS])
        self._decode = msgspec.json.Decoder(_Payment).decode

    def ask(self, pipeline: Any, payments: Sequence[Any]) -> list[_Payment]:  # noqa: ANN401 - a pipeline of redis-py
        """Queue five commands for each payment: the card's past, the payment itself, what is too old, the merchant."""
        decoded = [self._decode(one.value) for one in payments]
        for one in decoded:
            at_s = one.occurred_at.timestamp()
            card, merchant = f"{self._keys}:c:{one.card_id}", f"{self._keys}:m:{one.merchant_id}"
            amount = one.amount_minor / _MINOR
            pipeline.zrange(card, at_s - _KEPT_S, at_s, byscore=True)
            pipeline.zadd(card, {f"{one.transaction_id}|{at_s}|{amount}|{one.merchant_id}": at_s})
            pipeline.zremrangebyscore(card, "-inf", at_s - _KEPT_S)
            pipeline.hgetall(merchant)
            pipeline.hincrby(merchant, str(int(at_s // _DAY_S)), 1)
        return decoded

    def read(self, asked: list[_Payment], replies: Sequence[Any]) -> tuple[list[tuple[str, str]], Floats]:
        """Return transaction and card of each payment, and the matrix of the model's columns."""
        matrix = np.full((len(asked), self._width), np.nan)
        for at, one in enumerate(asked):
            members, _, _, days, _ = replies[at * _COMMANDS : (at + 1) * _COMMANDS]
            matrix[at, self._places] = _values(one, [_past(member) for member in members], days)
        return [(one.transaction_id, one.card_id) for one in asked], matrix


def _past(member: bytes) -> _Past:
    _, at_s, amount, merchant = member.decode().split("|", 3)
    return _Past(float(at_s), float(amount), merchant)


def _values(one: _Payment, past: Sequence[_Past], days: dict[bytes, bytes]) -> list[float]:
    """Return the columns of one payment."""
    now, own = one.occurred_at.timestamp(), one.amount_minor / _MINOR
    found = list[float]()
    for _, length_s in _WINDOWS:
        amounts = [own, *(other.amount for other in past if other.at_s > now - length_s)]
        total = sum(amounts)
        found += [float(len(amounts)), total, total / len(amounts), max(amounts)]
    found.append(now - max(other.at_s for other in past) if past else np.nan)
    found.append(float(len({one.merchant_id, *(other.merchant for other in past)})))
    counts, today = {int(day): int(count) for day, count in days.items()}, int(now // _DAY_S)
    found += [float(sum(counts.get(today - day, 0) for day in range(1, back + 1))) for _, back in _MERCHANT_DAYS]
    found += [float(one.occurred_at.hour <= _LAST_NIGHT_HOUR), float(one.occurred_at.weekday() >= _SATURDAY)]
    return found
