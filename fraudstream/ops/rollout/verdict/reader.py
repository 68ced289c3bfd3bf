"""Read what a verdict needs: the event log, the decisions that had to be compared, their comparisons, their labels."""

from collections.abc import Iterable
from typing import NamedTuple

from fraudstream.ops.rollout.outcomes.columns import ColumnNames, ValidPayment
from fraudstream.ops.rollout.outcomes.maturity import MATURITY_DAYS
from fraudstream.ops.rollout.outcomes.reader import Progress, ReadingScope, read_payments
from fraudstream.ops.rollout.shadow.report import choose
from fraudstream.ops.rollout.verdict.pairs import PairCollector
from fraudstream.ops.rollout.verdict.report import Subject, VerdictInput
from fraudstream.ops.rollout.verdict.swaps import RowTimeReport
from fraudstream_client.arms import WHOLE_BP
from models.commands import Event, EventKind
from shadow.history import ArmAndModel, ChallengerHistory, ShadowTerm, reported_totals
from stream.clock import now_ms
from stream.control.client import read_events
from stream.kafka.topics import SHADOW_SCORES
from stream.scan import scan_topic
from stream.settings import Settings


class VerdictScope(NamedTuple):
    """Which challenger is judged, and on what.

    Attributes:
        digest: a prefix of its digest; None: the model that is in the shadow now.
        since_ms: decisions from then on, by their Kafka timestamps; None: since it came into the shadow, the last time.
        maturity_days: labels are read from twice as long before.
        cards_bp: the share of the cards that is read, in 0.01 %.
    """

    digest: str | None = None
    since_ms: int | None = None
    maturity_days: float = MATURITY_DAYS
    cards_bp: int = WHOLE_BP


async def read_verdict(
    settings: Settings, scope: VerdictScope, progress: Progress = lambda _topic, _share: None
) -> VerdictInput:
    """Read what a verdict on a challenger needs.

    Raises:
        ReportError: no such challenger exists, or the payments are too many.
        ControlLogError: the event log has lost records.
        aiokafka.errors.KafkaError: the brokers do not answer, or a topic is missing.
    """
    at_ms = now_ms()
    events = await read_events(settings)
    history = ChallengerHistory.of(settings.deployment, events)
    digest = choose(history, scope.digest, at_ms)
    term = history.last_term(digest) or ShadowTerm(digest, at_ms, None)
    since_ms = term.since_ms if scope.since_ms is None else scope.since_ms
    reading = ReadingScope(since_ms, scope.maturity_days, scope.cards_bp)
    read = await read_payments(settings, reading, _Compared(history, digest).chooses, progress)
    comparisons = await _comparisons(settings, digest, reading, (read.names, progress))
    lineup = history.lineup
    return VerdictInput(
        subject=Subject(settings.deployment, digest, lineup.live, lineup.revision),
        pairs=comparisons.pairs(read.rows),
        eligible=len(read.rows),
        void=read.void,
        names=read.names,
        labels=read.labels,
        reports=reported_totals(events, digest, since_ms),
        row_times=row_times(events, digest),
        since_ms=since_ms,
        as_of_ms=min(at_ms, read.latest_ms),
        now_ms=at_ms,
        cards_bp=scope.cards_bp,
        ids={currency: comparisons.ids(currency) for currency in read.names.currencies},
    )


class _Compared(NamedTuple):
    """Chooses the decisions that had to be compared with a challenger."""

    history: ChallengerHistory
    digest: str

    def chooses(self, one: ValidPayment) -> bool:
        made = ArmAndModel(one.score.arm, one.score.digest)
        return self.history.should_compare(self.digest, one.score.revision, one.decided_ms, made)


async def _comparisons(
    settings: Settings, digest: str, scope: ReadingScope, shared: tuple[ColumnNames, Progress]
) -> PairCollector:
    names, progress = shared
    found, topic = (
        PairCollector(settings.deployment, digest, names, scope.cards_bp),
        settings.topic(SHADOW_SCORES.name),
    )
    async with scan_topic(settings, topic, scope.since_ms) as scan:
        async for records, share in scan.read():
            found.add(record.value for record in records)
            progress(topic, share)
    return found


def row_times(events: Iterable[Event], digest: str) -> tuple[RowTimeReport, ...]:
    """Return what each worker measured last of a model: the processor time for a row."""
    found = {
        event.worker: RowTimeReport(event.row_us, event.worker)
        for event in events
        if event.kind is EventKind.ROW_TIME and event.model == digest and event.row_us is not None
    }
    return tuple(found.values())
