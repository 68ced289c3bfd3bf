"""Live and challenger side by side, against the simulator's truth: a fold over comparisons, one lane a revision.

Counting is `shadow.tally`'s; here it is split by what only a simulator knows. Only live transactions count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from models.policy import Decision
from shadow.comparing import Comparison
from shadow.tally import Pair, Shift, Tally
from stream.demo.scoreboard import Truth
from stream.demo.world.population import CURRENCIES, EURO
from stream.demo.world.rows import Pattern

CENTS_PER_EURO = {currency.code: currency.per_euro * 100 for currency in (EURO, *CURRENCIES.values())}


class Sum(NamedTuple):
    """Some transactions: how many, and what they come to in euro at the simulation's rates."""

    events: int
    euro: float


@dataclass(slots=True)
class Lane:
    """What was compared under one revision, always between the same two models."""

    revision: int
    live: str | None
    challenger: str | None
    genuine: Tally = field(default_factory=Tally.zero)
    frauds: Tally = field(default_factory=Tally.zero)

    @property
    def tally(self) -> Tally:
        """Both together."""
        return self.genuine.merge(self.frauds)

    @property
    def agreement(self) -> float | None:
        """The share that has the same decision on both sides; None of nothing."""
        tally = self.tally
        return 1 - tally.changed / tally.compared if tally.compared else None

    @property
    def shift(self) -> Shift:
        """How far the challenger's scores are from the live ones."""
        return Shift.of(self.tally)

    def only_challenger(self, *, fraud: bool) -> Sum:
        """Return what the challenger alone would have alerted, and was fraud, or was not."""
        pairs = [(Decision.APPROVE, alert) for alert in (Decision.REVIEW, Decision.DECLINE)]
        return total(self.frauds if fraud else self.genuine, pairs)

    def only_live(self, *, fraud: bool) -> Sum:
        """Return what the live model alone alerted, and was fraud, or was not."""
        pairs = [(alert, Decision.APPROVE) for alert in (Decision.REVIEW, Decision.DECLINE)]
        return total(self.frauds if fraud else self.genuine, pairs)


@dataclass(slots=True)
class Lanes:
    """Told of comparisons, it knows every lane, by revision."""

    truths: Mapping[str, Truth]
    """What the simulator knows, by transaction."""
    by_revision: dict[int, Lane] = field(default_factory=dict)
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def compare(self, comparisons: Iterable[Comparison]) -> None:
        """Hear of comparisons; one that comes again, as a worker's death may make them, counts once."""
        told: dict[tuple[int, bool], list[Comparison]] = {}
        for comparison in comparisons:
            truth, place = self.truths.get(comparison.transaction_id), comparison.source
            if truth is None or not truth.live or (place.partition, place.offset) in self._seen:
                continue
            self._seen.add((place.partition, place.offset))
            told.setdefault((comparison.revision, truth.pattern is not Pattern.GENUINE), []).append(comparison)
        for (revision, fraud), some in told.items():
            self._add(self._lane(revision, some[0]), Tally.of(some), fraud=fraud)

    @property
    def newest(self) -> Lane | None:
        """The lane of the newest revision that was compared."""
        return self.by_revision[max(self.by_revision)] if self.by_revision else None

    def _lane(self, revision: int, first: Comparison) -> Lane:
        return self.by_revision.setdefault(revision, Lane(revision, first.live.digest, first.challenger.digest))

    def _add(self, lane: Lane, tally: Tally, *, fraud: bool) -> None:
        if fraud:
            lane.frauds = lane.frauds.merge(tally)
        else:
            lane.genuine = lane.genuine.merge(tally)


def total(tally: Tally, pairs: Iterable[Pair]) -> Sum:
    """Return what these pairs of decisions come to."""
    wanted = frozenset(pairs)
    cents = {currency: CENTS_PER_EURO.get(currency, 100.0) for currency in tally.currencies}
    return Sum(
        sum(count for pair, count in tally.events.items() if pair in wanted),
        sum(minor / cents[currency] for (currency, pair), minor in tally.minor.items() if pair in wanted),
    )
