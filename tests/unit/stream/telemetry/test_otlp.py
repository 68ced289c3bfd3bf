"""Encoded spans are what the SDK encodes of the same spans, the oracle; a queue holds and sends what it may."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, TraceState

from fraudstream_client.outputs import Decision
from stream.engine.tracing import AttributeName, Attributes
from stream.settings import Settings
from stream.telemetry.attributes import MEANINGS
from stream.telemetry.otlp import Envelope, OtlpSender, OtlpSpans, QueueSizes, encode, log
from stream.telemetry.setup import begin
from stream.telemetry.spans import FinishedSpan, SpanBody, SpanLink, SpanOrigin, Trace, readable
from support.otlp_receiver import Receiver, otlp_receiver
from support.stream_records import Told
from support.telemetry_facts import decided, scored

ORIGIN = SpanOrigin(
    Resource({"service.name": "fraudstream", "service.instance.id": "w-1"}, "https://example.org/schema"),
    InstrumentationScope("fraudstream", "1", "https://example.org/scope"),
)
NAMES: st.SearchStrategy[AttributeName] = st.sampled_from(sorted(MEANINGS))
TEXTS = st.text(st.characters(codec="utf-8"), max_size=300)
SCALARS = st.one_of(TEXTS, st.integers(-(1 << 63), (1 << 63) - 1), st.sampled_from(Decision))
VALUES = st.one_of(SCALARS, st.lists(TEXTS, max_size=3).map(tuple))
ATTRIBUTES: st.SearchStrategy[Attributes] = st.dictionaries(NAMES, VALUES, max_size=5)
IDS = st.integers(1, (1 << 64) - 1)
TIMES = st.integers(0, (1 << 63) - 1)
STATES = st.sampled_from([None, TraceState(), TraceState([("bank", "1"), ("x", "y")])])
TRACES = st.builds(Trace, st.integers(1, (1 << 128) - 1), st.sampled_from([1, 3]), STATES)
BODIES = st.builds(SpanBody, TEXTS, st.sampled_from(SpanKind), TIMES, TIMES, ATTRIBUTES, st.booleans())


@st.composite
def spans(draw: st.DrawFn) -> list[FinishedSpan]:
    """Spans that share their traces and bodies, as those of a batch do."""
    traces, bodies = (st.sampled_from(draw(st.lists(one, min_size=1, max_size=3))) for one in (TRACES, BODIES))
    links = st.lists(st.builds(SpanLink, traces, IDS), max_size=2)
    parents = st.one_of(st.just(0), IDS)
    found = [
        FinishedSpan(*one)
        for one in draw(st.lists(st.tuples(traces, IDS, parents, bodies, ATTRIBUTES, links, st.booleans()), max_size=6))
    ]
    return [
        one._replace(
            is_parent_remote=one.is_parent_remote and one.parent != 0,
            attributes={name: value for name, value in one.attributes.items() if name not in one.body.attributes},
        )
        for one in found
    ]


@given(spans())
def test_spans_are_encoded_as_the_sdk_encodes_them(found: list[FinishedSpan]) -> None:
    ours = ExportTraceServiceRequest.FromString(Envelope.of(ORIGIN).around(encode(found)))
    sdk = encode_spans([readable(span, ORIGIN, SpanLimits()) for span in found])
    if found:
        assert ours == sdk
    else:
        assert not ours.resource_spans[0].scope_spans[0].spans


class Sender(OtlpSender):
    """Keeps requests, and can be held up."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[bytes] = []
        self.free = threading.Event()
        self.free.set()
        self.called = threading.Event()

    def send(self, request: bytes) -> None:
        self.called.set()
        assert self.free.wait(30)
        self.requests.append(request)

    def sizes(self) -> list[int]:
        """Return the number of spans of each request."""
        return [
            len(scope.spans)
            for request in self.requests
            for resource in ExportTraceServiceRequest.FromString(request).resource_spans
            for scope in resource.scope_spans
        ]


BODY = SpanBody("decode", SpanKind.INTERNAL, 1, 2, {})


def some(count: int) -> list[FinishedSpan]:
    return [FinishedSpan(Trace(1, 1), at + 1, 0, BODY) for at in range(count)]


def test_a_request_holds_the_spans_of_many_batches_and_no_more_than_its_size() -> None:
    sender = Sender()
    sink = OtlpSpans(sender, ORIGIN, QueueSizes(queue=100, request=10, delay=60.0))
    for count in (3, 4, 2, 25):
        sink.add(some(count))
    sink.shutdown()
    assert sum(sender.sizes()) == 34
    assert max(sender.sizes()) <= 10
    assert len(sender.requests) <= 6


def test_spans_are_sent_after_the_delay_or_once_they_fill_a_request() -> None:
    late, full = Sender(), Sender()
    sinks = OtlpSpans(late, ORIGIN, QueueSizes(delay=0.01)), OtlpSpans(full, ORIGIN, QueueSizes(100, 10, 3600.0))
    sinks[0].add(some(1))
    sinks[1].add(some(10))
    assert late.called.wait(30)
    assert full.called.wait(30)
    for sink in sinks:
        sink.shutdown()


def test_a_full_queue_drops_spans_says_so_and_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "warning", said.append)
    sender = Sender()
    sender.free.clear()
    sink = OtlpSpans(sender, ORIGIN, QueueSizes(queue=20, request=10, delay=60.0))
    sink.add(some(10))
    assert sender.called.wait(30)  # these are on their way, and their room is free again
    sink.add(some(30))
    sink.add(some(1))
    sender.free.set()
    sink.shutdown()
    assert sender.sizes() == [10, 10, 10]
    assert said == ["the span queue is full: spans are dropped"] * 2


@pytest.mark.parametrize(
    ("environment", "sizes"),
    [
        ({}, QueueSizes(65_536, 4_096, 5.0)),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "1000"}, QueueSizes(1_000, 1_000, 5.0)),
        ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "64", "OTEL_BSP_SCHEDULE_DELAY": "200"}, QueueSizes(65_536, 64, 0.2)),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": ""}, QueueSizes(65_536, 4_096, 5.0)),
    ],
)
def test_the_sizes_of_the_queue_are_those_of_the_environment(environment: dict[str, str], sizes: QueueSizes) -> None:
    assert QueueSizes.of(environment) == sizes


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with otlp_receiver() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.endpoint)
        yield found


def traced_batch(receiver: Receiver, **variables: str) -> list[Any]:
    """Trace one batch of two payments, and return what a collector received."""
    telemetry = begin(Settings(), {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **variables})
    records = [Told(offset=at) for at in range(2)]
    batch = telemetry.tracing.begin(records)
    for record in records:
        batch.headers(record)
    batch.decided(decided(scored(records)))
    telemetry.stop(10.0)
    return receiver.spans


def contents(spans: list[Any]) -> list[Any]:
    """Return spans without ids and the times of this moment, in an order of their own."""
    found = [one._replace(trace="", id="", parent="", links=len(one.links), start_ns=0, end_ns=0) for one in spans]
    return sorted(map(str, found))


def test_a_limit_on_spans_is_applied_by_the_sdk_and_nothing_else_changes(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = list(traced_batch(receiver))
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "128")
    assert contents(traced_batch(receiver, OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="128")[len(encoded) :]) == contents(encoded)
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3")
    before = len(receiver.spans)
    limited = traced_batch(receiver, OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="3")[before:]
    assert len(limited) == len(encoded)
    assert max(len(span.attributes) for span in limited) == 3


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_headers_and_compression_of_the_exporter_apply(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    assert {span.name for span in traced_batch(receiver)} >= {"process transactions", "send scores", "process batch"}
    assert OtlpSender().can_send
