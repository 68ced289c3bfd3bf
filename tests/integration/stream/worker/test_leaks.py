"""Card numbers and tokens are planted wherever a producer can put them, logins in settings; a worker writes none."""

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from features.vector.sets import DEFAULT_MODULES
from support.acceptance import sized
from support.fleet.fleet import Fleet, until
from support.fleet.payments import luhn, partition_of, payment, put_model
from support.otlp_receiver import Receiver, otlp_receiver
from support.paths import HOUSE
from support.redis.own import OwnRedis

CARD_NUMBER = luhn("453201511283036")
STARTS = (
    *(("4532", 16), ("4532", 13), ("4532", 19), ("5424", 16), ("2221", 16), ("3742", 15), ("3631", 14), ("3540", 16)),
    *(("2131", 15), ("6011", 16), ("6221", 19), ("8171", 16), ("8200", 16), ("9792", 16), ("2200", 16)),
)
"""How the planted numbers begin, and their lengths."""
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


@pytest.fixture
def _modules_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers import the feature sets of tests."""
    monkeypatch.setenv("PYTHONPATH", str(HOUSE / "tests"))


def token(what: str) -> str:
    return f"{MARK}-{what}"


def good(number: int, **changes: Any) -> dict[str, Any]:
    tokens = {name: token(f"{name}-{number}") for name in ("transaction_id", "merchant_id", "account_id", "device_id")}
    return payment(number, card_id=token("card")) | tokens | changes


def number_of(at: int) -> str:
    """Return a card number of its own for each place where one is planted."""
    start, length = STARTS[at % len(STARTS)]
    return luhn(start + f"{at * 7_919:0{length - len(start) - 1}d}"[-(length - len(start) - 1) :])


def in_fours(number: str, between: str) -> str:
    return between.join(number[at : at + 4] for at in range(0, len(number), 4))


IDS: Sequence[Callable[[str], str]] = (
    lambda number: number,
    *(partial(in_fours, between=one) for one in (" ", ".", "_", ":", "@", "-", "--")),
    lambda number: "000" + number,
    lambda number: f"{number}1228",
    lambda number: f"{number}-12-2028",
    lambda number: f"{number}:123",
)
"""An id that is a card number, in the forms that the contract names."""
TEXTS: Sequence[Callable[[str], str]] = (
    *IDS,
    lambda number: f"card {number}, thanks",
    lambda number: f"1228{number}99",
    partial(in_fours, between="\u00a0"),
    partial(in_fours, between="%20"),
    partial(in_fours, between="\t"),
    lambda number: "".join(chr(0xFF10 + int(digit)) for digit in number),
    lambda number: "".join(f"\\u{ord(digit):04x}" for digit in number),
    lambda number: b64encode(f"pan={number};".encode()).decode(),
    lambda number: number.encode().hex(),
    lambda number: json.dumps(list(number)),
)
"""A number in any other text, in the disguises that the contract names."""


def planted(at: int) -> Planted:
    """Return a record with a card number of its own, in one of the places and forms that are in scope."""
    number, key = number_of(at), token("card")
    an_id, text = IDS[at % len(IDS)](number), TEXTS[at % len(TEXTS)](number)
    refused: Sequence[Callable[[], Planted]] = (
        lambda: Planted("transactions", an_id, json.dumps(good(at, card_id=an_id)).encode()),
        lambda: Planted("transactions", key, json.dumps(good(at, merchant_id=an_id)).encode()),
        *(
            partial(lambda name: Planted("transactions", key, json.dumps(good(at, **{name: text})).encode()), name)
            for name in ("amount_minor", "currency", "schema", "kind", "occurred_at")
        ),
        lambda: Planted("transactions", text, json.dumps(good(at)).encode()),
        lambda: Planted("transactions", key, f"pan={text};{token('csv')}".encode()),
        lambda: Planted("transactions", key, b"{", (("note", text.encode()), (f"x-{text}", b"1"))),
        lambda: Planted("transactions", key, f"<pan>{text}</pan>".encode("utf-16")),
        lambda: Planted("labels", an_id, json.dumps(label_of(at) | {"card_id": an_id}).encode()),
        lambda: Planted("labels", key, json.dumps(label_of(at) | {"reported_by": text}).encode()),
        lambda: Planted("model-control", "", json.dumps({"schema": text, "kind": text, "model": text}).encode()),
    )
    decided: Sequence[Callable[[], Planted]] = (
        lambda: Planted("transactions", key, json.dumps(good(at, device_id=an_id)).encode()),
        lambda: Planted("transactions", key, json.dumps(good(at, account_id=an_id, customer_id=an_id)).encode()),
        lambda: Planted("transactions", key, json.dumps(good(at, channel=text, mcc=text, latitude=text)).encode()),
        lambda: Planted("transactions", key, json.dumps(good(at, note=text, more={"pan": [text]})).encode()),
        lambda: Planted("transactions", key, json.dumps(good(at, **{text: 1})).encode()),
        lambda: Planted("transactions", key, json.dumps(good(at, attributes=in_attributes(number, text))).encode()),
        lambda: Planted("labels", key, json.dumps(label_of(at) | {"fraud_type": number}).encode()),
    )
    forms = decided if at % 3 == 0 else refused  # by turns, since a thousand refused ones would halt the partition
    return forms[at // 3 % len(forms)]()


def in_attributes(number: str, text: str) -> dict[str, Any]:
    """Return attributes with a number in each form: declared ones of each kind, others, and in a name."""
    declared = {"ip_country": number, "browser": f"{in_fours(number, ' ')} x", "account_age_days": int(number)}
    tokens = {"ip": in_fours(number, "-"), "email_hash": f"{number}:123", "three_ds": number, "bin": f"bin {number}"}
    return declared | tokens | {"signal_1": text[:200], "note": text[:200], f"pan_{number}": 1, "risk": float(number)}


def label_of(at: int) -> dict[str, Any]:
    known = {"fraud": True, "labelled_at": "2026-02-01T00:00:00Z", "reported_by": "chargeback"}
    return {"transaction_id": token(f"transaction_id-{at}"), "card_id": token("card")} | known


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


@pytest.mark.full_size
@pytest.mark.usefixtures("_modules_of_tests")
@pytest.mark.parametrize("values", ["none", "redacted"])
def test_a_worker_writes_no_card_number_anywhere_and_no_token_to_logs_spans_or_metrics(
    fleet: Fleet, collector: Receiver, redis_url: str, tmp_path: Path, values: str
) -> None:
    count = sized(400, 2_000)
    modules = ",".join((*DEFAULT_MODULES, "support.features.own_fields_set"))
    (worker,) = fleet.go_live(DEAD_LETTER_VALUES=values, FEATURES=modules)
    challenged = fleet.cli("model", "challenge", put_model(fleet.models, seed=3), "--reason", "test")
    assert challenged.returncode == 0, challenged.stderr
    asyncio.run(send(fleet, [planted(at) for at in range(count)]))
    after = good(count)
    asyncio.run(send(fleet, [Planted("transactions", token("card"), json.dumps(after).encode())]))
    until(
        lambda: after["transaction_id"] in {score.transaction_id for score in fleet.scores()[0]},
        "what lies behind is decided",
    )
    valid = fleet.scores()[0]
    assert any("attributes.ip_country" in score.dropped for score in valid)
    assert any("attributes.account_age_days" in score.dropped for score in valid)
    decided = [at for at in range(0, count, 3) if planted(at).topic == "transactions"]
    assert {score.transaction_id for score in valid} == {good(at)["transaction_id"] for at in (*decided, count)}
    fleet.await_records("shadow-scores", len(valid))
    labels = sum(planted(at).topic == "labels" for at in range(count))
    refused = sum(planted(at).topic == "transactions" for at in range(count)) - len(decided)
    until(lambda: sum(fleet.ends("outcomes").values()) >= labels // 3, "the labels have outcomes")
    letters = fleet.await_dead_letters(refused)
    assert all((letter.value is None) == (values == "none") for letter in letters)
    until(lambda: len(collector.named("score shadow")) >= 1 and bool(collector.metrics), "spans and metrics")
    pages = "".join(worker.get(path)[1] for path in ("/metrics", "/health/ready"))
    shown = fleet.cli("dead-letters", "list", "--json", "--limit", str(count)).stdout
    assert worker.terminate() == 0
    written = {topic: b"".join(_bytes(record) for record in fleet.read(topic)) for topic in WRITTEN}
    assert all(written.values())
    written["redis"] = asyncio.run(everything_in(redis_url))
    written["the model repository"] = b"".join(
        path.read_bytes() for path in Path(fleet.models).rglob("*") if path.is_file()
    )
    seen = {
        "logs": b"".join(path.read_bytes() for path in tmp_path.glob("worker-*.log")),
        "spans": b"".join(collector.raw),
        "pages": pages.encode(),
        "the list of dead letters": shown.encode(),
    }
    assert all(seen.values())
    for place, content in (written | seen).items():
        assert not leaked(content, count), f"card numbers in {place}"
    del seen["the list of dead letters"]  # ids are listed, as they are kept
    for place, content in seen.items():
        at = content.find(MARK.encode())
        assert at < 0, f"a token in {place}: {content[max(0, at - 200) : at + 60]!r}"
    assert MARK.encode() in written["scores"], "the search does not find a token where one must be"
    assert leaked(b"\n".join(planted(at).value for at in range(count)), count), "nor a number"


def leaked(content: bytes, count: int) -> list[str]:
    """Return the beginnings of the planted numbers whose digits stand in a content, whatever divides them."""
    digits = re.sub(rb"[^0-9]", b"", content)
    return [number[:6] for at in range(count) if (number := number_of(at)).encode() in digits]


def _bytes(record: Any) -> bytes:
    headers = b"".join(name.encode() + b"=" + (value or b"") + b"\n" for name, value in record.headers)
    return (record.key or b"") + b"\n" + (record.value or b"") + b"\n" + headers


def test_the_command_line_rejects_a_reason_with_a_card_number_and_does_not_echo_it(fleet: Fleet) -> None:
    done = fleet.cli("model", "rollback", "--reason", f"card {CARD_NUMBER} was declined")
    assert done.returncode == 2, done
    assert "card number" in done.stderr
    assert CARD_NUMBER not in done.stderr + done.stdout
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
