"""Spans and metrics that a collector receives from a real worker: parents, links, attributes, and no card number."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from fraudstream.demo.services.processes import free_port
from stream.telemetry.attributes import MEANINGS
from support.fleet.fleet import Fleet, standing_fleet, until
from support.fleet.payments import partition_of, payment, put_model
from support.fleet.workers import Worker
from support.kafka.cluster import Cluster
from support.otlp_receiver import Received, Receiver, otlp_receiver
from support.score_headers import passed_on
from support.stream_records import luhn

Headers = Sequence[tuple[str, bytes]]

SAMPLED = "00-{:032x}-00f067aa0ba902b7-01"
UNSAMPLED = "00-{:032x}-00f067aa0ba902b7-00"


DELAY_MS = 200
"""So long a process keeps a span before it sends it."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A collector for every process of the module; a trace is sent if its producer sampled it."""
    with otlp_receiver() as receiver, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        patch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", str(DELAY_MS))
        yield receiver


@pytest.fixture(scope="module")
def traced_fleet(
    receiver: Receiver, kafka: Cluster, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """A fleet of one worker that the module's tests share; it sends its metrics to the collector, too."""
    assert receiver.endpoint
    settings = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "500"}
    settings |= {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    folder = tmp_path_factory.mktemp("traced")
    with standing_fleet(kafka, redis_url, folder, FETCH_WAIT_MS="500", **settings) as fleet:
        yield fleet


@pytest.fixture
def collector(receiver: Receiver) -> Receiver:
    """The collector, which has forgotten what the tests before made it receive."""
    time.sleep(2 * DELAY_MS / 1000)
    receiver.clear()
    return receiver


def send(fleet: Fleet, payments: Sequence[tuple[Mapping[str, Any], Headers]], topic: str = "transactions") -> None:
    """Publish payments with headers, all at once."""

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


def test_the_trace_of_a_single_payment_covers_its_producer_redis_and_its_score(
    traced_fleet: Fleet, collector: Receiver
) -> None:
    fleet, paid = traced_fleet, payment(1, transaction_id="single")
    send(fleet, [(paid, traced(0xA1))])
    score = fleet.await_decisions(["single"])["single"]
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
        "fraudstream.revision": score.revision,
        "fraudstream.arm": "live",
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
    (record,) = (one for one in fleet.read("scores") if b'"single"' in one.value)
    assert dict(passed_on(record.headers)) == {
        "traceparent": f"00-{trace}-{sent.id}-01".encode(),
        "tracestate": b"bank=1",
        "correlation-id": b"c-1",
    }
    assert "fraudstream_decisions_total" in fleet.workers[0].get("/metrics")[1]


def test_the_stages_of_a_batch_are_traced_once_and_linked_with_its_sampled_payments(
    traced_fleet: Fleet, collector: Receiver
) -> None:
    fleet = traced_fleet
    sampled = {f"{0xB00 + at:032x}" for at in range(0, 60, 3)}
    headers = [traced(0xB00 + at) if at % 3 == 0 else _unsampled(at) for at in range(60)]
    send(fleet, [(payment(100 + at), one) for at, one in enumerate(headers)])
    fleet.await_decisions(f"t-{100 + at}" for at in range(60))
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
    passed = {dict(record.headers).get("traceparent") for record in fleet.read("scores")}
    assert passed > {dict(one)["traceparent"] for one in headers if b"-00" in dict(one)["traceparent"][-3:]}
    assert {name for span in collector.spans for name in span.attributes} <= set(MEANINGS)


def _unsampled(at: int) -> Headers:
    return (("traceparent", UNSAMPLED.format(0xC00 + at).encode()),)


def test_the_challengers_span_is_in_the_trace_of_the_payment_it_scored(
    traced_fleet: Fleet, collector: Receiver
) -> None:
    fleet, second = traced_fleet, put_model(traced_fleet.models, seed=1)
    assert fleet.cli("model", "challenge", second, "--reason", "test").returncode == 0
    numbers = iter(range(1_000, 2_000))

    def has_shadow_span() -> bool:
        at = next(numbers)
        send(fleet, [(payment(at), traced(0xF00 + at))])
        return bool(collector.named("score shadow"))

    until(has_shadow_span, "a span of the challenger")
    shadow = collector.named("score shadow")[0]
    (process,) = [span for span in collector.spans if span.id == shadow.parent]
    assert (process.name, process.trace) == ("process transactions", shadow.trace)
    assert shadow.attributes["fraudstream.model.digest"] == second
    assert process.attributes["fraudstream.model.digest"] != second
    assert shadow.start_ns > process.start_ns
    assert fleet.cli("model", "withdraw", "--reason", "test").returncode == 0


def test_a_command_its_verdict_and_every_workers_answer_are_one_trace(
    fleet: Fleet, collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.go_live(workers=2)
    second = put_model(fleet.models, seed=1)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_on")
    verdict = fleet.promote(second)
    until(lambda: len(collector.named("load and answer")) == 2, "both workers' answers")
    until(lambda: len(collector.named("judge promote")) == 1, "the judge's span")
    promote, judge = one(collector.spans, "model promote"), one(collector.spans, "judge promote")
    answers = collector.named("load and answer")
    assert (promote.service, judge.service, promote.parent) == ("fraudstream-model", "fraudstream", "")
    assert {span.trace for span in (judge, *answers)} == {promote.trace}
    assert judge.parent == promote.id
    assert {span.parent for span in answers} == {judge.id}
    outcomes = [
        (s.attributes["fraudstream.command.outcome"], s.attributes["fraudstream.model.digest"]) for s in answers
    ]
    assert outcomes == [("ready", second)] * 2
    assert {span.attributes["fraudstream.worker"] for span in answers} == {span.instance for span in answers}
    assert len({span.instance for span in answers}) == 2
    for span in (promote, judge):
        assert span.attributes["fraudstream.command.outcome"] == "accepted"
        assert span.attributes["fraudstream.revision"] == verdict["revision"] == 2
    carried = {
        dict(record.headers)["traceparent"].decode().split("-")[2]
        for record in fleet.read("model-events")
        if second.encode() in record.value and b"cutover" not in record.value
    }
    assert carried == {judge.id, *(span.id for span in answers)}


def test_the_spans_of_a_refused_command_carry_problem_codes_and_no_free_text(
    traced_fleet: Fleet, collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = traced_fleet
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_on")
    assert fleet.cli("model", "promote", "0123456789abcdef", "--reason", "no such model").returncode == 1
    until(lambda: len(collector.named("judge promote")) == 1, "the judge's span")
    judge, promote = one(collector.spans, "judge promote"), one(collector.spans, "model promote")
    assert judge.attributes["fraudstream.command.outcome"] == "refused"
    assert judge.attributes["fraudstream.problems"] == promote.attributes["fraudstream.problems"] != []
    assert not any(b"no such model" in body for body in collector.raw)


def test_publish_starts_the_traces_that_the_worker_continues(
    traced_fleet: Fleet, collector: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fleet = traced_fleet
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_on")
    file = tmp_path / "payments.csv"
    rows = [payment(number) for number in range(5_000, 5_005)]
    file.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]))
    done = fleet.cli("publish", str(file))
    assert done.returncode == 0, done.stderr
    fleet.await_decisions(row["transaction_id"] for row in rows)
    until(lambda: len(collector.named("process transactions")) == 5, "the worker's spans")
    sent = {span.id: span for span in collector.named("send transactions")}
    assert len(sent) == 5
    assert {span.service for span in sent.values()} == {"fraudstream-publish"}
    for span in collector.named("process transactions"):
        assert sent[span.parent].trace == span.trace
        assert sent[span.parent].attributes["messaging.kafka.offset"] == span.attributes["messaging.kafka.offset"]


def test_the_trace_of_a_label_and_the_workers_metrics_reach_the_collector(
    traced_fleet: Fleet, collector: Receiver
) -> None:
    fleet, (worker,), paid = traced_fleet, traced_fleet.workers, payment(6_000)
    send(fleet, [(paid, ())])
    fleet.await_decisions([paid["transaction_id"]])
    label = {name: paid[name] for name in ("transaction_id", "card_id")}
    label |= {"fraud": True, "labelled_at": paid["occurred_at"], "reported_by": "customer"}
    send(fleet, [(label, traced(0xE1))], "labels")
    until(lambda: len(collector.named("send outcomes")) == 1, "the label's spans")
    process = one(collector.spans, "process labels")
    assert (process.trace, process.attributes["fraudstream.outcome"]) == (f"{0xE1:032x}", "applied")
    until(lambda: {"fraudstream.labels", "fraudstream.latency", "fraudstream.lag"} <= set(collector.metrics), "metrics")
    page = worker.get("/metrics")[1]
    assert 'fraudstream_labels_total{status="applied"} 1.0' in page
    until(lambda: _lag(worker) == {0.0}, "no lag")
    assert "fraudstream_ready 1.0" in worker.get("/metrics")[1]
    assert f'fraudstream_partitions{{topic="{fleet.prefix}transactions"}} 4.0' in page
    assert 'fraudstream_model_info{digest="' in page


def _lag(worker: Worker) -> set[float]:
    lines = [line for line in worker.get("/metrics")[1].splitlines() if line.startswith("fraudstream_lag{")]
    return {float(line.rpartition(" ")[2]) for line in lines}


def test_no_card_number_or_token_is_in_a_span_a_metric_or_a_log_line(traced_fleet: Fleet, collector: Receiver) -> None:
    fleet, (worker,) = traced_fleet, traced_fleet.workers
    card, token = luhn("453201511283036"), "tok-7f3b9c-secret"
    odd = "-".join((card[:4], card[4:8], card[8:12], card[12:]))
    planted: list[tuple[Mapping[str, Any], Headers]] = [
        (payment(1, card_id=token, merchant_id=f"{token}-m", device_id=card, channel=card), traced(0xD1)),
        (payment(2, card_id=card), traced(0xD2)),
        (payment(3, card_id=token, merchant_id=card), traced(0xD3)),
        (payment(4, card_id=token, transaction_id=card, mcc=odd), traced(0xD4)),
        (payment(5, card_id=token, occurred_at=card), traced(0xD5)),
        (payment(6, card_id=token), [("traceparent", card.encode()), ("tracestate", odd.encode()), (card, b"x")]),
        (payment(7, card_id=token), [*traced(0xD7)[:1], ("tracestate", f"bank={card}".encode())]),
        (payment(8, card_id=token, more={card: odd}, currency=card), traced(0xD8)),
    ]
    send(fleet, planted)
    label = {"transaction_id": card, "card_id": token, "fraud": card, "labelled_at": odd, "reported_by": token}
    send(fleet, [(label, traced(0xD9))], "labels")
    traces = {f"{0xD0 + at:032x}" for at in (1, 2, 3, 4, 5, 7, 8, 9)}
    until(
        lambda: {span.trace for span in collector.spans if span.name.startswith("process ")} >= traces,
        "all planted traces",
    )
    pages = worker.get("/metrics")[1], worker.get("/health/ready")[1]
    exports = collector.metrics.count("fraudstream.dead_letters")
    until(lambda: collector.metrics.count("fraudstream.dead_letters") > exports + 1, "an export that began afterwards")
    output = b"".join(collector.raw) + "".join((*pages, worker.log())).encode()
    for secret in (card, odd, token, f"{token}-m"):
        assert secret.encode() not in output
    codes = {span.attributes.get("error.type") for span in collector.spans}
    assert {"card_number", "invalid_field"} <= codes


def test_an_unreachable_collector_costs_a_line_a_minute_of_each_message_and_no_payment(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("OTEL_TRACES_SAMPLER", raising=False)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    began = time.monotonic()
    (worker,) = fleet.go_live()
    send(fleet, [(payment(number), ()) for number in range(20)])
    fleet.await_scores(20)
    until(lambda: "fraudstream.telemetry" in worker.log(), "a line about the collector")
    send(fleet, [(payment(number), ()) for number in range(20, 40)])
    fleet.await_scores(40)
    assert worker.terminate() == 0
    minutes = (time.monotonic() - began) // 60
    lines = [line.partition("fraudstream.telemetry: ")[2] for line in worker.log().splitlines()]
    messages = Counter((*line.split()[:4], "/v1/metrics" in line) for line in lines if line)
    assert 1 <= len(messages) <= 4, messages
    assert max(messages.values()) <= 1 + minutes, messages
    assert "Traceback" not in worker.log()


def test_a_missing_exporter_package_stops_the_worker_at_start_and_is_named(fleet: Fleet, collector: Receiver) -> None:
    worker = fleet.worker(OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert worker.wait() == 2
    assert "opentelemetry-exporter-otlp-proto-grpc" in worker.log()
    assert collector.spans == []
