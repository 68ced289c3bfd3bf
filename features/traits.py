"""What a card's record keeps of a transaction beside time, amount and parties, packed into two integers.

TRAITS holds, from the lowest bit: 14 category, 10 country, 3 channel, 12 wall clock, 15 currency, 1 whether there is a
place; PLACE holds latitude and longitude. What is not told is 0. Nothing here computes a feature.
"""

from functools import lru_cache
from typing import NamedTuple

from features.store import Ints

REMEMBERED = 1 << 16
LETTERS = 26
CHANNELS = ("pos", "ecommerce", "moto", "atm")
LATEST_CLOCK_MINUTES = 24 * 60
"""No wall clock is so far from UTC."""
PLACE_UNITS = 100_000
"""Latitude and longitude are kept in 10^-5 degrees: one metre or so."""
LOW_HALF = 32
LOW_MASK = (1 << LOW_HALF) - 1


class Trait(NamedTuple):
    """Where a trait lies in TRAITS: its lowest bit, and how many there are."""

    shift: int
    bits: int

    @property
    def mask(self) -> int:
        """Its bits."""
        return ((1 << self.bits) - 1) << self.shift


CATEGORY = Trait(0, 14)
"""The merchant's category (MCC) plus 1; 0: not told."""
COUNTRY = Trait(14, 10)
"""The merchant's country by its two letters; 0: not told."""
CHANNEL = Trait(24, 3)
"""Place in CHANNELS plus 1; 0: not told."""
CLOCK = Trait(27, 12)
"""The wall clock's minutes before UTC, plus LATEST_CLOCK_MINUTES."""
CURRENCY = Trait(39, 15)
"""The currency by its three letters."""
PLACED = Trait(54, 1)
"""1 where PLACE means something."""


def told(traits: Ints, trait: Trait) -> Ints:
    """Return one trait of many records."""
    return (traits >> trait.shift) & ((1 << trait.bits) - 1)


def clock_minutes(traits: Ints) -> Ints:
    """Return how far the wall clock of each record was ahead of UTC, in minutes."""
    return told(traits, CLOCK) - LATEST_CLOCK_MINUTES


@lru_cache(maxsize=REMEMBERED)
def pack(category: str | None, country: str | None, channel: str | None, clock: int, currency: str) -> int:
    """Pack all but the place; `clock` is the wall clock's offset from UTC in minutes. The same ones come again."""
    values = (
        (CATEGORY, 0 if category is None else int(category) + 1),
        (COUNTRY, 0 if country is None else 1 + _letters(country)),
        (CHANNEL, 0 if channel is None else 1 + CHANNELS.index(channel)),
        (CLOCK, clock + LATEST_CLOCK_MINUTES),
        (CURRENCY, _letters(currency)),
    )
    return sum(value << trait.shift for trait, value in values)


def place(latitude: float, longitude: float) -> int:
    """Pack a place, in degrees; whoever keeps it sets PLACED."""
    return (round(latitude * PLACE_UNITS) << LOW_HALF) | (round(longitude * PLACE_UNITS) & LOW_MASK)


def places(packed: Ints) -> tuple[Ints, Ints]:
    """Return latitudes and longitudes in 10^-5 degrees."""
    low = packed & LOW_MASK
    return packed >> LOW_HALF, low - ((low >> (LOW_HALF - 1)) << LOW_HALF)


def _letters(code: str) -> int:
    number = 0
    for letter in code:
        number = number * LETTERS + ord(letter) - ord("A")
    return number
