"""The rule "Verdict of an offset" of the contract, folded naively: a second opinion on `fraudstream topics audit`.

An offset is decided if it has a valid score, else refused if a dead letter names it, else undecided; of the undecided
ones the rule says which may be: each has a reason that can be named, anything else is a fault.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from campaigns.facts import BACKFILL_HEADER, Letter, Place, Record, Score, Verdict

CONTENT = ("occurred_at", "amount_minor", "currency", "merchant_id")
"""The fields of a payment of a campaign that are its content, beside the ids."""


class Fate(StrEnum):
    """What has become of a record; the last two break the rule."""

    DECIDED = "decided"
    REFUSED = "refused"
    REPEATED = "repeated"
    BACKFILLED = "backfilled"
    LOST = "lost"
    """In a range that was accepted as lost, or skipped, on the record."""
    BOTH = "decided and refused"
    NEITHER = "neither decided nor refused, without a reason"


class Fold(NamedTuple):
    """The fates of all records; `late` counts letters that are void since a claim came between."""

    fates: Mapping[Place, Fate]
    valid: Sequence[Score]
    refusals: Mapping[Place, Sequence[Letter]]
    void: int
    late: int

    def count(self, fate: Fate) -> int:
        return sum(one is fate for one in self.fates.values())

    def places(self, fate: Fate) -> list[Place]:
        return sorted(place for place, one in self.fates.items() if one is fate)


class Standing(NamedTuple):
    """A score, and what came before it in its partition: the highest epoch, and the last valid log and offset."""

    score: Score
    epoch: int
    decided: tuple[int, int]

    @property
    def is_valid(self) -> bool:
        return self.score.epoch >= self.epoch and (self.score.log, self.score.offset) > self.decided


class Reading:
    """Goes through the scores of each partition, which have to come in order."""

    def __init__(self) -> None:
        self._epochs: dict[int, int] = {}
        self._decided: dict[int, tuple[int, int]] = {}

    def next(self, score: Score) -> Standing:
        """Return the standing of the score that comes next in its partition."""
        one = Standing(score, self._epochs.get(score.partition, -1), self._decided.get(score.partition, (-1, -1)))
        self._epochs[score.partition] = max(one.epoch, score.epoch)
        if one.is_valid:
            self._decided[score.partition] = score.log, score.offset
        return one


def standings(scores: Iterable[Score]) -> Iterator[Standing]:
    """Go through the scores of each partition, in order."""
    return map(Reading().next, sorted(scores, key=lambda score: (score.partition, score.at)))


def valid_scores(scores: Iterable[Score]) -> list[Score]:
    """Return the scores that count: by partition two integers, the highest epoch and the last valid place."""
    return [one.score for one in standings(scores) if one.is_valid]


def counting_letters(letters: Iterable[Letter], scores: Iterable[Score]) -> list[Letter]:
    """Leave out late letters: behind what a claim has read, of a lower epoch than the claim's.

    Not those about what was decided before the claim's first score: the owner before went on lawfully up to there. The
    claim of a worker that had lost the partition before it wrote a score says nothing.
    """
    claims: dict[int, list[Standing]] = defaultdict(list)
    for one in standings(scores):
        if one.score.letters_read is not None and one.score.epoch > one.epoch:
            claims[one.score.partition].append(one)
    return [letter for letter in letters if not any(_is_late(letter, claim) for claim in claims[letter.partition])]


def _is_late(letter: Letter, claim: Standing) -> bool:
    if letter.epoch is None or claim.score.letters_read is None or letter.epoch >= claim.score.epoch:
        return False
    return letter.at >= claim.score.letters_read and (letter.log, letter.offset) > claim.decided


def fold(
    topic: str,
    records: Sequence[Record],
    scores: Sequence[Score],
    letters: Sequence[Letter],
    verdicts: Iterable[Verdict],
) -> Fold:
    """Give each record of an input topic its fate; `records` may be of several logs of the topic."""
    of_topic = [letter for letter in letters if letter.topic == topic]
    counting = counting_letters(of_topic, scores)
    refusals: dict[Place, list[Letter]] = defaultdict(list)
    for letter in counting:
        refusals[letter.place].append(letter)
    valid = valid_scores(scores)
    decided = {score.place for score in valid}
    passed = [verdict for verdict in verdicts if verdict.topic == topic]
    fates: dict[Place, Fate] = {}
    accepted: dict[tuple[object, ...], Place] = {}
    for record in sorted(records):
        fate = _fate(record, decided, refusals, accepted, passed)
        fates[record.place] = fate
        if fate in {Fate.DECIDED, Fate.BOTH, Fate.BACKFILLED}:
            accepted.setdefault(identity(record), record.place)
    return Fold(fates, valid, dict(refusals), len(scores) - len(valid), len(of_topic) - len(counting))


def identity(record: Record) -> tuple[object, ...]:
    """Return what two records have in common if one is the other, sent again."""
    return record.partition, *(record.fields.get(name) for name in ("card_id", "transaction_id", *CONTENT))


def _fate(
    record: Record,
    decided: set[Place],
    refusals: Mapping[Place, Sequence[Letter]],
    accepted: Mapping[tuple[object, ...], Place],
    passed: Iterable[Verdict],
) -> Fate:
    if record.place in decided:
        return Fate.BOTH if record.place in refusals else Fate.DECIDED
    if record.place in refusals:
        return Fate.REFUSED
    if any(_passes(verdict, record) for verdict in passed):
        return Fate.LOST
    if "transaction_id" in record.fields and identity(record) in accepted:
        return Fate.REPEATED
    return Fate.BACKFILLED if BACKFILL_HEADER in record.headers else Fate.NEITHER


def _passes(verdict: Verdict, record: Record) -> bool:
    """Tell whether an accepted loss or skip covers a record."""
    if verdict.partition != record.partition:
        return False
    if verdict.command == "skip":
        return (verdict.log, verdict.offset) == (record.log, record.offset)
    return (record.log, record.offset) < (verdict.log, verdict.up_to or 0)
