"""The fraud on a population's cards: four patterns, each drawn for a whole period at once.

Each is visible to features: a burst, a jump in amounts, a new merchant, an unusual hour, a merchant's past fraud.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fraudstream.demo.world.population import Population
from fraudstream.demo.world.rows import DAY_MS, HOUR_MS, MINUTE_MS, Amounts, Indices, Millis, Pattern, TransactionRows

SHARES = {Pattern.STOLEN: 0.35, Pattern.SKIMMED: 0.25, Pattern.TAKEOVER: 0.2, Pattern.TESTING: 0.2}
"""The share of each pattern in all fraudulent transactions."""
MEAN_LENGTH = {Pattern.STOLEN: 6.0, Pattern.SKIMMED: 2.0, Pattern.TAKEOVER: 4.0, Pattern.TESTING: 13.6}
"""Transactions of one victim, on average, as drawn below."""
CAMPAIGN_DAYS = 8
VICTIMS_A_CAMPAIGN = 12
TYPICAL_EURO = 28.0
TESTED_THEN_USED = 0.66


@dataclass(frozen=True, slots=True)
class Episodes:
    """Victims, repeated to one entry for each transaction."""

    card: Indices
    start_ms: Millis
    step: Indices
    """0 for the first transaction of an episode."""
    last: Indices
    """The step of the episode's last one."""
    number: Indices
    """Which episode."""

    @classmethod
    def of(cls, victim: Indices, start_ms: Millis, length: NDArray[np.int64]) -> Episodes:
        """Repeat each victim as often as its episode is long."""
        step = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
        return cls(
            card=np.repeat(victim, length),
            start_ms=np.repeat(start_ms, length),
            step=step.astype(np.int32),
            last=np.repeat(length - 1, length).astype(np.int32),
            number=np.repeat(np.arange(len(victim)), length).astype(np.int32),
        )

    def times(self, rng: Generator, mean_gap_ms: int) -> Millis:
        """Return times at this mean distance within each episode, the first at its start."""
        gaps = np.where(self.step == 0, 0, rng.exponential(mean_gap_ms, len(self.step))).astype(np.int64)
        total = np.cumsum(gaps)
        first = np.flatnonzero(self.step == 0)
        return self.start_ms + total - total[first][self.number]


def abuse(rng: Generator, population: Population, start_ms: int, days: int, count: int) -> TransactionRows:
    """Return about `count` fraudulent transactions in the `days` from `start_ms`, a midnight in UTC."""
    drawn = [
        _stolen(rng, population, days, _victims(count, Pattern.STOLEN)),
        _skimmed(rng, population, days, _victims(count, Pattern.SKIMMED)),
        _takeover(rng, population, days, _victims(count, Pattern.TAKEOVER)),
        _testing(rng, population, days, _victims(count, Pattern.TESTING)),
    ]
    rows = TransactionRows.joined(drawn)
    inside = rows.take(rows.occurred_ms < days * DAY_MS)
    return TransactionRows(inside.card, inside.merchant, inside.occurred_ms + start_ms, inside.amount, inside.pattern)


def _victims(count: int, pattern: Pattern) -> int:
    """Return how many victims give a pattern its share of `count` transactions."""
    return round(count * SHARES[pattern] / MEAN_LENGTH[pattern])


def _cards(rng: Generator, population: Population, count: int) -> Indices:
    return rng.integers(0, len(population.home), count).astype(np.int32)


def _rows(episodes: Episodes, merchant: Indices, at: Millis, amount: Amounts, pattern: Pattern) -> TransactionRows:
    kinds = np.full(len(merchant), pattern, np.int8)
    return TransactionRows(episodes.card, merchant.astype(np.int32), at, np.maximum(amount, 0.5), kinds)


def _stolen(rng: Generator, population: Population, days: int, victims: int) -> TransactionRows:
    """One small purchase online to see whether the card works, then large ones a quarter of an hour apart."""
    start = rng.integers(0, days * DAY_MS, victims)
    episodes = Episodes.of(_cards(rng, population, victims), start, 3 + rng.poisson(3, victims))
    size = len(episodes.step)
    large = TYPICAL_EURO * population.scale[episodes.card] * rng.lognormal(np.log(7.0), 0.6, size)
    amount = np.where(episodes.step == 0, rng.uniform(1.0, 5.0, size), large)
    merchant = rng.choice(population.merchants.online, size)
    return _rows(episodes, merchant, episodes.times(rng, 15 * MINUTE_MS), amount, Pattern.STOLEN)


def _skimmed(rng: Generator, population: Population, days: int, victims: int) -> TransactionRows:
    """Campaigns: copies of one town's cards, used for a week or so at two complicit merchants."""
    campaigns = max(1, victims // VICTIMS_A_CAMPAIGN)
    town = population.home[_cards(rng, population, campaigns)]
    begin = rng.integers(-CAMPAIGN_DAYS * DAY_MS, days * DAY_MS, campaigns)
    takers = rng.choice(population.merchants.complicit, (campaigns, 2))
    campaign = rng.integers(0, campaigns, victims)
    homes = [np.flatnonzero(population.home == here) for here in town]
    victim = np.array([rng.choice(homes[which]) for which in campaign], np.int32)
    start = begin[campaign] + rng.integers(0, CAMPAIGN_DAYS * DAY_MS, victims)
    daytime = start // DAY_MS * DAY_MS + rng.integers(9 * HOUR_MS, 20 * HOUR_MS, victims)
    episodes = Episodes.of(victim, daytime, 1 + rng.poisson(1, victims))
    size = len(episodes.step)
    amount = rng.lognormal(np.log(140.0), 0.5, size)
    merchant = takers[campaign[episodes.number], rng.integers(0, 2, size)]
    rows = _rows(episodes, merchant, episodes.times(rng, 40 * MINUTE_MS), amount, Pattern.SKIMMED)
    return rows.take(rows.occurred_ms >= 0)


def _takeover(rng: Generator, population: Population, days: int, victims: int) -> TransactionRows:
    """Between one and four at night, at merchants online, several times what the holder spends."""
    night = rng.integers(1 * HOUR_MS, 4 * HOUR_MS, victims)
    start = rng.integers(0, days, victims) * DAY_MS + night
    episodes = Episodes.of(_cards(rng, population, victims), start, 2 + rng.poisson(2, victims))
    size = len(episodes.step)
    amount = TYPICAL_EURO * population.scale[episodes.card] * rng.lognormal(np.log(3.5), 0.5, size)
    merchant = rng.choice(population.merchants.online, size)
    return _rows(episodes, merchant, episodes.times(rng, 20 * MINUTE_MS), amount, Pattern.TAKEOVER)


def _testing(rng: Generator, population: Population, days: int, victims: int) -> TransactionRows:
    """A machine tries the card for cents at one merchant, seconds apart; mostly a large purchase follows.

    Every other machine tries the same amount again and again.
    """
    start = rng.integers(0, days * DAY_MS, victims)
    episodes = Episodes.of(_cards(rng, population, victims), start, 6 + rng.poisson(7, victims) + 1)
    size = len(episodes.step)
    ends = (episodes.step == episodes.last) & (rng.random(victims) < TESTED_THEN_USED)[episodes.number]
    cents = rng.uniform(0.5, 2.0, size)
    first = cents[np.flatnonzero(episodes.step == 0)][episodes.number]
    cents = np.where(episodes.number % 2 == 0, first, cents)
    amount = np.where(ends, rng.lognormal(np.log(280.0), 0.4, size), cents)
    tried = rng.choice(population.merchants.online, victims)[episodes.number]
    merchant = np.where(ends, rng.choice(population.merchants.online, size), tried)
    at = episodes.times(rng, 25_000) + ends * rng.integers(5 * MINUTE_MS, 60 * MINUTE_MS, size)
    return _rows(episodes, merchant, at, amount, Pattern.TESTING)
