"""A record's trace context: from its headers, and into the headers of what answers it.

Kafka's headers carry W3C's `traceparent` and `tracestate`. Whatever cannot be read is left as it came, and its record
has no trace here: a producer's mistake may cost a trace, never a payment.
"""

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from stream.kafka.publisher import Headers
from stream.redaction import card_numbers

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_LENGTH = 55
"""Of a `traceparent` of version 00; a longer one is of a later version."""
_LONGEST = 512
_EVEN = frozenset(b"02468ace")
_extract = TraceContextTextMapPropagator().extract


def parent_of(headers: Headers) -> bytes | None:
    """Return the value of the first `traceparent`, None where there is none."""
    for name, value in headers:
        if name == TRACEPARENT:
            return value or b""
    return None


def says_unsampled(traceparent: bytes) -> bool:
    """Tell cheaply that a header asks for no trace, or is too short to be one."""
    return len(traceparent) < _LENGTH or traceparent[_LENGTH - 1] in _EVEN


def context_of(headers: Headers) -> Context | None:
    """Read the context that a record's headers carry; None where they carry none that can be read, or two.

    A state that holds a card number is not taken along: states are shown in traces.
    """
    parents = [value for name, value in headers if name == TRACEPARENT]
    if len(parents) != 1 or not _legible(parents[0]):
        return None
    carried = {TRACEPARENT: [(parents[0] or b"").decode()]}
    states = [value.decode() for name, value in headers if name == TRACESTATE and value and _legible(value)]
    if states and next(card_numbers(",".join(states).encode()), None) is None:
        carried[TRACESTATE] = states
    context = _extract(carried, Context())
    return context if get_current_span(context).get_span_context().is_valid else None


def within(span: SpanContext) -> Context:
    """Return the context in which a span's children begin."""
    return set_span_in_context(NonRecordingSpan(span), Context())


def carrying(headers: Headers, span: SpanContext) -> Headers:
    """Return headers with a span as their `traceparent`, in the place of the one that they have."""
    text = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}".encode()
    if any(name == TRACEPARENT for name, _ in headers):
        return tuple((name, text if name == TRACEPARENT else value) for name, value in headers)
    return (*headers, (TRACEPARENT, text))


def _legible(value: bytes | None) -> bool:
    return value is not None and len(value) <= _LONGEST and value.isascii()
