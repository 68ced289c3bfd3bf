"""Which deployment published when, by the scores alone: in each partition one stretch of decisions for each term."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from models.terms import term_of
from models.times import stated_ms
from stream.contract.outputs import Score

FIRST_TERM = 0


class TermRevision(NamedTuple):
    """A revision in a term; later ones are greater. Each deployment counts its own, so the term comes first."""

    term: int
    revision: int

    @classmethod
    def of(cls, score: Score) -> TermRevision:
        """Return those under which a score was made."""
        return cls(term_of(score.epoch), score.revision)


@dataclass(slots=True)
class TermStretch:
    """Valid decisions of one partition that follow each other, all of one term and by one deployment.

    Times in epoch milliseconds, as `scored_at` says.
    """

    term: int
    deployment: str
    first_offset: int
    first_ms: int
    last_ms: int
    decisions: int = 1


@dataclass(slots=True)
class PublishedTerms:
    """Who published what: the stretches of each partition, in the order of the scores, and late scores."""

    stretches: dict[int, list[TermStretch]] = field(default_factory=lambda: defaultdict(list))
    """By partition."""
    late: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """By term, the void scores that a fleet of an earlier one wrote after its successor had begun."""

    def decide(self, score: Score) -> None:
        """Add a valid score; each partition's come in order."""
        stretches, term = self.stretches[score.source.partition], term_of(score.epoch)
        at_ms = stated_ms(score.scored_at)
        if stretches and (stretches[-1].term, stretches[-1].deployment) == (term, score.deployment):
            stretches[-1].last_ms = at_ms
            stretches[-1].decisions += 1
        else:
            stretches.append(TermStretch(term, score.deployment, score.source.offset, at_ms, at_ms))

    def pass_over(self, epoch: int, highest_epoch: int) -> None:
        """Add a void score, with the highest epoch so far in its partition."""
        if (term := term_of(highest_epoch)) > term_of(epoch):
            self.late[term] += 1

    def stretch(self, partition: int, term: int) -> TermStretch | None:
        """Return a partition's first stretch of a term; None if nothing was decided in it."""
        return next((one for one in self.stretches.get(partition, ()) if one.term == term), None)

    def pause_ms(self, partition: int, term: int) -> int | None:
        """Return the time from the last decision before a term to its first one; None without either of them."""
        first = self.stretch(partition, term)
        before = [one for one in self.stretches.get(partition, ()) if one.term < term]
        return max(0, first.first_ms - before[-1].last_ms) if first is not None and before else None

    def decisions(self, term: int) -> int:
        """Return how many decisions of a term there are."""
        return sum(one.decisions for some in self.stretches.values() for one in some if one.term == term)
