"""What a collector gets of a real worker: spans, parents, links and attributes, and no card in any of them."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from fleet import Fleet, until
from otlp_receiver import Received, Receiver, otlp_receiver
from payments import partition_of, payment

from stream.telemetry.attributes import MEANINGS

Headers = Sequence[tuple[str, bytes]]

SAMPLED = "00-{:032x}-00f067aa0ba902b7-01"
UNSAMPLED = "00-{:032x}-00f067aa0ba902b7-00"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A collector that every process of the test sends to, where a producer's flag asks for it."""
    with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield receiver


def send(fleet: Fleet, payments: Sequence[tuple[Mapping[str, Any], Headers]], topic: str = "transactions") -> None:
    """Publish payments with headers, all in one go."""

    async def publish() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=fleet.brokers, linger_ms=100)
        await producer.start()
        try:
            for value, headers in payments:
                key, place = str(value["card_id"]).encode(), partition_of(str(value["card_id"]))
                data = msgspec.json.encode(value)
                await producer.send(fleet.prefix + topic, data, key, partition=place, headers=list(headers))
            await producer.flush()
        finally:
            await producer.stop()

    asyncio.run(publish())


def traced(number: int) -> Headers:
    return (("traceparent", SAMPLED.format(number).encode()), ("tracestate", b"bank=1"), ("correlation-id", b"c-1"))


def one(spans: Sequence[Received], name: str) -> Received:
    (found,) = [span for span in spans if span.name == name]
    return found


def test_a_lone_payments_trace_goes_from_its_producer_through_redis_to_its_score(
    fleet: Fleet, collector: Receiver
) -> None:
    (worker,) = fleet.go_live()
    send(fleet, [(payment(1), traced(0xA1))])
    (score,) = fleet.await_scores(1)
    trace = f"{0xA1:032x}"
    until(lambda: len(collector.trace(trace)) >= 7, "the spans of one payment")
    spans = collector.trace(trace)
    process = one(spans, "process transactions")
    assert (process.parent, process.kind, process.state) == ("00f067aa0ba902b7", "CONSUMER", "bank=1")
    assert (process.service, process.instance) == ("fraudstream", fleet.events("ready")[0]["worker"])
    assert {span.name: span.kind for span in spans} == {
        "process transactions": "CONSUMER",
        "decode": "INTERNAL",
        "observe": "CLIENT",
        "vectorise": "INTERNAL",
        "score live": "INTERNAL",
        "encode": "INTERNAL",
        "send scores": "PRODUCER",
    }
    assert {span.parent for span in spans} == {"00f067aa0ba902b7", process.id}
    assert all(process.start_ns <= span.start_ns <= span.end_ns <= process.end_ns for span in spans)
    assert score.model is not None
    assert process.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": f"{fleet.prefix}transactions",
        "messaging.destination.partition.id": str(score.source.partition),
        "messaging.kafka.offset": score.source.offset,
        "messaging.consumer.group.name": fleet.environment["GROUP"],
        "fraudstream.batch.size": 1,
        "fraudstream.revision": 1,
        "fraudstream.model.digest": score.model.digest,
        "fraudstream.outcome": "decided",
        "fraudstream.decision": score.decision,
        "fraudstream.decided_by": "model",
        "fraudstream.degraded": [],
    }
    observe = one(spans, "observe").attributes
    assert (observe["db.system.name"], observe["db.operation.name"]) == ("redis", "EVALSHA")
    sent = one(spans, "send scores")
    assert sent.attributes["messaging.destination.name"] == f"{fleet.prefix}scores"
    (record,) = fleet.read("scores")
    assert dict(record.headers) == {
        "traceparent": f"00-{trace}-{sent.id}-01".encode(),
        "tracestate": b"bank=1",
        "correlation-id": b"c-1",
    }
    assert "fraudstream_decisions_total" in worker.get("/metrics")[1]


def test_a_batchs_work_is_shown_once_and_linked_with_the_payments_that_are_sampled(
    fleet: Fleet, collector: Receiver
) -> None:
    fleet.go_live(FETCH_WAIT_MS="500")
    sampled = {f"{0xB00 + at:032x}" for at in range(0, 60, 3)}
    headers = [traced(0xB00 + at) if at % 3 == 0 else _unsampled(at) for at in range(60)]
    send(fleet, [(payment(at), one) for at, one in enumerate(headers)])
    fleet.await_scores(60)
    until(lambda: {span.trace for span in collector.named("process transactions")} == sampled, "all sampled traces")
    batches = {span.id: span for span in collector.named("process batch")}
    in_batches = [
        span for span in collector.named("process transactions") if span.attributes["fraudstream.batch.size"] > 1
    ]
    assert in_batches
    for span in in_batches:
        ((trace, batch),) = span.links
        assert batches[batch].trace == trace
        assert (span.trace, span.id) in batches[batch].links
        own = {child.name for child in collector.spans if child.parent == span.id}
        assert own == {"observe", "score live", "send scores"}
    for batch in batches.values():
        assert batch.parent == ""
        assert batch.attributes["messaging.batch.message_count"] == batch.attributes["fraudstream.batch.size"] > 1
        stages = [child for child in collector.trace(batch.trace) if child.parent == batch.id]
        assert [stage.name for stage in stages] == ["decode", "observe", "vectorise", "score", "encode", "publish"]
        assert all(before.end_ns <= after.start_ns for before, after in pairwise(stages))
    passed = {dict(record.headers)["traceparent"] for record in fleet.read("scores")}
    assert passed > {dict(one)["traceparent"] for one in headers if b"-00" in dict(one)["traceparent"][-3:]}
    assert {name for span in collector.spans for name in span.attributes} <= set(MEANINGS)


def _unsampled(at: int) -> Headers:
    return (("traceparent", UNSAMPLED.format(0xC00 + at).encode()),)
