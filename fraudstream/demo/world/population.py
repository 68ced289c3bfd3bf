"""Cards and merchants of invented towns, and the usual amounts of a card.

A card pays mostly at a few merchants of its town and online, so that a new merchant means something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fraudstream.demo.world.rows import Amounts, Indices

ONLINE = "ecommerce"
LOCAL_FAVOURITES = 10
ONLINE_FAVOURITES = 5
NIGHT_SHARE = 0.06
COMPLICIT = 8


class Category(NamedTuple):
    """A kind of merchant: MCC, channel, amounts (median and log spread), how common it is, its hours."""

    mcc: str
    channel: str
    median: float
    spread: float
    weight: float
    hours: int


# hours: an index into spending.HOURS (0 daytime, 1 evening, 2 online)
CATEGORIES = (
    Category("5411", "pos", 32.0, 0.6, 24, 0),
    Category("5814", "pos", 9.0, 0.4, 14, 1),
    Category("5812", "pos", 36.0, 0.5, 8, 1),
    Category("5541", "pos", 52.0, 0.4, 7, 0),
    Category("5912", "pos", 17.0, 0.6, 6, 0),
    Category("5651", "pos", 58.0, 0.7, 6, 0),
    Category("5732", "pos", 150.0, 0.9, 3, 0),
    Category("4111", "pos", 3.2, 0.3, 6, 0),
    Category("6011", "atm", 80.0, 0.5, 5, 0),
    Category("5399", ONLINE, 34.0, 0.8, 9, 2),
    Category("5816", ONLINE, 11.0, 0.6, 4, 2),
    Category("5968", ONLINE, 10.0, 0.3, 4, 2),
    Category("4722", ONLINE, 210.0, 0.8, 2, 2),
    Category("5734", ONLINE, 95.0, 0.9, 2, 2),
)


class Town(NamedTuple):
    """Where cards and terminals are."""

    country: str
    latitude: float
    longitude: float


TOWNS = (
    Town("DE", 52.52, 13.40),
    Town("DE", 48.14, 11.58),
    Town("DE", 53.55, 9.99),
    Town("FR", 48.86, 2.35),
    Town("FR", 45.76, 4.84),
    Town("ES", 40.42, -3.70),
    Town("IT", 41.90, 12.50),
    Town("NL", 52.37, 4.90),
    Town("PT", 38.72, -9.14),
    Town("AT", 48.21, 16.37),
    Town("GB", 51.51, -0.13),
    Town("CH", 47.38, 8.54),
)
TOWN_WEIGHTS = (12, 10, 9, 12, 8, 11, 11, 9, 6, 6, 3, 3)


class Currency(NamedTuple):
    """The currency of a card's account, and its rate to the euro."""

    code: str
    per_euro: float


EURO = Currency("EUR", 1.0)
CURRENCIES = {"GB": Currency("GBP", 0.86), "CH": Currency("CHF", 0.94)}


IS_ONLINE = np.array([category.channel == ONLINE for category in CATEGORIES])
EASILY_SOLD_ON = [number for number, kind in enumerate(CATEGORIES) if kind.mcc in {"5651", "5732"}]


@dataclass(frozen=True, slots=True)
class Merchants:
    """Merchants as columns; other columns refer to them by position."""

    category: Indices
    """Index into `CATEGORIES`."""
    town: Indices
    """Index into `TOWNS`; for an online one, where it is registered."""
    place: Amounts
    """Latitude and longitude of the terminal, merchants by 2; NaN online."""
    complicit: Indices
    """Those that accept copied cards; few genuine holders pay there."""

    @property
    def online(self) -> Indices:
        """The merchants that sell online."""
        return np.flatnonzero(IS_ONLINE[self.category]).astype(np.int32)

    def local(self, town: int) -> Indices:
        """Return the terminals of a town, the complicit ones left out."""
        there = (self.town == town) & ~IS_ONLINE[self.category]
        there[self.complicit] = False
        return np.flatnonzero(there).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Population:
    """Cards as columns, and the merchants."""

    home: Indices
    """Index into `TOWNS`."""
    rate: Amounts
    """Purchases a day, on average."""
    scale: Amounts
    """The card's amounts, relative to the category's median."""
    awake_at_night: NDArray[np.bool_]
    """Whether the holder is awake at night."""
    favourites: Indices
    """The card's regular merchants: cards by `LOCAL_FAVOURITES + ONLINE_FAVOURITES`."""
    merchants: Merchants


def shares(weights: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale weights to probabilities."""
    numbers: NDArray[np.float64] = np.asarray(weights, dtype=np.float64)
    scaled: NDArray[np.float64] = numbers / numbers.sum()
    return scaled


def populate(rng: Generator, cards: int, merchants: int) -> Population:
    """Draw a population.

    Args:
        rng: the only source of chance.
        cards: how many, at least 1.
        merchants: how many, at least `len(TOWNS) * len(CATEGORIES)`, so that every town has one of each.

    Raises:
        ValueError: too few of either.
    """
    least = len(TOWNS) * len(CATEGORIES)
    if cards < 1 or merchants < least:
        raise ValueError(f"{cards} cards and {merchants} merchants; at least 1 and {least}")
    shops = _found_merchants(rng, merchants)
    home = rng.choice(len(TOWNS), cards, p=shares(TOWN_WEIGHTS)).astype(np.int32)
    return Population(
        home=home,
        rate=np.maximum(rng.gamma(2.0, 0.55, cards), 0.05),
        scale=rng.lognormal(0.0, 0.35, cards),
        awake_at_night=rng.random(cards) < NIGHT_SHARE,
        favourites=_choose_favourites(rng, home, shops),
        merchants=shops,
    )


def _found_merchants(rng: Generator, count: int) -> Merchants:
    """Place one merchant of each category in each town, and the rest by weight anywhere."""
    every = np.arange(len(TOWNS) * len(CATEGORIES))
    more = count - len(every)
    weights = shares([kind.weight for kind in CATEGORIES])
    category = np.concatenate([every % len(CATEGORIES), rng.choice(len(CATEGORIES), more, p=weights)]).astype(np.int32)
    town = np.concatenate([every // len(CATEGORIES), rng.integers(0, len(TOWNS), more)]).astype(np.int32)
    centre = np.array([(place.latitude, place.longitude) for place in TOWNS])
    place = centre[town] + rng.normal(0.0, 0.05, (count, 2))
    place[IS_ONLINE[category]] = np.nan
    fences = np.flatnonzero(np.isin(category, EASILY_SOLD_ON))
    complicit = rng.choice(fences, min(COMPLICIT, len(fences) // 2), replace=False).astype(np.int32)
    return Merchants(category, town, place, complicit)


def _choose_favourites(rng: Generator, home: Indices, merchants: Merchants) -> Indices:
    """Choose every card's favourites by weight: terminals of its town, then shops online."""
    weight = np.array([kind.weight for kind in CATEGORIES])[merchants.category]
    chosen = np.empty((len(home), LOCAL_FAVOURITES + ONLINE_FAVOURITES), np.int32)
    for town in range(len(TOWNS)):
        cards, near = np.flatnonzero(home == town), merchants.local(town)
        chosen[cards, :LOCAL_FAVOURITES] = rng.choice(near, (len(cards), LOCAL_FAVOURITES), p=shares(weight[near]))
    online = merchants.online
    chosen[:, LOCAL_FAVOURITES:] = rng.choice(online, (len(home), ONLINE_FAVOURITES), p=shares(weight[online]))
    return chosen
