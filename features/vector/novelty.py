"""How many different merchants, cards, devices and countries a window shows, and whether own one is new there.

What is not told is none of them. Nothing here looks at amounts or times.

How many different values the records of each history have: by sets where there are few histories, else by a table.

Both count the same. Nothing here knows what is counted.
"""

import numpy as np

from features.history import records
from features.history.frames import Flags, Floats, Frame, Window
from features.history.store import Ints

FEW = 16
"""So many histories are gone through faster one by one."""
LEAST_BITS = 10


def distinct(frame: Frame, which: Flags, column: Ints) -> Floats:
    """Count the different values of a column among the records of `which`, float64 of shape (n,)."""
    if len(frame.lengths) <= FEW:
        ends = zip(frame.starts.tolist(), (frame.last + 1).tolist(), strict=True)
        return np.array([float(len(set(column[a:b][which[a:b]].tolist()))) for a, b in ends])
    number = frame.number[which]
    once = number[representatives(frame.keyed(column[which], number))]
    return np.bincount(once, minlength=len(frame.lengths)).astype(np.float64)


def representatives(keys: Ints) -> Ints:
    """Return where one of each different key is.

    All write their places into a table by some of their key's bits, and read who wrote last. Others of that one's
    key are not needed; those of another key, which are few, go into the next round. A sort takes three times as long.
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


def distinct_others(window: Window) -> Floats:
    """Count the different other parties: merchants of a card, cards of a merchant or a device.

    Formula: |{other(i) : i in the window}|.
    Edges: own included where the window is not delayed; 0 where it is empty.
    Source: the network of cards and merchants in Van Vlasselaer et al., APATE, Decision Support Systems 75 (2015)
        38-48.
    """
    return distinct(window.frame, window.inside, window.frame.others)


def other_is_new(window: Window) -> Floats:
    """Tell whether no other transaction of the window was with the same other party.

    Formula: 1 if other(i) != other(own) for all others i, else 0.
    Edges: 1 where there is no other.
    Source: recency of the relation of card and merchant in Van Vlasselaer et al., APATE, Decision Support Systems 75
        (2015) 38-48.
    """
    frame = window.frame
    same = window.others & (frame.others == frame.of_own(frame.others))
    new: Floats = (window.counted(same) == 0).astype(np.float64)
    return new


def devices(window: Window) -> Floats:
    """Count the different devices that the card was used on.

    Formula: |{device(i) : i in the window}|, own included where it is not delayed.
    Edges: a transaction that tells no device adds none; 0 where none does.
    Source: the counts of what a card is associated with (C1-C14) in the data of the IEEE-CIS Fraud Detection
        competition, Vesta (2019).
    """
    column = window.frame.devices
    return distinct(window.frame, window.inside & (column != 0), column)


def device_is_new(window: Window) -> Floats:
    """Tell whether no other transaction of the window was on own device.

    Formula: 1 if device(i) != device(own) for all others i, else 0.
    Edges: undefined where own tells no device; 1 where there is no other.
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
    """Count the different countries of merchants.

    Formula: |{country(i) : i in the window}|, own included where it is not delayed.
    Edges: a transaction that tells no country adds none; 0 where none does.
    Source: aggregation by country in Bahnsen et al., Expert Systems with Applications 51 (2016) 134-142.
    """
    frame = window.frame
    column = frame.traits & records.COUNTRY.mask
    told = window.inside & (column != 0)
    foreign = (frame.trait_differences & records.COUNTRY.mask) != 0  # mostly there are few, or none
    counts: Floats = distinct(frame, told & foreign, column) + (window.counted(told & ~foreign) != 0)
    return counts
