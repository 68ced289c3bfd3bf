from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.codes import DeadLetterCode
from stream.kafka.dead_letters import MAX_RUN, DeadLetter, DeadLetterRuns
from support.stream_records import CARD_NUMBER, CARD_NUMBERS, Told

ADDED = ("error.code", "error.detail", "source.topic", "source.partition", "source.offset", "source.timestamp")
MOST_ADDED_BYTES = 6_000
BYTES = st.none() | st.binary(max_size=60) | CARD_NUMBERS.map(str.encode)
HEADERS = st.lists(st.tuples(st.text(max_size=20) | CARD_NUMBERS, BYTES), max_size=5)


def letter(record: Told, detail: str = "why") -> DeadLetter:
    return DeadLetter(record, DeadLetterCode.NOT_JSON, detail)


def test_a_dead_letter_carries_the_record_its_error_and_its_source() -> None:
    record = Told(b"x", b"k", 3, 14, [("a", b"1"), ("a", None), ("b", b"")], "in-transactions", 1_234)
    outgoing = letter(record, "not UTF-8 JSON: café").to_record()
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
        ("source.timestamp", b"1234"),
    ]


@pytest.mark.parametrize("nothing", [None, b""])
def test_a_null_or_empty_key_and_value_are_kept_as_they_are(nothing: bytes | None) -> None:
    outgoing = letter(Told(nothing, nothing)).to_record()
    assert (outgoing.key, outgoing.value) == (nothing, nothing)


@given(CARD_NUMBERS)
def test_no_part_of_a_dead_letter_contains_a_card_number(number: str) -> None:
    planted = number.encode()
    record = Told(b'{"card_id":"%b"}' % planted, planted, 0, 0, [("h", planted), (f"x-{number}", None)])
    outgoing = letter(record, f"got '{number}'").to_record()
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
    outgoing = letter(Told(value, key, 0, 0, headers), detail).to_record()
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


def test_an_unencodable_character_of_a_detail_becomes_a_question_mark() -> None:
    assert dict(letter(Told(), "\ud800").to_record().headers)["error.detail"] == b"?"


# --- runs of dead letters


def a_lot(count: int, since: int = 0, partition: int = 0) -> list[Told]:
    return [Told(partition=partition, offset=since + at) for at in range(count)]


def test_a_partition_halts_at_the_1000th_dead_letter_in_a_row() -> None:
    runs, lot = DeadLetterRuns(), a_lot(MAX_RUN)
    runs.add(map(letter, lot[:-1]), {0: lot[:-1]})
    assert runs.halted == {}
    runs.add([letter(lot[-1], f"got {CARD_NUMBER}")], {0: lot[-1:]})
    assert runs.halted.keys() == {0}
    assert "up to offset 999, the last not_json (got [redacted])" in runs.halted[0]


def test_one_good_record_ends_a_run() -> None:
    for good in ([Told(offset=500)], a_lot(50, 500)):
        runs = DeadLetterRuns()
        runs.add(map(letter, a_lot(500)), {0: a_lot(500)})
        runs.add([], {0: good})
        after = a_lot(999, 600)
        runs.add(map(letter, after), {0: after})
        assert (runs.halted, runs.lengths) == ({}, {0: 999})


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
