"""Dead letters are read back, and originals are sent again only if they are there, whole and unchanged."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from fraudstream.ops.repair.kept_letters import (
    REDRIVEN_FROM,
    KeptLetter,
    OriginalPlace,
    Originals,
    headers_of,
    read_letter,
)
from stream.contract.codes import DeadLetterCode
from stream.engine.unpacking import LARGEST_HEADER_COUNT, FetchedRecord, split_batches
from stream.positions.dead_letters import DeadLetter, LetterOrigin
from support.record_batches import packed

NUMBER = "4532015112830366"
VALUE = msgspec.json.encode({"transaction_id": "t-1", "card_id": "card-1"})
WITH_VALUES = LetterOrigin("blue", values="redacted")


def record(offset: int = 7, value: bytes | None = VALUE, **fields: Any) -> FetchedRecord:
    return FetchedRecord(
        **{"topic": "transactions", "partition": 2, "offset": offset, "timestamp": 1_000, "timestamp_type": 0}
        | {"key": b"card-1", "value": value, "headers": [("correlation-id", b"c-1")]}
        | fields
    )


def letter(
    original: FetchedRecord,
    code: DeadLetterCode = DeadLetterCode.UNDECIDABLE,
    origin: LetterOrigin = WITH_VALUES,
) -> KeptLetter:
    kept = DeadLetter(original, code, "why").to_record(origin)
    read = read_letter(record(0, kept.value, key=kept.key, headers=kept.headers, topic="dead-letters"))
    assert read is not None
    return read


def reasons(letters: list[KeptLetter], *found: FetchedRecord, again: bool = False) -> tuple[list[str], int, list[str]]:
    """Return the originals that are sent, how many were sent before, and why others are refused."""
    originals = Originals(letters)
    originals.add(found)
    plan = originals.plan(["transactions", "labels"], lambda _: "", again=again)
    return [str(one.source) for one, _ in plan.sent], len(plan.before), [why for _, why in plan.refused]


def test_a_dead_letter_is_read_with_its_source_cause_and_ids() -> None:
    kept = letter(record())
    assert kept.facts() == {
        "code": "undecidable",
        "detail": "why",
        "topic": "transactions",
        "partition": 2,
        "offset": 7,
        "log": 0,
        "time": "1970-01-01T00:00:01.000Z",
        "transaction_id": "t-1",
        "card_id": "card-1",
        "deployment": "blue",
    }
    assert (kept.redacted, kept.truncated) == (False, "")
    theirs = letter(record(headers=[("source.log", b"7")]))
    before = [one for one in theirs.record.headers if one != ("source.log", b"0")]  # as versions before wrote it
    read = read_letter(record(0, VALUE, headers=before, topic="dead-letters"))
    assert read is not None
    assert (theirs.log, read.log) == (0, 0), "what a producer calls so is no worker's"
    assert kept.named(["t-1"])
    assert kept.named(["transactions:2:7"])
    assert not kept.named(["t-2"])


def test_a_producers_own_headers_do_not_pass_for_the_workers() -> None:
    kept = letter(record(headers=[("error.code", b"mine"), ("source.offset", b"1")]))
    assert (kept.code, kept.source) == ("undecidable", OriginalPlace("transactions", 2, 7))


@pytest.mark.parametrize("value", [None, b"", b"{", b"[1]", b'{"transaction_id": 1}', b"\xff", b"[" * 5000])
def test_ids_that_cannot_be_read_are_left_out(value: bytes | None) -> None:
    kept = letter(record(value=value), DeadLetterCode.NOT_JSON)
    assert (kept.transaction_id, kept.card_id) == (None, None)


def test_a_record_that_no_worker_wrote_is_no_dead_letter() -> None:
    assert read_letter(record()) is None


@pytest.mark.parametrize("offset", ["--5", "5-", "9" * 5000, "\u0665", ""])
def test_a_record_whose_place_is_no_number_is_no_dead_letter(offset: str) -> None:
    headers = {"source.partition": "0", "source.offset": offset, "source.timestamp": "1"}
    assert read_letter(record(headers=[(name, text.encode()) for name, text in headers.items()])) is None


def test_a_timestamp_that_is_no_time_is_listed_as_a_number() -> None:
    in_nanoseconds = 1_700_000_000_000_000_000
    assert letter(record(timestamp=in_nanoseconds)).facts()["time"] == str(in_nanoseconds)


def test_a_producers_own_header_does_not_pass_for_that_of_a_record_that_was_sent_again() -> None:
    odd = record(9, headers=[(REDRIVEN_FROM, b"\xe1"), (REDRIVEN_FROM, None)])
    assert reasons([letter(record())], record(), odd) == (["transactions:2:7"], 0, [])


def test_an_original_is_sent_again_with_its_headers_and_its_place() -> None:
    original = record()
    assert reasons([letter(original)], original) == (["transactions:2:7"], 0, [])
    place = (REDRIVEN_FROM, b"transactions:2:7")
    assert headers_of(letter(original), original) == [("correlation-id", b"c-1"), place]
    twice = record(headers=[(REDRIVEN_FROM, b"transactions:2:1")])
    assert headers_of(letter(twice), twice) == [place]


def test_a_dead_letter_that_is_kept_twice_is_sent_once() -> None:
    assert reasons([letter(record()), letter(record())], record())[0] == ["transactions:2:7"]


def test_what_was_sent_before_is_sent_only_on_demand() -> None:
    sent = record(9, headers=[(REDRIVEN_FROM, b"transactions:2:7")])
    assert reasons([letter(record())], record(), sent) == ([], 1, [])
    assert reasons([letter(record())], record(), sent, again=True) == (["transactions:2:7"], 0, [])


def test_what_was_sent_before_is_known_by_its_original_where_the_letter_keeps_no_value() -> None:
    kept = letter(record(), origin=LetterOrigin("blue"))
    assert not kept.has_value
    sent = record(9, headers=[(REDRIVEN_FROM, b"transactions:2:7")])
    assert reasons([kept], record(), sent) == ([], 1, [])
    other = record(9, b"{}", headers=sent.headers)
    assert reasons([kept], record(), other) == (["transactions:2:7"], 0, [])


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ([], "its original is gone"),
        ([record(8)], "its original is gone"),
        ([record(timestamp=1_001)], "another record is at its place now"),
        ([record(value=b"{}")], "another record is at its place now"),
        ([record(damage="its length is wrong")], "its original cannot be unpacked"),
        ([record(value=NUMBER.encode())], "it holds a card number"),
        ([record(headers=[("note", NUMBER.encode())])], "it holds a card number"),
    ],
)
def test_an_original_that_is_gone_or_changed_or_holds_a_card_number_is_refused(
    now: list[FetchedRecord], why: str
) -> None:
    assert reasons([letter(record())], *now) == ([], 0, [why])


def test_a_redacted_letter_is_refused() -> None:
    original = record(value=msgspec.json.encode({"card_id": NUMBER}))
    kept = letter(original, DeadLetterCode.CARD_NUMBER)
    assert kept.redacted
    assert reasons([kept], original) == ([], 0, ["it holds a card number"])
    assert reasons([letter(original)], original) == ([], 0, ["it holds a card number"])


def test_the_original_of_a_truncated_letter_is_sent_whole() -> None:
    original = record(value=b"x" * 3 * 1024 * 1024)
    kept = letter(original, DeadLetterCode.NOT_JSON)
    assert kept.truncated
    assert reasons([kept], original)[0] == ["transactions:2:7"]


def test_another_deployments_topic_is_refused() -> None:
    other = record(topic="their-transactions")
    (why,) = reasons([letter(other)], other)[2]
    assert "their-transactions is not a topic of this deployment" in why


def test_a_topic_is_read_from_the_oldest_original_of_each_partition() -> None:
    letters = [letter(record(7)), letter(record(5)), letter(record(3, partition=1))]
    originals = Originals(letters)
    assert (originals.firsts("transactions"), originals.firsts("labels")) == ({2: 5, 1: 3}, {})


def test_a_producer_that_names_an_original_in_another_record_does_not_hide_it_from_redrive() -> None:
    named = [(REDRIVEN_FROM, b"transactions:2:7")]
    others = [record(8, b"{}", headers=named), record(9, key=b"card-2", headers=named)]
    assert reasons([letter(record())], record(), *others) == (["transactions:2:7"], 0, [])
    assert reasons([letter(record())], record(), record(10, headers=named)) == ([], 1, [])


def fetched(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> FetchedRecord:
    """Return a record as it is read after it was sent."""
    (batch,) = split_batches(packed([(key, value, headers)]))
    ((record,),) = batch.unpack(TopicPartition("dead-letters", 0))
    assert isinstance(record, FetchedRecord)
    return record


def test_what_the_worker_adds_to_a_record_with_as_many_headers_as_are_read_is_read_again() -> None:
    headers = [(f"h{at}", b"") for at in range(LARGEST_HEADER_COUNT)]
    original = FetchedRecord("transactions", 2, 7, 1_000, 0, b"card", b"{}", headers)
    refused = DeadLetter(original, DeadLetterCode.UNDECIDABLE, "why").to_record(LetterOrigin("blue", values="redacted"))
    kept = read_letter(fetched(refused.key, refused.value, refused.headers))
    assert kept is not None
    assert (kept.source, kept.code, kept.deployment) == (("transactions", 2, 7), "undecidable", "blue")
    assert kept.truncated == "9 headers left out"
    again = fetched(b"card", b"{}", headers_of(kept, original))
    assert again.headers[-1] == (REDRIVEN_FROM, b"transactions:2:7")
