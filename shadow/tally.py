"""Statistics over many comparisons: integer counts that give the same result in any order, and what is read from them.

`Tally` has a zero, adds and merges; `Shift` is computed from it. `OffsetSet` keeps one bit for each offset, so that a
day of a busy stream fits into memory.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

from fraudstream_client.outputs import Decision
from metrics.drift import stability_of_counts
from shadow.comparison import Comparison

_BITS = 8
SCORE_STEPS = 10**12
"""Score shifts are summed in units of 10^-12: integer sums do not depend on the order."""
BAND_GROUP = 50
"""Bands are grouped by fifties: the odds double from one group to the next."""

Key = TypeVar("Key")
Pair = tuple[Decision, Decision]
"""The live decision and the challenger's."""


class OffsetSet:
    """A set of offsets, as a bitmap from the first added offset on; it never contains an earlier one."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._bits = bytearray()
        self._count = 0

    def __len__(self) -> int:
        """Return the number of offsets."""
        return self._count

    def __contains__(self, offset: int) -> bool:
        place, bit = self._place(offset)
        return 0 <= place < len(self._bits) and bool(self._bits[place] & bit)

    def add(self, offset: int) -> None:
        """Add an offset, unless it lies before the first."""
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
        """Remove an offset, and tell whether it was present."""
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

    `events` counts decisions and `minor` sums amounts (by currency), both by (live, challenger) decision; `opponents`
    counts by live model. The other fields cover the `scored` comparisons, those with a live score: `shift_steps` and
    `absolute_steps` sum challenger's minus live score, `band_shifts` counts differences of bands, `live_bands` and
    `challenger_bands` count by group of bands.
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
        """Return the empty tally."""
        return cls({}, {}, {}, 0, 0, 0, {}, {}, {})

    @classmethod
    def of(cls, comparisons: Iterable[Comparison]) -> Self:
        """Count comparisons."""
        every = list(comparisons)
        scored = [one for one in every if one.live.score is not None]
        steps = [_steps(one.challenger.score) - _steps(one.live.score) for one in scored]
        minor: Counter[tuple[str, Pair]] = Counter()
        for one in every:
            minor[one.currency, _pair(one)] += one.amount_minor
        return cls(
            Counter(map(_pair, every)),
            minor,
            Counter(one.live.digest for one in every),
            len(scored),
            sum(steps),
            sum(map(abs, steps)),
            Counter((one.challenger.band or 0) - (one.live.band or 0) for one in scored),
            Counter((one.live.band or 0) // BAND_GROUP for one in scored),
            Counter((one.challenger.band or 0) // BAND_GROUP for one in scored),
        )

    def merge(self, other: "Tally") -> "Tally":
        """Return the sum of both tallies."""
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
        """Return the tally with one more comparison."""
        return self.merge(Tally.of([comparison]))

    @property
    def compared(self) -> int:
        """The number of comparisons."""
        return sum(self.events.values())

    @property
    def changed(self) -> int:
        """The number of decisions that the challenger would have changed."""
        return sum(count for (live, challenger), count in self.events.items() if live is not challenger)

    @property
    def currencies(self) -> list[str]:
        """The currencies of all comparisons, sorted."""
        return sorted({currency for currency, _ in self.minor})

    def decided(self, decision: Decision) -> tuple[int, int]:
        """Return how often the live model made this decision, and how often the challenger would have."""
        return (
            sum(count for (live, _), count in self.events.items() if live is decision),
            sum(count for (_, challenger), count in self.events.items() if challenger is decision),
        )


@dataclass(frozen=True, slots=True)
class Shift:
    """The difference between the challenger's scores and the live ones; None where there is nothing to compare.

    `mean` and `mean_absolute` are differences of probabilities. `band_quantiles` are the 1st, 50th and 99th percentile
    of the bands' differences, where 50 doubles the odds. `stability_index` compares the distributions of bands.
    """

    mean: float | None
    mean_absolute: float | None
    band_quantiles: tuple[int, int, int] | None
    stability_index: float | None

    @classmethod
    def of(cls, tally: Tally) -> Self:
        """Compute the shift from a tally."""
        if not tally.scored:
            return cls(None, None, None, None)
        count = tally.scored * SCORE_STEPS
        low, middle, high = (quantile(tally.band_shifts, percent) for percent in (1, 50, 99))
        return cls(
            tally.shift_steps / count,
            tally.absolute_steps / count,
            (low, middle, high),
            stability_of_counts(tally.live_bands, tally.challenger_bands),
        )


def quantile(counts: Mapping[int, int], percent: int) -> int:
    """Return the smallest value that at least `percent` % of the counted values do not exceed."""
    total, seen = sum(counts.values()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen * 100 >= total * percent:
            return value
    raise ValueError("quantile of an empty histogram")


def _pair(comparison: Comparison) -> Pair:
    return comparison.live.decision, comparison.challenger.decision


def _steps(score: float | None) -> int:
    return round((score or 0.0) * SCORE_STEPS)


def _sum(left: Mapping[Key, int], right: Mapping[Key, int]) -> Mapping[Key, int]:
    both = dict(left)
    for key, count in right.items():
        both[key] = both.get(key, 0) + count
    return both
