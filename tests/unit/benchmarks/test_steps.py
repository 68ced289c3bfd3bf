"""A payment's steps add up to its latency, and are read from the spans that a worker sends."""

import gzip
import urllib.request

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.contenders.steps import (
    STEPS,
    BatchTimes,
    FollowedPayment,
    Spans,
    collecting,
    steps_of,
    summary,
)

MS = 1_000_000


def spans_of_two_batches() -> ExportTraceServiceRequest:
    """Return the spans of a batch of one, and of a batch of two."""
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans

    def add(name: str, own: bytes, parent: bytes, times: tuple[int, int], place: tuple[int, int] | None = None) -> None:
        span = spans.add()
        span.name, span.span_id, span.parent_span_id = name, own, parent
        span.start_time_unix_nano, span.end_time_unix_nano = (at * MS for at in times)
        if place is not None:
            first, second = span.attributes.add(), span.attributes.add()
            first.key, first.value.string_value = "messaging.destination.partition.id", str(place[0])
            second.key, second.value.int_value = "messaging.kafka.offset", place[1]
            if own != b"alone":
                span.links.add().span_id = b"batch"

    add("process transactions", b"alone", b"", (10, 20), (0, 7))
    for name, times in (("observe", (11, 13)), ("score live", (13, 14)), ("encode", (14, 15))):
        add(name, b"stage", b"alone", times)
    add("send scores", b"answer", b"alone", (14, 20))
    for at, place in ((1, (0, 8)), (2, (1, 3))):
        add("process transactions", b"record%d" % at, b"", (20, 30), place)
        add("observe", b"stage", b"record%d" % at, (21, 22))
    add("process batch", b"batch", b"", (20, 30))
    for name, times in (("observe", (21, 22)), ("encode", (22, 25)), ("publish", (25, 30))):
        add(name, b"stage", b"batch", times)
    return message


def test_each_payment_has_the_stages_of_its_batch() -> None:
    spans = Spans()
    spans.take(spans_of_two_batches().SerializeToString())
    both = BatchTimes(20 * MS, 30 * MS, {"observe": MS, "encode": 3 * MS, "publish": 5 * MS})
    assert spans.batches() == {
        (0, 7): BatchTimes(
            10 * MS, 20 * MS, {"observe": 2 * MS, "score": MS, "encode": MS, "publish": 5 * MS}
        ),
        (0, 8): both,
        (1, 3): both,
    }  # fmt: skip


def test_the_steps_add_up_and_who_comes_during_a_batch_waits_for_it() -> None:
    spans = Spans()
    spans.take(spans_of_two_batches().SerializeToString())
    payments = [
        FollowedPayment(8 * MS, 21 * MS, (0, 7)),
        FollowedPayment(13 * MS, 31 * MS, (0, 8)),
        FollowedPayment(20 * MS, 31 * MS, (1, 3)),
        FollowedPayment(20 * MS, 31 * MS, (3, 3)),
    ]
    steps = steps_of(payments, spans.batches())
    assert [(one["to the worker"], one["batch before"]) for one in steps] == [(2, 0), (0, 7), (0, 0)]
    assert [one["between stages"] for one in steps] == [1, 1, 1]
    for one, payment in zip(steps, payments, strict=False):
        assert sum(one[name] for name in STEPS[:-1]) == pytest.approx(one["in all"])
        assert one["in all"] == (payment.there - payment.due) / MS
    assert summary(steps)[0][:2] == ("to the worker", 0)


def test_the_collector_keeps_what_it_is_sent() -> None:
    body = gzip.compress(spans_of_two_batches().SerializeToString())
    with collecting() as (endpoint, spans):
        url = f"{endpoint}/v1/traces"
        request = urllib.request.Request(url, body, {"Content-Encoding": "gzip"})  # noqa: S310 - its own server
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            assert answer.status == 200
        assert len(spans.batches()) == 3
