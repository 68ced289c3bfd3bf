"""Numbers of distinct counterparties, devices and countries in a window, and whether own one is new there.

An absent value is not counted. Distinct values are counted by Python sets for few histories, else by a hash table in
numpy; both give the same numbers.
"""

import numpy as np

from features.history import records
from features.history.frames import Flags, Floats, Frame, Window
from features.history.store import Ints

FEW = 16
"""Up to so many histories are faster one by one."""
LEAST_BITS = 10


def distinct_others(window: Window) -> Floats:
    """Count the distinct counterparties: merchants of a card, cards of a merchant or a device.

    Formula: |{other(i) : i in the window}|.
    Edges: own included if the window is not delayed; 0 if it is empty.
    Source: the network of cards and merchants in Van Vlasselaer et al., APATE, Decision Support Systems 75 (2015)
        38-48.
    """
    return distinct(window.frame, window.inside, window.frame.others)


def other_is_new(window: Window) -> Floats:
    """Tell whether no other transaction of the window was with the same counterparty.

    Formula: 1 if other(i) != other(own) for all others i, else 0.
    Edges: 1 if there is no other.
    Source: recency of the relation of card and merchant in Van Vlasselaer et al., APATE, Decision Support Systems 75
        (2015) 38-48.
    """
    frame = window.frame
    same = window.others & (frame.others == frame.of_own(frame.others))
    new: Floats = (window.counted(same) == 0).astype(np.float64)
    return new


def devices(window: Window) -> Floats:
    """Count the distinct devices of the card.

    Formula: |{device(i) : i in the window}|, own included if it is not delayed.
    Edges: a transaction without a device adds none; 0 if none has one.
    Source: the counts of what a card is associated with (C1-C14) in the data of the IEEE-CIS Fraud Detection
        competition, Vesta (2019).
    """
    column = window.frame.devices
    return distinct(window.frame, window.inside & (column != 0), column)


def device_is_new(window: Window) -> Floats:
    """Tell whether no other transaction of the window was on own device.

    Formula: 1 if device(i) != device(own) for all others i, else 0.
    Edges: undefined if own has no device; 1 if there is no other.
    Source: recency of the relation of card and merchant in Van Vlasselaer et al., APATE, Decision Support Systems 75
        (2015) 38-48, here of card and device.
    """
    frame = window.frame
    own = frame.devices[frame.last]
    same = window.counted(window.others & (frame.devices == frame.spread_out(own)))
    new: Floats = (same == 0).astype(np.float64)
    new[own == 0] = np.nan
    return new


def countries(window: Window) -> Floats:
    """Count the distinct merchant countries.

    Formula: |{country(i) : i in the window}|, own included if it is not delayed.
    Edges: a transaction without a country adds none; 0 if none has one.
    Source: aggregation by country in Bahnsen et al., Expert Systems with Applications 51 (2016) 134-142.
    """
    frame = window.frame
    column = frame.traits & records.COUNTRY.mask
    present = window.inside & (column != 0)
    foreign = (frame.trait_differences & records.COUNTRY.mask) != 0  # usually few or none
    counts: Floats = distinct(frame, present & foreign, column) + (window.counted(present & ~foreign) != 0)
    return counts


def distinct(frame: Frame, which: Flags, column: Ints) -> Floats:
    """Count the distinct values of a column among the records of `which`, float64 of shape (n,)."""
    if len(frame.lengths) <= FEW:
        ends = zip(frame.starts.tolist(), (frame.last + 1).tolist(), strict=True)
        return np.array([float(len(set(column[a:b][which[a:b]].tolist()))) for a, b in ends])
    number = frame.number[which]
    once = number[representatives(frame.keyed(column[which], number))]
    return np.bincount(once, minlength=len(frame.lengths)).astype(np.float64)


def representatives(keys: Ints) -> Ints:
    """Return the index of one record for each distinct key.

    Each key writes its index into a table slot given by some of its bits, and reads which index was written last.
    Records with the same key as that one are done; those with another key, which are few, go into the next round.
    Sorting takes three times as long.
    """
    bits = max(LEAST_BITS, len(keys).bit_length() + 2)
    table = np.empty(1 << bits, np.int64)
    places, chosen, shift = np.arange(len(keys)), [], 0
    while len(keys):
        slots = (keys >> shift if shift else keys) & (len(table) - 1)
        mine = np.arange(len(keys))
        table[slots] = mine
        last = table.take(slots)
        chosen.append(places[last == mine])
        missed = (keys.take(last) != keys).nonzero()[0]
        places, keys = places[missed], keys[missed]
        shift = (shift + bits) % (64 - bits)
    return np.concatenate(chosen) if chosen else places
