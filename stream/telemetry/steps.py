"""Steps as spans: commands from who sent them over their judge to every worker, and records on their way out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AnyValue

from stream.kafka.publisher import Headers
from stream.kafka.tracing import Attributes, OperationTrace, UntracedOperation
from stream.telemetry.tracing import carrying, context_of, parent_of

_SENDING = ("send ", "model ")
"""How steps begin whose message starts others; all others are started by one."""


class OperationTracer:
    """Begins steps, of which the sampler of `tracer` chooses those that are traced."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(self, name: str, parent_headers: Headers = (), start_ns: int | None = None) -> OperationTrace:
        """Begin a step; one whose context cannot be read passes it on as it came.

        A decision made here against a trace is handed on too, else whoever comes next would decide again.
        """
        root = parent_of(parent_headers) is None
        context = Context() if root else context_of(parent_headers)
        if context is None:
            return UntracedOperation(parent_headers)
        kind = SpanKind.PRODUCER if name.startswith(_SENDING) else SpanKind.CONSUMER
        span = self._tracer.start_span(name, context, kind, start_time=start_ns)
        if not span.is_recording():
            return UntracedOperation(carrying(parent_headers, span.get_span_context()) if root else parent_headers)
        return TracedOperation(span, carrying(parent_headers, span.get_span_context()))


@dataclass(frozen=True, slots=True)
class TracedOperation:
    """A step that is traced."""

    span: Span
    headers: Headers

    def done(self, attributes: Attributes) -> None:
        """End it with what came of it."""
        self.span.set_attributes(cast("Mapping[str, AnyValue]", attributes))
        self.span.end()

    def failed(self, error: str) -> None:
        """End it as an error."""
        self.span.set_attributes({"error.type": error})
        self.span.set_status(Status(StatusCode.ERROR))
        self.span.end()
