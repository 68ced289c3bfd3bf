"""Dead letters are listed, shown and sent again after their cause is gone."""

import json
import subprocess
from typing import Any

from models.times import format_time
from stream.clock import now_ms
from support.fleet.fleet import Fleet
from support.fleet.payments import luhn, partition_of, payment
from support.kafka.operations import delete_records

AHEAD_MS = 10 * 60 * 1000
"""Later than a record may be by default."""
CARD = next(card for card in map("card-{}".format, range(99)) if partition_of(card) != 0)
OTHER_CARD = next(card for card in map("card-{}".format, range(99)) if partition_of(card) == 0)
"""A card on the partition whose records are deleted."""
CARD_NUMBER = luhn("453201511283036")


def ahead(number: int, card: str = CARD) -> dict[str, Any]:
    return payment(number, card_id=card, occurred_at=format_time(now_ms() + AHEAD_MS))


def redrive(fleet: Fleet, *arguments: str, code: int) -> dict[str, Any]:
    done = fleet.cli("dead-letters", "redrive", "--json", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def listed(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def look(fleet: Fleet) -> None:
    """List and show the dead letters: the ids are there, and no card number."""
    letters = listed(fleet.cli("dead-letters", "list", "--json"))
    codes = {"t-0": "in_the_future", "t-1": "card_number", "t-2": "in_the_future"}
    assert {one["transaction_id"]: one["code"] for one in letters} == codes
    assert {one["transaction_id"]: one["card_id"] for one in letters}["t-0"] == CARD
    assert CARD_NUMBER not in str(letters)
    assert len(listed(fleet.cli("dead-letters", "list", "--json", "--code", "in_the_future", "--limit", "1"))) == 1
    shown = json.loads(fleet.cli("dead-letters", "show", "t-1", "--json").stdout)
    assert shown["redacted"]
    assert "[redacted]" in shown["value"]
    assert fleet.cli("dead-letters", "show", "t-7").returncode == 1


def send_one(fleet: Fleet) -> tuple[Any, Any]:
    """Send one again, which is sent once; return the original and the record that was sent."""
    dry = redrive(fleet, "--code", "in_the_future", code=0)
    assert (dry["dry_run"], sorted(one["id"] for one in dry["sent"])) == (True, ["t-0", "t-2"])
    assert sum(fleet.ends("transactions").values()) == 3, "a dry run sends nothing"
    done = redrive(fleet, "--id", "t-0", "--id", "t-1", "--id", "t-9", "--yes", code=1)
    assert [sent["id"] for sent in done["sent"]] == ["t-0"]
    refused = {"t-1": "it holds a card number", "t-9": "there is no such dead letter"}
    assert {one["id"]: one["why"] for one in done["refused"]} == refused
    again = redrive(fleet, "--id", "t-0", "--yes", code=0)
    assert (again["sent"], again["sent_before"]) == ([], 1)
    first, second = sorted((one for one in fleet.read("transactions") if one.key == CARD.encode()), key=offset_of)
    return first, second


def offset_of(record: Any) -> int:
    offset: int = record.offset
    return offset


def test_a_dead_letter_is_sent_again_once_and_one_whose_original_is_gone_is_refused(fleet: Fleet) -> None:
    (worker,) = fleet.go_live()
    with_number = json.dumps(payment(1) | {"card_id": CARD_NUMBER}).encode()
    fleet.publish([ahead(0), (CARD_NUMBER, with_number), ahead(2, OTHER_CARD)])
    fleet.await_dead_letters(3)
    assert worker.terminate() == 0
    look(fleet)
    first, second = send_one(fleet)
    assert (first.partition, first.value, first.timestamp) == (second.partition, second.value, second.timestamp)
    assert dict(second.headers) == {"redriven-from": f"{first.topic}:{first.partition}:{first.offset}".encode()}
    fleet.worker(FUTURE_SKEW="3600").await_ready()
    valid = fleet.await_scores(1)
    assert [(score.transaction_id, score.source.offset) for score in valid] == [("t-0", second.offset)]
    delete_records(fleet.brokers, f"{fleet.prefix}transactions")
    gone = redrive(fleet, "--all", "--yes", code=1)
    assert {one["id"]: one["why"] for one in gone["refused"]}["t-2"] == "its original is gone"
    assert (gone["sent"], gone["sent_before"]) == ([], 1)
    assert len(fleet.scores()[0]) == 1
