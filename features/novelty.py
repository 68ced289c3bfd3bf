"""How many different merchants, cards, devices and countries a window shows, and whether own one is new there.

What is not told is none of them. Nothing here looks at amounts or times.
"""

import numpy as np

from features import traits
from features.distinct import distinct
from features.frames import Floats, Window


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
    column = frame.traits & traits.COUNTRY.mask
    told = window.inside & (column != 0)
    foreign = (frame.unlike & traits.COUNTRY.mask) != 0  # mostly there are few, or none
    counts: Floats = distinct(frame, told & foreign, column) + (window.counted(told & ~foreign) != 0)
    return counts
