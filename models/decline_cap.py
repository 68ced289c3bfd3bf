"""The cap on declines: of the last 2,000 decisions of an arm in a partition, at most a share may be declines.

It limits what a model can do wrong before anyone acts. What is counted is what the artifacts decided, the rules beside
their models included, so the cap ends only when they decline less. The rule looks at decisions in the order of their
offsets and at nothing else, neither at time nor at batches, so that a backlog does not trip it and anyone can compute
it again from the scores.
"""

from collections.abc import Collection, Mapping, Sequence
from math import ceil, floor
from types import MappingProxyType
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream_client.arms import LIVE

DECLINE_CAP = "decline_cap"
"""The entry of a score's `overruled.by`."""
WINDOW = 2_000
"""How many decisions of an arm in a partition are looked at. Decisions that were not made yet count as no declines."""
HOLDS_FROM = 0.8
"""A cap that is reached holds as long as the window has this share of the declines that it allows."""
NO_CAP = 1.0
LONGEST_ARM = 64
"""The most characters of an arm's name, which is a token."""
MOST_NOTED_ARMS = 8
"""How many arms' windows a commit's note holds: one takes up to 420 characters, and Kafka takes 4,096."""

CapShare = Annotated[float, msgspec.Meta(gt=0, le=1)]
"""A share of decisions; 1 is no cap."""
Flags = NDArray[np.bool_]

_MASK = (1 << WINDOW) - 1
_BYTES = WINDOW // 8
_ROUNDING = 1e-6
"""Less than the distance of two counts of declines, more than the error of a product such as 0.07 * 2,000."""


class DeclineCap(NamedTuple):
    """A cap: at most `share` of a window's decisions may be declines."""

    share: float

    @property
    def most(self) -> int:
        """The most declines in a window that do not reach the cap."""
        return floor(self.share * WINDOW + _ROUNDING)

    @property
    def least(self) -> int:
        """The fewest declines in a window at which a cap that is reached holds."""
        return max(1, ceil(HOLDS_FROM * self.share * WINDOW - _ROUNDING))


class DeclineWindow(NamedTuple):
    """What was decided, before limits, in the last decisions of an arm in a partition.

    `bits` holds a bit for each decision, the latest lowest, set if it was to decline. `overruled` tells whether the
    latest decline of which the cap was asked was overruled by it; with `bits` it says whether the cap holds. It is not
    asked of those that were let through, nor, in the live arm, of those by a rule.
    """

    bits: int = 0
    overruled: bool = False

    @property
    def declines(self) -> int:
        """The number of declines in the window."""
        return self.bits.bit_count()

    def after(self, *, declined: bool, overruled: bool, passed: bool = False) -> "DeclineWindow":
        """Return the window after one more decision, as its score records it; `passed`: the cap was not asked."""
        is_asked = declined and not passed
        return DeclineWindow((self.bits << 1 | declined) & _MASK, overruled if is_asked else self.overruled)

    def holds(self, cap: DeclineCap | None) -> bool:
        """Tell whether the cap is reached, and the next decline will be overruled."""
        return cap is not None and self.overruled and self.declines >= cap.least


DeclineWindows = Mapping[str, DeclineWindow]
"""The windows of a partition by arm, that of the arm that decided last behind the others."""
NO_DECLINES: DeclineWindows = MappingProxyType({})


def overrule(
    window: DeclineWindow, declined: Sequence[bool], cap: DeclineCap | None, passed: Collection[int] = ()
) -> tuple[list[int], DeclineWindow]:
    """Return which of the next n decisions of an arm the cap overrules, and the window after them.

    `declined` says which of them the artifacts decline, `passed` of which of these the cap is not asked: they count in
    the window. A decline is overruled if the window that ends with it has more than the cap allows, or if the decline
    before was overruled and the window before it has not fallen below what the cap holds from.
    """
    new = _packed(declined)
    after = DeclineWindow((window.bits << len(declined) | new) & _MASK, window.overruled)
    if new.bit_count() == len(passed):
        return [], after
    may_reach = cap is not None and (window.overruled or window.declines + new.bit_count() > cap.most)
    if cap is None or not may_reach:
        return [], after._replace(overruled=False)
    flags = np.array(declined, np.bool_)
    asked = np.setdiff1d(np.flatnonzero(flags), np.fromiter(passed, np.intp, len(passed)))
    found, is_last = _overruled(window, (flags, asked), cap)
    return found, after._replace(overruled=is_last)


def _overruled(
    window: DeclineWindow, decisions: tuple[Flags, NDArray[np.intp]], cap: DeclineCap
) -> tuple[list[int], bool]:
    """Return which decisions are overruled, and whether the last one is of which the cap is asked.

    `decisions` are which of them are declines, and at which of these the cap is asked: nothing else is looked at.
    Between two declines the count only falls, so that it was lowest right before the second one.
    """
    declined, at = decisions
    sums = np.concatenate(([0], np.cumsum(np.concatenate((_unpacked(window.bits), declined)))))
    before = sums[WINDOW + at] - sums[at]
    is_reached = sums[WINDOW + at + 1] - sums[at + 1] > cap.most
    steps = np.arange(1, len(at) + 1)
    # A decline that reaches the cap switches it on, one that comes after too few switches it off; the last one counts.
    on = np.maximum.accumulate(np.where(is_reached, steps, 0 if window.overruled else -1))
    off = np.maximum.accumulate(np.where(~is_reached & (before < cap.least), steps, -1 if window.overruled else 0))
    is_overruled = on > off
    return at[is_overruled].tolist(), bool(is_overruled[-1])


def _packed(flags: Sequence[bool]) -> int:
    """Return flags as an integer, the last one lowest."""
    packed = 0
    for flag in flags:
        packed = packed << 1 | flag
    return packed


def _unpacked(bits: int) -> Flags:
    """Return the flags of a window, shape (WINDOW,), the latest last."""
    return np.unpackbits(np.frombuffer(bits.to_bytes(_BYTES), np.uint8)).astype(np.bool_)


def noted(windows: DeclineWindows) -> dict[str, tuple[bytes, bool]]:
    """Return what a commit notes of a partition's windows: those of the live arm and of the others that decided last.

    So arms of the past do not take the place of those that decide now. A name that is none of an arm, as of a score
    that somebody else wrote, might be too long for it.
    """
    named = (arm for arm in windows if len(arm) <= LONGEST_ARM and arm.isascii() and arm.isprintable())
    others = [arm for arm in named if arm != LIVE]
    arms = [*others[1 - MOST_NOTED_ARMS :], *(LIVE,) * (LIVE in windows)]
    return {arm: (_shortest(windows[arm].bits), windows[arm].overruled) for arm in arms}


def from_note(note: Mapping[str, tuple[bytes, bool]]) -> DeclineWindows:
    """Return the windows that a commit has noted."""
    return {arm: DeclineWindow(int.from_bytes(bits) & _MASK, overruled) for arm, (bits, overruled) in note.items()}


def _shortest(bits: int) -> bytes:
    return bits.to_bytes((bits.bit_length() + 7) // 8)
