"""A whole simulation: what happened, in order of time, with what the issuer will be told about it and when.

History and live are one run cut at an instant, so campaigns go on across the cut as they would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.random import Generator

from stream.demo.world.fraud import abuse
from stream.demo.world.population import Population, populate
from stream.demo.world.rows import DAY_MS, HOUR_MS, Indices, Millis, TransactionRows
from stream.demo.world.spending import equip, spend

REPORTED_BY = ("customer", "chargeback")
CUSTOMER_SHARE = 0.45
LONGEST_DELAY_MS = 30 * DAY_MS


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate.

    Raises:
        ValueError: a length or a share that makes no sense.
    """

    history_start_ms: int
    """The first instant, epoch milliseconds: a midnight in UTC."""
    history_days: int = 60
    live_days: int = 2
    cards: int = 5_000
    """About 1.1 purchases a card a day."""
    merchants: int = 900
    fraud_share: float = 0.007
    """How much of all transactions is fraud, about."""

    def __post_init__(self) -> None:
        if self.history_start_ms % DAY_MS:
            raise ValueError(f"history starts at {self.history_start_ms} ms, which is no midnight in UTC")
        if self.history_days < 1 or self.live_days < 0:
            raise ValueError(f"{self.history_days} days of history and {self.live_days} live")
        if not 0 <= self.fraud_share < 1:
            raise ValueError(f"a fraud share of {self.fraud_share}")

    @classmethod
    def ending_before(cls, now_ms: int, history_days: int, live_days: int) -> Self:
        """Plan for the days that end with the last midnight before `now_ms`: nothing in it lies in the future."""
        return cls(now_ms // DAY_MS * DAY_MS - (history_days + live_days) * DAY_MS, history_days, live_days)

    @property
    def live_start_ms(self) -> int:
        """Where history ends and live begins."""
        return self.history_start_ms + self.history_days * DAY_MS


@dataclass(frozen=True, slots=True)
class World:
    """All transactions of a plan in order of time; row n is the transaction `transaction_name(n)`."""

    plan: Plan
    population: Population
    rows: TransactionRows
    labelled_ms: Millis
    """When the truth about a row becomes known; never before the row itself."""
    by_customer: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """Whether the holder says so, and not a chargeback."""
    device: Indices
    """On which device a row was bought, `devices.NONE` at a terminal."""
    cut: int
    """The first live row."""


def simulate(rng: Generator, plan: Plan) -> World:
    """Carry out a plan; the same generator state gives the same world."""
    population = populate(rng, plan.cards, plan.merchants)
    days = plan.history_days + plan.live_days
    genuine = spend(rng, population, plan.history_start_ms, days)
    count = round(len(genuine) * plan.fraud_share / (1 - plan.fraud_share))
    parts = [genuine, abuse(rng, population, plan.history_start_ms, days, count)] if count else [genuine]
    rows = TransactionRows.joined(parts)
    rows = rows.take(np.argsort(rows.occurred_ms, kind="stable"))
    delay, by_customer = _delays(rng, len(rows))
    device = equip(rng, population, rows)
    cut = int(np.searchsorted(rows.occurred_ms, plan.live_start_ms))
    return World(plan, population, rows, rows.occurred_ms + delay, by_customer, device, cut)


def _delays(rng: Generator, count: int) -> tuple[Millis, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Draw how long the truth takes: hours to days from the holder, days to weeks by chargeback.

    Genuine rows settle at the same pace as fraud: else the newest labelled days of a history would hold fraud alone.
    """
    by_customer = rng.random(count) < CUSTOMER_SHARE
    median = np.where(by_customer, 14 * HOUR_MS, 6 * DAY_MS)
    delay = median * np.exp(rng.normal(0.0, 0.7, count))
    return np.clip(delay, HOUR_MS, LONGEST_DELAY_MS).astype(np.int64), by_customer


def transaction_name(number: int) -> str:
    """Name the transaction of a row."""
    return f"tx-{number:08d}"


def card_name(card: int) -> str:
    """Name a card: a token, never a card number."""
    return f"card-{card:06d}"


def merchant_name(merchant: int) -> str:
    """Name a merchant."""
    return f"shop-{merchant:05d}"


def device_name(device: int) -> str:
    """Name a device."""
    return f"dev-{device:07d}"
