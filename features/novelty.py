"""How many different devices and countries a card shows in a window, and whether its device is a new one.

What is not told is none of them. Nothing here looks at amounts or times.
"""

from functools import cached_property

import numpy as np

from features import records, traits
from features.frames import Floats, Window
from features.store import Ints


class Devices:
    """What several features of one window look at, made once."""

    def __init__(self, window: Window) -> None:
        self._window = window

    @cached_property
    def column(self) -> Ints:
        """The records' devices, 0 where none is told."""
        return np.ascontiguousarray(self._window.frame.rows[:, records.DEVICE])

    @cached_property
    def same(self) -> Ints:
        """How many of a window's transactions are on one's own device, own included, shape (n,); of none it is none."""
        same = self._window.inside & (self.column != 0) & (self.column == self._window.frame.of_own(self.column))
        return self._window.counted(same)


def devices(window: Window) -> Floats:
    """Count the different devices that the card was used on.

    Formula: |{device(i) : i in the window}|, own included.
    Edges: a transaction that tells no device adds none; 0 where none does.
    Source: the counts of what a card is associated with (C1-C14) in the data of the IEEE-CIS Fraud Detection
        competition, Vesta (2019).
    """
    seen = window.view(Devices)
    return _distinct(window, seen.column, seen.same)


def device_is_new(window: Window) -> Floats:
    """Tell whether no other transaction of the window was on own device.

    Formula: 1 if device(i) != device(own) for all others i, else 0.
    Edges: undefined where own tells no device; 1 where there is no other.
    Source: recency of the relation of card and merchant in Van Vlasselaer et al., APATE, Decision Support Systems 75
        (2015) 38-48, here of card and device.
    """
    frame, seen = window.frame, window.view(Devices)
    told = seen.column[frame.last] != 0
    return np.where(told, (seen.same == (window.own & told)).astype(np.float64), np.nan)


def countries(window: Window) -> Floats:
    """Count the different countries of merchants.

    Formula: |{country(i) : i in the window}|, own included.
    Edges: a transaction that tells no country adds none; 0 where none does.
    Source: aggregation by country in Bahnsen et al., Expert Systems with Applications 51 (2016) 134-142.
    """
    frame = window.frame
    column = frame.traits & traits.COUNTRY.mask
    same = window.inside & (column != 0) & ((frame.unlike & traits.COUNTRY.mask) == 0)
    return _distinct(window, column, window.counted(same))


def _distinct(window: Window, column: Ints, same: Ints) -> Floats:
    """Count a window's different values but 0; `same` of them are like one's own, and mostly the others are few."""
    frame = window.frame
    counts = (same > 0).astype(np.float64)
    others = np.flatnonzero(window.inside & (column != 0) & (column != frame.of_own(column)))
    if len(others):
        keys = frame.keyed(column[others], frame.number[others])
        _, first = np.unique(keys, return_index=True)
        counts += np.bincount(frame.number[others[first]], minlength=len(counts))
    return counts
