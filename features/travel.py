"""Where a card was before: whether its country jumps, how far it came, how fast.

Only what an earlier transaction tells counts, and the latest that tells is asked. Distances are `globe`'s.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np

from features import globe, records, traits
from features.frames import Flags, Floats, Window
from features.store import Ints

LEAST_ELAPSED_MS = 60_000
"""Clocks of terminals agree no better: what took less counts as a minute."""
MS_PER_HOUR = 3_600_000.0
NEVER_MS = np.int64(1 << 62)
NOWHERE_KM = -1.0
"""Less than any distance."""


class Trip(NamedTuple):
    """How each of n transactions came from the latest other place: km, ms, and which came from none that is known."""

    km: Floats
    elapsed_ms: Ints
    unknown: Flags


class Travel:
    """What several features of one window look at, made once."""

    def __init__(self, window: Window) -> None:
        self._window = window

    @cached_property
    def trip(self) -> Trip:
        """The way from the latest other place; from the farthest of several in one millisecond."""
        frame = self._window.frame
        latest = latest_telling(self._window, (frame.traits & traits.PLACED.mask) != 0)
        number = frame.number[latest]
        km, elapsed_ms = np.full(len(frame.lengths), NOWHERE_KM), np.zeros(len(frame.lengths), np.int64)
        if len(latest):
            here, there = frame.rows[frame.last[number], records.PLACE], frame.rows[latest, records.PLACE]
            np.maximum.at(km, number, globe.distances_km(*traits.places(there), *traits.places(here)))
            elapsed_ms[number] = frame.age[latest]
        return Trip(km, elapsed_ms, km == NOWHERE_KM)


def latest_telling(window: Window, tells: Flags) -> Ints:
    """Return where the latest others of a window that tell something are, several if they are of one millisecond.

    None of a transaction that does not tell it itself: there is nothing to compare.
    """
    frame = window.frame
    found = (window.others & tells & frame.of_own(tells)).nonzero()[0]
    number, age = frame.number[found], frame.age[found]
    youngest = np.full(len(frame.lengths), NEVER_MS)
    np.minimum.at(youngest, number, age)
    latest: Ints = found[age == youngest[number]]
    return latest


def country_jump(window: Window) -> Floats:
    """Tell whether the merchant's country is another than that of the latest other transaction that tells one.

    Formula: 1 if country(own) != country(latest), else 0.
    Edges: undefined where own tells none, or no other of the window does. Of several latest ones in one millisecond,
        one of another country suffices.
    Source: the country as a key of a card's past in Bahnsen et al., Expert Systems with Applications 51 (2016) 134-142;
        its change within a short time is what issuers' rules call impossible travel.
    """
    frame = window.frame
    latest = latest_telling(window, (frame.traits & traits.COUNTRY.mask) != 0)
    number, differs = frame.number[latest], (frame.unlike[latest] & traits.COUNTRY.mask) != 0
    jumps = np.full(len(frame.lengths), np.nan)
    jumps[number] = 0.0
    jumps[number[differs]] = 1.0
    return jumps


def distance_from_last(window: Window) -> Floats:
    """Return the great-circle distance in km from the terminal of the latest other transaction that tells its place.

    Formula: 2 R arcsin sqrt(sin^2(db / 2) + cos b1 cos b2 sin^2(dl / 2)), with latitudes b, longitudes l and
        R = 6371.0088 km, from places rounded to 10^-5 degrees.
    Edges: undefined where own tells no place, or no other of the window does; the farthest of several in one ms.
    Source: Sinnott, Virtues of the Haversine, Sky & Telescope 68 (1984) 159; issuers' rules against copied cards look
        at the distance between payments in sequence.
    """
    trip = window.view(Travel).trip
    km = trip.km.copy()
    km[trip.unknown] = np.nan
    return km


def speed_from_last(window: Window) -> Floats:
    """Return the speed in km/h at which the card would have come from the latest other place.

    Formula: distance * 3600000 / max(elapsed, 60000), elapsed in ms.
    Edges: as the distance; what took less than a minute counts as a minute, since terminals' clocks agree no better.
    Source: as the distance; issuers' rules call it geo-velocity.
    """
    trip = window.view(Travel).trip
    speed: Floats = trip.km * MS_PER_HOUR / np.maximum(trip.elapsed_ms, LEAST_ELAPSED_MS)
    speed[trip.unknown] = np.nan
    return speed
