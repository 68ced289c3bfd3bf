"""How usual a transaction is for its card: its merchant category, its channel, its time of day.

Each is a share of the other transactions of a window, by integers until the last division. Nothing here looks at
amounts or places.
"""

import numpy as np

from features import traits
from features.declaration import DAY_MS, HOUR_MS, MINUTE_MS
from features.frames import Floats, Window
from features.store import Ints
from features.traits import Trait

NEAR_MS = 2 * HOUR_MS
"""What is no further from own time of day is at the same time of day."""


def category_share(window: Window) -> Floats:
    """Divide the others of own merchant category (MCC) by the others that tell one.

    Formula: |{i : category(i) = category(own)}| / |{i : i tells a category}|, over the others of the window.
    Edges: undefined where own tells none, or no other does.
    Source: aggregation by merchant group in Bahnsen et al., Expert Systems with Applications 51 (2016) 134-142, as a
        share.
    """
    return _share_of_own(window, traits.CATEGORY)


def channel_share(window: Window) -> Floats:
    """Divide the others through own channel by the others that tell one.

    Formula: |{i : channel(i) = channel(own)}| / |{i : i tells a channel}|, over the others of the window.
    Edges: undefined where own tells none, or no other does.
    Source: aggregation by transaction type in Bahnsen et al., Expert Systems with Applications 51 (2016) 134-142, as a
        share.
    """
    return _share_of_own(window, traits.CHANNEL)


def time_of_day_share(window: Window) -> Floats:
    """Return the share of the others that happened within 2 hours of own time of day, each by its own wall clock.

    Formula: |{i : d(i) <= 2 h}| / |others|, where d is the shorter way around the day: with u the wall clock's ms since
        midnight, d(i) = min(|u(i) - u(own)|, 24 h - |u(i) - u(own)|).
    Edges: undefined where there is no other; a clock's shift in summer moves nothing, since each goes by its own.
    Source: the time of a transaction against its card's periodic habit in Bahnsen et al., Expert Systems with
        Applications 51 (2016) 134-142, who fit a von Mises distribution; a share within a distance is exact.
    """
    frame = window.frame
    wall_ms = frame.time + traits.told(frame.traits, traits.CLOCK) * MINUTE_MS  # off by a day, which is no matter here
    behind_ms = wall_ms - frame.of_own(wall_ms) + NEAR_MS
    around_ms = behind_ms - behind_ms // DAY_MS * DAY_MS
    near = window.counted(window.others & (around_ms <= 2 * NEAR_MS))
    return _share(near, window.count - window.own)


def _share_of_own(window: Window, trait: Trait) -> Floats:
    """Divide the others that tell the same as own by those that tell anything."""
    frame = window.frame
    tells = (frame.traits & trait.mask) != 0
    telling = window.others & tells
    same = window.counted(telling & ((frame.unlike & trait.mask) == 0))
    return _share(same, window.counted(telling) * tells[frame.last])


def _share(part: Ints, whole: Ints) -> Floats:
    """Divide counts; undefined of nothing."""
    below = whole.astype(np.float64)
    below[whole == 0] = np.nan
    share: Floats = part / below
    return share
