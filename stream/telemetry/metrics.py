"""Totals of this process, counted from facts in plain Python, and the OpenTelemetry instruments that export them.

Counters and gauges are observable instruments: the SDK reads the totals when it collects. It has no observable
histogram, and its `Histogram.record` takes 4 microseconds for one value and refuses negative ones, so histograms are
counted here, a whole batch in that time, and added as data points to what the SDK collected, before each exporter.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from threading import Lock
from typing import Any, NamedTuple, assert_never

import numpy as np
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from prometheus_client import CollectorRegistry

from fraudstream_client.arms import LIVE
from fraudstream_client.outputs import DecidedBy, Decision, LabelStatus, PredictionStatus
from models.decline_cap import DECLINE_CAP
from models.let_through import LET_THROUGH
from stream.clock import Stage, now_ms
from stream.contract.attributes import MOST_TOLD, OTHER_NAME
from stream.contract.codes import DeadLetterCode
from stream.contract.transaction import Transaction
from stream.kafka.topics import LABELS, PREDICTIONS, TRANSACTIONS
from stream.scoring.encode import HISTORY_INCOMPLETE, HISTORY_YOUNG, UNDECIDABLE, Judgement, Scored
from stream.scoring.facts import (
    AlertsExplained,
    Compared,
    Decided,
    ExplanationOutcome,
    Fact,
    LabelsApplied,
    LateLetters,
    LossFound,
    Missed,
    PredictionsApplied,
    Reapplied,
    Retried,
    VoidFound,
)
from stream.scoring.score import ARM_MODEL_FAILED, CANARY_MODEL_FAILED, LIVE_MODEL_FAILED, NO_MODEL
from stream.scoring.two_partitions import CARD_ON_TWO_PARTITIONS
from stream.settings import Settings
from stream.telemetry.catalogue import CATALOGUE
from stream.telemetry.metric import MetricKind, MetricName

_FEW = 24
"""With fewer values a loop is faster than numpy."""
Values = tuple[str, ...]
"""The values of a metric's attributes, in the catalogue's order."""


Gauges = Mapping[MetricName, Callable[[], Mapping[Values, float]]]
"""Current values of gauges, and of counters that another part of the worker keeps, by their attributes' values.

Called from the thread that collects: it must only read."""
_NS_A_MS = 1_000_000
_REASONS = (
    ARM_MODEL_FAILED,
    CANARY_MODEL_FAILED,
    CARD_ON_TWO_PARTITIONS,
    HISTORY_INCOMPLETE,
    HISTORY_YOUNG,
    LIVE_MODEL_FAILED,
    NO_MODEL,
    UNDECIDABLE,
)
"""What `degraded` may name."""


class HistogramSnapshot(NamedTuple):
    """A histogram at one moment: `buckets` has one more than the bounds; each bound belongs to the bucket below it."""

    buckets: tuple[int, ...]
    total: float
    lowest: float
    highest: float


@dataclass(slots=True)
class HistogramTally:
    """Counts of one histogram and one combination of attributes since the process began; read by another thread."""

    bounds: tuple[float, ...]
    _buckets: list[int] = field(init=False)
    _total: float = 0.0
    _lowest: float = float("inf")
    _highest: float = float("-inf")
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._buckets = [0] * (len(self.bounds) + 1)

    def add(self, values: Sequence[float]) -> None:
        """Count values into the buckets."""
        if not values:
            return
        with self._lock:
            if len(values) < _FEW:
                for value in values:
                    self._buckets[bisect_left(self.bounds, value)] += 1
            else:
                where = np.searchsorted(self.bounds, values, side="left")
                counts = np.bincount(where, minlength=len(self._buckets)).tolist()
                self._buckets = [before + new for before, new in zip(self._buckets, counts, strict=True)]
            self._total += sum(values)
            self._lowest = min(self._lowest, *values)
            self._highest = max(self._highest, *values)

    def add_one(self, value: float) -> None:
        """Count one value, as `add` does, for a third of its time."""
        with self._lock:
            self._buckets[bisect_left(self.bounds, value)] += 1
            self._total += value
            if value < self._lowest:  # noqa: PLR1730 - for each stage of each batch
                self._lowest = value
            if value > self._highest:  # noqa: PLR1730
                self._highest = value

    def now(self) -> HistogramSnapshot:
        """Return the counts so far."""
        with self._lock:
            return HistogramSnapshot(tuple(self._buckets), self._total, self._lowest, self._highest)


class MetricTotals:
    """The totals of one process; series known beforehand start at 0, so that their first increase is visible."""

    def __init__(self, settings: Settings) -> None:
        self._deadline_ms = settings.deadline_ms
        self._transactions = settings.topic(TRANSACTIONS.name)
        self._labels = settings.topic(LABELS.name)
        self._predictions = settings.topic(PREDICTIONS.name)
        self._counts: dict[MetricName, Counter[Values]] = {
            name: Counter() for name, metric in CATALOGUE.items() if metric.kind is MetricKind.COUNTER
        }
        self._tallies: dict[MetricName, dict[Values, HistogramTally]] = {
            name: {} for name, metric in CATALOGUE.items() if metric.kind is MetricKind.HISTOGRAM
        }
        for name, values in _initial_series(self._transactions, self._labels):
            self._counts[name][values] = 0

    def record(self, fact: Fact) -> None:
        """Count a fact."""
        match fact:
            case Decided():
                self._decided(fact)
            case LabelsApplied():
                self._labelled(fact)
            case PredictionsApplied():
                self._predicted(fact)
            case Compared():
                self._compared(fact)
            case AlertsExplained():
                self._counts["fraudstream.explanations.written"].update((one,) for one in fact.outcomes)
                self._tally("fraudstream.explanations.delay").add([ms / 1000 for ms in fact.delays_ms])
            case Retried():
                self._counts["fraudstream.retries"][fact.topic, fact.error] += 1
            case Reapplied():
                self._counts["fraudstream.history.reapplied"][(fact.topic,)] += fact.count
            case _:
                self._found(fact)

    def _found(self, fact: LateLetters | LossFound | VoidFound | Missed) -> None:
        """Count what should not have happened."""
        match fact:
            case LossFound():
                self._counts["fraudstream.lost_unread"][(fact.topic,)] += fact.lost or 0
            case LateLetters():
                self._counts["fraudstream.dead_letters.late"][()] += fact.count
            case VoidFound():
                self._counts["fraudstream.void_scores"][()] += fact.count
            case Missed():
                self._counts["fraudstream.shadow.missed"][(fact.reason,)] += fact.count
            case _:
                assert_never(fact)

    def counted(self, name: MetricName) -> Mapping[Values, int]:
        """Return a counter's totals."""
        return self._counts[name].copy()

    def tallied(self, name: MetricName) -> Mapping[Values, HistogramTally]:
        """Return a histogram's tallies."""
        return self._tallies[name].copy()

    def _decided(self, fact: Decided) -> None:
        counts, scored = self._counts, fact.scored
        self._dead(fact)
        self._stages(fact.stages)
        counts["fraudstream.repeated"][()] += fact.repeated
        counts["fraudstream.already_decided"][()] += fact.already_decided
        counts["fraudstream.already_refused"][()] += fact.already_refused
        counts["fraudstream.backfilled"][()] += fact.backfilled
        counts["fraudstream.erasures"][()] += fact.erasures
        counts["fraudstream.unknown_fields"][(self._transactions,)] += fact.unknown
        if fact.attributes.fields:
            counts["fraudstream.attributes"].update({(name,): one for name, one in fact.attributes.fields.items()})
        if fact.attributes.undeclared:
            self._undeclared(fact.attributes.undeclared)
        if not len(scored):
            return
        decisions, amounts = counts["fraudstream.decisions"], counts["fraudstream.decided.amount"]
        for judgement, transaction in zip(scored.judgements, scored.transactions, strict=True):
            decision = judgement.decision
            decisions[decision, judgement.decided_by, judgement.arm] += 1
            amounts[transaction.currency, decision] += transaction.amount_minor
            if judgement.degraded or judgement.overruled is not None or judgement.propensity is not None:
                self._unusual(judgement, transaction)
        if any(scored.dropped):
            self._dropped(scored.dropped)
        self._tally("fraudstream.batch.size").add_one(len(scored))
        self._latencies(scored)

    def _unusual(self, judgement: Judgement, payment: Transaction) -> None:
        """Count what is said of few decisions."""
        for reason in judgement.degraded:
            self._counts["fraudstream.degraded"][(reason,)] += 1
        if judgement.overruled is not None:
            self._counts["fraudstream.overruled"][judgement.overruled.by, judgement.arm] += 1
        if judgement.propensity is not None:
            self._lot(judgement, payment)

    def _dropped(self, dropped: Iterable[Sequence[str]]) -> None:
        """Count the fields that were left out; headers have names of their producers' choice, so they count as one."""
        self._counts["fraudstream.dropped_fields"].update(
            ("headers" if field.startswith("headers") else field,) for fields in dropped for field in fields
        )

    def _undeclared(self, names: Mapping[str, int]) -> None:
        """Count attributes by name, of the first hundred names."""
        counted = self._counts["fraudstream.attributes.undeclared"]
        for name, count in names.items():
            is_told = name and ((name,) in counted or len(counted) < MOST_TOLD)
            counted[name if is_told else OTHER_NAME,] += count

    def _lot(self, judgement: Judgement, payment: Transaction) -> None:
        """Count the lot of a declined payment, and the amount if it was let through."""
        passed, currency = judgement.overruled is not None and judgement.overruled.by == LET_THROUGH, payment.currency
        self._counts["fraudstream.let_through.lots"][currency, LET_THROUGH if passed else "declined"] += 1
        self._counts["fraudstream.let_through.amount"][(currency,)] += payment.amount_minor if passed else 0

    def _latencies(self, scored: Scored) -> None:
        """Count latencies, and missed deadlines by count and amount; a producer's clock that is ahead counts as 0."""
        tally = self._tally("fraudstream.latency")
        if len(scored) == 1:
            tally.add_one(max(0, scored.latencies_ms[0]) / 1000)
        else:
            tally.add([max(0, ms) / 1000 for ms in scored.latencies_ms])
        if max(scored.latencies_ms) <= self._deadline_ms:
            return
        missed = self._counts["fraudstream.deadline.missed_amount"]
        for ms, transaction in zip(scored.latencies_ms, scored.transactions, strict=True):
            if ms > self._deadline_ms:
                self._counts["fraudstream.deadline.misses"][()] += 1
                missed[(transaction.currency,)] += transaction.amount_minor

    def _labelled(self, fact: LabelsApplied) -> None:
        self._dead(fact)
        self._counts["fraudstream.labels"].update((status.value,) for status in fact.statuses)
        self._counts["fraudstream.unknown_fields"][(self._labels,)] += fact.unknown

    def _predicted(self, fact: PredictionsApplied) -> None:
        self._dead(fact)
        self._counts["fraudstream.predictions"].update((status.value,) for status in fact.statuses)
        self._counts["fraudstream.unknown_fields"][(self._predictions,)] += fact.unknown

    def _compared(self, fact: Compared) -> None:
        counts = self._counts
        counts["fraudstream.shadow.compared"][()] += len(fact.live)
        self._tally("fraudstream.shadow.score_shift").add(fact.shifts)
        decided = zip(fact.live, fact.challenger, fact.amounts_minor, fact.currencies, strict=True)
        for live, challenger, amount_minor, currency in decided:
            if live is not challenger:
                counts["fraudstream.shadow.decisions_changed"][live, challenger] += 1
                counts["fraudstream.shadow.changed_amount"][currency, live, challenger] += amount_minor

    def _dead(self, fact: Decided | LabelsApplied | PredictionsApplied) -> None:
        if fact.dead:
            self._counts["fraudstream.dead_letters"].update((one.record.topic, one.code) for one in fact.dead)

    def _stages(self, stages: Iterable[Stage]) -> None:
        for stage in stages:
            self._tally("fraudstream.stage.duration", stage.name).add_one((stage.end_ns - stage.start_ns) / 1e9)

    def _tally(self, name: MetricName, *values: str) -> HistogramTally:
        tallies = self._tallies[name]
        tally = tallies.get(values)
        if tally is None:
            tally = tallies[values] = HistogramTally(CATALOGUE[name].bounds)
        return tally


def _initial_series(transactions: str, labels: str) -> Iterator[tuple[MetricName, Values]]:
    """Yield the series whose attribute values are known beforehand."""
    plain = (name for name, metric in CATALOGUE.items() if metric.kind is MetricKind.COUNTER and not metric.attributes)
    yield from ((name, ()) for name in plain)
    yield from (("fraudstream.decisions", pair) for pair in product(Decision, DecidedBy, (LIVE,)))
    yield from (("fraudstream.dead_letters", pair) for pair in product((transactions, labels), DeadLetterCode))
    yield from (("fraudstream.degraded", (reason,)) for reason in _REASONS)
    yield from (("fraudstream.explanations.written", (outcome,)) for outcome in ExplanationOutcome)
    yield from (("fraudstream.history.reapplied", (topic.name,)) for topic in (TRANSACTIONS, LABELS))
    yield from (("fraudstream.labels", (status.value,)) for status in LabelStatus)
    yield from (("fraudstream.predictions", (status.value,)) for status in PredictionStatus)
    yield from (("fraudstream.lost_unread", (topic,)) for topic in (transactions, labels))
    yield from (("fraudstream.overruled", (by, LIVE)) for by in (DECLINE_CAP, LET_THROUGH))
    yield from (("fraudstream.unknown_fields", (topic,)) for topic in (transactions, labels))
    yield from (("fraudstream.shadow.missed", (reason,)) for reason in ("skipped", "failed"))


class Instruments:
    """All instruments of a process, over its totals; gauges are empty until `watch` sets them."""

    def __init__(self, totals: MetricTotals) -> None:
        self._totals = totals
        self._gauges: Gauges = {}
        self._began_ns = now_ms() * _NS_A_MS

    def make(self, meter: Meter) -> None:
        """Create the observable instruments."""
        for name, metric in CATALOGUE.items():
            match metric.kind:
                case MetricKind.COUNTER:
                    meter.create_observable_counter(name, [self._counted(name)], metric.unit, metric.meaning)
                case MetricKind.GAUGE:
                    meter.create_observable_gauge(name, [self._gauge(name)], metric.unit, metric.meaning)
                case MetricKind.HISTOGRAM:
                    pass  # `with_histograms`

    def watch(self, gauges: Gauges) -> None:
        """Read gauges from there from now on."""
        self._gauges = gauges

    def with_histograms(self, collected: MetricsData) -> MetricsData:
        """Return what the SDK collected with the histograms added."""
        first, *others = collected.resource_metrics
        scope, *scopes = first.scope_metrics
        scope = replace(scope, metrics=[*scope.metrics, *self._histograms()])
        return replace(collected, resource_metrics=[replace(first, scope_metrics=[scope, *scopes]), *others])

    def _counted(self, name: MetricName) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _options: _observations(name, self._read(name) or self._totals.counted(name))

    def _gauge(self, name: MetricName) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _options: _observations(name, self._read(name))

    def _read(self, name: MetricName) -> Mapping[Values, float]:
        """Read a value that another part of the worker keeps."""
        return self._gauges[name]() if name in self._gauges else {}

    def _histograms(self) -> Iterator[Metric]:
        at_ns = now_ms() * _NS_A_MS
        for name, metric in CATALOGUE.items():
            if metric.kind is MetricKind.HISTOGRAM and (tallied := self._totals.tallied(name)):
                points = [self._point(name, values, tally, at_ns) for values, tally in tallied.items()]
                data = Histogram(points, AggregationTemporality.CUMULATIVE)
                yield Metric(name, metric.meaning, metric.unit, data)

    def _point(self, name: MetricName, values: Values, tally: HistogramTally, at_ns: int) -> HistogramDataPoint:
        now = tally.now()
        return HistogramDataPoint(
            attributes=dict(zip(CATALOGUE[name].attributes, values, strict=True)),
            start_time_unix_nano=self._began_ns,
            time_unix_nano=at_ns,
            count=sum(now.buckets),
            sum=now.total,
            bucket_counts=now.buckets,
            explicit_bounds=tally.bounds,
            min=now.lowest,
            max=now.highest,
        )


class PrometheusReader(PrometheusMetricReader):
    """Prometheus's reader, with our histograms added."""

    def __init__(self, instruments: Instruments, registry: CollectorRegistry) -> None:
        self._instruments = instruments
        super().__init__(scope_info_enabled=False, registry=registry)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:  # noqa: ANN401 - the SDK's signature
        super()._receive_metrics(self._instruments.with_histograms(metrics_data), timeout_millis, **kwargs)


class WithHistograms(MetricExporter):
    """Wraps an exporter and adds our histograms."""

    def __init__(self, instruments: Instruments, inner: MetricExporter) -> None:
        super().__init__()
        self._instruments = instruments
        self._inner = inner

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:  # noqa: ANN401 - the SDK's signature
        """Export what was collected, and the histograms."""
        return self._inner.export(self._instruments.with_histograms(metrics_data), timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Flush the wrapped exporter."""
        return self._inner.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ANN401 - the SDK's signature
        """Shut the wrapped exporter down."""
        self._inner.shutdown(timeout_millis, **kwargs)


def _observations(name: MetricName, current: Mapping[Values, float]) -> list[Observation]:
    attributes = CATALOGUE[name].attributes
    return [
        # a bool becomes 0 or 1: OTLP's encoder loses a whole batch over a bool
        Observation(int(value) if isinstance(value, bool) else value, dict(zip(attributes, values, strict=True)))
        for values, value in current.items()
    ]
