"""Read what the topics say of live models: windows of drift, and the precision of their alerts by week."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fraudstream.ops.rollout.outcomes.columns import (
    BY_RULES,
    ColumnNames,
    PaymentCollector,
    PaymentRows,
    ValidPayment,
    joined,
    last_of_each,
)
from fraudstream.ops.rollout.outcomes.labels import LabelCollector, LabelRows
from fraudstream.ops.rollout.outcomes.maturity import MATURITY_DAYS, MaturityTerms
from fraudstream.ops.rollout.outcomes.reader import Progress
from fraudstream.ops.watch.drift.alarm import AlarmKind, DriftAlarm
from fraudstream.ops.watch.drift.feed import LabelFeed
from fraudstream.ops.watch.drift.fold import DriftFold, WatchedPair
from fraudstream.ops.watch.drift.judge import JudgedWindow
from fraudstream.ops.watch.drift.manifests import KnownManifests
from fraudstream.ops.watch.drift.precision import PrecisionReport, precision_by_week
from fraudstream.ops.watch.drift.scores import ScoreFilter
from fraudstream.ops.watch.drift.terms import DriftTerms
from fraudstream_client.arms import WHOLE_BP
from fraudstream_client.outputs import Decision
from models.artifact import Manifest
from models.repository import Repository
from models.training_reference import TrainingReference
from stream.kafka.topics import OUTCOMES, SCORES
from stream.readers import ScoreView, read_scores
from stream.scan import EARLIER_SCORES, FetchedRecord, scan_topic
from stream.settings import Settings


@dataclass(frozen=True, slots=True)
class WatchScope:
    """What is read: scores with these timestamps, and of which model; empty: of each that decided.

    `until_ms` is also when labels are looked at.
    """

    since_ms: int
    until_ms: int
    model: str = ""
    maturity_days: float = MATURITY_DAYS


class PairReport(NamedTuple):
    """What is known of a model and arm.

    Attributes:
        pair: which.
        manifest: of the model.
        reference: what it is compared with; None if its first days are not over.
        is_own: whether that is made of its first days of those read, since its manifest has none.
        windows: oldest first.
        alarms: those that were raised, with the day after the window that raised each; oldest first.
        is_open: whether the last of them goes on.
        precision: by week.
    """

    pair: WatchedPair
    manifest: Manifest
    reference: TrainingReference | None
    is_own: bool
    windows: tuple[JudgedWindow, ...]
    alarms: tuple[tuple[int, DriftAlarm], ...]
    is_open: bool
    precision: PrecisionReport

    @property
    def open_alarm(self) -> DriftAlarm | None:
        """The alarm that goes on; None if none does."""
        return self.alarms[-1][1] if self.is_open else None


class WatchReport(NamedTuple):
    """What the topics say of live models.

    Attributes:
        deployment: whose.
        scope: what was read.
        terms: those of the watch.
        pairs: each model and arm that decided.
        left_out: scores by rules, by another model than the arm's, or without complete histories.
        late: scores that were written too late for their day.
        missing: models that decided and are not in the repository.
        feed: of labels.
    """

    deployment: str
    scope: WatchScope
    terms: DriftTerms
    pairs: tuple[PairReport, ...]
    left_out: int
    late: int
    missing: tuple[str, ...]
    feed: LabelFeed

    @property
    def is_quiet(self) -> bool:
        """Whether no alarm goes on, of a model or of the labels."""
        return self.feed.alarm is None and not any(one.is_open for one in self.pairs)


@dataclass(slots=True)
class _Collected:
    """What was read, payment by payment."""

    fold: DriftFold
    scores: ScoreFilter
    alerts: PaymentCollector
    manifests: KnownManifests
    names: ColumnNames
    feed: LabelFeed


async def read_watch(
    settings: Settings,
    scope: WatchScope,
    terms: DriftTerms,
    repository: Repository,
    progress: Progress = lambda _topic, _share: None,
) -> WatchReport:
    """Read the scores and labels of a time, and judge what they show.

    Raises:
        ReportError: the alerts are too many.
        RepositoryUnavailableError: the repository does not respond.
        aiokafka.errors.KafkaError: the brokers do not respond, or a topic is missing.
    """
    names = ColumnNames()
    collected = _Collected(
        DriftFold(terms),
        ScoreFilter(settings.deployment),
        PaymentCollector(settings.deployment, names, WHOLE_BP),
        KnownManifests(lambda: repository),
        names,
        LabelFeed(settings.deployment),
    )
    topic = settings.topic(SCORES.name)
    async with scan_topic(settings, topic, scope.since_ms, EARLIER_SCORES) as scan:
        async for records, share in scan.read():
            if records:
                await _collect(collected, scope, list(records), scan.first[records[0].partition])
            progress(topic, share)
    labels, topic = LabelCollector(settings.deployment, WHOLE_BP), settings.topic(OUTCOMES.name)
    async with scan_topic(settings, topic, scope.since_ms) as outcomes:
        async for records, share in outcomes.read():
            inside = [record for record in records if record.timestamp < scope.until_ms]
            collected.feed.add(inside)
            labels.add(record.value for record in inside)
            progress(topic, share)
    collected.feed.advance(scope.until_ms)
    return _reported(settings.deployment, scope, terms, collected, labels.rows())


async def _collect(collected: _Collected, scope: WatchScope, records: list[FetchedRecord], first: int) -> None:
    """Add the next records of a partition; those before the offset `first` only show which are valid."""
    inside = read_scores(record for record in records if record.timestamp < scope.until_ms)
    earlier = [record for record in inside if record.offset < first]
    for _ in collected.scores.of(earlier):
        pass
    later = collected.scores.of(inside[len(earlier) :])
    found = [(at_ms, score) for at_ms, score in later if (score.digest or "").startswith(scope.model)]
    await add_scores(collected.fold, collected.manifests, found)
    collected.alerts.keep(one for one in collected.alerts.valid(inside, first) if _is_alert(one))


async def add_scores(fold: DriftFold, manifests: KnownManifests, scores: list[tuple[int, ScoreView]]) -> None:
    """Add scores to a fold, once the manifests of all its models were read; those of unknown models are left out.

    Raises:
        RepositoryUnavailableError: the repository does not respond; nothing was added.
    """
    await manifests.read({*(score.digest or "" for _, score in scores), *(pair.digest for pair in fold.pairs)})
    fold.manifests.update(manifests.found)
    for pair in [pair for pair in fold.pairs if pair.digest in manifests.missing]:
        del fold.pairs[pair]
    fold.add((at_ms, score) for at_ms, score in scores if score.digest in fold.manifests)


def _is_alert(one: ValidPayment) -> bool:
    return one.score.digest is not None and one.score.ruled is not Decision.APPROVE


def _reported(
    deployment: str, scope: WatchScope, terms: DriftTerms, collected: _Collected, labels: LabelRows
) -> WatchReport:
    fold, news = collected.fold, collected.fold.advance(scope.until_ms)
    windows: Mapping[WatchedPair, list[JudgedWindow]] = {pair: [] for pair in fold.pairs}
    alarms: Mapping[WatchedPair, list[tuple[int, DriftAlarm]]] = {pair: [] for pair in fold.pairs}
    for pair, window, alarm, _ in news:
        windows[pair].extend([] if window is None else [window])
        if alarm is not None and alarm[0] is AlarmKind.OPENED and window is not None:
            alarms[pair].append((window.end_day, alarm[1]))
        elif alarm is not None and alarms[pair]:
            alarms[pair][-1] = (alarms[pair][-1][0], alarm[1])
    rows = joined(last_of_each(collected.alerts.rows()), labels)
    maturity = MaturityTerms(scope.until_ms, scope.maturity_days)
    pairs = []
    for pair in sorted(fold.pairs):
        goes_on = fold.pairs[pair].alarms.alarm
        found = alarms[pair]
        if goes_on is not None and found:
            found[-1] = (found[-1][0], goes_on)
        pairs.append(
            PairReport(
                pair,
                fold.manifests[pair.digest],
                fold.reference(pair),
                fold.manifests[pair.digest].reference is None,
                tuple(windows[pair]),
                tuple(found),
                goes_on is not None,
                precision_by_week(_of_pair(rows, collected.names, pair), maturity),
            )
        )
    return WatchReport(
        deployment,
        scope,
        terms,
        tuple(pairs),
        collected.scores.left_out,
        fold.late,
        tuple(sorted(collected.manifests.missing)),
        collected.feed,
    )


def _of_pair(rows: PaymentRows, names: ColumnNames, pair: WatchedPair) -> PaymentRows:
    """Return the alerts of a model and arm."""
    if pair.digest not in names.models or pair.arm not in names.arms:
        return rows[:0]
    of_model = rows["model"] == names.models.index(pair.digest)
    by_it = (rows["stood_in"] == 0) & (rows["model"] != BY_RULES) & np.isfinite(rows["score"])
    found: PaymentRows = rows[of_model & by_it & (rows["arm"] == names.arms.index(pair.arm))]
    return found
