"""Where a card was before: country change, distance and speed, from the latest earlier transaction that has the value.

Distances have the same bits on every CPU. A library's sine differs with the CPU's vector extensions, so sine and arc
sine are power series here, and each step is one addition, multiplication, division or square root of IEEE doubles.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from features.history import records
from features.history.frames import NEVER_MS, Flags, Floats, Window
from features.history.store import Ints

Number = TypeVar("Number", float, NDArray[np.float64])
RADIUS_KM = 6371.0088
"""Mean radius (2a + b) / 3 of the Earth: Moritz, Geodetic Reference System 1980, J. Geodesy 74 (2000) 128-133."""
QUARTER_TURN = 9_000_000
"""90 degrees in units of 10^-5 degrees."""
HALF_TURN = 2 * QUARTER_TURN
FULL_TURN = 4 * QUARTER_TURN
UNITS = float(records.PLACE_UNITS)
"""Of a degree; half a unit too many is rounded to an even number, which is in range."""
RADIANS = math.pi / FULL_TURN
"""Radians per half unit: angles enter the formula halved."""
SINE_TERMS = 10
"""The first omitted term is below 3e-16 of a quarter turn's sine."""
SINE = tuple((-1.0 if k % 2 else 1.0) / math.factorial(2 * k + 1) for k in reversed(range(SINE_TERMS)))
HALVINGS = 3
"""How often a quarter turn is halved before the arc sine's series,"""
ARC_SINE_TERMS = 7
"""whose first omitted term is then below 2e-12."""
ARC_SINE = tuple(math.comb(2 * k, k) / int(4**k * (2 * k + 1)) for k in reversed(range(ARC_SINE_TERMS)))
FEW = 10
"""Up to so many distances are faster one by one than as arrays."""
LEAST_ELAPSED_MS = 60_000
"""Terminals' clocks differ by up to a minute: a shorter time counts as a minute."""
MS_PER_HOUR = 3_600_000.0
NOWHERE_KM = -1.0
"""Less than any distance."""


def country_jump(window: Window) -> Floats:
    """Tell whether the merchant's country differs from that of the latest other transaction that has one.

    Formula: 1 if country(own) != country(latest), else 0.
    Edges: undefined if own has no country, or no other of the window has one. If several latest ones are of one
        millisecond, one of another country suffices.
    Source: the country as a key of a card's past in Bahnsen et al., Expert Systems with Applications 51 (2016) 134-142;
        its change within a short time is what issuers' rules call impossible travel.
    """
    frame = window.frame
    latest = latest_with(window, (frame.traits & records.COUNTRY.mask) != 0)
    number, differs = frame.number[latest], (frame.trait_differences[latest] & records.COUNTRY.mask) != 0
    jumps = np.full(len(frame.lengths), np.nan)
    jumps[number] = 0.0
    jumps[number[differs]] = 1.0
    return jumps


def distance_from_last(window: Window) -> Floats:
    """Return the great-circle distance in km from the terminal of the latest other transaction that has a place.

    Formula: 2 R arcsin sqrt(sin^2(db / 2) + cos b1 cos b2 sin^2(dl / 2)), with latitudes b, longitudes l and
        R = 6371.0088 km, from places rounded to 10^-5 degrees.
    Edges: undefined if own has no place, or no other of the window has one; the farthest of several in one ms.
    Source: Sinnott, Virtues of the Haversine, Sky & Telescope 68 (1984) 159; issuers' rules against copied cards look
        at the distance between payments in sequence.
    """
    trip = window.view(last_trip)
    km = trip.km.copy()
    km[trip.unknown] = np.nan
    return km


def speed_from_last(window: Window) -> Floats:
    """Return the speed in km/h at which the card would have come from the latest other place.

    Formula: distance * 3600000 / max(elapsed, 60000), elapsed in ms.
    Edges: as the distance; a time below one minute counts as a minute, since terminals' clocks differ by so much.
    Source: as the distance; issuers' rules call it geo-velocity.
    """
    trip = window.view(last_trip)
    speed: Floats = trip.km * MS_PER_HOUR / np.maximum(trip.elapsed_ms, LEAST_ELAPSED_MS)
    speed[trip.unknown] = np.nan
    return speed


class Trip(NamedTuple):
    """The way of n transactions from the latest other place: km, ms, and which have no such place."""

    km: Floats
    elapsed_ms: Ints
    unknown: Flags


def last_trip(window: Window) -> Trip:
    """Return the way from the latest other place; from the farthest if several are of one millisecond."""
    frame = window.frame
    latest = latest_with(window, (frame.traits & records.HAS_PLACE.mask) != 0)
    number = frame.number[latest]
    km, elapsed_ms = np.full(len(frame.lengths), NOWHERE_KM), np.zeros(len(frame.lengths), np.int64)
    if len(latest):
        here, there = frame.rows[frame.last[number], records.PLACE], frame.rows[latest, records.PLACE]
        np.maximum.at(km, number, distances_km(*records.unpack_places(there), *records.unpack_places(here)))
        elapsed_ms[number] = frame.age[latest]
    return Trip(km, elapsed_ms, km == NOWHERE_KM)


def latest_with(window: Window, has_value: Flags) -> Ints:
    """Return the indexes of the latest others in a window that have a value, several if they are of one millisecond.

    A transaction without the value itself gets none, since there is nothing to compare.
    """
    frame = window.frame
    found = (window.others & has_value & frame.of_own(has_value)).nonzero()[0]
    number, age = frame.number[found], frame.age[found]
    youngest = np.full(len(frame.lengths), NEVER_MS)
    np.minimum.at(youngest, number, age)
    latest: Ints = found[age == youngest[number]]
    return latest


def distances_km(from_north: Ints, from_east: Ints, to_north: Ints, to_east: Ints) -> Floats:
    """Return the great-circle distances between n pairs of places, in km, float64 of shape (n,).

    Places are latitudes and longitudes in 10^-5 degrees. On the sphere of RADIUS_KM the result is within 1 mm and
    10^-9 of the exact one, and within 0.3 m for antipodal places. A real distance on the ellipsoid differs by up to
    0.56 %.

    Formula: 2 R arcsin sqrt(sin^2((b2 - b1) / 2) + cos b1 cos b2 sin^2((l2 - l1) / 2)), b latitude, l longitude: the
        haversine, which stays exact for close places. Sinnott, Virtues of the Haversine, Sky & Telescope 68 (1984) 159.
    """
    if len(from_north) <= FEW:
        places = (from_north.tolist(), from_east.tolist(), to_north.tolist(), to_east.tolist())
        return np.array([_distance(*ends) for ends in zip(*places, strict=True)], np.float64)
    turned = np.abs(to_east - from_east)
    angles = np.empty((4, len(turned)))
    angles[0] = to_north - from_north
    np.minimum(turned, FULL_TURN - turned, out=angles[1])
    angles[2] = 2 * (QUARTER_TURN - np.abs(from_north))
    angles[3] = 2 * (QUARTER_TURN - np.abs(to_north))
    return _haversine(_series(SINE, angles * RADIANS), np.sqrt)


def distance_of_degrees(north: float, east: float, to_north: float, to_east: float) -> float:
    """Return the distance between two places in degrees; NaN where one does not exist."""
    ends = (north * UNITS, east * UNITS, to_north * UNITS, to_east * UNITS)
    exists = [abs(end) <= turn + 0.5 for end, turn in zip(ends, (QUARTER_TURN, HALF_TURN) * 2, strict=True)]
    return _distance(*map(round, ends)) if all(exists) else math.nan


def _distance(from_north: int, from_east: int, to_north: int, to_east: int) -> float:
    turned = abs(to_east - from_east)
    sines = (
        _sine((to_north - from_north) * RADIANS),
        _sine(min(turned, FULL_TURN - turned) * RADIANS),
        _sine(2 * (QUARTER_TURN - abs(from_north)) * RADIANS),
        _sine(2 * (QUARTER_TURN - abs(to_north)) * RADIANS),
    )
    return _haversine(sines, math.sqrt)


def _sine(x: float) -> float:
    """Return what `_series` does with SINE; written out it is faster for a single number."""
    a, b, c, d, e, f, g, h, i, j = SINE
    y = x * x
    return (((((((((a * y + b) * y + c) * y + d) * y + e) * y + f) * y + g) * y + h) * y + i) * y + j) * x


def _haversine(sines: Iterable[Number], root: Callable[[Number], Number]) -> Number:
    """Return distances, as floats or arrays, from the sines of half differences and of complements."""
    north, east, cosine, other_cosine = sines
    square = north * north + cosine * other_cosine * (east * east)
    return 2.0 * RADIUS_KM * _arc_sine(square, root)


def _arc_sine(square: Number, root: Callable[[Number], Number]) -> Number:
    """Return the arc sine of the root of `square`, from the sine of an eighth of the angle, which is small."""
    sine, cosine = root(square), root(abs(1.0 - square))  # rounding may leave the square just above 1
    for _ in range(HALVINGS):
        sine = sine / root(2.0 + 2.0 * cosine)
        cosine = root(0.5 + 0.5 * cosine)
    return 2.0**HALVINGS * _series(ARC_SINE, sine)


def _series(terms: Sequence[float], x: Number) -> Number:
    """Return x times the polynomial in x^2 with these terms, the highest first."""
    square = x * x
    total = terms[0] * square
    for term in terms[1:-1]:
        total += term
        total *= square  # in place, which saves copies of arrays
    total += terms[-1]
    return total * x
