"""Comparisons of live model and challenger, by revision, split by what the simulator knows of each transaction.

Counting is `shadow.tally`'s. Only live transactions count, each once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fraudstream.demo.scoreboard import GroundTruth
from fraudstream.demo.world.population import CURRENCIES, EURO
from fraudstream.demo.world.rows import Pattern
from fraudstream_client.outputs import Decision
from shadow.comparison import Comparison
from shadow.tally import Pair, Shift, Tally

CENTS_PER_EURO = {currency.code: currency.per_euro * 100 for currency in (EURO, *CURRENCIES.values())}


class Amount(NamedTuple):
    """A number of transactions, and their amount in euro at the simulation's rates."""

    events: int
    euro: float


@dataclass(slots=True)
class RevisionComparison:
    """The comparisons under one revision, all between the same two models."""

    revision: int
    live: str | None
    challenger: str | None
    genuine: Tally = field(default_factory=Tally.zero)
    frauds: Tally = field(default_factory=Tally.zero)

    @property
    def tally(self) -> Tally:
        """All comparisons."""
        return self.genuine.merge(self.frauds)

    @property
    def agreement(self) -> float | None:
        """The share of equal decisions; None without comparisons."""
        tally = self.tally
        return 1 - tally.changed / tally.compared if tally.compared else None

    @property
    def shift(self) -> Shift:
        """How far the challenger's scores are from the live ones."""
        return Shift.of(self.tally)

    def only_challenger(self, *, fraud: bool) -> Amount:
        """Return what only the challenger would have reviewed or declined: the fraud of it, or the genuine part."""
        pairs = [(Decision.APPROVE, alert) for alert in (Decision.REVIEW, Decision.DECLINE)]
        return amount_of(self.frauds if fraud else self.genuine, pairs)

    def only_live(self, *, fraud: bool) -> Amount:
        """Return what only the live model reviewed or declined: the fraud of it, or the genuine part."""
        pairs = [(alert, Decision.APPROVE) for alert in (Decision.REVIEW, Decision.DECLINE)]
        return amount_of(self.frauds if fraud else self.genuine, pairs)


@dataclass(slots=True)
class RevisionComparisons:
    """All comparisons, by revision."""

    truths: Mapping[str, GroundTruth]
    """What the simulator knows, by transaction."""
    by_revision: dict[int, RevisionComparison] = field(default_factory=dict)
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def compare(self, comparisons: Iterable[Comparison]) -> None:
        """Count comparisons, each once: a killed worker may leave one that is written again."""
        groups: dict[tuple[int, bool], list[Comparison]] = {}
        for comparison in comparisons:
            truth, place = self.truths.get(comparison.transaction_id), comparison.source
            if truth is None or not truth.live or (place.partition, place.offset) in self._seen:
                continue
            self._seen.add((place.partition, place.offset))
            groups.setdefault((comparison.revision, truth.pattern is not Pattern.GENUINE), []).append(comparison)
        for (revision, fraud), some in groups.items():
            self._add(self._of(revision, some[0]), Tally.of(some), fraud=fraud)

    @property
    def newest(self) -> RevisionComparison | None:
        """The comparisons of the newest revision that has any; None without."""
        return self.by_revision[max(self.by_revision)] if self.by_revision else None

    def _of(self, revision: int, first: Comparison) -> RevisionComparison:
        return self.by_revision.setdefault(
            revision, RevisionComparison(revision, first.live.digest, first.challenger.digest)
        )

    def _add(self, compared: RevisionComparison, tally: Tally, *, fraud: bool) -> None:
        if fraud:
            compared.frauds = compared.frauds.merge(tally)
        else:
            compared.genuine = compared.genuine.merge(tally)


def amount_of(tally: Tally, pairs: Iterable[Pair]) -> Amount:
    """Return the number and the amount of transactions with these pairs of decisions."""
    wanted = frozenset(pairs)
    cents = {currency: CENTS_PER_EURO.get(currency, 100.0) for currency in tally.currencies}
    return Amount(
        sum(count for pair, count in tally.events.items() if pair in wanted),
        sum(minor / cents[currency] for (currency, pair), minor in tally.minor.items() if pair in wanted),
    )
