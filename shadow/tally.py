"""What many comparisons come to: whole numbers, so that tallies add up to the same in any order.

`Tally` has a zero, takes comparisons in and merges; `Shift` and `stability_index` are what people read off it. Nothing
here reads a topic or judges a model.

Which offsets of a partition were met: one bit each, so that a day of a busy stream fits into memory.

Nothing here knows what is at an offset.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

from models.policy import Decision
from shadow.comparison import Comparison

_BITS = 8
SCORE_STEPS = 10**12
"""A score's shift is summed in steps of 10^-12: integers have no rounding that depends on the order."""
BAND_GROUP = 50
"""Bands are told apart by fifties: from one group to the next the odds double."""

Key = TypeVar("Key")
Pair = tuple[Decision, Decision]
"""What the live model decided, and what the challenger would have."""


class OffsetSet:
    """A set of offsets that begins with the first that is added; what lies before it is never in it."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._bits = bytearray()
        self._count = 0

    def __len__(self) -> int:
        """Return how many offsets are in it."""
        return self._count

    def __contains__(self, offset: int) -> bool:
        place, bit = self._place(offset)
        return 0 <= place < len(self._bits) and bool(self._bits[place] & bit)

    def add(self, offset: int) -> None:
        """Put an offset in, unless it is before the first."""
        if self._first is None:
            self._first = offset
        place, bit = self._place(offset)
        if place < 0 or offset in self:
            return
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1 - len(self._bits)))
        self._bits[place] |= bit
        self._count += 1

    def remove(self, offset: int) -> bool:
        """Take an offset out, and tell whether it was in."""
        if offset not in self:
            return False
        place, bit = self._place(offset)
        self._bits[place] ^= bit
        self._count -= 1
        return True

    def _place(self, offset: int) -> tuple[int, int]:
        place, bit = divmod(offset - (self._first or 0), _BITS)
        return place, 1 << bit


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of comparisons.

    `events` and `minor` (by currency) count decisions and money by (live, challenger); `opponents` count by live model.
    `shift_steps` and `absolute_steps` sum challenger's score minus live score over the `scored`, where the live model
    gave a score; `band_shifts` count them by the difference of the bands, `live_bands` and `challenger_bands` by group.
    """

    events: Mapping[Pair, int]
    minor: Mapping[tuple[str, Pair], int]
    opponents: Mapping[str | None, int]
    scored: int
    shift_steps: int
    absolute_steps: int
    band_shifts: Mapping[int, int]
    live_bands: Mapping[int, int]
    challenger_bands: Mapping[int, int]

    @classmethod
    def zero(cls) -> Self:
        """Return the tally of nothing."""
        return cls({}, {}, {}, 0, 0, 0, {}, {}, {})

    @classmethod
    def of(cls, comparisons: Iterable[Comparison]) -> Self:
        """Count comparisons."""
        told = list(comparisons)
        scored = [one for one in told if one.live.score is not None]
        steps = [_steps(one.challenger.score) - _steps(one.live.score) for one in scored]
        minor: Counter[tuple[str, Pair]] = Counter()
        for one in told:
            minor[one.currency, _pair(one)] += one.amount_minor
        return cls(
            Counter(map(_pair, told)),
            minor,
            Counter(one.live.digest for one in told),
            len(scored),
            sum(steps),
            sum(map(abs, steps)),
            Counter((one.challenger.band or 0) - (one.live.band or 0) for one in scored),
            Counter((one.live.band or 0) // BAND_GROUP for one in scored),
            Counter((one.challenger.band or 0) // BAND_GROUP for one in scored),
        )

    def merge(self, other: "Tally") -> "Tally":
        """Return the tally of both."""
        return Tally(
            _sum(self.events, other.events),
            _sum(self.minor, other.minor),
            _sum(self.opponents, other.opponents),
            self.scored + other.scored,
            self.shift_steps + other.shift_steps,
            self.absolute_steps + other.absolute_steps,
            _sum(self.band_shifts, other.band_shifts),
            _sum(self.live_bands, other.live_bands),
            _sum(self.challenger_bands, other.challenger_bands),
        )

    def add(self, comparison: Comparison) -> "Tally":
        """Return the tally with one comparison more."""
        return self.merge(Tally.of([comparison]))

    @property
    def compared(self) -> int:
        """How many comparisons are in it."""
        return sum(self.events.values())

    @property
    def changed(self) -> int:
        """How many decisions would have been others."""
        return sum(count for (live, challenger), count in self.events.items() if live is not challenger)

    @property
    def currencies(self) -> list[str]:
        """The currencies met, sorted."""
        return sorted({currency for currency, _ in self.minor})

    def decided(self, decision: Decision) -> tuple[int, int]:
        """Return how often the live model decided so, and how often the challenger would have."""
        return (
            sum(count for (live, _), count in self.events.items() if live is decision),
            sum(count for (_, challenger), count in self.events.items() if challenger is decision),
        )


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the challenger's scores are from the live ones; None where there is nothing to compare.

    `mean` and `mean_absolute` are of probabilities. `band_quantiles` are the 1st, 50th and 99th percentile of the
    bands' differences, where 50 doubles the odds. `stability_index` is that of the bands' distributions.
    """

    mean: float | None
    mean_absolute: float | None
    band_quantiles: tuple[int, int, int] | None
    stability_index: float | None

    @classmethod
    def of(cls, tally: Tally) -> Self:
        """Read the shift off a tally."""
        if not tally.scored:
            return cls(None, None, None, None)
        count = tally.scored * SCORE_STEPS
        low, middle, high = (quantile(tally.band_shifts, percent) for percent in (1, 50, 99))
        return cls(
            tally.shift_steps / count,
            tally.absolute_steps / count,
            (low, middle, high),
            stability_index(tally.live_bands, tally.challenger_bands),
        )


def quantile(counts: Mapping[int, int], percent: int) -> int:
    """Return the least value that at least so many percent do not exceed; `counts` must hold something."""
    total, seen = sum(counts.values()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen * 100 >= total * percent:
            return value
    raise ValueError("there is no quantile of nothing")


def stability_index(expected: Mapping[int, int], actual: Mapping[int, int]) -> float:
    """Return the population stability index of two histograms: sum of (a - e) ln(a / e) over the shares of each group.

    Below 0.1 is commonly read as alike, above 0.25 as another population. A group that one of them lacks counts as
    half an observation there, since its logarithm would have no bound.
    """
    groups = sorted({group for counts in (expected, actual) for group, count in counts.items() if count})
    totals = sum(expected.values()), sum(actual.values())
    shares = [
        tuple(max(counts.get(group, 0), 0.5) / total for counts, total in zip((expected, actual), totals, strict=True))
        for group in groups
    ]
    return math.fsum((a - e) * math.log(a / e) for e, a in shares)


def _pair(comparison: Comparison) -> Pair:
    return comparison.live.decision, comparison.challenger.decision


def _steps(score: float | None) -> int:
    return round((score or 0.0) * SCORE_STEPS)


def _sum(left: Mapping[Key, int], right: Mapping[Key, int]) -> Mapping[Key, int]:
    both = dict(left)
    for key, count in right.items():
        both[key] = both.get(key, 0) + count
    return both
