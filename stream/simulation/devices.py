"""On what people buy online: the holder's own two devices as a rule, a household's, a new one, or a thief's.

A thief uses one device for several cards, which is what gives it away. Terminals have none.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from stream.simulation.population import IS_ONLINE, Population
from stream.simulation.rows import Indices, Pattern, Rows

NONE = -1
SECOND = 0.18
"""How much an honest holder buys on the second device,"""
NEW = 0.03
"""and on one that is never seen again."""
SHARED = 0.08
"""How many cards share their first device with another one's holder."""
VICTIMS_A_DEVICE = 5
"""Cards that a thief uses on the same device, about."""
REMOTE = 0.3
"""How many victims' own devices do what the thief wants."""


def equip(rng: Generator, population: Population, rows: Rows) -> Indices:
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
    """Draw for each card the device on which it is abused, if it is: fewer than there are victims."""
    count = max(1, len(np.unique(victims)) // VICTIMS_A_DEVICE)
    return rng.integers(0, count, cards).astype(np.int32)
