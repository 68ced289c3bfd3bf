"""A collector for tests: receives OTLP over HTTP, as the SDK's exporter sends it, and keeps spans and metric names."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire

from benchmarks.parts.otlp_sink import collecting


class Received(NamedTuple):
    """One span as it was sent; ids in hexadecimal, times in nanoseconds, `links` as trace id and span id."""

    service: str
    instance: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    state: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    failed: bool


class Receiver:
    """Everything received so far; `raw` holds every request's body as it was sent."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.raw: list[bytes] = []
        self.metrics: list[str] = []
        self._spans: list[Received] = []
        self._lock = Lock()

    @property
    def spans(self) -> list[Received]:
        with self._lock:
            return list(self._spans)

    def named(self, name: str) -> list[Received]:
        return [span for span in self.spans if span.name == name]

    def trace(self, trace: str) -> list[Received]:
        """Return the spans of one trace, in the order of their start times."""
        return sorted((span for span in self.spans if span.trace == trace), key=lambda span: span.start_ns)

    def clear(self) -> None:
        """Forget what was received."""
        with self._lock:
            for received in (self.raw, self.metrics, self._spans):
                received.clear()

    def take(self, path: str, body: bytes) -> None:
        """Store the content of one request."""
        with self._lock:
            self.raw.append(body)
            if path == "/v1/traces":
                self._spans += _spans(ExportTraceServiceRequest.FromString(body))
            elif path == "/v1/metrics":
                message = ExportMetricsServiceRequest.FromString(body)
                scopes = (scope for resource in message.resource_metrics for scope in resource.scope_metrics)
                self.metrics += [metric.name for scope in scopes for metric in scope.metrics]


@contextmanager
def otlp_receiver() -> Iterator[Receiver]:
    """A receiver that listens on a port of its own."""
    receiver = Receiver()

    with collecting(receiver.take) as receiver.endpoint:
        yield receiver


def _spans(message: ExportTraceServiceRequest) -> Iterator[Received]:
    for resource in message.resource_spans:
        identity = {one.key: one.value.string_value for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Received(
                    service=identity.get("service.name", ""),
                    instance=identity.get("service.instance.id", ""),
                    name=span.name,
                    kind=Wire.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    state=span.trace_state,
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    attributes={one.key: _value(one.value) for one in span.attributes},
                    links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                    failed=span.status.code == 2,
                )


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None
