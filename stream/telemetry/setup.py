"""Telemetry as the environment asks for it: where providers, readers and exporters are made.

Nothing here is global, so a process may have several.

What OpenTelemetry logs, made quiet: a collector that is away is worth a line now and then, not one a second.

Its messages are redacted and come without tracebacks, whose last line may quote what was to be sent.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from threading import Thread
from time import monotonic
from typing import NamedTuple, Protocol

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from stream.kafka.tracing import NoOperationTracing, OperationTracing
from stream.redaction import redact_text
from stream.scoring.facts import FactListener, ignore_fact
from stream.scoring.tracing import NoTracing, Tracing
from stream.settings import Settings
from stream.telemetry.environment import GRPC, TelemetryOptions, read
from stream.telemetry.metrics import Gauges, Instruments, MetricTotals, PrometheusReader, WithHistograms
from stream.telemetry.steps import OperationTracer
from stream.telemetry.tracing import BatchTracer, Ids, Tracers

log = logging.getLogger("fraudstream.telemetry")

_PAUSE_SECONDS = 60.0
_LONGEST = 300
_SDK = "opentelemetry"
_QUOTES_HEADERS = "opentelemetry.util.re"
"""Its messages quote what it cannot read of a collector's headers, and that is where a login stands."""
SCOPE = "fraudstream"

_GRPC = "opentelemetry.exporter.otlp.proto.grpc"
_STOP_SECONDS = 3.0


class Quieter(logging.Handler):
    """Passes a message of one place on once a minute, and says how many were left out."""

    def __init__(self, pause: float = _PAUSE_SECONDS) -> None:
        super().__init__(logging.WARNING)
        self._pause = pause
        self._passed: dict[tuple[str, int], float] = {}
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Pass it on, or count it."""
        place, now = (record.name, record.lineno), time.monotonic()
        if now - self._passed.get(place, -self._pause) < self._pause:
            self._left_out += 1
            return
        self._passed[place] = now
        text = redact_text(_said(record))[:_LONGEST]
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        log.log(record.levelno, "%s%s (%d more left out)", text, f": {kind}" if kind else "", self._left_out)
        self._left_out = 0


def _said(record: logging.LogRecord) -> str:
    """Return a record's message, without what it quotes where that may be a login."""
    return str(record.msg) if record.name == _QUOTES_HEADERS else record.getMessage()


def make_quiet() -> None:
    """Let all that OpenTelemetry logs go through one `Quieter`; once a process."""
    sdk = logging.getLogger(_SDK)
    if not any(isinstance(handler, Quieter) for handler in sdk.handlers):
        sdk.addHandler(Quieter())
        sdk.propagate = False


class Held(Protocol):
    """What is shut down at the end: it sends what it holds."""

    def shutdown(self) -> object:
        """End it."""
        ...


@dataclass(slots=True)
class Telemetry:
    """A worker's telemetry: facts go to `emit`, batches to `tracing`, commands to `operations`, gauges to `watch`."""

    emit: FactListener = ignore_fact
    tracing: Tracing = field(default_factory=NoTracing)
    operations: OperationTracing = field(default_factory=NoOperationTracing)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    meters: Instruments | None = None
    held: tuple[Held, ...] = ()

    def watch(self, gauges: Gauges) -> None:
        """Show these gauges from now on."""
        if self.meters is not None:
            self.meters.watch(gauges)

    def metrics(self) -> bytes:
        """Write all metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Send what is held, for so long at most in all: a collector that is away keeps no process from ending."""
        threads = [Thread(target=one.shutdown, daemon=True) for one in self.held]
        for thread in threads:
            thread.start()
        deadline = monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))


def begin(settings: Settings, environment: Mapping[str, str]) -> Telemetry:
    """Set up what the environment asks of a worker.

    Raises:
        SettingsError: names each variable that cannot be used, and what to set or install instead.
    """
    asked = read(environment)
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    if asked.disabled:
        return Telemetry(registry=registry)
    make_quiet()
    resource, books = _resource(settings, SCOPE), MetricTotals(settings)
    meters = Instruments(books)
    others = [PeriodicExportingMetricReader(WithHistograms(meters, one)) for one in _metric_exporters(asked)]
    provider = MeterProvider(
        [PrometheusReader(meters, registry), *others], resource, AlwaysOffExemplarFilter(), shutdown_on_exit=False
    )
    meters.make(provider.get_meter(SCOPE, version(SCOPE)))
    spans = _spans(asked, resource)
    if spans is None:
        return Telemetry(books.record, registry=registry, meters=meters, held=(provider,))
    tracing, operations = BatchTracer(spans.tracers, settings), OperationTracer(spans.tracers.chosen)
    return Telemetry(books.record, tracing, operations, registry, meters, (provider, spans.provider))


def begin_steps(settings: Settings, asked: TelemetryOptions, service: str) -> Telemetry:
    """Set up the traces of a command line's process, which counts nothing."""
    make_quiet()
    spans = _spans(asked, _resource(settings, service))
    return (
        Telemetry()
        if spans is None
        else Telemetry(operations=OperationTracer(spans.tracers.chosen), held=(spans.provider,))
    )


class _Spans(NamedTuple):
    """The tracers of a process, and what to shut down: both tracers' spans go one way."""

    tracers: Tracers
    provider: TracerProvider


def _spans(asked: TelemetryOptions, resource: Resource) -> _Spans | None:
    """Make two providers over one way out: the sampler's choice, and what belongs to it."""
    if not asked.traces:
        return None
    ids = Ids()
    chosen = TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=ids)
    always = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
    for exporter in _span_exporters(asked):
        processor = BatchSpanProcessor(exporter)
        chosen.add_span_processor(processor)
        always.add_span_processor(processor)
    mine = (SCOPE, version(SCOPE))
    return _Spans(Tracers(chosen.get_tracer(*mine), always.get_tracer(*mine), chosen.sampler, ids), chosen)


def _span_exporters(asked: TelemetryOptions) -> Iterator[SpanExporter]:
    for name in asked.traces:
        if name == "console":
            yield ConsoleSpanExporter()
        elif asked.traces_protocol == GRPC:
            yield import_module(f"{_GRPC}.trace_exporter").OTLPSpanExporter()
        else:
            yield OTLPSpanExporter()


def _metric_exporters(asked: TelemetryOptions) -> Iterator[MetricExporter]:
    """Make exporters for where metrics go besides `/metrics`."""
    for name in asked.metrics:
        if name == "console":
            yield ConsoleMetricExporter()
        elif name == "otlp" and asked.metrics_protocol == GRPC:
            yield import_module(f"{_GRPC}.metric_exporter").OTLPMetricExporter()
        elif name == "otlp":
            yield OTLPMetricExporter()


def _resource(settings: Settings, service: str) -> Resource:
    """Say who we are; what `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say goes before."""
    told = OTELResourceDetector().detect().attributes
    ours = {"service.name": service, "service.version": version(SCOPE), "fraudstream.deployment": settings.deployment}
    if settings.worker_id:
        ours["service.instance.id"] = settings.worker_id
    return Resource.create({name: value for name, value in ours.items() if name not in told})
