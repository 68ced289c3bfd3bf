"""Unpacking returns every record that can be told apart, and says of the others which offsets they are."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise

import cramjam
import pytest
from aiokafka import TopicPartition
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from stream.kafka.unpacking import (
    LARGEST_UNPACKED_BYTES,
    AnyBatch,
    FetchedRecord,
    RecordBatch,
    Unreadable,
    committed,
    split_batches,
)
from support.record_batches import CODECS, HEADER_BYTES, LAST_DELTA_AT, Row, marker, packed, sent, signed, with_body

TP = TopicPartition("transactions", 3)
ROWS = st.lists(
    st.tuples(
        st.none() | st.binary(max_size=20),
        st.none() | st.binary(max_size=200),
        st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=8)), max_size=3),
    ),
    min_size=1,
    max_size=20,
)


def changed(batch: bytes, change: Callable[[bytearray], None]) -> bytes:
    copy = bytearray(batch)
    change(copy)
    return signed(copy)


def only(message_set: bytes) -> AnyBatch:
    (batch,) = split_batches(message_set)
    return batch


@given(ROWS, st.sampled_from(sorted(CODECS)), st.integers(0, 2**40))
def test_every_record_of_every_codec_is_returned_as_it_was_sent(rows: list[Row], codec: str, base: int) -> None:
    records = only(packed(rows, CODECS[codec], base)).unpack(TP)
    expected = [
        FetchedRecord(*TP, base + number, 1_000 + number, 0, key, value, tuple(headers))
        for number, (key, value, headers) in enumerate(rows)
    ]
    assert records == expected


@given(ROWS, st.integers(0, 19), st.sampled_from(sorted(CODECS)))
def test_a_header_whose_key_is_not_utf_8_is_left_out_and_named(rows: list[Row], at: int, codec: str) -> None:
    at %= len(rows)
    key, value, headers = rows[at]
    plain = bytearray(packed([*rows[:at], (key, value, [*headers, ("OddName", b"v")]), *rows[at + 1 :]]))
    plain[plain.rindex(b"OddName")] = 0xFF
    body = bytes(plain[HEADER_BYTES:])
    packers: dict[int, Callable[[bytes], bytes]] = {
        0: bytes,
        1: lambda data: bytes(cramjam.gzip.compress(data)),
        2: lambda data: bytes(cramjam.snappy.compress_raw(data)),
        3: lambda data: bytes(cramjam.lz4.compress(data)),
        4: lambda data: bytes(cramjam.zstd.compress(data)),
    }
    records = only(with_body(packers[CODECS[codec]](body), CODECS[codec], len(rows))).unpack(TP)
    read = [one for one in records if isinstance(one, FetchedRecord)]
    assert [(one.key, one.value, tuple(one.headers)) for one in read] == [
        (key, value, tuple(some)) for key, value, some in rows
    ]
    assert [tuple(one.left_out) for one in read] == [("\\xffddName",) if one == at else () for one in range(len(rows))]
    assert not any(one.damage for one in read)


def test_a_record_with_an_impossible_field_length_is_damaged_and_the_others_are_read() -> None:
    def damage(batch: bytearray) -> None:
        batch[batch.index(b"second") - 1] = 0x7E  # its value is said to be 63 bytes long

    rows: list[Row] = [(b"k", b"first!", ()), (b"k", b"second", ()), (b"k", b"third!", ())]
    first, second, third = only(changed(packed(rows, base=50), damage)).unpack(TP)
    assert isinstance(first, FetchedRecord)
    assert isinstance(second, FetchedRecord)
    assert isinstance(third, FetchedRecord)
    assert (first.value, first.damage, third.value, third.damage) == (b"first!", "", b"third!", "")
    assert (second.offset, second.timestamp, second.key, second.headers) == (51, 1_001, None, ())
    assert second.damage == "the record's structure is invalid: a field of 63 bytes exceeds it"
    assert b"second" in (second.value or b"")


def test_the_rest_of_a_batch_is_unreadable_from_a_record_of_impossible_length_on() -> None:
    rows: list[Row] = [(None, b"a", ()), (None, b"b", ()), (None, b"c", ())]
    batch = packed(rows, base=7)
    size = (len(batch) - HEADER_BYTES) // len(rows)

    def damage(copy: bytearray) -> None:
        copy[HEADER_BYTES + size] = 0x7F  # a negative length

    first, rest = only(changed(batch, damage)).unpack(TP)
    assert isinstance(first, FetchedRecord)
    assert first.value == b"a"
    assert rest == Unreadable(8, 10, "a record's length is invalid")


def test_a_wrong_checksum_makes_the_whole_batch_unreadable() -> None:
    batch = bytearray(packed([(None, b"a", ())] * 4, base=20))
    batch[-1] ^= 1
    assert only(bytes(batch)).unpack(TP) == [Unreadable(20, 24, "its checksum is wrong")]


@pytest.mark.parametrize("codec", [1, 2, 3, 4, 5, 7])
def test_bytes_that_no_codec_unpacks_make_the_batch_unreadable(codec: int) -> None:
    (found,) = only(with_body(b"not compressed at all" * 5, codec, 3)).unpack(TP)
    assert isinstance(found, Unreadable)
    assert (found.first, found.end) == (0, 3)
    assert found.reason.startswith("it cannot be unpacked: ")


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_batch_that_unpacks_to_more_than_the_limit_is_unreadable(codec: str) -> None:
    bomb = b"\0" * (LARGEST_UNPACKED_BYTES + 1)
    compress = cramjam.snappy.compress_raw if codec == "snappy" else getattr(cramjam, codec).compress
    (found,) = only(with_body(bytes(compress(bomb)), CODECS[codec], 1)).unpack(TP)
    assert isinstance(found, Unreadable)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_batch_that_unpacks_to_much_more_than_its_size_is_unpacked(codec: str) -> None:
    value = bytes(LARGEST_UNPACKED_BYTES // 4)
    (record,) = only(packed([(None, value, ())], CODECS[codec])).unpack(TP)
    assert isinstance(record, FetchedRecord)
    assert record.value == value


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_damaged_compressed_bytes_are_not_unpacked_again_into_larger_and_larger_buffers(codec: str) -> None:
    batch = only(with_body(b"not compressed at all" * 5, CODECS[codec], 3))
    tracemalloc.start()
    try:
        (found,) = batch.unpack(TP)
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()
    assert isinstance(found, Unreadable)


@pytest.mark.parametrize("delta", [2**31 - 1, -1, -(2**31)])
def test_a_last_offset_that_no_record_has_costs_neither_memory_nor_progress(delta: int) -> None:
    def claim(batch: bytearray) -> None:
        struct.pack_into(">i", batch, LAST_DELTA_AT, delta)

    batch = only(changed(packed([(None, b"a", ())], base=7), claim))
    found = batch.unpack(TP)
    assert [one.offset for one in found if isinstance(one, FetchedRecord)] == [7]
    assert batch.next_offset == 8 + max(0, delta)


@pytest.mark.parametrize("size", [2**32 - 1, 2**34])
def test_a_snappy_block_that_claims_gigabytes_is_not_unpacked(size: int) -> None:
    claim = bytes((size >> (7 * at)) & 0x7F | 0x80 for at in range(4)) + bytes([size >> 28 & 0x7F])
    (found,) = only(with_body(claim + b"abc", 2, 1)).unpack(TP)
    assert isinstance(found, Unreadable)
    assert "unpacks to more than" in found.reason


@given(ROWS, st.binary(min_size=1, max_size=4), st.integers(0, 2**16), st.sampled_from([0, 0, 1, 2, 3, 4]))
def test_whatever_bytes_are_changed_every_offset_is_accounted_for_once_and_in_order(
    rows: list[Row], noise: bytes, at: int, codec: int
) -> None:
    def damage(batch: bytearray) -> None:
        start = HEADER_BYTES + at % max(1, len(batch) - HEADER_BYTES)
        batch[start : start + len(noise)] = noise[: len(batch) - start]

    found = only(changed(packed(rows, codec, base=100), damage)).unpack(TP)
    ends = [(one.first, one.end) if isinstance(one, Unreadable) else (one.offset, one.offset + 1) for one in found]
    assert all(before[1] <= after[0] for before, after in pairwise(ends))
    assert all(100 <= first < end <= 100 + len(rows) for first, end in ends)


@given(st.binary(max_size=300))
def test_no_bytes_in_place_of_a_response_raise_an_error(message_set: bytes) -> None:
    for batch in split_batches(message_set):
        batch.unpack(TP)


def test_a_cut_off_last_batch_is_left_out() -> None:
    whole, other = packed([(None, b"a", ())]), packed([(None, b"b", ())], base=1)
    assert [batch.base_offset for batch in split_batches(whole + other[:-1])] == [0]


def test_records_of_the_old_formats_are_read() -> None:
    builder = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    builder.append(0, 5_000, b"key", b"value")
    batch = bytearray(builder.build())
    struct.pack_into(">q", batch, 0, 41)
    (record,) = only(bytes(batch)).unpack(TP)
    assert record == FetchedRecord(*TP, 41, 5_000, 0, b"key", b"value", ())
    batch[-1] ^= 1
    assert only(bytes(batch)).unpack(TP) == [Unreadable(41, 42, "its checksum is wrong")]


def old_wrapper(plain: bytes) -> bytes:
    """Return a message of format 1 that holds these bytes, compressed."""
    value = bytes(cramjam.gzip.compress(plain))
    body = struct.pack(">bbqii", 1, 1, 5_000, -1, len(value)) + value
    return struct.pack(">qiI", 7, 4 + len(body), zlib.crc32(body)) + body


@pytest.mark.parametrize(
    ("plain", "why"),
    [
        (bytes(LARGEST_UNPACKED_BYTES + 1), "unpacks to more"),
        (struct.pack(">qi", 0, -12) + bytes(40), "length is invalid"),
    ],
    ids=["too large", "endless"],
)
def test_what_an_old_format_compresses_has_the_same_limits(plain: bytes, why: str) -> None:
    """aiokafka unpacks any size, and looks for ever for the end of a message whose length is negative."""
    (found,) = only(old_wrapper(plain)).unpack(TP)
    assert isinstance(found, Unreadable)
    assert why in found.reason


def test_records_of_aborted_transactions_and_markers_are_left_out() -> None:
    log = [
        sent(0, transactional=False),
        sent(1, producer=7),
        sent(2, producer=8),
        marker(3, 7, abort=True),
        sent(4, producer=7),
        marker(5, 8, abort=False),
        marker(6, 7, abort=False),
        sent(7, producer=7),
        sent(8, producer=9),
        marker(9, 7, abort=True),
    ]
    kept = committed(split_batches(b"".join(log)), [(7, 1), (7, 7)])
    assert [batch.base_offset for batch in kept] == [0, 2, 4, 8]


def test_a_damaged_marker_ends_its_producers_transaction_as_a_sound_one_does() -> None:
    damaged = bytearray(marker(1, 7, abort=True))
    damaged[HEADER_BYTES] = 0x7F  # a negative length
    log = [sent(0, producer=7), signed(damaged), sent(2, producer=7)]
    assert [batch.base_offset for batch in committed(split_batches(b"".join(log)), [(7, 0)])] == [2]


def test_a_transaction_that_began_before_the_response_is_left_out_up_to_its_marker() -> None:
    log = [sent(10, producer=7), marker(11, 7, abort=True), sent(12, producer=7)]
    assert [batch.base_offset for batch in committed(split_batches(b"".join(log)), [(7, 3)])] == [12]


def test_a_batch_knows_its_size_and_the_offset_after_it() -> None:
    message_set = packed([(None, b"a", ())] * 5, base=30)
    batch = only(message_set)
    assert isinstance(batch, RecordBatch)
    assert (batch.size, batch.next_offset) == (len(message_set), 35)
