"""The fold of the topics into incidents, second by second.

Facts are added as they are read, in any order; a second is looked at once everything of it was read. So the incidents
are the same for two guards, for one that was restarted, and however the topics are read.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from fraudstream.ops.repair.kept_letters import KeptLetter
from fraudstream.ops.watch.incidents.acts import Acts, DecidedPlaces
from fraudstream.ops.watch.incidents.commands import AcceptedCommands
from fraudstream.ops.watch.incidents.conditions import (
    HaltedPartitions,
    HistoryEpochs,
    LetterBursts,
    MissedDeadlines,
    Standstills,
)
from fraudstream.ops.watch.incidents.episode import Episode, Notice, Reading, RuleScope, step
from fraudstream.ops.watch.incidents.exposure import NOTHING, Exposure, total
from fraudstream.ops.watch.incidents.facts import (
    EMPTY_SECOND,
    Place,
    SecondFacts,
    StandstillFact,
    exposure_of,
    is_by_model,
    letter_exposure,
    opening_of,
    shown_by,
)
from fraudstream.ops.watch.incidents.rules import WAITING_SECONDS
from fraudstream_client.incidents import IncidentKind, IncidentRule
from fraudstream_client.validity import Standing
from stream.readers import ScoreView

_MS = 1000
_SEEN = (IncidentRule.STAND_INS, IncidentRule.CAP_REACHED)
"""The rules whose condition a payment shows by itself."""

_NAMED = (IncidentRule.GUARD_BREACH, IncidentRule.LOSS_ACCEPTED)
"""The rules whose incidents begin with a command alone."""


class FoldTerms(NamedTuple):
    """Whose incidents are told: the deployment, its topic of transactions, and its deadline."""

    deployment: str
    transactions: str
    deadline_ms: int


class ReadPartition(msgspec.Struct):
    """How far a partition of scores was read: the next offset, the standing there, and the time of the last score."""

    position: int
    highest_epoch: int = -1
    last_place: int = -1
    last_ms: int | None = None

    @property
    def standing(self) -> Standing:
        """All that the next score's validity depends on."""
        return Standing(self.highest_epoch, self.last_place)


class FoldState(msgspec.Struct):
    """All that a fold knows; it can be stored as JSON.

    Attributes:
        at_s: the second that is looked at next.
        begin_s: the first second that was looked at; what is older only says where a partition stands.
        facts: those of the seconds from there on.
        episodes: what is pending or open, by `RuleScope.key`.
        muted: the second before which an incident of a key was told by a guard before, whose facts are read again.
        partitions: how far `scores` was read.
        letters_position: the next offset of `dead-letters`; None before it was read.
        letters_seen: of each input partition, the last refused record, to know repeats again.
        decided_to: the place of the last decided transaction of each partition.
    """

    at_s: int
    begin_s: int
    facts: dict[int, SecondFacts] = msgspec.field(default_factory=dict)
    episodes: dict[str, Episode] = msgspec.field(default_factory=dict)
    muted: dict[str, int] = msgspec.field(default_factory=dict)
    partitions: dict[int, ReadPartition] = msgspec.field(default_factory=dict)
    letters_position: int | None = None
    letters_seen: dict[str, Place] = msgspec.field(default_factory=dict)
    decided_to: dict[int, int] = msgspec.field(default_factory=dict)
    epochs: HistoryEpochs = msgspec.field(default_factory=HistoryEpochs)
    deadlines: MissedDeadlines = msgspec.field(default_factory=MissedDeadlines)
    bursts: LetterBursts = msgspec.field(default_factory=LetterBursts)
    halted: HaltedPartitions = msgspec.field(default_factory=HaltedPartitions)
    standstills: Standstills = msgspec.field(default_factory=Standstills)
    acts: Acts = msgspec.field(default_factory=Acts)


class IncidentFold:
    """Adds facts to a state, and returns what is to be told.

    Attributes:
        state: what is known.
        commands: what the event log says.
        waiting: the payments that wait for a decision now, by partition.
    """

    def __init__(self, terms: FoldTerms, state: FoldState) -> None:
        self.state = state
        self.commands = AcceptedCommands()
        self.waiting: Mapping[int, Exposure] = {}
        self._terms = terms

    # --- facts

    def add_score(self, partition: int, at_ms: int, score: ScoreView, *, redriven: bool) -> None:
        """Add the next valid score of a partition; `redriven` tells whether its payment was sent again."""
        read = self.state.partitions[partition]
        before_ms, read.last_ms = read.last_ms, at_ms
        if at_ms < self.state.begin_s * _MS:
            self.state.decided_to[partition] = score.place
            if score.deployment == self._terms.deployment:
                self.state.epochs.begin(score.positions.history_epoch)
            return
        facts = self._facts_at(at_ms)
        facts.decided_to[partition] = max(score.place, facts.decided_to.get(partition, -1))
        if score.deployment != self._terms.deployment:
            return
        facts.decisions += 1
        facts.see_epoch(at_ms, score)
        for rule, reasons in shown_by(score, self._terms.deadline_ms):
            if rule is not IncidentRule.DEADLINES_MISSED or not redriven:
                facts.see(rule, exposure_of(score, at_ms, reasons))
        self._add_to_watch(facts, at_ms, score)
        if score.latency_ms > WAITING_SECONDS * _MS and not redriven:
            self._add_late(facts, partition, (before_ms, at_ms), score)

    def _add_to_watch(self, facts: SecondFacts, at_ms: int, score: ScoreView) -> None:
        if score.model is None or score.model.digest not in self.commands.periods or not is_by_model(score):
            return
        period = self.commands.period(score.model.digest, score.revision, at_ms)
        if period is not None:
            known = facts.by_new_model.get(period.key, NOTHING)
            facts.by_new_model[period.key] = known.plus(exposure_of(score, at_ms))

    def _add_late(self, facts: SecondFacts, partition: int, times: tuple[int | None, int], score: ScoreView) -> None:
        """Add a payment that waited for long, and that its partition stood still meanwhile, if it did."""
        before_ms, at_ms = times
        facts.late[partition] = facts.late.get(partition, NOTHING).plus(exposure_of(score, at_ms))
        if before_ms is not None:
            since_ms = max(at_ms - score.latency_ms, before_ms)
            if at_ms - since_ms >= WAITING_SECONDS * _MS:
                self.add_standstill(StandstillFact(opening_of(score), since_ms, at_ms))

    def add_letter(self, letter: KeptLetter) -> None:
        """Add the next dead letter of the deployment; those of a backfill and repeats are left out by the caller."""
        at_ms, source = letter.record.timestamp, letter.source
        if at_ms < self.state.begin_s * _MS:
            return
        facts, scope = self._facts_at(at_ms), f"{source.topic} {letter.code}"
        facts.letters[scope] = facts.letters.get(scope, NOTHING).plus(letter_exposure(letter))
        if source.topic == self._terms.transactions:
            facts.refused.setdefault(source.partition, []).append((source.offset, at_ms))

    def add_standstill(self, fact: StandstillFact) -> None:
        """Add that a partition stood still; for the same payment once more, that it has gone on to."""
        self._facts_at(fact.opens_s * _MS).standstills.append(fact)

    def _facts_at(self, at_ms: int) -> SecondFacts:
        return self.state.facts.setdefault(max(at_ms // _MS, self.state.at_s), SecondFacts())

    # --- seconds

    def advance(self, to_ms: int) -> list[Notice]:
        """Look at all seconds before a time, of which everything was read, and return what is to be told."""
        state, end_s, notices = self.state, to_ms // _MS, list[Notice]()
        while state.at_s < end_s:
            if self._is_idle():
                state.at_s = min(self._next_s(), end_s)
            if state.at_s < end_s:
                notices += self._look(state.at_s)
                state.at_s += 1
        return notices

    def _is_idle(self) -> bool:
        """Tell whether seconds without facts change nothing."""
        state = self.state
        parts = (state.deadlines, state.bursts, state.standstills, state.acts)
        return not state.episodes and not state.halted.halted() and all(part.is_idle for part in parts)

    def _next_s(self) -> int:
        """Return the next second that brings anything, as far as is known."""
        last_s = max(self.state.facts, default=self.state.at_s) + 10**9
        command_s = self.state.acts.next_s(self.commands)
        next_s = min(min(self.state.facts, default=last_s), last_s if command_s is None else command_s)
        return max(next_s, self.state.at_s)

    def _look(self, second: int) -> Iterator[Notice]:
        state = self.state
        facts = state.facts.pop(second, EMPTY_SECOND)
        state.decided_to |= facts.decided_to
        for rule, scope, reading in list(self._readings(second, facts)):
            yield from self._step(rule, scope, second, reading)

    def _readings(self, second: int, facts: SecondFacts) -> Iterator[tuple[IncidentRule, str, Reading]]:
        """Yield what each rule sees in a second."""
        state = self.state
        for rule in _SEEN:
            exposure = facts.seen.get(rule, NOTHING)
            yield rule, "", Reading(exposure.events > 0, exposure=exposure)
        yield IncidentRule.HISTORY_INCOMPLETE, "", state.epochs.read(facts)
        yield IncidentRule.DEADLINES_MISSED, "", state.deadlines.read(second, facts)
        bursts = state.bursts.read(second, facts)
        for scope in sorted({*bursts, *self._scopes(IncidentRule.DEAD_LETTERS)}):
            yield IncidentRule.DEAD_LETTERS, scope, bursts.get(scope, Reading())
        known = {int(scope): is_open for scope, is_open in self._scopes(IncidentRule.PARTITION_HALTED).items()}
        halted = state.halted.read(self._terms.transactions, second, facts, known)
        for partition, reading in halted.items():
            yield IncidentRule.PARTITION_HALTED, str(partition), self._waiting(reading, [partition])
        is_open = RuleScope("", IncidentRule.NO_WORKER).key in state.episodes
        still = state.standstills.read(second, facts, halted, is_open=is_open)
        yield IncidentRule.NO_WORKER, "", self._waiting(still, self.waiting.keys() - halted.keys())
        decided = DecidedPlaces(self._terms.transactions, state.decided_to)
        yield from state.acts.read(second, facts, self.commands, decided)

    def _waiting(self, reading: Reading, partitions: Iterable[int]) -> Reading:
        waiting = total(self.waiting.get(number, NOTHING) for number in sorted(partitions))
        return msgspec.structs.replace(reading, waiting=waiting) if reading.holds and waiting.events else reading

    def _scopes(self, rule: IncidentRule) -> dict[str, bool]:
        """Return what the incidents of a rule are about, and whether each is open, else pending."""
        prefix = f"{rule} "
        episodes = self.state.episodes.items()
        return {key.removeprefix(prefix): one.opened_s is not None for key, one in episodes if key.startswith(prefix)}

    def _step(self, rule: IncidentRule, scope: str, second: int, reading: Reading) -> tuple[Notice, ...]:
        state, watched = self.state, RuleScope(self._terms.deployment, rule, scope)
        if second < state.muted.get(watched.key, 0):
            return ()
        known = state.episodes.get(watched.key)
        if known is None and reading.name is None and rule in _NAMED:
            state.acts.close(scope)
            return ()
        episode, notices = step(watched, known, second, reading)
        if episode is None:
            state.episodes.pop(watched.key, None)
        else:
            state.episodes[watched.key] = episode
        if any(notice.kind is IncidentKind.CLOSED for notice in notices):
            state.acts.close(scope)
        return notices
