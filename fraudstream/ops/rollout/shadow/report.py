"""Report on a challenger, folded from the topics of scores and comparisons and from the event log.

Scores say which decisions had to be compared, comparisons which were, events why the rest was not; of all three, those
of one deployment, whether it published its decisions or decided silently. All three are read as streams: memory holds a
few bits for each decision, and a tally. `sections.py` states the report.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fraudstream_client.outputs import Decision, Score
from fraudstream_client.validity import ValidScores
from models.times import parse_time_ms
from shadow.comparison import Comparison, read_comparison
from shadow.history import ArmAndModel, ChallengerHistory, ShadowTerm, Totals, reported_totals
from shadow.tally import OffsetSet, Tally
from stream.clock import now_ms
from stream.control.client import read_events
from stream.errors import ReportError
from stream.kafka.topics import SCORES, SHADOW_SCORES, decision_topics
from stream.readers import UNREADABLE
from stream.scan import EARLIER_SCORES, scan_topic
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
    silent: bool = False


class ExpectedComparisons(NamedTuple):
    """The source offsets of decisions that need a comparison, by key, and the number of void scores.

    Those of silent decisions are apart, since they come in an order of their own.
    """

    offsets: dict[DecisionKey, OffsetSet]
    void: int

    def add(self, score: Score, *, silent: bool = False) -> None:
        """Add a valid decision; those of a partition on one topic must come in the order of their source offsets."""
        digest = None if score.model is None else score.model.digest
        key = DecisionKey(score.source.partition, score.revision, digest, score.said, silent)
        self.offsets.setdefault(key, OffsetSet()).add(score.source.offset)

    def supersede(self, score: Score) -> None:
        """Remove the silent decision about a transaction that the deployment has published: that one counts."""
        for key, offsets in self.offsets.items():
            if key.silent and key.partition == score.source.partition:
                offsets.remove(score.source.offset)

    def remove(self, one: Comparison) -> bool:
        """Remove the decision of a comparison, and tell whether it was expected."""
        key = DecisionKey(one.source.partition, one.revision, one.decided.digest, one.decided.before_rules)
        return any(
            offsets.remove(one.source.offset)
            for offsets in (self.offsets.get(key), self.offsets.get(key._replace(silent=True)))
            if offsets is not None
        )

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
    """Collect the window's valid decisions of the deployment that had to be compared; silent ones are read first."""
    expected, void = ExpectedComparisons({}, 0), 0
    for topic in await decision_topics(settings):
        silent, valid = topic != settings.topic(SCORES.name), ValidScores[Any]()
        async with scan_topic(settings, topic, since_ms, EARLIER_SCORES) as scores:
            async for records, share in scores.read():
                for record, score in valid.of(records):
                    if score.deployment == settings.deployment and record.offset >= scores.first[record.partition]:
                        _expect(expected, challenger, score, silent=silent)
                progress(topic, share)
        void += valid.void
    return expected._replace(void=void)


def _expect(
    expected: ExpectedComparisons, challenger: tuple[ChallengerHistory, str], score: Score, *, silent: bool
) -> None:
    """Add a decision if it had to be compared with the challenger."""
    history, digest = challenger
    if not silent:
        expected.supersede(score)
    decided_ms = parse_time_ms(score.scored_at).epoch_ms
    made = ArmAndModel(score.arm, None if score.model is None else score.model.digest)
    if history.should_compare(digest, score.revision, decided_ms, made):
        expected.add(score, silent=silent)


async def _tally_comparisons(
    settings: Settings, sought: tuple[ExpectedComparisons, str], since_ms: int, progress: Progress
) -> Tally:
    """Tally the deployment's expected comparisons of a challenger, each decision once."""
    (expected, digest), topic = sought, settings.topic(SHADOW_SCORES.name)
    tally = Tally.zero()
    async with scan_topic(settings, topic, since_ms) as shadow_scores:
        async for records, share in shadow_scores.read():
            found = _readable([record.value or b"" for record in records], settings.deployment)
            tally = tally.merge(Tally.of(one for one in found if _is_expected(expected, digest, one)))
            progress(topic, share)
    return tally


def _is_expected(expected: ExpectedComparisons, digest: str, one: Comparison) -> bool:
    """Tell whether this is the first comparison of an expected decision with this challenger; removes it."""
    return one.challenger.digest == digest and expected.remove(one)


def _readable(values: Sequence[bytes], deployment: str) -> list[Comparison]:
    """Decode a deployment's comparisons; records that another deployment or program wrote are skipped."""
    found = []
    for value in values:
        try:
            one = read_comparison(value)
        except UNREADABLE:
            continue
        if one.deployment == deployment:
            found.append(one)
    return found
