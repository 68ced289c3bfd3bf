"""The results of the published transactions, folded from acknowledgements and scores, and of an outage of the worker.

`checks` finds what is wrong with them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec
import numpy as np

from fraudstream.demo.canary import ArmedDecision
from fraudstream.demo.world.rows import Pattern
from fraudstream_client.arms import CANARY
from fraudstream_client.outputs import Decision, Score
from models.terms import term_of
from models.times import stated_ms

FIRST_TERM = 0
RECENT_MS = 10_000
CALM_SECONDS = 0.1
"""The backlog counts as decided once no more is undecided than arrives in so long."""


class GroundTruth(NamedTuple):
    """What the simulator knows of a transaction; figures count only `live` ones, checks count all."""

    pattern: Pattern
    live: bool
    due_ms: int
    """When it was scheduled to be sent."""


class Place(NamedTuple):
    """The position of a record on the transactions topic."""

    partition: int
    offset: int


class TermRevision(NamedTuple):
    """A revision in a term; later ones are greater. Each deployment counts its own, so the term comes first."""

    term: int
    revision: int

    @classmethod
    def of(cls, score: Score) -> TermRevision:
        """Return those under which a score was made."""
        return cls(term_of(score.epoch), score.revision)


class Takeover(NamedTuple):
    """A partition's first valid score under a higher epoch: another worker has taken it over."""

    seen_ms: int
    partition: int


@dataclass(frozen=True, slots=True)
class TruthTally:
    """Decisions against the truth."""

    approved: int = 0
    reviewed: int = 0
    declined: int = 0
    frauds: int = 0
    caught: int = 0
    """Frauds that were reviewed or declined."""

    @property
    def decided(self) -> int:
        """The number of decisions."""
        return self.approved + self.alerts

    @property
    def alerts(self) -> int:
        """The number of decisions other than approve."""
        return self.reviewed + self.declined

    @property
    def precision(self) -> float | None:
        """The share of alerts that were fraud; None without alerts."""
        return self.caught / self.alerts if self.alerts else None

    @property
    def recall(self) -> float | None:
        """The share of frauds that were alerted; None without frauds."""
        return self.caught / self.frauds if self.frauds else None

    def plus(self, decision: Decision, *, fraud: bool) -> TruthTally:
        """Return the tally with one more decision."""
        alert = decision is not Decision.APPROVE
        return replace(
            self,
            approved=self.approved + (decision is Decision.APPROVE),
            reviewed=self.reviewed + (decision is Decision.REVIEW),
            declined=self.declined + (decision is Decision.DECLINE),
            frauds=self.frauds + fraud,
            caught=self.caught + (fraud and alert),
        )


class Delay(NamedTuple):
    """The latency of one decision, in milliseconds."""

    seen_ms: int
    """When its score was read."""
    decision: int
    """From the record's time to the score's encoding, as the score says."""
    round_trip: int
    """From when it was due to when its score was read."""

    @property
    def due_ms(self) -> int:
        """When its transaction was scheduled to be sent."""
        return self.seen_ms - self.round_trip


class Percentiles(msgspec.Struct, frozen=True):
    """Median and 99th percentile, in milliseconds."""

    p50: float
    p99: float


@dataclass(slots=True)
class Scoreboard:
    """The state of everything that is shown or checked, folded from what was published and decided."""

    truths: dict[str, GroundTruth] = field(default_factory=dict)
    published: dict[str, Place] = field(default_factory=dict)
    decided: set[str] = field(default_factory=set)
    """The transactions with a valid score."""
    last_offsets: dict[int, int] = field(default_factory=dict)
    """By partition, the highest decided offset."""
    first_offsets: dict[int, dict[TermRevision, int]] = field(default_factory=lambda: defaultdict(dict))
    """By partition and revision, the first offset that it decided."""
    went_back: list[Place] = field(default_factory=list)
    """Decided by an older revision than the record before, or in an older term."""
    takeovers: list[Takeover] = field(default_factory=list)
    publishers: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By term, how many payments each deployment decided in it: one deployment, if all is well."""
    late: Counter[int] = field(default_factory=Counter)
    """By term, the void scores that the fleet of an earlier one wrote after its successor had begun."""
    digests: dict[TermRevision, str] = field(default_factory=dict)
    """By revision, the model that was live."""
    armed: list[ArmedDecision] = field(default_factory=list)
    """The decisions on live transactions, each with its card's arm."""
    tallies: dict[TermRevision, TruthTally] = field(default_factory=dict)
    delays: list[Delay] = field(default_factory=list)
    fallbacks: int = 0
    """Not decided by the live model."""
    outcomes: int = 0
    dead: dict[str, int] = field(default_factory=dict)
    """Dead letters by code."""
    _revisions: dict[int, TermRevision] = field(default_factory=dict)
    _epochs: dict[int, int] = field(default_factory=dict)

    def due(self, transaction_id: str, truth: GroundTruth) -> None:
        """Record that a transaction is sent now."""
        self.truths[transaction_id] = truth

    def is_live(self, transaction_id: str) -> bool:
        """Tell whether a transaction belongs to the live stream."""
        truth = self.truths.get(transaction_id)
        return truth is not None and truth.live

    def acknowledge(self, transaction_id: str, place: Place) -> None:
        """Record that the broker has acknowledged a transaction."""
        self.published[transaction_id] = place

    def decide(self, score: Score, seen_ms: int) -> None:
        """Record a valid score; each partition's come in order."""
        place = Place(score.source.partition, score.source.offset)
        self.decided.add(score.transaction_id)
        self.last_offsets[place.partition] = max(place.offset, self.last_offsets.get(place.partition, 0))
        self._revise(place, TermRevision.of(score))
        self.publishers[term_of(score.epoch)][score.deployment] += 1
        if score.epoch > self._epochs.setdefault(place.partition, score.epoch):
            self._epochs[place.partition] = score.epoch
            self.takeovers.append(Takeover(seen_ms, place.partition))
        truth = self.truths.get(score.transaction_id)
        if truth is None or not truth.live:
            return
        declined = score.decision is Decision.DECLINE
        self.armed.append(
            ArmedDecision(
                score.transaction_id, score.card_id, score.revision, score.arm, declined, stated_ms(score.scored_at)
            )
        )
        if score.model is not None and score.arm != CANARY:
            self.digests[TermRevision.of(score)] = score.model.digest
        self.fallbacks += score.decided_by.value != "model"
        self._count(score, truth)
        self.delays.append(Delay(seen_ms, score.latency_ms, seen_ms - truth.due_ms))

    def pass_over(self, epoch: int, highest_epoch: int) -> None:
        """Record a void score, with the highest epoch so far in its partition."""
        if (term := term_of(highest_epoch)) > term_of(epoch):
            self.late[term] += 1

    def first_of_term(self, partition: int, term: int) -> int | None:
        """Return the first offset that a term decided in a partition; None if it decided nothing there."""
        firsts = self.first_offsets.get(partition, {})
        return min((offset for key, offset in firsts.items() if key.term == term), default=None)

    def dead_letter(self, code: str) -> None:
        """Record a dead letter."""
        self.dead[code] = self.dead.get(code, 0) + 1

    @property
    def in_flight(self) -> int:
        """The number of transactions that were sent and have no score yet."""
        return len(self.truths) - len(self.decided)

    @property
    def total(self) -> TruthTally:
        """All revisions together."""
        every = self.tallies.values()
        return TruthTally(
            *(sum(getattr(tally, name) for tally in every) for name in TruthTally.__slots__)  # the fields, in order
        )

    @property
    def newest(self) -> TermRevision | None:
        """The newest revision that has decided, of the newest term."""
        return max(self._revisions.values(), default=None)

    def rate(self, now_ms: int) -> float:
        """Return decisions a second over the last ten seconds."""
        recent = self._recent(now_ms)
        return len(recent) / max(1.0, (now_ms - recent[0].seen_ms) / 1000) if recent else 0.0

    def recent_decision(self, now_ms: int) -> Percentiles | None:
        """Return the latency of the last ten seconds' decisions."""
        return percentiles([delay.decision for delay in self._recent(now_ms)])

    def recent_round_trip(self, now_ms: int) -> Percentiles | None:
        """Return the last ten seconds' round trips."""
        return percentiles([delay.round_trip for delay in self._recent(now_ms)])

    def _recent(self, now_ms: int) -> list[Delay]:
        found: list[Delay] = []
        for delay in reversed(self.delays):
            if delay.seen_ms <= now_ms - RECENT_MS:
                break
            found.append(delay)
        return found[::-1]

    def _revise(self, place: Place, revision: TermRevision) -> None:
        before = self._revisions.get(place.partition, revision)
        if revision < before:
            self.went_back.append(place)
        self._revisions[place.partition] = max(revision, before)
        self.first_offsets[place.partition].setdefault(revision, place.offset)

    def _count(self, score: Score, truth: GroundTruth) -> None:
        fraud = truth.pattern is not Pattern.GENUINE
        revision = TermRevision.of(score)
        self.tallies[revision] = self.tallies.get(revision, TruthTally()).plus(score.decision, fraud=fraud)


def percentiles(milliseconds: list[int]) -> Percentiles | None:
    """Return the median and the 99th percentile; None without values."""
    if not milliseconds:
        return None
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return Percentiles(round(float(p50), 1), round(float(p99), 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One kill of the worker and its effects. Times in epoch milliseconds, None until they are known."""

    killed_ms: int
    in_flight: int
    """Transactions that had been sent and had no score at the kill."""
    uncommitted: int | None = None
    """Decisions that had been written and whose offsets the killed worker had not committed."""
    back_ms: int | None = None
    """When the first score of the new worker was read."""
    most_waiting: int = 0
    caught_up_ms: int | None = None

    @property
    def gap_ms(self) -> int | None:
        """How long nothing was decided; None while that lasts."""
        return None if self.back_ms is None else self.back_ms - self.killed_ms

    def with_uncommitted(self, uncommitted: int | None) -> Outage:
        """Return the outage with the number of decisions that were not committed."""
        return replace(self, uncommitted=uncommitted)

    def after(self, board: Scoreboard, now_ms: int, calm: int) -> Outage:
        """Return the state now; the backlog is decided once no more than `calm` transactions are undecided."""
        later = [takeover.seen_ms for takeover in board.takeovers if takeover.seen_ms >= self.killed_ms]
        back_ms = min(later, default=None)
        waiting = max(self.most_waiting, board.in_flight)
        caught_up = self.caught_up_ms
        if caught_up is None and back_ms is not None and board.in_flight <= calm:
            caught_up = now_ms
        return replace(self, back_ms=back_ms, most_waiting=waiting, caught_up_ms=caught_up)


def waited(board: Scoreboard, outage: Outage) -> list[Delay]:
    """Return the delays of live transactions that were in flight when the new worker began to decide."""
    if outage.back_ms is None:
        return []
    return [delay for delay in board.delays if delay.due_ms < outage.back_ms <= delay.seen_ms]


def undisturbed(board: Scoreboard, outage: Outage | None) -> list[Delay]:
    """Return the delays of live transactions that were decided before the kill, or due after the backlog."""
    if outage is None:
        return board.delays
    end_ms = outage.caught_up_ms
    return [
        delay
        for delay in board.delays
        if delay.seen_ms < outage.killed_ms or (end_ms is not None and delay.due_ms >= end_ms)
    ]
