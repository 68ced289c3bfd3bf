"""What was commanded and what the fleet answered, read from the two topics that say so.

A command and its answer come from different topics, so either may come first. Nothing here reads a topic.

Live and challenger side by side, against the simulator's truth: a fold over comparisons, one lane a revision.

Counting is `shadow.tally`'s; here it is split by what only a simulator knows. Only live transactions count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from models.commands import Command, CommandKind, Event, EventKind
from models.policy import Decision
from models.times import parse_time_ms
from shadow.comparison import Comparison
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
class RevisionComparison:
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
class RevisionComparisons:
    """Told of comparisons, it knows every lane, by revision."""

    truths: Mapping[str, Truth]
    """What the simulator knows, by transaction."""
    by_revision: dict[int, RevisionComparison] = field(default_factory=dict)
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
    def newest(self) -> RevisionComparison | None:
        """The lane of the newest revision that was compared."""
        return self.by_revision[max(self.by_revision)] if self.by_revision else None

    def _lane(self, revision: int, first: Comparison) -> RevisionComparison:
        return self.by_revision.setdefault(
            revision, RevisionComparison(revision, first.live.digest, first.challenger.digest)
        )

    def _add(self, lane: RevisionComparison, tally: Tally, *, fraud: bool) -> None:
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


@dataclass(slots=True)
class Change:
    """One command, and what came of it. Times in epoch milliseconds, 0 where they are not known yet."""

    command_id: str
    kind: CommandKind | None = None
    model: str | None = None
    """The full digest: what the command names, or what a roll-back returns to."""
    asked_ms: int = 0
    ready: dict[str, int] = field(default_factory=dict)
    """By worker, when it had loaded and probed the model."""
    answer: Event | None = None
    answered_ms: int = 0
    cutovers: dict[int, int] = field(default_factory=dict)
    """By partition, the first offset that its revision decided, as announced."""
    cut_over_ms: int = 0
    """When the last of them was announced."""

    @property
    def accepted(self) -> bool:
        """Whether the verdict was yes."""
        return self.answer is not None and self.answer.kind is EventKind.ACCEPTED

    @property
    def revision(self) -> int | None:
        """The revision that it made; None where it made none."""
        return self.answer.revision if self.answer is not None and self.accepted else None

    @property
    def took_ms(self) -> int | None:
        """From the command to its verdict; None without one."""
        return max(0, self.answered_ms - self.asked_ms) if self.answer is not None and self.asked_ms else None

    @property
    def refusal(self) -> str:
        """All reasons of a refusal in one line."""
        return "; ".join(problem.detail for problem in self.answer.problems) if self.answer is not None else ""


@dataclass(slots=True)
class Chronicle:
    """Told of commands and events, it knows what was changed when."""

    events: list[Event] = field(default_factory=list)
    _changes: dict[str, Change] = field(default_factory=dict)

    def command(self, command: Command) -> None:
        """Hear of a command on `model-control`."""
        change = self._change(command.command_id)
        change.kind = command.kind
        change.model = change.model or command.model
        change.asked_ms = parse_time_ms(command.issued_at).epoch_ms

    def event(self, event: Event) -> None:
        """Hear of an event on `model-events`."""
        self.events.append(event)
        at_ms = parse_time_ms(event.at).epoch_ms
        if event.kind is EventKind.CUTOVER:
            self._cut_over(event, at_ms)
        elif event.command_id is None:
            return
        elif event.kind is EventKind.READY:
            self._change(event.command_id).ready.setdefault(event.worker, at_ms)
        elif event.kind in (EventKind.ACCEPTED, EventKind.REFUSED):
            self._answer(self._change(event.command_id), event, at_ms)

    @property
    def changes(self) -> list[Change]:
        """All commands in the order in which they were given."""
        return sorted(self._changes.values(), key=lambda change: change.asked_ms or change.answered_ms)

    def change(self, kind: CommandKind, model: str | None = None) -> Change | None:
        """Return the last command of a kind, for a model if one is named."""
        found = [known for known in self.changes if known.kind is kind and model in (None, known.model)]
        return found[-1] if found else None

    def _answer(self, change: Change, event: Event, at_ms: int) -> None:
        if change.answer is not None:
            return
        change.answer, change.answered_ms = event, at_ms
        change.kind = change.kind or event.command
        change.model = event.model or change.model

    def _cut_over(self, event: Event, at_ms: int) -> None:
        if event.partition is None or event.offset is None:
            return
        for change in self._changes.values():
            if change.revision == event.revision and event.partition not in change.cutovers:
                change.cutovers[event.partition] = event.offset
                change.cut_over_ms = max(change.cut_over_ms, at_ms)

    def _change(self, command_id: str) -> Change:
        return self._changes.setdefault(command_id, Change(command_id))
