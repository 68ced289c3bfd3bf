import json
from collections.abc import Sequence

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from stream.card_numbers import card_numbers
from stream.contract.codes import DeadLetterCode
from stream.contract.transaction import BackfillMark
from stream.engine.publisher import Outgoing
from stream.kafka.client import LARGEST_OUTPUT_BYTES
from stream.positions import dead_letters as module
from stream.positions.dead_letters import (
    AMOUNT,
    MAX_RUN,
    TRANSACTION,
    TRUNCATED,
    VALUES,
    DeadLetter,
    DeadLetterRuns,
    LetterOrigin,
)
from support.acceptance import sized
from support.stream_records import CARD_NUMBER, RANGE_NUMBERS, Told

WHOLE = LetterOrigin("cards.eu", values="redacted")
ADDED = (
    "error.code",
    "error.detail",
    "source.topic",
    "source.partition",
    "source.offset",
    "source.log",
    "source.timestamp",
    "deployment",
)
MOST_ADDED_BYTES = 6_000
BYTES = st.none() | st.binary(max_size=60) | RANGE_NUMBERS.map(str.encode)
HEADERS = st.lists(st.tuples(st.text(max_size=20) | RANGE_NUMBERS, BYTES), max_size=5)


def letter(record: Told, detail: str = "why") -> DeadLetter:
    return DeadLetter(record, DeadLetterCode.NOT_JSON, detail)


def test_a_dead_letter_carries_the_record_its_error_and_its_source() -> None:
    record = Told(b"x", b"k", 3, 14, [("a", b"1"), ("a", None), ("b", b"")], "in-transactions", 1_234)
    outgoing = letter(record, "not UTF-8 JSON: café").to_record(LetterOrigin("cards.eu", 2, {3: 7_168}, "redacted"))
    assert (outgoing.source_offset, outgoing.key, outgoing.value) == (14, b"k", b"x")
    assert list(outgoing.headers) == [
        ("a", b"1"),
        ("a", None),
        ("b", b""),
        ("error.code", b"not_json"),
        ("error.detail", "not UTF-8 JSON: café".encode()),
        ("source.topic", b"in-transactions"),
        ("source.partition", b"3"),
        ("source.offset", b"14"),
        ("source.log", b"2"),
        ("source.timestamp", b"1234"),
        ("deployment", b"cards.eu"),
        ("epoch", b"7168"),
    ]
    assert "epoch" not in dict(letter(record).to_record(WHOLE).headers), "labels and predictions have none"


@given(RANGE_NUMBERS)
def test_no_part_of_a_dead_letter_contains_a_card_number(number: str) -> None:
    planted = number.encode()
    record = Told(b'{"card_id":"%b"}' % planted, planted, 0, 0, [("h", planted), (f"x-{number}", None)])
    outgoing = letter(record, f"got '{number}'").to_record(WHOLE)
    everything = [
        outgoing.key,
        outgoing.value,
        *(part for name, value in outgoing.headers for part in (name.encode(), value)),
    ]
    assert not any(planted in (part or b"") for part in everything)
    assert outgoing.value == b'{"card_id":"[redacted]"}'


@given(BYTES, BYTES, HEADERS, st.text(max_size=3_000))
def test_a_dead_letter_exceeds_its_record_only_by_bounded_headers(
    value: bytes | None, key: bytes | None, headers: Sequence[tuple[str, bytes | None]], detail: str
) -> None:
    outgoing = letter(Told(value, key, 0, 0, headers), detail).to_record(WHOLE)
    assert len(outgoing.value or b"") <= len(value or b"")
    assert len(outgoing.key or b"") <= len(key or b"")
    kept, added = outgoing.headers[: len(headers)], outgoing.headers[len(headers) :]
    assert tuple(name for name, _ in added) == ADDED
    assert sum(len(name) + len(text or b"") for name, text in added) < MOST_ADDED_BYTES
    for (name, was), (name_now, now) in zip(headers, kept, strict=True):
        assert len(name_now) <= len(name)
        assert (was is None) == (now is None)
        assert len(now or b"") <= len(was or b"")


@given(st.integers(960, 1_010))
def test_a_truncated_detail_contains_no_part_of_a_card_number(before: int) -> None:
    detail = letter(Told(), "x" * before + CARD_NUMBER).redacted_detail()
    assert len(detail) <= 1_000
    assert CARD_NUMBER[0] not in detail


# --- records that do not fit

MIB = 1024 * 1024


def batch_bytes(outgoing: Outgoing) -> int:
    """Return the size of a batch with this record alone, which is what a topic's limit is for."""
    builder = BatchBuilder(1, 0)
    builder.append(timestamp=None, key=outgoing.key, value=outgoing.value, headers=list(outgoing.headers))
    return len(builder._build())


SIZES = st.integers(0, 100) | st.integers(0, 9_000) | st.sampled_from((63, 64, 8_191, 8_192, 30_000))


@given(SIZES, SIZES, st.lists(st.tuples(st.integers(0, 40), SIZES), max_size=8), st.integers(8_000, 20_000))
def test_a_dead_letter_fits_into_a_batch_whatever_the_sizes_of_its_parts(
    value: int, key: int, headers: list[tuple[int, int]], largest: int
) -> None:
    record = Told(b"v" * value, b"k" * key, 0, 0, [("h" * name, b"w" * size) for name, size in headers])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LARGEST_OUTPUT_BYTES", largest)
        patch.setattr(module, "_LEAST_BYTES", 1_000)
        outgoing = letter(record).to_record(WHOLE)
    assert batch_bytes(outgoing) <= largest
    truncated = dict(outgoing.headers).get(TRUNCATED, b"")
    assert (b"value" in truncated) == (outgoing.value != record.value)
    assert (b"key" in truncated) == (outgoing.key != record.key)
    assert (b"left out" in truncated) == (list(outgoing.headers[: len(headers)]) != record.headers)
    assert len(outgoing.value or b"") >= min(value, 1_000)
    assert len(outgoing.key or b"") >= min(key, 1_000)
    if truncated:
        assert b"left out" in truncated or batch_bytes(outgoing) > largest - 250
        assert batch_bytes(Outgoing(0, record.key, record.value, [*record.headers, *outgoing.headers[-8:]])) > largest
    else:
        assert list(outgoing.headers[: len(headers)]) == record.headers


def test_headers_are_left_out_longest_first_only_if_there_is_no_room_for_some_of_the_value() -> None:
    headers = [("a", b"1" * MIB), ("b", b"2" * (MIB // 2)), ("c", b"3"), ("d", b"4" * MIB)]
    outgoing = letter(Told(b"v" * MIB, b"k" * 3 * MIB, 0, 0, headers)).to_record(WHOLE)
    assert [name for name, _ in outgoing.headers[:3]] == ["a", "b", "c"]
    assert dict(outgoing.headers)[TRUNCATED] == (b"value of 1048576 bytes, key of 3145728 bytes, 1 headers left out")
    assert len(outgoing.value or b"") == 64 * 1024
    assert len(outgoing.key or b"") > 400 * 1024
    assert batch_bytes(outgoing) <= LARGEST_OUTPUT_BYTES


def test_a_dead_letter_says_how_many_headers_of_its_record_were_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    largest = 100_000
    monkeypatch.setattr(module, "LARGEST_OUTPUT_BYTES", largest)
    record = Told(b"v", b"k", 0, 0, [("a", b"1")], left_out=["odd", "odder"], left_out_more=40)
    outgoing = letter(record).to_record(WHOLE)
    assert dict(outgoing.headers)[TRUNCATED] == b"42 headers left out"
    near = letter(Told(b"v" * (largest - 350), None, 0, 0, [], left_out_more=7)).to_record(WHOLE)
    assert dict(near.headers)[TRUNCATED].endswith(b"7 headers left out")
    assert batch_bytes(near) <= largest


@pytest.mark.parametrize(
    "piece", [b"5-", f"{CARD_NUMBER} ".encode(), b"\\u0034\\u002d", b"x" * 15 + CARD_NUMBER.encode()]
)
@pytest.mark.full_size
def test_a_truncated_dead_letter_has_no_card_number_in_it(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = sized(100_000, LARGEST_OUTPUT_BYTES)
    monkeypatch.setattr(module, "LARGEST_OUTPUT_BYTES", largest)
    for more in range(0, 24, sized(9, 3)):
        record = Told(b"." * more + piece * (largest // len(piece)), None, 0, 0, [("h", piece * 1_000)])
        outgoing = letter(record).to_record(WHOLE)
        assert TRUNCATED in dict(outgoing.headers)
        assert batch_bytes(outgoing) <= largest
        for text in (outgoing.value, *(value for _, value in outgoing.headers)):
            assert next(card_numbers(text or b""), None) is None


# --- runs of dead letters


def a_lot(count: int, since: int = 0, partition: int = 0) -> list[Told]:
    return [Told(partition=partition, offset=since + at) for at in range(count)]


def test_a_partition_halts_at_the_1000th_dead_letter_in_a_row() -> None:
    runs, lot = DeadLetterRuns(), a_lot(MAX_RUN)
    runs.add(map(letter, lot[:-1]), {0: lot[:-1]})
    assert runs.reached == {}
    runs.add([letter(lot[-1], f"got {CARD_NUMBER}")], {0: lot[-1:]})
    assert (runs.reached.keys(), runs.halted) == ({0}, {}), "its letters are not written yet"
    runs.written(1, 2, 50)
    runs.written(0, 2, 1_004)
    assert (runs.reached, runs.halted.keys()) == ({}, {0})
    assert (runs.halted[0].log, runs.halted[0].read_to) == (2, 1_004)
    told = str(runs.halted[0])
    assert "up to offset 999, the last not_json; see `fraudstream dead-letters show transactions:0:999`" in told
    assert "`fraudstream dead-letters skip --topic transactions --partition 0 --offset 999`" in told
    assert "got" not in told, "a detail quotes the record, and the reason is logged"


def test_one_good_record_ends_a_run() -> None:
    for good in ([Told(offset=500)], a_lot(50, 500)):
        runs = DeadLetterRuns()
        runs.add(map(letter, a_lot(500)), {0: a_lot(500)})
        runs.add([], {0: good})
        after = a_lot(999, 600)
        runs.add(map(letter, after), {0: after})
        assert (runs.halted, runs.lengths) == ({}, {0: 999})


def test_payments_of_a_backfill_that_conflict_neither_lengthen_nor_end_a_run() -> None:
    runs, mark = DeadLetterRuns(), BackfillMark("f" * 16, 3).header()
    runs.add(map(letter, a_lot(500)), {0: a_lot(500)})
    filled = a_lot(MAX_RUN, 500)
    for record in filled:
        record.headers = [mark]
    runs.add(map(letter, filled), {0: filled})
    assert (runs.halted, runs.lengths) == ({}, {0: 500})


def test_a_retried_batch_counts_once_in_a_run() -> None:
    runs = DeadLetterRuns()
    for _ in range(3):
        runs.add(map(letter, a_lot(600)), {0: a_lot(600)})
    assert (runs.halted, runs.lengths) == ({}, {0: 600})


@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=120),
    st.lists(st.integers(1, 30), min_size=1, max_size=10),
)
def test_each_partition_counts_its_own_run_however_records_are_batched(
    stream: list[tuple[int, bool]], cuts: list[int]
) -> None:
    runs, at, turn = DeadLetterRuns(), 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        lot = [
            (Told(partition=partition, offset=at + place), good)
            for place, (partition, good) in enumerate(stream[at : at + size])
        ]
        records = {partition: [record for record, _ in lot if record.partition == partition] for partition in range(3)}
        runs.add(
            [letter(record) for record, good in lot if not good], {key: some for key, some in records.items() if some}
        )
        at, turn = at + size, turn + 1
    for partition in {partition for partition, _ in stream}:
        ours = "".join("g" if good else "d" for of, good in stream if of == partition)
        assert runs.lengths[partition] == len(ours) - len(ours.rstrip("d"))


# --- records that are not kept

PAYMENT = b'{"transaction_id":"t-1","card_id":"card-1","currency":"EUR","amount_minor":1250,"merchant_id":"shop"}'
NOTHING_KEPT = LetterOrigin("cards.eu")


def test_by_default_a_dead_letter_keeps_the_key_and_the_cause_and_no_value() -> None:
    kept = letter(Told(PAYMENT, b"card-1", 3, 14, [("a", b"1")], "transactions", 1_234)).to_record(NOTHING_KEPT)
    assert (kept.key, kept.value) == (b"card-1", None)
    headers = dict(kept.headers)
    assert [name for name, _ in kept.headers][1:-3] == list(ADDED)
    assert (headers[VALUES], headers[TRANSACTION], headers[AMOUNT]) == (b"none", b"t-1", b"EUR 1250")
    assert VALUES not in dict(letter(Told(PAYMENT)).to_record(WHOLE).headers)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"no json",
        b'["t-1"]',
        b'{"transaction_id":17,"currency":"EUR","amount_minor":"1"}',
        b'{"transaction_id":"","currency":"eur","amount_minor":-1}',
        b'{"transaction_id":"' + b"x" * 129 + b'","currency":"EURO","amount_minor":1.5}',
        b'{"transaction_id":"t-1","note":"' + b"x" * 20_000 + b'"}',
        b'{"transaction_id":' + b"[" * 2_000,
    ],
)
def test_what_cannot_be_read_of_a_record_is_not_stated(value: bytes | None) -> None:
    kept = letter(Told(value)).to_record(NOTHING_KEPT)
    assert kept.value is None
    assert not {TRANSACTION, AMOUNT} & {name for name, _ in kept.headers}


@given(RANGE_NUMBERS, st.sampled_from((b"%b", b" %b ", b"no-%b", b"%b/12-29")))
def test_a_card_number_as_a_transactions_id_is_not_stated(number: str, form: bytes) -> None:
    planted = number.encode()
    value = json.dumps({"transaction_id": (form % planted).decode(), "currency": "EUR", "amount_minor": 1}).encode()
    kept = letter(Told(value, planted)).to_record(NOTHING_KEPT)
    everything = b"\n".join([kept.key or b"", *(name.encode() + (text or b"") for name, text in kept.headers)])
    assert planted not in everything
    assert dict(kept.headers)[AMOUNT] == b"EUR 1"
