"""Encode finished spans to OTLP's protobuf, and send them from a thread of their own.

The SDK's encoder builds a message for each attribute of each span, which takes as long as deciding a payment. Here what
spans share is encoded once, straight to bytes, and a span is its ids and these bytes. Encoding happens where spans are
added, not in the thread that sends: pure Python there would hold the interpreter's lock while payments wait. Numbers of
fields are those of https://github.com/open-telemetry/opentelemetry-proto; a test decodes the result beside the SDK's.
"""

import logging
import struct
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from threading import Event, Lock, Thread
from typing import NamedTuple, Self

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from stream.engine.tracing import Attributes
from stream.telemetry.spans import FinishedSpan, SpanBody, SpanLink, SpanOrigin, Trace

log = logging.getLogger("opentelemetry.fraudstream")
"""Below the SDK's logger, whose messages are rate-limited."""

_SHUTDOWN_SECONDS = 30.0
_TIMES = struct.Struct("<BQBQ")
_START, _END = 0x39, 0x41
_TRACE_ID, _SPAN_ID, _PARENT_ID = b"\x0a\x10", b"\x12\x08", b"\x22\x08"
_STATE, _NAME, _KIND, _ATTRIBUTE, _LINK, _SPAN = b"\x1a", b"\x2a", b"\x30", b"\x4a", b"\x6a", b"\x12"
_UNSET, _ERROR = b"\x7a\x00", b"\x7a\x02\x18\x02"
_LOCAL, _REMOTE = b"\x85\x01\x00\x01\x00\x00", b"\x85\x01\x00\x03\x00\x00"
"""The flags of a span: whether its parent is of another process, and that this is known."""
_LINK_LOCAL = b"\x35\x00\x01\x00\x00"
_FIRST, _SECOND, _THIRD = b"\x0a", b"\x12", b"\x1a"
_INTEGER, _ARRAY = b"\x18", b"\x2a"
_BITS, _MASK, _MORE, _WORD = 7, 0x7F, 0x80, (1 << 64) - 1
_SMALL = tuple(bytes((value,)) for value in range(_MORE))
_CACHED = 1024
"""Attributes whose encoding is kept."""


class QueueSizes(NamedTuple):
    """How many spans may wait and go in one request, and how long they wait for others, in seconds."""

    queue: int = 65_536
    request: int = 4_096
    delay: float = 5.0

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read them; without a size, more than the SDK's: a backlog's batch has a thousand spans and more."""
        queue = int(environment.get("OTEL_BSP_MAX_QUEUE_SIZE") or cls().queue)
        request = int(environment.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") or min(queue, cls().request))
        delay_ms = float(environment.get("OTEL_BSP_SCHEDULE_DELAY") or cls().delay * 1000)
        return cls(queue, request, delay_ms / 1000)


class OtlpSender(OTLPSpanExporter):
    """The SDK's exporter with all that the environment says of it, which sends requests that are encoded already."""

    @property
    def can_send(self) -> bool:
        """Whether this version of the SDK has the client that `send` uses; no other part of it is private."""
        return hasattr(getattr(self, "_client", None), "export")

    def stop(self) -> None:
        """Send no more, and give up what is being sent."""
        self.shutdown()  # type: ignore[no-untyped-call]

    def send(self, request: bytes) -> None:
        """Send a request and wait for the answer; what fails is logged."""
        self._client.export(request)


class OtlpSpans:
    """Queues encoded spans and sends them over HTTP, many in one request; those that find the queue full are lost."""

    def __init__(self, sender: OtlpSender, origin: SpanOrigin, sizes: QueueSizes) -> None:
        self._sender = sender
        self._envelope = Envelope.of(origin)
        self._sizes = sizes
        self._queue: deque[tuple[bytes, int]] = deque()
        self._queued = 0
        # Any thread adds, the sending one takes. The lock keeps the count true of the queue: `+=` is two steps, and one
        # that was lost between them would leave no room for spans, or too much, for ever.
        self._lock = Lock()
        self._woken = Event()
        self._stopping = False
        self._thread = Thread(target=self._run, name="send spans", daemon=True)
        self._thread.start()

    def add(self, spans: Sequence[FinishedSpan]) -> None:
        """Encode and queue spans, as many as there is room for."""
        if self._stopping:
            return
        free = max(0, self._sizes.queue - self._queued)
        if free < len(spans):
            log.warning("the span queue is full: spans are dropped")
            spans = spans[:free]
        for first in range(0, len(spans), self._sizes.request):
            some = spans[first : first + self._sizes.request]
            encoded = encode(some)
            with self._lock:
                self._queue.append((encoded, len(some)))
                self._queued += len(some)
        if self._queued >= self._sizes.request:
            self._woken.set()

    def shutdown(self) -> None:
        """Send what is queued, and stop."""
        self._stopping = True
        self._woken.set()
        self._thread.join(_SHUTDOWN_SECONDS)
        self._sender.stop()

    def _run(self) -> None:
        while not self._stopping:
            self._woken.wait(self._sizes.delay)
            self._woken.clear()
            self._send_queued()
        self._send_queued()  # what came between the last look and the end

    def _send_queued(self) -> None:
        while spans := self._take():
            self._sender.send(self._envelope.around(spans))

    def _take(self) -> bytes:
        """Take the spans of the next request; empty if there are none."""
        parts, count = list[bytes](), 0
        with self._lock:
            while self._queue and count + self._queue[0][1] <= self._sizes.request:
                encoded, size = self._queue.popleft()
                parts.append(encoded)
                count += size
            self._queued -= count
        return b"".join(parts)


class Envelope(NamedTuple):
    """What is around the spans of a request: the resource and the scope, and the URLs of their schemas, as fields."""

    resource: bytes
    scope: bytes
    resource_schema: bytes
    scope_schema: bytes

    @classmethod
    def of(cls, origin: SpanOrigin) -> Self:
        """Have the SDK encode it, from a span without contents."""
        empty = ReadableSpan("", SpanContext(1, 1, False), None, origin.resource, instrumentation_scope=origin.scope)  # noqa: FBT003 - "is_remote"
        (resource,) = encode_spans([empty]).resource_spans
        (scope,) = resource.scope_spans
        return cls(
            _field(_FIRST, resource.resource.SerializeToString()),
            _field(_FIRST, scope.scope.SerializeToString()),
            _text(_THIRD, resource.schema_url),
            _text(_THIRD, scope.schema_url),
        )

    def around(self, spans: bytes) -> bytes:
        """Return an `ExportTraceServiceRequest` with encoded spans."""
        scope = b"".join((self.scope, spans, self.scope_schema))
        return _field(_FIRST, b"".join((self.resource, _field(_SECOND, scope), self.resource_schema)))


def encode(spans: Sequence[FinishedSpan]) -> bytes:
    """Return spans as the field `spans` of a `ScopeSpans`; the bodies and traces that they share are encoded once."""
    return b"".join(_encoded(spans))


def _encoded(spans: Sequence[FinishedSpan]) -> Iterator[bytes]:
    bodies, traces = dict[int, bytes](), dict[int, bytes]()
    for span in spans:
        trace, span_id, parent, body, attributes, links, is_parent_remote = span
        if (of_trace := traces.get(id(trace))) is None:
            of_trace = traces[id(trace)] = _of_trace(trace)
        if (of_body := bodies.get(id(body))) is None:
            of_body = bodies[id(body)] = _of_body(body)
        content = b"".join(
            (
                of_trace,
                span_id.to_bytes(8, "big"),
                _PARENT_ID + parent.to_bytes(8, "big") if parent else b"",
                of_body,
                _of_attributes(attributes) if attributes else b"",
                b"".join(map(_of_link, links)) if links else b"",
                _REMOTE if is_parent_remote else _LOCAL,
            )
        )
        yield _SPAN + _varint(len(content)) + content


def _of_trace(trace: Trace) -> bytes:
    """Return the fields that all spans of a trace begin with, up to the tag of the span's own id."""
    state = _text(_STATE, trace.state.to_header()) if trace.state else b""
    return b"".join((_TRACE_ID, trace.trace_id.to_bytes(16, "big"), state, _SPAN_ID))


def _of_body(body: SpanBody) -> bytes:
    return b"".join(
        (
            _text(_NAME, body.name),
            _KIND,
            _varint(body.kind.value + 1),
            _TIMES.pack(_START, body.start_ns, _END, body.end_ns),
            _of_attributes(body.attributes),
            _ERROR if body.failed else _UNSET,
        )
    )


def _of_link(link: SpanLink) -> bytes:
    ids = _TRACE_ID, link.trace.trace_id.to_bytes(16, "big"), _SPAN_ID, link.span_id.to_bytes(8, "big")
    return _field(_LINK, b"".join((*ids, _LINK_LOCAL)))


def _of_attributes(attributes: Attributes) -> bytes:
    return b"".join(
        [
            _of_number(name, value) if isinstance(value, int) else _of_texts(name, value)
            for name, value in attributes.items()
        ]
    )


def _of_number(name: str, value: int) -> bytes:
    key, number = _of_name(name), _INTEGER + _varint(value & _WORD)
    return _field(_ATTRIBUTE, key + _field(_SECOND, number))


@lru_cache(_CACHED)
def _of_texts(name: str, value: str | tuple[str, ...]) -> bytes:
    """Return an attribute with a text or several; cached, since most say the same of every batch."""
    if isinstance(value, str):
        content = _field(_FIRST, value.encode())
    else:
        content = _field(_ARRAY, b"".join(_field(_FIRST, _field(_FIRST, one.encode())) for one in value))
    return _field(_ATTRIBUTE, _of_name(name) + _field(_SECOND, content))


@lru_cache(_CACHED)
def _of_name(name: str) -> bytes:
    return _text(_FIRST, name)


def _text(tag: bytes, value: str) -> bytes:
    """Return a field of text; none if it is empty."""
    return _field(tag, value.encode()) if value else b""


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Return a number in protobuf's variable length."""
    if value < _MORE:
        return _SMALL[value]
    parts = bytearray()
    while value > _MASK:
        parts.append(value & _MASK | _MORE)
        value >>= _BITS
    parts.append(value)
    return bytes(parts)
