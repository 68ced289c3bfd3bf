"""What the log of events says of shadows: which model was to be compared at which revision, and what workers missed.

Folds of events. Nothing here reads a topic.

How much a challenger missed, and when that is worth an event: seldom, and the last word is never lost.

Nothing here counts a decision or writes an event.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from models.commands import Event, EventKind
from models.errors import InvalidTimeError
from models.lineup import Lineup, follow
from models.times import parse_time_ms

_FIRST_PAUSE_MS = 1_000
_LONGEST_PAUSE_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of the decisions that one worker offered to one challenger."""

    compared: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def missed(self) -> int:
        """How many decisions got no comparison."""
        return self.skipped + self.failed

    def plus(self, other: "Totals") -> "Totals":
        """Add up."""
        return Totals(self.compared + other.compared, self.skipped + other.skipped, self.failed + other.failed)

    def minus(self, other: "Totals") -> "Totals":
        """Take away what was there before."""
        return Totals(self.compared - other.compared, self.skipped - other.skipped, self.failed - other.failed)


@dataclass(frozen=True, slots=True)
class ReportSchedule:
    """What was told last, and from which moment on more is told: at once, then at pauses that double up to an hour."""

    reported: Totals = Totals()
    due_ms: int = 0
    pause_ms: int = _FIRST_PAUSE_MS

    def is_due(self, totals: Totals, now_ms: int) -> bool:
        """Tell whether more was missed than was said, and the pause is over."""
        return totals.missed > self.reported.missed and now_ms >= self.due_ms

    def final_due(self, totals: Totals) -> bool:
        """Tell whether a last word is owed: something was missed, and what was said is not the end of it."""
        return totals.missed > 0 and totals != self.reported

    def after(self, totals: Totals, now_ms: int) -> "ReportSchedule":
        """Return what holds once these totals are said; who had nothing to say for an hour begins with short pauses.

        Quiet for the pause of the moment is not enough: misses every 3 s would then be told each time, for ever.
        """
        quiet = now_ms >= self.due_ms + _LONGEST_PAUSE_MS
        pause_ms = _FIRST_PAUSE_MS if quiet else self.pause_ms
        return replace(self, reported=totals, due_ms=now_ms + pause_ms, pause_ms=min(2 * pause_ms, _LONGEST_PAUSE_MS))


@dataclass(frozen=True, slots=True)
class ShadowTerm:
    """Who was in the shadow under one revision, since when, and until when where that was a watch."""

    challenger: str | None
    since_ms: int
    until_ms: int | None


@dataclass(frozen=True, slots=True)
class ChallengerHistory:
    """The terms of a deployment by revision, and the lineup at the end of the log."""

    lineup: Lineup
    terms: Mapping[int, ShadowTerm]

    @classmethod
    def of(cls, deployment: str, events: Iterable[Event]) -> "ChallengerHistory":
        """Fold the log."""
        lineup, terms = Lineup(deployment), dict[int, ShadowTerm]()
        for event in events:
            after = follow(lineup, event)
            if after.revision != lineup.revision:
                terms[after.revision] = ShadowTerm(after.challenger, _ms(event.at), after.watched_until_ms)
            lineup = after
        return cls(lineup, terms)

    def should_compare(self, digest: str, revision: int, decided_ms: int) -> bool:
        """Tell whether a decision of that revision and moment was to be compared with this challenger."""
        term = self.terms.get(revision)
        if term is None or term.challenger != digest:
            return False
        return term.until_ms is None or decided_ms < term.until_ms

    @property
    def challengers(self) -> tuple[str, ...]:
        """Every model that was ever in the shadow, the latest last, each once."""
        met = [term.challenger for _, term in sorted(self.terms.items()) if term.challenger]
        return tuple(reversed(dict.fromkeys(reversed(met))))

    def last_term(self, digest: str) -> ShadowTerm | None:
        """Return the challenger's latest time in the shadow, through all revisions that left it there."""
        last: ShadowTerm | None = None
        joined = False
        for _, term in sorted(self.terms.items()):
            if term.challenger == digest:
                since_ms = last.since_ms if last is not None and joined else term.since_ms
                last = ShadowTerm(digest, since_ms, term.until_ms)
            elif joined and last is not None:
                last = ShadowTerm(digest, last.since_ms, min(term.since_ms, last.until_ms or term.since_ms))
            joined = term.challenger == digest
        return last


class WorkerReports(NamedTuple):
    """What workers said since a moment: of the time since then, and of times that began before it and ended after.

    Of `astride` nobody knows how much was before the moment: it has grown since an event that is older.
    """

    within: Totals = Totals()
    astride: Totals = Totals()


def reported_totals(events: Iterable[Event], digest: str, since_ms: int) -> WorkerReports:
    """Return what workers said they skipped and failed at since a moment, and compared meanwhile.

    Events carry running totals of one worker since it took the challenger up at a revision; they begin anew with a
    worker that was started again under the same name. The first of them is written at once: it tells of its own moment.
    """
    last: dict[tuple[str, int], tuple[Totals, int]] = {}
    within, astride = Totals(), Totals()
    for event in events:
        if event.kind is not EventKind.SHADOW or event.model != digest:
            continue
        said = Totals(event.compared or 0, event.skipped or 0, event.failed or 0)
        run = (event.worker, event.revision)
        at_ms, (before, before_ms) = _ms(event.at), last.get(run, (Totals(), since_ms))
        goes_on = said.missed >= before.missed and said.compared >= before.compared
        last[run] = (said, at_ms)
        if at_ms < since_ms:
            continue
        if goes_on and before_ms < since_ms:
            astride = astride.plus(said.minus(before))
        else:
            within = within.plus(said.minus(before) if goes_on else said)
    return WorkerReports(within, astride)


def _ms(text: str) -> int:
    """Read a moment of the log; 0 where a strange writer left none."""
    try:
        return parse_time_ms(text).epoch_ms
    except InvalidTimeError:
        return 0
