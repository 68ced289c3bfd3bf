"""A complete simulation: all transactions in order of time, and when the issuer learns the truth about each.

History and live stream are one simulation, cut at an instant, so that fraud campaigns continue across the cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.random import Generator

from fraudstream.demo.world.fraud import abuse
from fraudstream.demo.world.population import Population, populate
from fraudstream.demo.world.rows import DAY_MS, HOUR_MS, Indices, Millis, TransactionRows
from fraudstream.demo.world.spending import equip, spend

REPORTED_BY = ("customer", "chargeback")
CUSTOMER_SHARE = 0.45
LONGEST_DELAY_MS = 30 * DAY_MS


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate.

    Raises:
        ValueError: a length or a share is impossible.
    """

    history_start_ms: int
    """The first instant, epoch milliseconds: a midnight in UTC."""
    history_days: int = 60
    live_days: int = 2
    cards: int = 5_000
    """About 1.1 purchases a card a day."""
    merchants: int = 900
    fraud_share: float = 0.007
    """The approximate share of fraud in all transactions."""

    def __post_init__(self) -> None:
        if self.history_start_ms % DAY_MS:
            raise ValueError(f"history starts at {self.history_start_ms} ms, which is no midnight in UTC")
        if self.history_days < 1 or self.live_days < 0:
            raise ValueError(f"{self.history_days} days of history and {self.live_days} live")
        if not 0 <= self.fraud_share < 1:
            raise ValueError(f"a fraud share of {self.fraud_share}")

    @classmethod
    def ending_before(cls, now_ms: int, history_days: int, live_days: int) -> Self:
        """Return a plan for the days up to the last midnight before `now_ms`, so that nothing lies in the future."""
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
    """When the truth about a row becomes known, never before the row."""
    by_customer: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """Whether the holder reports it, rather than a chargeback."""
    device: Indices
    """The device of a row, `spending.NONE` at a terminal."""
    cut: int
    """The first live row."""


def simulate(rng: Generator, plan: Plan) -> World:
    """Simulate a plan; the same generator state gives the same world."""
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
    """Draw the delay of the truth: hours to days from the holder, days to weeks by chargeback.

    Genuine rows have the same delays as fraud, or the newest labelled days of a history would have fraud alone.
    """
    by_customer = rng.random(count) < CUSTOMER_SHARE
    median = np.where(by_customer, 14 * HOUR_MS, 6 * DAY_MS)
    delay = median * np.exp(rng.normal(0.0, 0.7, count))
    return np.clip(delay, HOUR_MS, LONGEST_DELAY_MS).astype(np.int64), by_customer


def transaction_name(number: int) -> str:
    """Return the id of a row's transaction."""
    return f"tx-{number:08d}"


def card_name(card: int) -> str:
    """Return the id of a card: a token, never a card number."""
    return f"card-{card:06d}"


def merchant_name(merchant: int) -> str:
    """Return the id of a merchant."""
    return f"shop-{merchant:05d}"


def device_name(device: int) -> str:
    """Return the id of a device."""
    return f"dev-{device:07d}"
