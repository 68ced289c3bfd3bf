"""Steps as spans: commands from who sent them over their judge to every worker, and records on their way out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AnyValue

from stream.kafka.publisher import Headers
from stream.kafka.tracing import Attributes, Step, UntracedStep
from stream.telemetry.tracing import carrying, context_of, parent_of

_SENDING = ("send ", "model ")
"""How steps begin whose message starts others; all others are started by one."""


class TracedSteps:
    """Begins steps, of which the sampler of `tracer` chooses those that are traced."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def step(self, name: str, came_with: Headers = (), began_ns: int | None = None) -> Step:
        """Begin a step; one whose context cannot be read passes it on as it came.

        A decision made here against a trace is handed on too, else whoever comes next would decide again.
        """
        root = parent_of(came_with) is None
        context = Context() if root else context_of(came_with)
        if context is None:
            return UntracedStep(came_with)
        kind = SpanKind.PRODUCER if name.startswith(_SENDING) else SpanKind.CONSUMER
        span = self._tracer.start_span(name, context, kind, start_time=began_ns)
        if not span.is_recording():
            return UntracedStep(carrying(came_with, span.get_span_context()) if root else came_with)
        return TracedStep(span, carrying(came_with, span.get_span_context()))


@dataclass(frozen=True, slots=True)
class TracedStep:
    """A step that is traced."""

    span: Span
    headers: Headers

    def done(self, said: Attributes) -> None:
        """End it with what came of it."""
        self.span.set_attributes(cast("Mapping[str, AnyValue]", said))
        self.span.end()

    def failed(self, error: str) -> None:
        """End it as an error."""
        self.span.set_attributes({"error.type": error})
        self.span.set_status(Status(StatusCode.ERROR))
        self.span.end()
