"""OpenTelemetry's instruments, made from the catalogue and from nothing else.

Counters and gauges are observed: the SDK asks when somebody looks, and counting costs it nothing. It has no such
histogram, so those are put beside what it collected, as points of its own data model, on the way to each exporter.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

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

from stream.clock import now_ms
from stream.telemetry.books import Books, Gauges, Values
from stream.telemetry.catalogue import CATALOGUE, MetricName
from stream.telemetry.kinds import Kind
from stream.telemetry.tallies import Tally

_NS_A_MS = 1_000_000


class Meters:
    """All instruments of a process over its books; gauges show nothing until `watch` says where to look."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._gauges: Gauges = {}
        self._began_ns = now_ms() * _NS_A_MS

    def make(self, meter: Meter) -> None:
        """Make the instruments that are observed."""
        for name, metric in CATALOGUE.items():
            match metric.kind:
                case Kind.COUNTER:
                    meter.create_observable_counter(name, [self._counted(name)], metric.unit, metric.meaning)
                case Kind.GAUGE:
                    meter.create_observable_gauge(name, [self._watched(name)], metric.unit, metric.meaning)
                case Kind.HISTOGRAM:
                    pass  # `with_histograms`

    def watch(self, gauges: Gauges) -> None:
        """Look there for gauges from now on."""
        self._gauges = gauges

    def with_histograms(self, collected: MetricsData) -> MetricsData:
        """Put the histograms beside what the SDK collected."""
        first, *others = collected.resource_metrics
        scope, *scopes = first.scope_metrics
        scope = replace(scope, metrics=[*scope.metrics, *self._histograms()])
        return replace(collected, resource_metrics=[replace(first, scope_metrics=[scope, *scopes]), *others])

    def _counted(self, name: MetricName) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _options: _observations(name, self._shown(name) or self._books.counted(name))

    def _watched(self, name: MetricName) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _options: _observations(name, self._shown(name))

    def _shown(self, name: MetricName) -> Mapping[Values, float]:
        """Ask whoever keeps it himself."""
        return self._gauges[name]() if name in self._gauges else {}

    def _histograms(self) -> Iterator[Metric]:
        at_ns = now_ms() * _NS_A_MS
        for name, metric in CATALOGUE.items():
            if metric.kind is Kind.HISTOGRAM and (tallied := self._books.tallied(name)):
                points = [self._point(name, values, tally, at_ns) for values, tally in tallied.items()]
                data = Histogram(points, AggregationTemporality.CUMULATIVE)
                yield Metric(name, metric.meaning, metric.unit, data)

    def _point(self, name: MetricName, values: Values, tally: Tally, at_ns: int) -> HistogramDataPoint:
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
    """The exporter's reader, with our histograms."""

    def __init__(self, meters: Meters, registry: CollectorRegistry) -> None:
        self._meters = meters
        super().__init__(scope_info_enabled=False, registry=registry)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:  # noqa: ANN401 - the SDK's signature
        super()._receive_metrics(self._meters.with_histograms(metrics_data), timeout_millis, **kwargs)


class WithHistograms(MetricExporter):
    """Another exporter, with our histograms."""

    def __init__(self, meters: Meters, inner: MetricExporter) -> None:
        super().__init__()
        self._meters = meters
        self._inner = inner

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:  # noqa: ANN401 - the SDK's signature
        """Send what was collected, and the histograms."""
        return self._inner.export(self._meters.with_histograms(metrics_data), timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Have the other send what it holds."""
        return self._inner.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ANN401 - the SDK's signature
        """End the other."""
        self._inner.shutdown(timeout_millis, **kwargs)


def _observations(name: MetricName, shown: Mapping[Values, float]) -> list[Observation]:
    attributes = CATALOGUE[name].attributes
    return [
        # a truth is 0 or 1: OTLP's encoder loses a whole batch over a bool
        Observation(int(value) if isinstance(value, bool) else value, dict(zip(attributes, values, strict=True)))
        for values, value in shown.items()
    ]
