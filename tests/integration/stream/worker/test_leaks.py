"""Card numbers and tokens are planted wherever a producer can put them, logins in settings; a worker writes none."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from support.fleet.fleet import Fleet, until
from support.fleet.payments import luhn, partition_of, payment, put_model
from support.otlp_receiver import Receiver, otlp_receiver
from support.redis.own import OwnRedis

CARD_NUMBERS = tuple(luhn(head) for head in ("453201511283036", "555555555555444", "37828224631000"))
SPACED = " ".join(CARD_NUMBERS[0][at : at + 4] for at in range(0, 16, 4))
MARK = "tok-leaktest"
"""The prefix of every planted token."""
LOGIN = "pl4nted"
"""The beginning of every planted password and key."""
WRITTEN = ("scores", "shadow-scores", "outcomes", "model-events", "dead-letters")


class Planted(NamedTuple):
    """A record of a producer."""

    topic: str
    key: str
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A collector that gets every span and every metric."""
    with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "500")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield receiver


def token(what: str) -> str:
    return f"{MARK}-{what}"


def good(number: int, **changes: Any) -> dict[str, Any]:
    tokens = {name: token(f"{name}-{number}") for name in ("transaction_id", "merchant_id", "account_id", "device_id")}
    return payment(number, card_id=token("card")) | tokens | changes


def planted(number: str) -> Iterator[Planted]:
    """Yield records with a card number in every place that a producer can fill."""
    key = token("card")
    bad: list[Mapping[str, Any]] = [
        good(1, merchant_id=number),
        good(2, account_id=f"a-{number}"),
        good(3, customer_id=number),
        good(4, amount_minor=number),
        good(5, currency=number),
        good(6, schema=number),
        good(7, kind=number),
        good(8, occurred_at=number + "Z"),
    ]
    fine: list[Mapping[str, Any]] = [
        good(10, device_id=number),
        good(11, channel=number, mcc=number, merchant_country=number, latitude=number),
        good(12, note=f"card {number}", more={"pan": [number]}),
        good(13, **{number: 1}),
    ]
    noted = (("note", f"of {number}".encode()), (f"x-{number}", b"1"), ("correlation-id", b"c-1"))
    for value in (*bad, *fine):
        named = dict(value) | {"transaction_id": f"{value['transaction_id']}-{number[:3]}"}
        yield Planted("transactions", key, json.dumps(named).encode(), noted)
    yield Planted("transactions", number, json.dumps(good(20, card_id=number)).encode(), noted)
    yield Planted("transactions", f"{key}-{number}", json.dumps(good(21)).encode())
    yield Planted("transactions", key, f"pan={number};{token('csv')}".encode(), noted)
    label = {
        "transaction_id": token(f"transaction_id-10-{number[:3]}"),
        "card_id": key,
        "fraud": True,
        "labelled_at": "2026-02-01T00:00:00Z",
        "reported_by": "chargeback",
        "fraud_type": number,
    }
    yield Planted("labels", key, json.dumps(label).encode(), noted)
    yield Planted("labels", number, json.dumps(label | {"card_id": number}).encode(), noted)
    yield Planted("labels", key, json.dumps(label | {"reported_by": number, "labelled_at": number}).encode())
    yield Planted("model-control", "", json.dumps({"schema": number, "kind": number, "model": number}).encode())


async def send(fleet: Fleet, records: Sequence[Planted]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=fleet.brokers)
    await producer.start()
    try:
        for one in records:
            key, topic = one.key or fleet.environment["DEPLOYMENT"], fleet.prefix + one.topic
            partition = 0 if one.topic == "model-control" else partition_of(token("card"))
            await producer.send(topic, one.value, key.encode(), partition=partition, headers=list(one.headers))
        await producer.flush()
    finally:
        await producer.stop()


async def everything_in(redis_url: str) -> bytes:
    """Return all keys and their values, as bytes."""
    async with Redis.from_url(redis_url) as client:
        keys = [key async for key in client.scan_iter(count=1_000)]
        return b"\n".join([*keys, *[await client.dump(key) or b"" for key in keys]])


def test_a_worker_writes_no_card_number_anywhere_and_no_token_to_logs_spans_or_metrics(
    fleet: Fleet, collector: Receiver, redis_url: str, tmp_path: Path
) -> None:
    (worker,) = fleet.go_live()
    challenged = fleet.cli("model", "challenge", put_model(fleet.models, seed=3), "--reason", "test")
    assert challenged.returncode == 0, challenged.stderr
    records = [record for number in (*CARD_NUMBERS, SPACED) for record in planted(number)]
    asyncio.run(send(fleet, records))
    after = good(99)
    asyncio.run(send(fleet, [Planted("transactions", token("card"), json.dumps(after).encode())]))
    until(
        lambda: after["transaction_id"] in {score.transaction_id for score in fleet.scores()[0]},
        "what lies behind is decided",
    )
    valid = {score.transaction_id for score in fleet.scores()[0]}
    fine = {f"{token(f'transaction_id-{at}')}-{number[:3]}" for number in CARD_NUMBERS for at in (10, 11, 12, 13)}
    assert fine <= valid, "a card number in a field that allows it prevented a decision"
    fleet.await_records("outcomes", len(CARD_NUMBERS) + 1)
    fleet.await_records("shadow-scores", len(valid))
    until(lambda: len(collector.named("score shadow")) >= 1 and bool(collector.metrics), "spans and metrics")
    metrics = worker.get("/metrics")[1]
    assert worker.terminate() == 0
    written = {topic: b"".join(_bytes(record) for record in fleet.read(topic)) for topic in WRITTEN}
    assert all(written.values())
    written["redis"] = asyncio.run(everything_in(redis_url))
    seen = {
        "logs": b"".join(path.read_bytes() for path in tmp_path.glob("worker-*.log")),
        "spans": b"".join(collector.raw),
        "metrics": metrics.encode(),
    }
    assert all(seen.values())
    for number in (*CARD_NUMBERS, SPACED):
        for place, content in (written | seen).items():
            assert number.encode() not in content, f"{number[:6]}… in {place}"
    for place, content in seen.items():
        at = content.find(MARK.encode())
        assert at < 0, f"a token in {place}: {content[max(0, at - 200) : at + 60]!r}"
    assert MARK.encode() in written["scores"], "the search does not find a token where one must be"


def _bytes(record: Any) -> bytes:
    headers = b"".join(name.encode() + b"=" + (value or b"") + b"\n" for name, value in record.headers)
    return (record.key or b"") + b"\n" + (record.value or b"") + b"\n" + headers


def test_the_command_line_rejects_a_reason_with_a_card_number_and_does_not_echo_it(fleet: Fleet) -> None:
    done = fleet.cli("model", "rollback", "--reason", f"card {CARD_NUMBERS[0]} was declined")
    assert done.returncode == 2, done
    assert "card number" in done.stderr
    assert CARD_NUMBERS[0] not in done.stderr + done.stdout
    assert fleet.read("model-control") == []


def with_logins(fleet: Fleet, redis: OwnRedis, receiver: Receiver) -> dict[str, str]:
    """Return settings that work, each with a login or a key in it."""
    redis.client.execute_command("ACL", "SETUSER", "leak", "on", f">{LOGIN}-redis", "~*", "&*", "+@all")
    return {
        "MODELS": f"file://{fleet.folder}/user:{LOGIN}-models@host/models?sig={LOGIN}-sig&token={LOGIN}-token",
        "REDIS_URL": redis.url.replace("//", f"//leak:{LOGIN}-redis@"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint.replace("//", f"//user:{LOGIN}-collector@"),
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Basic%20{LOGIN}-header",
    }


def test_no_login_or_key_of_a_setting_is_written_anywhere(
    apart: Fleet, own_redis: OwnRedis, collector: Receiver, tmp_path: Path
) -> None:
    settings = with_logins(apart, own_redis, collector)
    apart.environment |= {name: settings[name] for name in ("MODELS", "REDIS_URL")}
    (worker,) = apart.go_live(**settings, LOG_LEVEL="debug")
    json_lines = {"LOG_LEVEL": "debug", "LOG_FORMAT": "json"}
    away = apart.worker(
        **settings | json_lines | {"MODELS": f"ftp://user:{LOGIN}-ftp@127.0.0.1:1/m?token={LOGIN}-token"}
    )
    reasons = away.await_not_ready()
    until(lambda: "127.0.0.1:1/m" in str(away.readiness()[1]), f"the repository is the reason, not {reasons}")
    second = put_model(settings["MODELS"], seed=1)
    done = [
        apart.cli("model", *command, "--reason", "test", "--json")
        for command in (("promote", "0" * 8), ("promote", second), ("challenge", second), ("rollback",))
    ]
    problems = [problem["detail"] for one in done for problem in json.loads(one.stdout)["problems"]]
    assert [one.returncode for one in done] == [1] * 4
    # A worker and a challenger's process say why; the judge says it of the first command, too, if it is that worker.
    assert sum("127.0.0.1:1/m" in problem for problem in problems) >= 2
    assert any("host/models" in problem for problem in problems), "the judge says where it looked"
    apart.publish([payment(1)])
    apart.await_scores(1)
    until(lambda: bool(collector.spans and collector.metrics), "spans and metrics")
    seen = {
        **{topic: b"".join(_bytes(record) for record in apart.read(topic)) for topic in (*WRITTEN, "model-control")},
        "redis": asyncio.run(everything_in(own_redis.url)),
        "pages": "".join(one.get(path)[1] for one in (worker, away) for path in ("/health/ready", "/metrics")).encode(),
        "commands": "".join(one.stdout + one.stderr for one in done).encode(),
        "spans": b"".join(collector.raw),
    }
    assert [one.terminate() for one in (worker, away)] == [0, 0]
    seen["logs"] = b"".join(path.read_bytes() for path in tmp_path.glob("worker-*.log"))
    assert seen["logs"].count(b"setting FRAUDSTREAM_REDIS_URL=") == 2, "each of the two forms shows the settings"
    for place, content in seen.items():
        at = content.find(LOGIN.encode())
        assert at < 0, f"a login in {place}: {content[max(0, at - 200) : at + 60]!r}"
