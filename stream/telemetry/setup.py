"""Telemetry as the environment asks for it: the SDK's own `OTEL_*` variables say what is on and where it goes.

This is where providers, readers and exporters are made; nothing here is global, so a process may have several.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from threading import Thread
from typing import Protocol

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from stream.errors import SettingsError
from stream.facts import Listen, deaf
from stream.journeys import Tracing, Untraced
from stream.settings import Settings
from stream.telemetry.books import Books, Gauges
from stream.telemetry.meters import Meters, PrometheusReader, WithHistograms
from stream.telemetry.quiet import make_quiet
from stream.telemetry.tracing import Ids, Tracers, Traces

SCOPE = "fraudstream"

_HTTP = "http/protobuf"
_STOP_SECONDS = 3.0


class Stopped(Protocol):
    """What is shut down at the end: it sends what it holds."""

    def shutdown(self) -> object:
        """End it."""
        ...


@dataclass(slots=True)
class Telemetry:
    """What a process tells, and whom: facts to `tell`, journeys from `tracing`, gauges by `watch`."""

    tell: Listen = deaf
    tracing: Tracing = field(default_factory=Untraced)
    tracers: Tracers | None = None
    """None where traces are off."""
    _registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    _meters: Meters | None = None
    _stops: tuple[Stopped, ...] = ()

    def watch(self, gauges: Gauges) -> None:
        """Show these gauges from now on."""
        if self._meters is not None:
            self._meters.watch(gauges)

    def metrics(self) -> bytes:
        """Write all metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Send what is held, for so long at most: a collector that is away keeps no worker from ending."""
        threads = [Thread(target=one.shutdown, daemon=True) for one in self._stops]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds)


def begin(settings: Settings, environment: Mapping[str, str], service: str = SCOPE) -> Telemetry:
    """Set up what the environment asks for.

    Raises:
        SettingsError: names each variable that cannot be used, and what to set or install instead.
    """
    problems = [*_problems(environment)]
    if problems:
        raise SettingsError("\n".join(problems))
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    if _flag(environment, "OTEL_SDK_DISABLED"):
        return Telemetry(_registry=registry)
    make_quiet()
    resource = _resource(settings, service)
    books = Books(settings)
    meters = Meters(books)
    provider = MeterProvider(
        [PrometheusReader(meters, registry), *_other_readers(environment, meters)],
        resource,
        AlwaysOffExemplarFilter(),
        shutdown_on_exit=False,
    )
    meters.make(provider.get_meter(SCOPE, version(SCOPE)))
    chosen, tracers = _tracers(environment, resource)
    return Telemetry(
        books.tell,
        Untraced() if tracers is None else Traces(tracers, settings),
        tracers,
        registry,
        meters,
        (provider,) if chosen is None else (provider, chosen),
    )


def _tracers(environment: Mapping[str, str], resource: Resource) -> tuple[TracerProvider | None, Tracers | None]:
    """Make two providers over one way out: the sampler's choice, and what belongs to it."""
    exporters = [*_span_exporters(environment)]
    if not exporters:
        return None, None
    ids = Ids()
    chosen = TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=ids)
    always = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
    for exporter in exporters:
        processor = BatchSpanProcessor(exporter)
        chosen.add_span_processor(processor)
        always.add_span_processor(processor)
    release = version(SCOPE)
    return chosen, Tracers(chosen.get_tracer(SCOPE, release), always.get_tracer(SCOPE, release), chosen.sampler, ids)


def _span_exporters(environment: Mapping[str, str]) -> Iterator[SpanExporter]:
    for name in _traces(environment):
        match name:
            case "console":
                yield ConsoleSpanExporter()
            case "otlp" if _protocol(environment, "TRACES") == "grpc":
                yield import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter").OTLPSpanExporter()
            case "otlp":
                yield OTLPSpanExporter()


def _other_readers(environment: Mapping[str, str], meters: Meters) -> Iterator[MetricReader]:
    """Make readers for where metrics go besides `/metrics`."""
    for name in _named(environment, "OTEL_METRICS_EXPORTER"):
        match name:
            case "console":
                yield PeriodicExportingMetricReader(WithHistograms(meters, ConsoleMetricExporter()))
            case "otlp" if _protocol(environment, "METRICS") == "grpc":
                exporter = import_module("opentelemetry.exporter.otlp.proto.grpc.metric_exporter").OTLPMetricExporter()
                yield PeriodicExportingMetricReader(WithHistograms(meters, exporter))
            case "otlp":
                yield PeriodicExportingMetricReader(WithHistograms(meters, OTLPMetricExporter()))


def _traces(environment: Mapping[str, str]) -> list[str]:
    """Name the exporters of spans: those that are asked for, else `otlp` where there is an endpoint."""
    asked = _named(environment, "OTEL_TRACES_EXPORTER")
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return asked or (["otlp"] if any(environment.get(name) for name in endpoints) else [])


def _problems(environment: Mapping[str, str]) -> Iterator[str]:
    """Say what of the environment cannot be used."""
    for variable, known in (
        ("OTEL_TRACES_EXPORTER", {"otlp", "console", "none"}),
        ("OTEL_METRICS_EXPORTER", {"otlp", "console", "prometheus", "none"}),
    ):
        for name in sorted(set(_named(environment, variable)) - known):
            yield f"{variable}: {name!r} is none of {', '.join(sorted(known))}"
    for signal, exporters in (
        ("TRACES", _traces(environment)),
        ("METRICS", _named(environment, "OTEL_METRICS_EXPORTER")),
    ):
        if "otlp" in exporters:
            yield from _protocol_problems(_protocol(environment, signal), signal)


def _protocol_problems(protocol: str, signal: str) -> Iterator[str]:
    variable = f"OTEL_EXPORTER_OTLP_PROTOCOL or OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"
    if protocol not in (_HTTP, "grpc"):
        yield f"{variable}: {protocol!r} is none of {_HTTP}, grpc"
    elif protocol == "grpc" and not _has_grpc():
        package = "opentelemetry-exporter-otlp-proto-grpc"
        yield f"{variable}: grpc needs the package {package}, which is not installed; install it, or set {_HTTP}"


def _has_grpc() -> bool:
    with suppress(ImportError):
        return bool(import_module("opentelemetry.exporter.otlp.proto.grpc"))
    return False


def _protocol(environment: Mapping[str, str], signal: str) -> str:
    names = (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    return next((environment[name] for name in names if environment.get(name)), _HTTP)


def _named(environment: Mapping[str, str], variable: str) -> list[str]:
    return [name.strip() for name in environment.get(variable, "").split(",") if name.strip()]


def _flag(environment: Mapping[str, str], variable: str) -> bool:
    return environment.get(variable, "").strip().lower() == "true"


def _resource(settings: Settings, service: str) -> Resource:
    """Say who we are; what `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say goes before."""
    told = OTELResourceDetector().detect().attributes
    ours = {"service.name": service, "service.version": version(SCOPE), "fraudstream.deployment": settings.deployment}
    if settings.worker_id:
        ours["service.instance.id"] = settings.worker_id
    return Resource.create({name: value for name, value in ours.items() if name not in told})
