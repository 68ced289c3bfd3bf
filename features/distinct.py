"""How many different values the records of each history have: by sets where there are few histories, else by a table.

Both count the same. Nothing here knows what is counted.
"""

import numpy as np

from features.frames import Flags, Floats, Frame
from features.store import Ints

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
