"""The conditions that depend on more than one second: shares and bursts over time, lost histories, partitions.

Each reads a second's facts after those of all seconds before it, and says whether its condition holds.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping

import msgspec

from fraudstream.ops.watch.incidents import rules
from fraudstream.ops.watch.incidents.episode import Reading
from fraudstream.ops.watch.incidents.exposure import NOTHING, Exposure, place_key, total
from fraudstream.ops.watch.incidents.facts import Place, SecondFacts, StandstillFact
from fraudstream_client.incidents import IncidentRule, Opening, Severity
from fraudstream_client.validity import log_and_offset

_MOST_LETTERS = 10 * rules.HALTING_RUN
"""A worker halts a partition once its batch is written, so a run is hardly longer than a batch."""


class DecidedSecond(msgspec.Struct, frozen=True):
    """The decisions of a second, and those that missed the deadline."""

    second: int
    decisions: int
    missed: Exposure


class MissedDeadlines(msgspec.Struct):
    """Whether too many of the last decisions were late, and since when; `seconds` are those of the longer window."""

    seconds: list[DecidedSecond] = msgspec.field(default_factory=list)
    mild_since: int | None = None
    many_since: int | None = None

    def read(self, second: int, facts: SecondFacts) -> Reading:
        """Read the next second."""
        missed = facts.seen.get(IncidentRule.DEADLINES_MISSED, NOTHING)
        if facts.decisions:
            self.seconds.append(DecidedSecond(second, facts.decisions, missed))
        while self.seconds and self.seconds[0].second <= second - rules.MISSED_WINDOW_SECONDS:
            self.seconds.pop(0)
        mild = self._share(second, rules.MISSED_WINDOW_SECONDS) > rules.MISSED_SHARE
        many = self._share(second, rules.MANY_WINDOW_SECONDS) > rules.MANY_SHARE
        self.mild_since = _since(self.mild_since, second, holds=mild)
        self.many_since = _since(self.many_since, second, holds=many)
        is_page = _lasts(self.many_since, second, rules.MANY_FOR_SECONDS)
        is_new = second in (self.mild_since, self.many_since)
        return Reading(
            mild or many,
            Severity.PAGE if is_page else Severity.TICKET,
            ripe=is_page or _lasts(self.mild_since, second, rules.MISSED_FOR_SECONDS),
            exposure=missed,
            before=total(one.missed for one in self.seconds if one.second < second) if is_new else NOTHING,
            by_minute=True,
        )

    @property
    def is_idle(self) -> bool:
        """Whether a second without facts changes nothing."""
        return not self.seconds and self.mild_since is None and self.many_since is None

    def _share(self, second: int, length: int) -> float:
        """Return the share of late decisions among those of the last seconds."""
        begin = bisect_right(self.seconds, second - length, key=lambda one: one.second)
        missed = sum([one.missed.events for one in self.seconds[begin:]])
        return missed / sum([one.decisions for one in self.seconds[begin:]]) if missed else 0.0


def _since(before: int | None, second: int, *, holds: bool) -> int | None:
    if not holds:
        return None
    return second if before is None else before


def _lasts(since: int | None, second: int, seconds: int) -> bool:
    return since is not None and second - since >= seconds


class HistoryEpochs(msgspec.Struct):
    """The highest history epoch of a decision so far; None before the first one.

    A loss of histories raises the epoch, also where payments wait until they are restored, and none is decided without.
    """

    highest: int | None = None

    def read(self, facts: SecondFacts) -> Reading:
        """Read the next second: payments without complete histories, or the first one after a loss."""
        before, exposure = self.highest, facts.seen.get(IncidentRule.HISTORY_INCOMPLETE, NOTHING)
        if facts.epochs:
            self.highest = max(*facts.epochs, before or 0)
        raised = [first for epoch, first in facts.epochs.items() if before is not None and epoch > before]
        if exposure.events or not raised:
            return Reading(bool(exposure.events), exposure=exposure)
        at_ms, payment = min(raised, key=lambda one: (one[0], place_key(one[1])))
        return Reading(holds=True, since_ms=at_ms, opening=payment)

    def begin(self, epoch: int) -> None:
        """Note the epoch of a decision before the first second that is looked at."""
        self.highest = max(epoch, self.highest or 0)


class RefusedSecond(msgspec.Struct, frozen=True):
    """The dead letters of one topic and code in a second."""

    second: int
    letters: Exposure


class LetterBursts(msgspec.Struct):
    """The dead letters of the last minutes, by topic and code."""

    seconds: dict[str, list[RefusedSecond]] = msgspec.field(default_factory=dict)

    def read(self, second: int, facts: SecondFacts) -> dict[str, Reading]:
        """Read the next second; return a reading for each topic and code of which there are dead letters."""
        found = {}
        for scope in sorted(self.seconds.keys() | facts.letters.keys()):
            kept = [one for one in self.seconds.get(scope, ()) if one.second > second - rules.BURST_SECONDS]
            letters, count = facts.letters.get(scope, NOTHING), sum([one.letters.events for one in kept])
            is_burst = count + letters.events > rules.BURST_RECORDS
            before = total(one.letters for one in kept) if is_burst and count <= rules.BURST_RECORDS else NOTHING
            found[scope] = Reading(is_burst, exposure=letters, before=before)
            self.seconds[scope] = [*kept, RefusedSecond(second, letters)] if letters.events else kept
        self.seconds = {scope: kept for scope, kept in self.seconds.items() if kept}
        return found

    @property
    def is_idle(self) -> bool:
        """Whether a second without facts changes nothing."""
        return not self.seconds


class RefusedRun(msgspec.Struct):
    """The dead letters of a partition since its last score.

    Attributes:
        log: the number of the topic's log that they are of.
        letters: their offsets and times, not many more than halt a partition.
        halted: the record with which it was halted; None while it is not.
        halted_ms: the time of its dead letter.
    """

    log: int = 0
    letters: list[Place] = msgspec.field(default_factory=list)
    halted: Opening | None = None
    halted_ms: int = 0

    def refuse(self, topic: str, partition: int, letter: Place) -> None:
        """Add a dead letter."""
        if len(self.letters) < _MOST_LETTERS:
            self.letters.append(letter)
        self._look(topic, partition)

    def decide(self, topic: str, partition: int, place: int, second: int) -> None:
        """Note a score: the run begins behind it.

        One that lies within the run was only written later. One of the batch in which the partition was halted lies
        behind the run, and it is halted all the same.
        """
        log, offset = log_and_offset(place)
        if log != self.log:
            self.log, self.letters, self.halted = log, [], None
        if self.halted is not None and offset > self.halted.offset:
            goes_on = second >= self.halted_ms // 1000 + rules.GOES_ON_SECONDS
            self.halted, self.letters = (None, []) if goes_on else (self.halted, self.letters)
            return
        self.letters, self.halted = [one for one in self.letters if one[0] > offset], None
        self._look(topic, partition)

    def _look(self, topic: str, partition: int) -> None:
        if self.halted is None and len(self.letters) >= rules.HALTING_RUN:
            offset, self.halted_ms = self.letters[rules.HALTING_RUN - 1]
            self.halted = Opening(topic, partition, offset, self.log)


class HaltedPartitions(msgspec.Struct):
    """The runs of dead letters, by partition of `transactions`."""

    runs: dict[int, RefusedRun] = msgspec.field(default_factory=dict)

    def read(self, topic: str, second: int, facts: SecondFacts, known: Mapping[int, bool]) -> dict[int, Reading]:
        """Read the next second; return a reading of each partition that is halted or known.

        `known` are the partitions of which an incident is pending (False) or open (True): an open one goes on as long
        as what has waited is decided.
        """
        for partition, refused in facts.refused.items():
            run = self.runs.setdefault(partition, RefusedRun(self._log_of(partition, facts)))
            for letter in sorted(refused):
                run.refuse(topic, partition, letter)
        for partition, place in facts.decided_to.items():
            if partition in self.runs:
                self.runs[partition].decide(topic, partition, place, second)
        found = sorted(self.halted() | known.keys())
        return {one: self._reading(one, facts, is_open=known.get(one, False)) for one in found}

    def halted(self) -> set[int]:
        """Return the partitions that are halted."""
        return {partition for partition, run in self.runs.items() if run.halted is not None}

    def _log_of(self, partition: int, facts: SecondFacts) -> int:
        return log_and_offset(facts.decided_to.get(partition, 0))[0]

    def _reading(self, partition: int, facts: SecondFacts, *, is_open: bool) -> Reading:
        run, late = self.runs.get(partition, RefusedRun()), facts.late.get(partition, NOTHING)
        if run.halted is None:
            return Reading(is_open and late.events > 0, exposure=late, partition=partition)
        return Reading(holds=True, exposure=late, since_ms=run.halted_ms, opening=run.halted, partition=partition)


class Standstills(msgspec.Struct):
    """The partitions that stand still, with the payment that waits in each."""

    standing: dict[int, StandstillFact] = msgspec.field(default_factory=dict)

    def read(self, second: int, facts: SecondFacts, halted: Iterable[int], *, is_open: bool) -> Reading:
        """Read the next second; payments behind a halted partition belong to another incident."""
        for fact in facts.standstills:
            self._add(fact)
        self.standing = {number: one for number, one in self.standing.items() if one.until_ms // 1000 >= second}
        apart = frozenset(halted)
        standing = [one for number, one in self.standing.items() if number not in apart]
        late = total(one for number, one in sorted(facts.late.items()) if number not in apart)
        if not standing:
            return Reading(is_open and late.events > 0, exposure=late)
        first = min(standing, key=lambda one: (one.since_ms, one.opening.partition))
        return Reading(holds=True, exposure=late, since_ms=first.since_ms, opening=first.opening)

    @property
    def is_idle(self) -> bool:
        """Whether a second without facts changes nothing."""
        return not self.standing

    def _add(self, fact: StandstillFact) -> None:
        known = self.standing.get(fact.opening.partition)
        if known is not None and known.opening == fact.opening:
            fact = msgspec.structs.replace(known, until_ms=max(known.until_ms, fact.until_ms))
        self.standing[fact.opening.partition] = fact
