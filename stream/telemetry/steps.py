"""Spans of single steps: a command from its sender over the judge to every worker, and records that are published."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AnyValue

from stream.engine.publisher import Headers
from stream.engine.tracing import Attributes, OperationTrace, UntracedOperation
from stream.telemetry.tracing import context_of, traceparent_of, with_traceparent

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
