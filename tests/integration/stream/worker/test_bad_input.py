"""Each invalid record becomes a dead letter with its code, and the valid records around it are decided."""

import asyncio
import json
import re
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from stream.contract.codes import DeadLetterCode
from support.fleet.fleet import Fleet, until
from support.fleet.payments import luhn, partition_of, payment
from support.score_headers import passed_on

KEY = "card-bad"
CARD_NUMBER = luhn("453201511283036")
STANDING = {"DEAD_LETTER_VALUES": "redacted"}


def bad(**changes: Any) -> bytes:
    return msgspec.json.encode(payment(0, card_id=KEY) | changes)


def without(name: str) -> bytes:
    return msgspec.json.encode({key: value for key, value in payment(0, card_id=KEY).items() if key != name})


ROWS: list[tuple[DeadLetterCode, str, bytes | None]] = [
    (DeadLetterCode.NOT_JSON, KEY, b"card,amount\n1,2"),
    (DeadLetterCode.NOT_JSON, KEY, bad().replace(b'"EUR"', b"NaN")),
    (DeadLetterCode.NOT_JSON, KEY, bad().replace(b"EUR", b"\\ud800")),
    (DeadLetterCode.NOT_JSON, KEY, bad().replace(b"EUR", b"\xed\xa0\x80")),
    (DeadLetterCode.TOO_DEEP, KEY, bad()[:-1] + b',"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    (DeadLetterCode.NOT_AN_OBJECT, KEY, b"[1]"),
    (DeadLetterCode.INVALID_FIELD, KEY, bad(amount_minor="12")),
    (DeadLetterCode.INVALID_FIELD, KEY, bad(amount_minor=-1)),
    (DeadLetterCode.INVALID_FIELD, KEY, bad(amount_minor=10**12 + 1)),
    (DeadLetterCode.INVALID_FIELD, KEY, bad(amount_minor=10**30)),
    (DeadLetterCode.INVALID_FIELD, KEY, bad(occurred_at="2026-01-01T00:00:00")),
    (DeadLetterCode.MISSING_FIELD, KEY, without("merchant_id")),
    (DeadLetterCode.MISSING_FIELD, KEY, bad(amount_minor=None)),
    (DeadLetterCode.IN_THE_FUTURE, KEY, bad(occurred_at="2126-01-01T00:00:00Z")),
    (DeadLetterCode.UNKNOWN_CURRENCY, KEY, bad(currency="ZZZ")),
    (DeadLetterCode.CARD_NUMBER, CARD_NUMBER, bad(card_id=CARD_NUMBER)),
    (DeadLetterCode.CARD_NUMBER, KEY, bad(merchant_id=CARD_NUMBER)),
    (DeadLetterCode.CARD_NUMBER, KEY, bad(merchant_id=".".join((CARD_NUMBER[:4], CARD_NUMBER[4:], "123")))),
    (DeadLetterCode.WRONG_KEY, "another-card", bad()),
    (DeadLetterCode.EMPTY_VALUE, KEY, b""),
    (DeadLetterCode.EMPTY_VALUE, KEY, None),
    (DeadLetterCode.UNSUPPORTED_SCHEMA, KEY, bad(schema="transaction/9")),
    (DeadLetterCode.UNSUPPORTED_KIND, KEY, bad(kind="refund")),
    (DeadLetterCode.INVALID_FIELD, KEY, bad(amount_minor=1.5, note="x" * 1_000_000)),
]


def test_each_invalid_record_becomes_a_dead_letter_and_its_neighbours_are_decided(standing: Fleet) -> None:
    known = standing.dead_letters()
    records: list[Any] = [payment(0)]
    for number, (_, key, value) in enumerate(ROWS, 1):
        records += [(key, value), payment(number)]
    standing.publish(records)
    standing.await_decisions(f"t-{number}" for number in range(len(ROWS) + 1))
    letters = standing.await_dead_letters(len(ROWS), known=known)
    assert len(letters) == len(ROWS)
    sent = {key_value(record): dict(record.headers) for record in letters}
    for code, key, value in ROWS:
        if code is not DeadLetterCode.CARD_NUMBER:
            assert sent[key.encode(), value]["error.code"] == code.encode(), (code, key, (value or b"")[:80])
    codes = sorted(dict(record.headers)["error.code"].decode() for record in letters)
    assert codes == sorted(code for code, _, _ in ROWS)


def key_value(record: Any) -> tuple[bytes, bytes | None]:
    return record.key, record.value


def test_a_dead_letter_keeps_its_headers_names_its_source_and_has_no_card_number(standing: Fleet) -> None:
    letter = await_letter_of_a_card_number(standing)
    assert letter.value == bad(merchant_id="[redacted]")


def test_by_default_a_dead_letter_has_no_value_and_its_original_is_shown_from_its_place(fleet: Fleet) -> None:
    fleet.go_live()
    letter = await_letter_of_a_card_number(fleet)
    assert letter.value is None
    shown = json.loads(fleet.cli("dead-letters", "show", payment(0)["transaction_id"], "--json").stdout)
    assert (shown["original"], shown["redacted"]) == ("read at its place", True)
    assert shown["value"] == bad(merchant_id="[redacted]").decode()


def await_letter_of_a_card_number(fleet: Fleet) -> Any:
    """Send a card number as a merchant and in a header; return the dead letter, of which no part has the number."""
    known = fleet.dead_letters()
    asyncio.run(
        _send(fleet, bad(merchant_id=CARD_NUMBER), [("correlation-id", b"c-1"), ("note", CARD_NUMBER.encode())])
    )
    (letter,) = fleet.await_dead_letters(1, known=known)
    headers = dict(letter.headers)
    assert headers["correlation-id"] == b"c-1"
    assert headers["source.topic"] == f"{fleet.prefix}transactions".encode()
    assert headers["source.partition"] == str(partition_of(KEY)).encode()
    assert letter.key == KEY.encode()
    everything = (letter.value or b"") + letter.key + b"".join(value for _, value in letter.headers)
    assert CARD_NUMBER.encode() not in everything
    return letter


async def _send(fleet: Fleet, value: bytes, headers: list[tuple[str, bytes]]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=fleet.brokers)
    await producer.start()
    try:
        await producer.send_and_wait(
            f"{fleet.prefix}transactions", value=value, key=KEY.encode(), partition=partition_of(KEY), headers=headers
        )
    finally:
        await producer.stop()


def test_headers_of_a_transaction_are_passed_on_and_invalid_optional_fields_are_dropped(standing: Fleet) -> None:
    value = bad(transaction_id="dropped", mcc="12", latitude=99, extra=1)
    asyncio.run(_send(standing, value, [("correlation-id", b"c-2")]))
    score = standing.await_decisions(["dropped"])["dropped"]
    (record,) = (one for one in standing.read("scores") if json.loads(one.value)["transaction_id"] == "dropped")
    assert sorted(score.dropped) == ["latitude", "mcc"]
    assert passed_on(record.headers) == (("correlation-id", b"c-2"),)
    assert record.key == KEY.encode()


def test_valid_labels_become_outcomes_and_invalid_ones_dead_letters(standing: Fleet) -> None:
    letters, paid = standing.dead_letters(), payment(1, transaction_id="labelled", card_id="card-labelled")
    standing.publish([paid])
    standing.await_decisions(["labelled"])
    label = {"transaction_id": "labelled", "card_id": paid["card_id"], "reported_by": "chargeback"}
    known = "2025-11-01T00:00:00.000Z"
    rows = [
        label | {"fraud": True, "labelled_at": known},
        label | {"fraud": True, "labelled_at": known},
        label | {"fraud": False, "labelled_at": "2025-12-01T00:00:00Z"},
        label | {"fraud": True, "labelled_at": "2025-10-20T00:00:00Z"},
        label | {"fraud": True, "labelled_at": known, "transaction_id": "t-none"},
        label | {"fraud": "yes", "labelled_at": known},
    ]
    standing.publish(rows, topic="labels")
    outcomes = [json.loads(record.value) for record in standing.await_records("outcomes", 5)]
    assert [one["status"] for one in outcomes] == ["applied", "repeated", "corrected", "stale", "unknown_transaction"]
    assert (outcomes[0]["merchant_id"], outcomes[0]["occurred_at"]) == (paid["merchant_id"], paid["occurred_at"])
    (letter,) = standing.await_dead_letters(1, known=letters)
    assert dict(letter.headers)["error.code"] == b"invalid_field"


def test_a_thousand_dead_letters_in_a_row_halt_their_partition_until_an_operator_skips_the_last_one(
    fleet: Fleet,
) -> None:
    (worker,) = fleet.go_live()
    other = next(f"card-{at}" for at in range(50) if partition_of(f"card-{at}") != partition_of(KEY))
    fleet.publish([(KEY, b"broken")] * 1_000)
    fleet.await_dead_letters(1_000)
    reasons = worker.await_not_ready()
    assert "1000 dead letters in a row" in str(reasons)
    fleet.publish([payment(1, card_id=KEY), payment(2, card_id=other)])
    (score,) = fleet.await_scores(1)
    assert score.card_id == other
    (command,) = re.findall(r"`fraudstream (dead-letters skip [^`]*)`", str(reasons))
    done = fleet.cli(*command.split(), "--reason", "the producer is repaired")
    assert (done.returncode, done.stderr) == (0, ""), "what is refused is what may be skipped: no warning"
    fleet.await_scores(2)
    worker.await_ready()
    assert worker.metric("fraudstream_halted") == 0
    assert fleet.cli("topics", "audit").returncode == 0


@pytest.mark.parametrize("setting", ["REDIS_URL", "BROKERS"])
def test_a_worker_without_redis_or_kafka_reports_the_address_and_keeps_running(fleet: Fleet, setting: str) -> None:
    away = {"REDIS_URL": "redis://127.0.0.1:1/0", "BROKERS": "127.0.0.1:1"}[setting]
    worker = fleet.worker(**{setting: away})
    reasons = worker.await_not_ready()
    until(lambda: "127.0.0.1" in str(worker.readiness()[1]), "the reason names the address")
    assert worker.exit_code is None, reasons
