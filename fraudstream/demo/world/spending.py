"""Genuine purchases of a whole period, by day of the week, hour, merchant and habit, and the device of each purchase.

Some holders go on sprees and some buy at night, so that neither a burst nor the hour alone means fraud. Purchases
online come from one of the holder's two devices, a household's, a new one, or a thief's, which is used for several
cards; terminals have none.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fraudstream.demo.world.population import CATEGORIES, IS_ONLINE, Population, shares
from fraudstream.demo.world.rows import DAY_MS, HOUR_MS, MINUTE_MS, Amounts, Indices, Millis, Pattern, TransactionRows

NONE = -1
SECOND = 0.18
"""The share of a genuine holder's purchases on the second device,"""
NEW = 0.03
"""and on one that is never seen again."""
SHARED = 0.08
"""The share of cards whose first device is shared with another card."""
VICTIMS_A_DEVICE = 5
"""About how many cards a thief uses on the same device."""
REMOTE = 0.3
"""The share of victims whose own device the thief uses."""
FAMILIAR = 0.86
AWAY = 0.04
SPREES_A_CARD_DAY = 0.002
SPREE_LENGTH = 4

HOURS = (
    (0, 0, 0, 0, 0, 1, 3, 6, 8, 9, 10, 11, 12, 11, 9, 9, 10, 12, 11, 8, 4, 2, 1, 0),
    (1, 0, 0, 0, 0, 0, 1, 3, 3, 2, 3, 6, 12, 11, 5, 3, 3, 5, 9, 12, 11, 7, 4, 2),
    (3, 1, 1, 1, 1, 1, 2, 3, 5, 6, 6, 6, 7, 6, 6, 6, 6, 7, 8, 10, 11, 10, 8, 5),
)
"""Relative purchases in each hour of the day: shops, meals, online."""
OWL_HOURS = (8, 7, 6, 5, 4, 2, 1, 1, 1, 2, 3, 4, 5, 5, 5, 5, 5, 6, 6, 7, 8, 8, 8, 8)
WEEKDAYS = np.array([0.92, 0.94, 0.97, 1.0, 1.2, 1.25, 0.72])
"""Relative purchases on each day of the week, Monday first."""
EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday."""


def equip(rng: Generator, population: Population, rows: TransactionRows) -> Indices:
    """Draw the device of each row, by number; NONE at a terminal."""
    cards = len(population.home)
    own = np.arange(2 * cards).reshape(cards, 2)
    sharing = np.flatnonzero(rng.random(cards) < SHARED)
    own[sharing, 0] = own[rng.integers(0, cards, len(sharing)), 0]
    device = own[rows.card, (rng.random(len(rows)) < SECOND).astype(np.int64)]
    new = rng.random(len(rows)) < NEW
    device[new] = 2 * cards + np.flatnonzero(new)
    first = 2 * cards + len(rows)
    for pattern in Pattern:
        remote = rng.random(cards) < REMOTE
        if pattern is not Pattern.GENUINE:
            fraud = (rows.pattern == pattern) & ~remote[rows.card]
            device[fraud] = first + pattern * cards + _thieves(rng, rows.card[fraud], cards)[rows.card[fraud]]
    device[~IS_ONLINE[population.merchants.category[rows.merchant]]] = NONE
    return device.astype(np.int32)


def _thieves(rng: Generator, victims: Indices, cards: int) -> Indices:
    """Draw for each card the device on which it is abused, if it is: there are fewer devices than victims."""
    count = max(1, len(np.unique(victims)) // VICTIMS_A_DEVICE)
    return rng.integers(0, count, cards).astype(np.int32)


def spend(rng: Generator, population: Population, start_ms: int, days: int) -> TransactionRows:
    """Return all genuine purchases in the `days` from `start_ms`, a midnight in UTC."""
    everyday = _everyday(rng, population, days)
    spree = _sprees(rng, population, days)
    card, merchant, at = (np.concatenate([one, other]) for one, other in zip(everyday, spree, strict=True))
    inside = (at >= 0) & (at < days * DAY_MS)
    kept = TransactionRows(
        card=card.astype(np.int32),
        merchant=merchant.astype(np.int32),
        occurred_ms=at + start_ms,
        amount=usual_amounts(rng, population, card, merchant),
        pattern=np.full(len(card), Pattern.GENUINE, np.int8),
    ).take(inside)
    weekday = (kept.occurred_ms // DAY_MS + EPOCH_WEEKDAY) % 7
    return kept.take(rng.random(len(kept)) < WEEKDAYS[weekday] / WEEKDAYS.max())


def usual_amounts(rng: Generator, population: Population, card: Indices, merchant: Indices) -> Amounts:
    """Draw the usual amounts of these cards at these merchants, in euro, at least 0.50."""
    category = population.merchants.category[merchant]
    median = np.array([kind.median for kind in CATEGORIES])[category]
    spread = np.array([kind.spread for kind in CATEGORIES])[category]
    return np.maximum(median * population.scale[card] * np.exp(rng.normal(0.0, spread)), 0.5)


def _everyday(rng: Generator, population: Population, days: int) -> tuple[Indices, Indices, Millis]:
    """Draw the regular purchases, a few too many: those of quiet days of the week are thinned out afterwards."""
    expected = population.rate * days * WEEKDAYS.max() / WEEKDAYS.mean()
    card = np.repeat(np.arange(len(expected), dtype=np.int32), rng.poisson(expected))
    merchant = _shops(rng, population, card)
    hour = _hours(rng, population, card, merchant)
    day = rng.integers(0, days, len(card))
    return card, merchant, day * DAY_MS + hour * HOUR_MS + rng.integers(0, HOUR_MS, len(card))


def _shops(rng: Generator, population: Population, card: Indices) -> Indices:
    """Draw a merchant for each purchase: mostly a favourite, else another of the town, online, or anywhere."""
    merchant = population.favourites[card, rng.integers(0, population.favourites.shape[1], len(card))]
    chance = rng.random(len(card))
    for town in np.unique(population.home):
        near = population.merchants.local(int(town))
        curious = np.flatnonzero((chance > FAMILIAR) & (population.home[card] == town))
        merchant[curious] = rng.choice(near, len(curious))
    clicking = np.flatnonzero(chance > (FAMILIAR + 1 - AWAY) / 2)
    merchant[clicking] = rng.choice(population.merchants.online, len(clicking))
    away = np.flatnonzero(chance > 1 - AWAY)
    honest = np.setdiff1d(np.arange(len(population.merchants.town)), population.merchants.complicit)
    merchant[away] = rng.choice(honest, len(away))
    return merchant


def _hours(rng: Generator, population: Population, card: Indices, merchant: Indices) -> NDArray[np.int64]:
    """Draw the hour of the day of each purchase, by the merchant's hours and the holder's."""
    profile = np.array([kind.hours for kind in CATEGORIES])[population.merchants.category[merchant]]
    profile = np.where(population.awake_at_night[card] & (profile > 0), len(HOURS), profile)
    hour = np.zeros(len(card), np.int64)
    for number, weights in enumerate((*HOURS, OWL_HOURS)):
        here = np.flatnonzero(profile == number)
        hour[here] = rng.choice(24, len(here), p=shares(weights))
    return hour


def _sprees(rng: Generator, population: Population, days: int) -> tuple[Indices, Indices, Millis]:
    """Draw shopping sprees: a handful of merchants online within an hour or two, by the holder."""
    cards = len(population.home)
    holder = rng.integers(0, cards, rng.poisson(cards * days * SPREES_A_CARD_DAY)).astype(np.int32)
    length = 2 + rng.poisson(SPREE_LENGTH - 2, len(holder))
    start = rng.integers(0, days, len(holder)) * DAY_MS + rng.integers(9 * HOUR_MS, 23 * HOUR_MS, len(holder))
    card = np.repeat(holder, length)
    step = np.arange(len(card)) - np.repeat(np.cumsum(length) - length, length)
    at = np.repeat(start, length) + step * 15 * MINUTE_MS + rng.integers(0, 14 * MINUTE_MS, len(card))
    return card, rng.choice(population.merchants.online, len(card)), at
