"""What a challenger would have done: folded from the logs of decisions, of comparisons and of events.

Decisions say what was to be compared, comparisons what was, events why the rest was not. Everything streams: a few bits
are kept for each decision, and a tally. How a report looks is `stream.cli.shadow`'s.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from models.policy import Decision
from models.times import parse_time_ms
from shadow.comparison import Comparison, read_comparison
from shadow.history import ChallengerHistory, ShadowTerm, Totals, reported_totals
from shadow.tally import OffsetSet, Tally
from stream.clock import now_ms
from stream.consumer import ValidScores
from stream.contract.outputs import Score
from stream.control.client import read_events
from stream.errors import ReportError
from stream.kafka.scan import scan_topic
from stream.kafka.topics import SCORES, SHADOW_SCORES
from stream.settings import Settings

DAY_MS = 86_400_000
_RUN_UP = 1_000
"""So many scores before the window are read too: validity is a matter of what came before."""

Progress = Callable[[str, float], None]
"""Told what is read, and which share of it has been."""


class ShadowReport(NamedTuple):
    """A challenger in a window of time; `now` says whether it is in the shadow at this moment, `void` counts scores.

    `missed` is what workers told of the window, `astride` what they told of times that had begun before it.
    """

    digest: str
    term: ShadowTerm
    now: bool
    since_ms: int
    until_ms: int
    eligible: int
    missed: Totals
    astride: Totals
    tally: Tally
    void: int

    @property
    def possibly_missed(self) -> int:
        """Decisions without comparison that were missed at the window's beginning: at most what is missing."""
        return min(self.astride.missed, self._left)

    @property
    def unexplained(self) -> int:
        """Decisions without comparison that no worker spoke of: under way, or lost with a worker."""
        return self._left - self.possibly_missed

    @property
    def _left(self) -> int:
        """What is missing besides what was missed; not below 0, since what failed to be written may be there."""
        return max(0, self.eligible - self.tally.compared - self.missed.missed)

    @property
    def coverage(self) -> float | None:
        """The share of what was to be compared that was."""
        return self.tally.compared / self.eligible if self.eligible else None


class DecisionKey(NamedTuple):
    """What a decision and a comparison with it have in common, besides the offset of the transaction.

    A transaction may have been decided twice, by a worker that did not know yet that it had lost the partition: its
    score is void, but its comparison is there too. What it decided under another revision, or otherwise, is of another
    sort. There are few: a bit for each offset and sort is what `ExpectedComparisons` takes at most.
    """

    partition: int
    revision: int
    digest: str | None
    decision: Decision


class ExpectedComparisons(NamedTuple):
    """What was to be compared: source offsets by sort, and how many void scores were met."""

    marks: dict[DecisionKey, OffsetSet]
    void: int

    def add(self, score: Score) -> None:
        """Mark a valid decision; each partition's come in the order of their sources."""
        digest = None if score.model is None else score.model.digest
        sort = DecisionKey(score.source.partition, score.revision, digest, score.decision)
        self.marks.setdefault(sort, OffsetSet()).add(score.source.offset)

    def take(self, one: Comparison) -> bool:
        """Take out the decision that this is a comparison with, and tell whether it was in."""
        marks = self.marks.get(DecisionKey(one.source.partition, one.revision, one.live.digest, one.live.decision))
        return marks is not None and marks.remove(one.source.offset)

    @property
    def total(self) -> int:
        """How many they are."""
        return sum(map(len, self.marks.values()))


async def report(settings: Settings, digest: str | None, since_ms: int | None, progress: Progress) -> ShadowReport:
    """Report on the challenger of the moment, or on the one whose digest begins so.

    `since_ms` is a moment of the decisions' Kafka timestamps; None: a day ago.

    Raises:
        ReportError: there is no such challenger.
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    until_ms = now_ms()
    window_ms = until_ms - DAY_MS if since_ms is None else since_ms
    events = await read_events(settings)
    history = ChallengerHistory.of(settings.deployment, events)
    chosen = choose(history, digest, until_ms)
    term = history.last_term(chosen) or ShadowTerm(chosen, window_ms, None)
    owed = await _owed(settings, (history, chosen), window_ms, progress)
    eligible = owed.total
    tally = await _compared(settings, (owed, chosen), window_ms, progress)
    return ShadowReport(
        chosen,
        term,
        history.lineup.challenger_at(until_ms) == chosen,
        window_ms,
        until_ms,
        eligible,
        *reported_totals(events, chosen, window_ms),
        tally,
        owed.void,
    )


def choose(history: ChallengerHistory, digest: str | None, at_ms: int) -> str:
    """Return the full digest of the challenger that is meant.

    Raises:
        ReportError: none is in the shadow, or none or several that ever were begin so.
    """
    if digest is None:
        current = history.lineup.challenger_at(at_ms)
        if current is None:
            past = ", ".join(one[:12] for one in history.challengers[-3:])
            earlier = f"; --digest reports on an earlier one: {past}" if past else ""
            raise ReportError(f"no model is in the shadow: `fraudstream model challenge MODEL` puts one there{earlier}")
        return current
    found = [one for one in history.challengers if one.startswith(digest)]
    if len(found) != 1:
        what = "none of them begins" if not found else f"{len(found)} of them begin"
        known = ", ".join(one[:12] for one in history.challengers) or "none"
        raise ReportError(f"models that have been in the shadow: {known}; {what} with {digest!r}")
    return found[0]


async def _owed(
    settings: Settings, whom: tuple[ChallengerHistory, str], since_ms: int, progress: Progress
) -> ExpectedComparisons:
    """Mark each valid decision of the window that was to be compared."""
    (history, digest), topic = whom, settings.topic(SCORES.name)
    owed, valid = ExpectedComparisons({}, 0), ValidScores[Any]()
    async with scan_topic(settings, topic, since_ms, _RUN_UP) as scores:
        async for records, share in scores.read():
            for record, score in valid.of(records):
                decided_ms = parse_time_ms(score.scored_at).epoch_ms
                if record.offset >= scores.first[record.partition] and history.should_compare(
                    digest, score.revision, decided_ms
                ):
                    owed.add(score)
            progress(topic, share)
    return owed._replace(void=valid.void)


async def _compared(
    settings: Settings, what: tuple[ExpectedComparisons, str], since_ms: int, progress: Progress
) -> Tally:
    """Tally the comparisons with what was owed, each source once."""
    (owed, digest), topic = what, settings.topic(SHADOW_SCORES.name)
    tally = Tally.zero()
    async with scan_topic(settings, topic, since_ms) as shadow_scores:
        async for records, share in shadow_scores.read():
            found = _readable([record.value or b"" for record in records])
            tally = tally.merge(Tally.of(one for one in found if _settles(owed, digest, one)))
            progress(topic, share)
    return tally


def _settles(owed: ExpectedComparisons, digest: str, one: Comparison) -> bool:
    """Tell whether this comparison is the first with something that is owed to this challenger."""
    return one.challenger.digest == digest and owed.take(one)


def _readable(values: Sequence[bytes]) -> list[Comparison]:
    """Read comparisons; what is none is none of ours."""
    found = []
    for value in values:
        try:
            found.append(read_comparison(value))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return found
