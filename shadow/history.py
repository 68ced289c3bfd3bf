"""A challenger's history from the event log: when it was in the shadow, and what workers reported as missed.

A worker reports running totals of the comparisons that it missed: seldom, but the final totals are always reported.
`ReportSchedule` says when a report is due.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from fraudstream_client.arms import CANARY, LIVE
from models.commands import Event, EventKind
from models.lineup import Lineup, follow
from models.times import stated_ms

_FIRST_PAUSE_MS = 1_000
_LONGEST_PAUSE_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Totals:
    """How many decisions a worker offered to a challenger, by outcome."""

    compared: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def missed(self) -> int:
        """How many decisions got no comparison."""
        return self.skipped + self.failed

    def plus(self, other: "Totals") -> "Totals":
        """Return the sum."""
        return Totals(self.compared + other.compared, self.skipped + other.skipped, self.failed + other.failed)

    def minus(self, other: "Totals") -> "Totals":
        """Return the difference."""
        return Totals(self.compared - other.compared, self.skipped - other.skipped, self.failed - other.failed)


@dataclass(frozen=True, slots=True)
class ReportSchedule:
    """The totals reported last, and when the next report is due: at once, then after pauses that double up to 1 h."""

    reported: Totals = Totals()
    due_ms: int = 0
    pause_ms: int = _FIRST_PAUSE_MS

    def is_due(self, totals: Totals, now_ms: int) -> bool:
        """Tell whether more was missed than reported, and the pause is over."""
        return totals.missed > self.reported.missed and now_ms >= self.due_ms

    def final_due(self, totals: Totals) -> bool:
        """Tell whether a final report is due: something was missed, and the totals have changed since the last."""
        return totals.missed > 0 and totals != self.reported

    def after(self, totals: Totals, now_ms: int) -> "ReportSchedule":
        """Return the schedule after a report of these totals; pauses start short again after an hour without a report.

        An hour, not the current pause: else a miss every 3 s would be reported each time, for ever.
        """
        quiet = now_ms >= self.due_ms + _LONGEST_PAUSE_MS
        pause_ms = _FIRST_PAUSE_MS if quiet else self.pause_ms
        return replace(self, reported=totals, due_ms=now_ms + pause_ms, pause_ms=min(2 * pause_ms, _LONGEST_PAUSE_MS))


@dataclass(frozen=True, slots=True)
class ShadowTerm:
    """The challenger under one revision, since when, and until when if that was a watch.

    With `canary`, it is the model of a canary beside which there is no other challenger.
    """

    challenger: str | None
    since_ms: int
    until_ms: int | None
    canary: bool = False


class ArmAndModel(NamedTuple):
    """The arm of a decision, and the digest of the model that made it; None where rules did."""

    arm: str | None
    digest: str | None


@dataclass(frozen=True, slots=True)
class ChallengerHistory:
    """A deployment's shadow terms by revision, and the lineup at the end of the log."""

    lineup: Lineup
    terms: Mapping[int, ShadowTerm]

    @classmethod
    def of(cls, deployment: str, events: Iterable[Event]) -> "ChallengerHistory":
        """Fold the log."""
        lineup, terms = Lineup(deployment), dict[int, ShadowTerm]()
        for event in events:
            after = follow(lineup, event)
            if after.revision != lineup.revision:
                terms[after.revision] = _term(after, stated_ms(event.at))
            lineup = after
        return cls(lineup, terms)

    def should_compare(self, digest: str, revision: int, decided_ms: int, made: ArmAndModel) -> bool:
        """Tell whether a decision of that revision and time had to be compared with this challenger.

        Of a canary's decisions, those that its model made are compared with the live model's; where another model
        stood in, where a challenger is named, or where another arm decided, there is nothing to compare.
        """
        term = self.terms.get(revision)
        if term is None or term.challenger != digest:
            return False
        if made.arm not in (LIVE, None) and not (made.arm == CANARY and term.canary and made.digest == digest):
            return False
        return term.until_ms is None or decided_ms < term.until_ms

    @property
    def challengers(self) -> tuple[str, ...]:
        """All models that were ever in the shadow, each once, the latest last."""
        digests = [term.challenger for _, term in sorted(self.terms.items()) if term.challenger]
        return tuple(reversed(dict.fromkeys(reversed(digests))))

    def last_term(self, digest: str) -> ShadowTerm | None:
        """Return the challenger's latest term in the shadow, joined over consecutive revisions."""
        last: ShadowTerm | None = None
        in_shadow = False
        for _, term in sorted(self.terms.items()):
            if term.challenger == digest:
                since_ms = last.since_ms if last is not None and in_shadow else term.since_ms
                last = replace(term, since_ms=since_ms)
            elif in_shadow and last is not None:
                last = replace(last, until_ms=min(term.since_ms, last.until_ms or term.since_ms))
            in_shadow = term.challenger == digest
        return last


def _term(lineup: Lineup, since_ms: int) -> ShadowTerm:
    if lineup.challenger is None and lineup.canary is not None:
        return ShadowTerm(lineup.canary.model, since_ms, None, canary=True)
    return ShadowTerm(lineup.challenger, since_ms, lineup.watched_until_ms)


class WorkerReports(NamedTuple):
    """The totals that workers reported since a time: of intervals after it, and of intervals that span it.

    How much of `astride` was before that time is unknown: its totals grew since an older event.
    """

    within: Totals = Totals()
    astride: Totals = Totals()


def reported_totals(events: Iterable[Event], digest: str, since_ms: int) -> WorkerReports:
    """Return the totals that workers reported for a challenger since a time.

    Events carry a worker's running totals since it loaded the challenger at a revision. Totals that went down come from
    a worker that restarted under the same name. The first event of a run is written at once: it describes its own time.
    """
    last: dict[tuple[str, int], tuple[Totals, int]] = {}
    within, astride = Totals(), Totals()
    for event in events:
        if event.kind is not EventKind.SHADOW or event.model != digest:
            continue
        totals = Totals(event.compared or 0, event.skipped or 0, event.failed or 0)
        run = (event.worker, event.revision)
        at_ms, (before, before_ms) = stated_ms(event.at), last.get(run, (Totals(), since_ms))
        same_run = totals.missed >= before.missed and totals.compared >= before.compared
        last[run] = (totals, at_ms)
        if at_ms < since_ms:
            continue
        if same_run and before_ms < since_ms:
            astride = astride.plus(totals.minus(before))
        else:
            within = within.plus(totals.minus(before) if same_run else totals)
    return WorkerReports(within, astride)
