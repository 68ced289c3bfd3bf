"""Report on a challenger, folded from the topics of scores and comparisons and from the event log.

Scores say which decisions had to be compared, comparisons which were, events why the rest was not. All three are read
as streams: memory holds a few bits for each decision, and a tally. `stream.challenger.tables` renders
the report.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from models.policy import Decision
from models.times import parse_time_ms
from shadow.comparison import Comparison, read_comparison
from shadow.history import ArmAndModel, ChallengerHistory, ShadowTerm, Totals, reported_totals
from shadow.tally import OffsetSet, Tally
from stream.clock import now_ms
from stream.consumer import ValidScores
from stream.contract.outputs import Score
from stream.control.client import read_events
from stream.errors import ReportError
from stream.kafka.scan import EARLIER_SCORES, scan_topic
from stream.kafka.topics import SCORES, SHADOW_SCORES
from stream.settings import Settings

DAY_MS = 86_400_000

Progress = Callable[[str, float], None]
"""Called with the topic that is read, and the share of it that has been."""


class ShadowReport(NamedTuple):
    """A challenger in a window of time; `now` tells whether it is in the shadow at present, `void` counts void scores.

    `missed` are the totals that workers reported for the window, `astride` those for intervals that began before it.
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
        """Decisions missed in intervals that span the window's beginning; at most the number without comparison."""
        return min(self.astride.missed, self._unreported)

    @property
    def unexplained(self) -> int:
        """Decisions without comparison that no worker reported: in progress, or lost with a worker."""
        return self._unreported - self.possibly_missed

    @property
    def _unreported(self) -> int:
        """Decisions neither compared nor reported as missed; at least 0, since a failed write may have succeeded."""
        return max(0, self.eligible - self.tally.compared - self.missed.missed)

    @property
    def coverage(self) -> float | None:
        """The share of eligible decisions that were compared."""
        return self.tally.compared / self.eligible if self.eligible else None


class DecisionKey(NamedTuple):
    """What a decision and its comparison have in common, besides the transaction's offset.

    A transaction may be decided twice, by a worker that did not know yet that it had lost the partition. That score is
    void, but its comparison exists; the key tells them apart if revision, model or its decision differ. There are few
    keys, and `ExpectedComparisons` needs at most one bit for each offset and key. `decision` is what the model said.
    """

    partition: int
    revision: int
    digest: str | None
    decision: Decision


class ExpectedComparisons(NamedTuple):
    """The source offsets of decisions that need a comparison, by key, and the number of void scores."""

    offsets: dict[DecisionKey, OffsetSet]
    void: int

    def add(self, score: Score) -> None:
        """Add a valid decision; those of a partition must come in the order of their source offsets."""
        digest = None if score.model is None else score.model.digest
        key = DecisionKey(score.source.partition, score.revision, digest, score.said)
        self.offsets.setdefault(key, OffsetSet()).add(score.source.offset)

    def remove(self, one: Comparison) -> bool:
        """Remove the decision of a comparison, and tell whether it was expected."""
        made = one.decided
        offsets = self.offsets.get(DecisionKey(one.source.partition, one.revision, made.digest, made.decision))
        return offsets is not None and offsets.remove(one.source.offset)

    @property
    def total(self) -> int:
        """The number of expected comparisons."""
        return sum(map(len, self.offsets.values()))


async def report(settings: Settings, digest: str | None, since_ms: int | None, progress: Progress) -> ShadowReport:
    """Report on the current challenger, or on the one whose digest begins with `digest`.

    `since_ms` is compared with the decisions' Kafka timestamps; None means one day ago.

    Raises:
        ReportError: no such challenger exists.
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    until_ms = now_ms()
    window_ms = until_ms - DAY_MS if since_ms is None else since_ms
    events = await read_events(settings)
    history = ChallengerHistory.of(settings.deployment, events)
    chosen = choose(history, digest, until_ms)
    term = history.last_term(chosen) or ShadowTerm(chosen, window_ms, None)
    expected = await _read_expected(settings, (history, chosen), window_ms, progress)
    eligible = expected.total
    tally = await _tally_comparisons(settings, (expected, chosen), window_ms, progress)
    return ShadowReport(
        chosen,
        term,
        history.lineup.compared_at(until_ms) == chosen,
        window_ms,
        until_ms,
        eligible,
        *reported_totals(events, chosen, window_ms),
        tally,
        expected.void,
    )


def choose(history: ChallengerHistory, digest: str | None, at_ms: int) -> str:
    """Return the full digest of the current challenger, or of the one whose digest begins with `digest`.

    Raises:
        ReportError: no model is in the shadow, or `digest` matches none or several of its history.
    """
    if digest is None:
        current = history.lineup.compared_at(at_ms)
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


async def _read_expected(
    settings: Settings, challenger: tuple[ChallengerHistory, str], since_ms: int, progress: Progress
) -> ExpectedComparisons:
    """Collect the window's valid decisions that had to be compared."""
    (history, digest), topic = challenger, settings.topic(SCORES.name)
    expected, valid = ExpectedComparisons({}, 0), ValidScores[Any]()
    async with scan_topic(settings, topic, since_ms, EARLIER_SCORES) as scores:
        async for records, share in scores.read():
            for record, score in valid.of(records):
                decided_ms = parse_time_ms(score.scored_at).epoch_ms
                made = ArmAndModel(score.arm, None if score.model is None else score.model.digest)
                if record.offset >= scores.first[record.partition] and history.should_compare(
                    digest, score.revision, decided_ms, made
                ):
                    expected.add(score)
            progress(topic, share)
    return expected._replace(void=valid.void)


async def _tally_comparisons(
    settings: Settings, sought: tuple[ExpectedComparisons, str], since_ms: int, progress: Progress
) -> Tally:
    """Tally the expected comparisons of a challenger, each decision once."""
    (expected, digest), topic = sought, settings.topic(SHADOW_SCORES.name)
    tally = Tally.zero()
    async with scan_topic(settings, topic, since_ms) as shadow_scores:
        async for records, share in shadow_scores.read():
            found = _readable([record.value or b"" for record in records])
            tally = tally.merge(Tally.of(one for one in found if _is_expected(expected, digest, one)))
            progress(topic, share)
    return tally


def _is_expected(expected: ExpectedComparisons, digest: str, one: Comparison) -> bool:
    """Tell whether this is the first comparison of an expected decision with this challenger; removes it."""
    return one.challenger.digest == digest and expected.remove(one)


def _readable(values: Sequence[bytes]) -> list[Comparison]:
    """Decode comparisons; records that another program wrote are skipped."""
    found = []
    for value in values:
        try:
            found.append(read_comparison(value))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return found
