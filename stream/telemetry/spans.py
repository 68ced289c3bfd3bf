"""Finished spans as values: what the spans of a batch have in common is held, and encoded, once.

They are built when a batch is done, without the SDK's `Span`, whose lock, limits and timestamps cost 15 microseconds a
span. A `SpanSink` takes them: `otlp` encodes them, `SdkSpans` hands them to a processor of the SDK, for every exporter
but OTLP over HTTP.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import AnyValue

from stream.engine.tracing import Attributes

_NOTHING: Attributes = {}


class Trace(NamedTuple):
    """What all spans of one trace share: its id, the flags of its spans, and its producer's `tracestate`."""

    trace_id: int
    flags: int
    state: TraceState | None = None


class SpanBody(NamedTuple):
    """What spans of a batch may share: all but ids, links and a few attributes. Times are in epoch nanoseconds."""

    name: str
    kind: SpanKind
    start_ns: int
    end_ns: int
    attributes: Attributes
    failed: bool = False


class SpanLink(NamedTuple):
    """Another span of this process, which a span is linked with."""

    trace: Trace
    span_id: int


class FinishedSpan(NamedTuple):
    """A span that has ended; `parent` is 0 for a root, and `attributes` are those that its body lacks."""

    trace: Trace
    span_id: int
    parent: int
    body: SpanBody
    attributes: Attributes = _NOTHING
    links: Sequence[SpanLink] = ()
    is_parent_remote: bool = False


class SpanSink(Protocol):
    """Takes the spans of batches that are finished."""

    def add(self, spans: Sequence[FinishedSpan]) -> None:
        """Take finished spans; returns at once and does not raise."""
        ...


class SpanOrigin(NamedTuple):
    """The process and the library that spans come from."""

    resource: Resource
    scope: InstrumentationScope


class SdkSpans:
    """Hands spans to a processor of the SDK, within the limits that the environment sets on spans."""

    def __init__(self, processor: SpanProcessor, origin: SpanOrigin) -> None:
        self._processor = processor
        self._origin = origin
        self._limits = SpanLimits()

    def add(self, spans: Sequence[FinishedSpan]) -> None:
        """Hand them over, in their order."""
        for span in spans:
            self._processor.on_end(readable(span, self._origin, self._limits))


def readable(span: FinishedSpan, origin: SpanOrigin, limits: SpanLimits) -> ReadableSpan:
    """Return a span as the SDK's exporters take it."""
    body, attributes = span.body, cast("Mapping[str, AnyValue]", span.body.attributes | span.attributes)
    parent = _context(span.trace, span.parent, is_remote=span.is_parent_remote) if span.parent else None
    return ReadableSpan(
        body.name,
        _context(span.trace, span.span_id),
        parent,
        origin.resource,
        BoundedAttributes(limits.max_span_attributes, attributes, True, limits.max_span_attribute_length),  # noqa: FBT003 - "immutable"
        (),
        [Link(_context(*link)) for link in span.links[: limits.max_links]],
        body.kind,
        status=Status(StatusCode.ERROR) if body.failed else Status(StatusCode.UNSET),
        start_time=body.start_ns,
        end_time=body.end_ns,
        instrumentation_scope=origin.scope,
    )


def _context(trace: Trace, span_id: int, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(trace.trace_id, span_id, is_remote, TraceFlags(trace.flags), trace.state)
