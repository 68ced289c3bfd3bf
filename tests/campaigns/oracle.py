"""The rule "Verdict of an offset" of the contract, folded naively: a second opinion on `fraudstream topics audit`.

An offset is decided if it has a valid score, else refused if a dead letter names it, else undecided; of the undecided
ones the rule says which may be: each has a reason that can be named, anything else is a fault.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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


def valid_scores(scores: Iterable[Score]) -> list[Score]:
    """Return the scores that count: by partition two integers, the highest epoch and the last valid place."""
    highest: dict[int, int] = {}
    last: dict[int, tuple[int, int]] = {}
    valid = []
    for score in sorted(scores, key=lambda score: (score.partition, score.at)):
        place = score.log, score.offset
        if score.epoch >= highest.get(score.partition, -1) and place > last.get(score.partition, (-1, -1)):
            valid.append(score)
            last[score.partition] = place
        highest[score.partition] = max(highest.get(score.partition, -1), score.epoch)
    return valid


def counting_letters(letters: Iterable[Letter], scores: Iterable[Score]) -> list[Letter]:
    """Leave out late letters: behind what a claim has read, of a lower epoch than the claim's."""
    claims: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for score in scores:
        if score.letters_read is not None:
            claims[score.partition].append((score.epoch, score.letters_read))
    return [letter for letter in letters if not _is_late(letter, claims[letter.partition])]


def _is_late(letter: Letter, claims: Iterable[tuple[int, int]]) -> bool:
    return letter.epoch is not None and any(epoch > letter.epoch and letter.at >= read for epoch, read in claims)


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
