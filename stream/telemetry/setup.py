"""Create providers, readers and exporters as the environment configures them; no provider is global.

What the SDK logs is rate-limited (a collector that is down logs every second), redacted, and stripped of its traceback,
whose last line may quote what was to be sent.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from threading import Thread
from time import monotonic
from typing import NamedTuple, Protocol, cast

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AnyValue
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from models.logins import without_logins
from stream.code_version import code_version
from stream.engine.publisher import Headers
from stream.engine.tracing import Attributes, NoOperationTracing, OperationTrace, OperationTracing, UntracedOperation
from stream.errors import SettingsError
from stream.redaction import redact_text
from stream.scoring.facts import FactListener, ignore_fact
from stream.scoring.tracing import NoTracing, Tracing
from stream.settings import Settings
from stream.telemetry.environment import GRPC, TelemetryOptions, read
from stream.telemetry.metrics import Gauges, Instruments, MetricTotals, PrometheusReader, WithHistograms
from stream.telemetry.otlp import OtlpSender, OtlpSpans, QueueSizes
from stream.telemetry.sampling import SamplingRule
from stream.telemetry.spans import SdkSpans, SpanOrigin, SpanSink
from stream.telemetry.tracing import BatchTracer, context_of, traceparent_of, with_traceparent

log = logging.getLogger("fraudstream.telemetry")

_PAUSE_SECONDS = 60.0
_MESSAGE_LENGTH = 300
_SDK = "opentelemetry"
_QUOTES_HEADERS = "opentelemetry.util.re"
"""Its messages quote a header that it cannot parse, and headers hold the collector's login."""
SCOPE = "fraudstream"

_GRPC = "opentelemetry.exporter.otlp.proto.grpc"
_STOP_SECONDS = 3.0
_PRODUCERS = ("send ", "model ")
"""Prefixes of steps that produce a message; every other step consumes one."""


class OperationTracer:
    """Begins steps; the sampler of `tracer` decides which of them are traced."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(self, name: str, parent_headers: Headers = (), start_ns: int | None = None) -> OperationTrace:
        """Begin a step; a context that cannot be parsed is forwarded as it came.

        A decision against sampling is forwarded too, or the next consumer would decide again.
        """
        root = traceparent_of(parent_headers) is None
        context = Context() if root else context_of(parent_headers)
        if context is None:
            return UntracedOperation(parent_headers)
        kind = SpanKind.PRODUCER if name.startswith(_PRODUCERS) else SpanKind.CONSUMER
        span = self._tracer.start_span(name, context, kind, start_time=start_ns)
        headers = with_traceparent(parent_headers, span.get_span_context())
        if not span.is_recording():
            return UntracedOperation(headers if root else parent_headers)
        return TracedOperation(span, headers)


@dataclass(frozen=True, slots=True)
class TracedOperation:
    """A step with a span."""

    span: Span
    headers: Headers

    def done(self, attributes: Attributes) -> None:
        """End the span with the result as attributes."""
        self.span.set_attributes(cast("Mapping[str, AnyValue]", attributes))
        self.span.end()

    def failed(self, error: str) -> None:
        """End the span as an error."""
        self.span.set_attributes({"error.type": error})
        self.span.set_status(Status(StatusCode.ERROR))
        self.span.end()


class RateLimitedHandler(logging.Handler):
    """Forwards one message a minute from each line of code, with the number of messages dropped since the last one."""

    def __init__(self, pause: float = _PAUSE_SECONDS) -> None:
        super().__init__(logging.WARNING)
        self._pause = pause
        self._forwarded: dict[tuple[str, int], float] = {}
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Forward a record, or count it as left out."""
        place, now = (record.name, record.lineno), time.monotonic()
        if now - self._forwarded.get(place, -self._pause) < self._pause:
            self._left_out += 1
            return
        self._forwarded[place] = now
        text = redact_text(_message(record))[:_MESSAGE_LENGTH]
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        log.log(record.levelno, "%s%s (%d more left out)", text, f": {kind}" if kind else "", self._left_out)
        self._left_out = 0


def _message(record: logging.LogRecord) -> str:
    """Return a record's message, without its arguments where they may hold a login."""
    return str(record.msg) if record.name == _QUOTES_HEADERS else record.getMessage()


def limit_sdk_logs() -> None:
    """Route everything that the SDK logs through one `RateLimitedHandler`; idempotent."""
    sdk = logging.getLogger(_SDK)
    if not any(isinstance(handler, RateLimitedHandler) for handler in sdk.handlers):
        sdk.addHandler(RateLimitedHandler())
        sdk.propagate = False


class Provider(Protocol):
    """A provider of meters or tracers, which sends what it has buffered when it is shut down."""

    def shutdown(self) -> object:
        """Send what is buffered, and stop."""
        ...


@dataclass(slots=True)
class Telemetry:
    """A process's telemetry: `emit` counts facts, `tracing` and `operations` make spans, `watch` sets gauges."""

    emit: FactListener = ignore_fact
    tracing: Tracing = field(default_factory=NoTracing)
    operations: OperationTracing = field(default_factory=NoOperationTracing)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    instruments: Instruments | None = None
    providers: tuple[Provider, ...] = ()

    def watch(self, gauges: Gauges) -> None:
        """Export these gauges from now on."""
        if self.instruments is not None:
            self.instruments.watch(gauges)

    def metrics(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Send what is buffered, within `seconds` in all, so that a collector that is down blocks no shutdown."""
        threads = [Thread(target=provider.shutdown, daemon=True) for provider in self.providers]
        for thread in threads:
            thread.start()
        deadline = monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))


def begin(settings: Settings, environment: Mapping[str, str]) -> Telemetry:
    """Set up a worker's telemetry as the environment configures it.

    Raises:
        SettingsError: names each variable that cannot be used, and what to set or install instead.
    """
    options = read(environment)
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    if options.disabled:
        return Telemetry(registry=registry)
    limit_sdk_logs()
    with _sdk_errors(options):
        return _begin(settings, options, registry, environment)


def _begin(
    settings: Settings, options: TelemetryOptions, registry: CollectorRegistry, environment: Mapping[str, str]
) -> Telemetry:
    resource, totals = _resource(settings, SCOPE), MetricTotals(settings)
    instruments = Instruments(totals)
    others = [PeriodicExportingMetricReader(WithHistograms(instruments, one)) for one in _metric_exporters(options)]
    provider = MeterProvider(
        [PrometheusReader(instruments, registry), *others], resource, AlwaysOffExemplarFilter(), shutdown_on_exit=False
    )
    instruments.make(provider.get_meter(SCOPE, code_version()))
    operations = _operations(options, resource)
    if operations is None:
        return Telemetry(totals.record, registry=registry, instruments=instruments, providers=(provider,))
    sinks = list(_sinks(operations, resource, environment))
    batches = BatchTracer(SamplingRule.of(operations.provider.sampler), sinks, settings)
    senders = (one for one in sinks if isinstance(one, OtlpSpans))
    providers: tuple[Provider, ...] = (provider, operations.provider, *senders)
    return Telemetry(totals.record, batches, operations.tracer, registry, instruments, providers)


def begin_steps(settings: Settings, options: TelemetryOptions, service: str) -> Telemetry:
    """Set up the traces of a command of the command line, which has no metrics.

    Raises:
        SettingsError: the SDK refuses the value of a variable.
    """
    limit_sdk_logs()
    with _sdk_errors(options):
        operations = _operations(options, _resource(settings, service))
    if operations is None:
        return Telemetry()
    return Telemetry(operations=operations.tracer, providers=(operations.provider,))


@contextmanager
def _sdk_errors(options: TelemetryOptions) -> Iterator[None]:
    """Turn a value over which the SDK raises into a problem of the settings."""
    try:
        yield
    except ValueError as error:
        why = without_logins(str(error), options.secrets)
        raise SettingsError(f"a variable of OpenTelemetry cannot be used: {why}") from error


class _Operations(NamedTuple):
    """The tracer of single operations, its provider, and the processor of each exporter."""

    tracer: OperationTracer
    provider: TracerProvider
    processors: Sequence[tuple[SpanExporter, BatchSpanProcessor]]


def _operations(options: TelemetryOptions, resource: Resource) -> _Operations | None:
    if not options.traces:
        return None
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    processors = [(one, BatchSpanProcessor(one)) for one in _span_exporters(options)]
    for _, processor in processors:
        provider.add_span_processor(processor)
    return _Operations(OperationTracer(provider.get_tracer(*_scope())), provider, processors)


def _scope() -> tuple[str, str]:
    return SCOPE, code_version()


def _sinks(operations: _Operations, resource: Resource, environment: Mapping[str, str]) -> Iterator[SpanSink]:
    """Yield what takes the spans of batches, for each exporter.

    Those for OTLP over HTTP are encoded here, where no limit on spans is set: only the SDK applies them.
    """
    origin = SpanOrigin(resource, InstrumentationScope(*_scope()))
    has_limits = any(name.startswith("OTEL_") and name.endswith("_LIMIT") for name in environment)
    for exporter, processor in operations.processors:
        sender = OtlpSender() if isinstance(exporter, OTLPSpanExporter) and not has_limits else None
        if sender is not None and sender.can_send:
            yield OtlpSpans(sender, origin, QueueSizes.of(environment))
        else:
            yield SdkSpans(processor, origin)


def _span_exporters(options: TelemetryOptions) -> Iterator[SpanExporter]:
    for name in options.traces:
        if name == "console":
            yield ConsoleSpanExporter()
        elif options.traces_protocol == GRPC:
            yield import_module(f"{_GRPC}.trace_exporter").OTLPSpanExporter()
        else:
            yield OTLPSpanExporter()


def _metric_exporters(options: TelemetryOptions) -> Iterator[MetricExporter]:
    """Create the exporters of metrics besides `/metrics`."""
    for name in options.metrics:
        if name == "console":
            yield ConsoleMetricExporter()
        elif name == "otlp" and options.metrics_protocol == GRPC:
            yield import_module(f"{_GRPC}.metric_exporter").OTLPMetricExporter()
        elif name == "otlp":
            yield OTLPMetricExporter()


def _resource(settings: Settings, service: str) -> Resource:
    """Describe this process; `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` take precedence."""
    configured = OTELResourceDetector().detect().attributes
    ours = {"service.name": service, "service.version": code_version(), "fraudstream.deployment": settings.deployment}
    if settings.worker_id:
        ours["service.instance.id"] = settings.worker_id
    return Resource.create({name: value for name, value in ours.items() if name not in configured})
