"""Spans of batches, kept by an exporter in memory; headers with arbitrary bytes must not raise."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, StatusCode

from fraudstream_client.outputs import LabelStatus
from models.commands import Event, EventKind
from stream.clock import Stage
from stream.contract.codes import DeadLetterCode
from stream.contract.transaction import BackfillMark
from stream.control.announcements import outcome_attributes
from stream.engine.tracing import sent_attributes
from stream.positions.dead_letters import DeadLetter
from stream.scoring.facts import LabelsApplied
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from stream.telemetry.attributes import MEANINGS
from stream.telemetry.sampling import SamplingRule
from stream.telemetry.setup import OperationTracer
from stream.telemetry.spans import SdkSpans, SpanOrigin
from stream.telemetry.tracing import MAX_LINKS, BatchTracer, context_of
from support.stream_records import CARD_NUMBER, CARD_NUMBERS, Told
from support.telemetry_facts import BEGAN_NS, CAPPED, DIGEST, decided, scored, stages

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{PARENT}-01".encode()
UNSAMPLED = f"00-{TRACE}-{PARENT}-00".encode()
ROOTS_ON, ROOTS_OFF = ParentBased(ALWAYS_ON), ParentBased(ALWAYS_OFF)


class Bench:
    """Tracers over an exporter that keeps the finished spans."""

    def __init__(self, sampler: Sampler = ROOTS_OFF) -> None:
        self._exporter = InMemorySpanExporter()
        provider, processor = TracerProvider(sampler), SimpleSpanProcessor(self._exporter)
        provider.add_span_processor(processor)
        self.operations = OperationTracer(provider.get_tracer("t"))
        sink = SdkSpans(processor, SpanOrigin(provider.resource, InstrumentationScope("t")))
        settings = Settings(redis_url="redis://someone:secret@redis.internal:6380/0")
        self.tracing = BatchTracer(SamplingRule.of(sampler), [sink], settings)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.named(name)
        return found


def records(count: int, headers: Sequence[tuple[str, bytes | None]] = (("traceparent", SAMPLED),)) -> list[Told]:
    return [Told(offset=at, headers=headers) for at in range(count)]


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def decide(bench: Bench, some: Sequence[Told], **changes: Any) -> list[Sequence[tuple[str, bytes | None]]]:
    """Decide records and return the headers of their scores."""
    batch_trace = bench.tracing.begin(some)
    headers = [batch_trace.headers(record) for record in some]
    batch_trace.decided(decided(scored(some), **changes))
    return headers


def test_a_score_carries_its_send_span_in_place_of_the_producers_span() -> None:
    bench = Bench()
    ((name, sent), state, other) = decide(
        bench, [Told(headers=[("traceparent", SAMPLED), ("tracestate", b"bank=1"), ("correlation-id", b"7")])]
    )[0]
    send = bench.one("send scores").get_span_context()
    assert send is not None
    assert (name, sent) == ("traceparent", f"00-{TRACE}-{send.span_id:016x}-01".encode())
    assert (state, other) == (("tracestate", b"bank=1"), ("correlation-id", b"7"))


@pytest.mark.parametrize("headers", [(), [("traceparent", UNSAMPLED)], [("other", SAMPLED)]])
def test_unsampled_records_keep_their_headers_and_are_not_traced(headers: Any) -> None:
    bench = Bench()
    some = records(3, headers)
    assert isinstance(bench.tracing.begin(some), NoTracing)
    assert all(passed is headers for passed in decide(bench, some))
    assert bench.spans == ()


def test_a_root_span_is_created_only_if_the_sampler_samples_it() -> None:
    every, none = Bench(ROOTS_ON), Bench(ParentBased(TraceIdRatioBased(0.0)))
    ((name, value),) = decide(every, records(1, ()))[0]
    assert name == "traceparent"
    process = every.one("process transactions")
    assert process.parent is None
    assert (value or b"").decode().split("-")[1] == f"{process.context.trace_id:032x}"
    assert list(decide(none, records(5, ()))) == [()] * 5


def test_each_sampled_record_and_its_batch_link_to_each_other() -> None:
    bench = Bench()
    some = [*records(2), Told(offset=2), Told(offset=3, headers=[("traceparent", UNSAMPLED)])]
    decide(bench, some)
    batch = bench.one("process batch")
    own = bench.named("process transactions")
    assert batch.parent is None
    assert [link.context.span_id for link in batch.links] == [span.context.span_id for span in own]
    assert [link.context for span in own for link in span.links] == [batch.context, batch.context]
    assert attributes_of(batch)["messaging.batch.message_count"] == 4
    children = [span for span in bench.spans if span.parent and span.parent.span_id == batch.context.span_id]
    assert [(span.name, span.start_time, span.end_time) for span in children] == list(stages())
    observe = attributes_of(next(span for span in children if span.name == "observe"))
    assert observe["db.operation.batch.size"] == 4
    assert observe["server.address"] == "redis.internal"
    assert "secret" not in str(bench.spans[0].to_json())


def test_a_batch_span_has_no_more_links_than_the_sdk_allows() -> None:
    bench = Bench()
    decide(bench, records(MAX_LINKS + 20))
    assert len(bench.one("process batch").links) == MAX_LINKS
    assert len(bench.named("process transactions")) == MAX_LINKS + 20


def test_each_records_span_has_its_outcome_and_no_card_number() -> None:
    bench = Bench()
    some = records(4)
    some[3].headers = [BackfillMark("0" * 16, 3).header(), *some[3].headers]
    batch_trace = bench.tracing.begin(some)
    batch_trace.headers(some[0])
    letter = DeadLetter(some[1], DeadLetterCode.CARD_NUMBER, f"got {CARD_NUMBER}")
    batch_trace.decided(decided(scored(some[:1]), [letter], repeated=1))
    first, dead, again, backfilled = (attributes_of(span) for span in bench.named("process transactions"))
    assert (first["fraudstream.outcome"], first["fraudstream.decision"]) == ("decided", "approve")
    assert (first["fraudstream.model.digest"], first["fraudstream.revision"]) == (DIGEST, 7)
    assert (dead["fraudstream.outcome"], dead["error.type"]) == ("dead_letter", "card_number")
    assert (again["fraudstream.outcome"], backfilled["fraudstream.outcome"]) == ("repeated", "backfilled")
    assert CARD_NUMBER not in "".join(span.to_json() for span in bench.spans)


def test_a_failed_attempt_ends_its_spans_with_the_errors_class_and_a_retry_has_its_own() -> None:
    bench = Bench()
    some = records(2)
    batch_trace = bench.tracing.begin(some)
    batch_trace.headers(some[0])
    batch_trace.failed(ValueError(f"quotes {CARD_NUMBER}"))
    assert {span.name for span in bench.spans} == {"process transactions", "send scores", "process batch"}
    assert {span.status.status_code for span in bench.spans} == {StatusCode.ERROR}
    assert {attributes_of(span)["error.type"] for span in bench.spans} == {"ValueError"}
    assert CARD_NUMBER not in "".join(span.to_json() for span in bench.spans)
    decide(bench, some)
    assert len(bench.named("process batch")) == 2


def test_the_challengers_time_is_added_to_the_traces_of_the_records_that_it_scored() -> None:
    bench = Bench()
    some = records(3)
    batch_trace = bench.tracing.begin(some)
    batch_trace.decided(decided(scored(some)))
    stage = Stage("shadow", BEGAN_NS + 10**9, BEGAN_NS + 2 * 10**9)
    batch_trace.compared([(one.partition, one.offset) for one in some[:2]], "e" * 64, stage)
    shown = bench.named("score shadow")
    parents = [span.context.span_id for span in (bench.one("process batch"), *bench.named("process transactions")[:2])]
    assert [span.parent.span_id for span in shown if span.parent] == parents
    assert {(span.start_time, span.end_time) for span in shown} == {stage[1:]}
    assert {attributes_of(span)["fraudstream.model.digest"] for span in shown} == {"e" * 64}


def test_labels_are_traced_to_their_outcomes() -> None:
    bench = Bench()
    some = [Told(topic="labels", offset=at, headers=[("traceparent", SAMPLED)]) for at in range(2)]
    batch_trace = bench.tracing.begin(some)
    ((_, sent),) = batch_trace.headers(some[0])
    letter = DeadLetter(some[1], DeadLetterCode.NOT_JSON, "why")
    batch_trace.labelled(LabelsApplied(some[:1], [LabelStatus.CORRECTED], [letter], 0, stages(("decode", "publish"))))
    outcomes = [attributes_of(span)["fraudstream.outcome"] for span in bench.named("process labels")]
    assert outcomes == ["corrected", "dead_letter"]
    send = bench.one("send outcomes")
    assert (sent or b"").decode().split("-")[2] == f"{send.context.span_id:016x}"
    assert attributes_of(send)["messaging.destination.name"] == "outcomes"


VALUES = st.one_of(
    st.none(),
    st.binary(max_size=80),
    st.sampled_from([SAMPLED, UNSAMPLED, SAMPLED + b"-more", b"ff" + SAMPLED[2:], SAMPLED.upper(), b"", SAMPLED * 20]),
    st.builds(
        lambda at, byte: SAMPLED[:at] + bytes([byte]) + SAMPLED[at + 1 :], st.integers(0, 54), st.integers(0, 255)
    ),
    CARD_NUMBERS.map(str.encode),
)
HEADERS = st.lists(
    st.tuples(st.sampled_from(["traceparent", "tracestate", "Traceparent", "x"]), VALUES), max_size=4
).map(tuple)


@given(st.lists(HEADERS, min_size=1, max_size=4), st.sampled_from([ROOTS_ON, ROOTS_OFF, ALWAYS_ON]))
def test_arbitrary_headers_raise_nothing_and_invalid_contexts_are_forwarded_unchanged(
    lots: list[Any], sampler: Sampler
) -> None:
    bench = Bench(sampler)
    some = [Told(offset=at, headers=headers) for at, headers in enumerate(lots)]
    for came, left in zip(lots, decide(bench, some), strict=True):
        changed = [(before, after) for before, after in zip(came, left, strict=False) if before != after]
        assert all(name == "traceparent" for (name, _), _ in changed)
        assert left[len(came) :] == () or (
            context_of(left) is not None and not any(n == "traceparent" for n, _ in came)
        )
        if any(name == "traceparent" for name, _ in came) and context_of(came) is None:
            assert left is came
    for span in bench.spans:
        assert set(attributes_of(span)) <= set(MEANINGS)


@given(CARD_NUMBERS)
def test_a_tracestate_with_a_card_number_is_in_no_span(number: str) -> None:
    bench = Bench()
    headers = [("traceparent", SAMPLED), ("tracestate", f"bank={number}".encode())]
    (left,) = decide(bench, [Told(headers=headers)])
    assert left[1] == headers[1]
    assert all(number not in str(span.context.trace_state.to_header()) for span in bench.spans)
    assert bench.spans


@pytest.mark.parametrize(("value", "kept"), [(b"1" * 200, 2), (b"1" * 255, 0)])
def test_tracestates_of_more_than_512_characters_together_are_in_no_span(value: bytes, kept: int) -> None:
    bench = Bench()
    headers = [("traceparent", SAMPLED), ("tracestate", b"a=" + value), ("tracestate", b"b=" + value)]
    (left,) = decide(bench, [Told(headers=headers)])
    assert list(left[1:]) == headers[1:]
    assert bench.spans
    assert {len(span.context.trace_state) for span in bench.spans if span.kind is SpanKind.CONSUMER} == {kept}


def test_spans_have_exactly_the_documented_attributes() -> None:
    bench = Bench(ROOTS_ON)
    some = records(2)
    batch_trace = bench.tracing.begin(some)
    batch_trace.headers(some[0])
    batch_trace.decided(
        decided(scored(some[:1], overruled=CAPPED), [DeadLetter(some[1], DeadLetterCode.NOT_JSON, "why")])
    )
    bench.operations.begin("send transactions").done(sent_attributes("transactions", 0, 7))
    event = Event(
        event_id="e",
        deployment="d",
        kind=EventKind.READY,
        revision=1,
        worker="w",
        at="2026-01-31T00:00:00.000Z",
        model=DIGEST,
    )
    bench.operations.begin("load and answer").done(outcome_attributes(event))
    assert {name for span in bench.spans for name in attributes_of(span)} == set(MEANINGS)


@pytest.mark.parametrize("count", [1, 4])
def test_observe_spans_of_decisions_without_redis_have_no_redis_attributes(count: int) -> None:
    bench = Bench()
    decide(bench, records(count), stopgap=True)
    asked, stopgap = Bench(), bench.named("observe")
    decide(asked, records(count))
    for span in stopgap:
        assert span.kind is SpanKind.INTERNAL
        assert not [name for name in attributes_of(span) if name.startswith(("db.", "server."))]
    assert len(stopgap) == len(asked.named("observe")) > 0
    assert {span.kind for span in asked.named("observe")} == {SpanKind.CLIENT}
