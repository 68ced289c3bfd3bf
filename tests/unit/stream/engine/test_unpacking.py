"""Unpacking returns every record that can be told apart, and says of the others which offsets they are."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise

import cramjam
import pytest
from aiokafka import TopicPartition
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from stream.engine.decompression import LARGEST_UNPACKED_BYTES, decompress
from stream.engine.unpacking import (
    LARGEST_HEADER_COUNT,
    LARGEST_NAMED,
    AnyBatch,
    FetchedRecord,
    Unreadable,
    committed,
    split_batches,
)
from stream.errors import UnpacksToMoreError
from support.acceptance import cases
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


def told(found: Sequence[FetchedRecord | Unreadable]) -> list[tuple[int, str]]:
    """Return the offsets of damaged records without bytes, and what is said of each."""
    damaged = [one for one in found if isinstance(one, FetchedRecord) and one.value is None and one.key is None]
    assert len(damaged) == len(found)
    return [(one.offset, one.damage) for one in damaged]


def unpacked(batch: AnyBatch) -> list[FetchedRecord | Unreadable]:
    return [one for piece in batch.unpack(TP) for one in piece]


@given(ROWS, st.sampled_from(sorted(CODECS)), st.integers(0, 2**40))
def test_every_record_of_every_codec_is_returned_as_it_was_sent(rows: list[Row], codec: str, base: int) -> None:
    records = unpacked(only(packed(rows, CODECS[codec], base)))
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
    records = unpacked(only(with_body(packers[CODECS[codec]](body), CODECS[codec], len(rows))))
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
    first, second, third = unpacked(only(changed(packed(rows, base=50), damage)))
    assert isinstance(first, FetchedRecord)
    assert isinstance(second, FetchedRecord)
    assert isinstance(third, FetchedRecord)
    assert (first.value, first.damage, third.value, third.damage) == (b"first!", "", b"third!", "")
    assert (second.offset, second.timestamp, second.key, second.headers) == (51, 1_001, None, ())
    assert second.damage == "the record's structure is invalid: a field of 63 bytes exceeds it"
    assert b"second" in (second.value or b"")


def test_the_records_from_one_of_impossible_length_on_are_damaged_up_to_the_end_of_their_batch() -> None:
    rows: list[Row] = [(None, b"a", ()), (None, b"b", ()), (None, b"c", ())]
    batch = packed(rows, base=7)
    size = (len(batch) - HEADER_BYTES) // len(rows)

    def damage(copy: bytearray) -> None:
        copy[HEADER_BYTES + size] = 0x7F  # a negative length

    first, *rest = unpacked(only(changed(batch, damage)))
    assert isinstance(first, FetchedRecord)
    assert first.value == b"a"
    assert told(rest) == [(8, "a record's length is invalid"), (9, "a record's length is invalid")]


def test_a_wrong_checksum_makes_the_whole_batch_unreadable() -> None:
    batch = bytearray(packed([(None, b"a", ())] * 4, base=20))
    batch[-1] ^= 1
    assert unpacked(only(bytes(batch))) == [Unreadable(20, 24, "its checksum is wrong")]


@pytest.mark.parametrize("codec", [1, 2, 3, 4, 5, 7])
def test_bytes_that_no_codec_unpacks_are_as_many_damaged_records_as_the_header_counts(codec: int) -> None:
    found = told(unpacked(only(with_body(b"not compressed at all" * 5, codec, 3))))
    assert [offset for offset, _ in found] == [0, 1, 2]
    assert all(why.startswith("its batch cannot be unpacked: ") for _, why in found)


def test_a_header_that_counts_other_records_than_offsets_or_too_many_makes_the_batch_unreadable() -> None:
    (found,) = unpacked(only(with_body(b"not compressed at all" * 5, 4, 20_000)))
    assert isinstance(found, Unreadable)
    assert (found.first, found.end) == (0, 20_000)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_batch_that_unpacks_to_more_than_the_limit_is_damaged(codec: str) -> None:
    bomb = b"\0" * (LARGEST_UNPACKED_BYTES + 1)
    compress = cramjam.snappy.compress_raw if codec == "snappy" else getattr(cramjam, codec).compress
    found = unpacked(only(with_body(bytes(compress(bomb)), CODECS[codec], 1)))
    assert told(found) == [(0, f"its batch cannot be unpacked: it unpacks to more than {LARGEST_UNPACKED_BYTES} bytes")]


@pytest.mark.parametrize(
    "frame",
    [
        b"\x1f\x8b\x08" + bytes(20) + b"\xff\xff\xff\x7f",
        b"\x04\x22\x4d\x18\x68\x40" + (2**40).to_bytes(8, "little") + b"\0" * 8,
        b"\x28\xb5\x2f\xfd\xa0" + (2**31).to_bytes(4, "little") + bytes(8),
    ],
    ids=["gzip", "lz4", "zstd"],
)
def test_a_frame_that_states_more_than_the_limit_is_refused_before_anything_is_unpacked(frame: bytes) -> None:
    codec = {0x1F: 1, 0x04: 3, 0x28: 4}[frame[0]]
    with pytest.raises(UnpacksToMoreError):
        decompress(codec, frame)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_batch_larger_than_was_asked_for_is_not_unpacked_and_then_it_is(codec: str) -> None:
    batch = only(packed([(None, bytes(300_000), ())], CODECS[codec]))
    with pytest.raises(UnpacksToMoreError):
        batch.unpack(TP, 200_000)
    (record,) = unpacked(batch)
    assert isinstance(record, FetchedRecord)
    assert record.value == bytes(300_000)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_batch_that_unpacks_to_much_more_than_its_size_is_unpacked(codec: str) -> None:
    value = bytes(LARGEST_UNPACKED_BYTES // 4)
    (record,) = unpacked(only(packed([(None, value, ())], CODECS[codec])))
    assert isinstance(record, FetchedRecord)
    assert record.value == value


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_damaged_compressed_bytes_are_not_unpacked_again_into_larger_and_larger_buffers(codec: str) -> None:
    batch = only(with_body(b"not compressed at all" * 5, CODECS[codec], 3))
    tracemalloc.start()
    try:
        found = unpacked(batch)
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()
    assert len(told(found)) == 3


MIB = 1024 * 1024
LONG = b"v" * 300 * 1024
"""A value that makes its record too long for aiokafka to read it before its headers are counted."""


def peak(batch: AnyBatch) -> tuple[list[FetchedRecord | Unreadable], int]:
    """Return the first piece of a batch, and how many bytes it took to unpack it."""
    tracemalloc.start()
    try:
        piece = next(iter(batch.unpack(TP)))
        return list(piece), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", [b"{}", LONG], ids=["read by aiokafka", "read one by one"])
@pytest.mark.parametrize("more", [0, 1, 20, 21, 500])
def test_the_first_thousand_headers_are_read_and_the_others_are_named_or_counted(value: bytes, more: int) -> None:
    headers = [(f"h{at}", b"%d" % at) for at in range(LARGEST_HEADER_COUNT + more)]
    rows: list[Row] = [(b"k", b"first", ()), (b"k", value, headers), (b"k", b"last", [("a", b"1")])]
    first, many, last = unpacked(only(packed(rows, base=5)))
    assert (first, last) == (
        FetchedRecord(*TP, 5, 1_000, 0, b"k", b"first", ()),
        FetchedRecord(*TP, 7, 1_002, 0, b"k", b"last", (("a", b"1"),)),
    )
    unread = [name for name, _ in headers[LARGEST_HEADER_COUNT:]]
    names, counted = tuple(unread[:LARGEST_NAMED]), len(unread[LARGEST_NAMED:])
    kept = tuple(headers[:LARGEST_HEADER_COUNT])
    assert many == FetchedRecord(*TP, 6, 1_001, 0, b"k", value, kept, names, counted)


def test_headers_that_are_no_text_count_among_the_first_thousand() -> None:
    headers: list[tuple[str, bytes | None]] = [("Odd", b"")] * 30 + [("even", b"")] * LARGEST_HEADER_COUNT
    batch = packed([(b"k", LONG, headers)])
    (record,) = unpacked(only(changed(batch, lambda plain: plain.__setitem__(plain.index(b"Odd"), 0xFF))))
    assert isinstance(record, FetchedRecord)
    assert len(record.headers) == LARGEST_HEADER_COUNT - 1
    assert (record.left_out[0], len(record.left_out), record.left_out_more) == ("\\xffdd", 20, 11)


@pytest.mark.parametrize("count", cases([120_000, 4_000_000], [120_000]))
def test_a_record_of_millions_of_empty_headers_takes_the_memory_of_a_thousand(count: int) -> None:
    batch = only(packed([(b"k", b"{}", [("", None)] * count)], CODECS["gzip"]))
    (record,), taken = peak(batch)
    assert isinstance(record, FetchedRecord)
    assert len(record.headers) == LARGEST_HEADER_COUNT
    assert len(record.left_out) + record.left_out_more == count - LARGEST_HEADER_COUNT
    assert taken < 4 * 2 * count + 16 * MIB


def test_a_batch_of_many_records_with_many_headers_each_is_unpacked_piece_by_piece() -> None:
    rows: list[Row] = [(b"k", b"{}", [("", None)] * LARGEST_HEADER_COUNT)] * 1_500
    batch = only(packed(rows, CODECS["gzip"]))
    _, taken = peak(batch)
    assert taken < 24 * MIB
    assert [one.offset for one in unpacked(batch) if isinstance(one, FetchedRecord)] == list(range(1_500))


@pytest.mark.parametrize("damaged", [0, 1_000, 2_999])
def test_a_damaged_record_in_a_batch_of_several_pieces_costs_only_itself(damaged: int) -> None:
    rows: list[Row] = [(b"k", b"value-%06d" % at + b"." * 100, ()) for at in range(3_000)]

    def damage(batch: bytearray) -> None:
        batch[batch.index(b"value-%06d" % damaged) - 1] = 0x7F  # a negative length, which leaves its bytes over

    found = unpacked(only(changed(packed(rows), damage)))
    assert [one.offset for one in found if isinstance(one, FetchedRecord)] == list(range(3_000))
    assert [one.offset for one in found if isinstance(one, FetchedRecord) and one.damage] == [damaged]


def test_a_batch_of_the_old_format_has_a_largest_number_of_records() -> None:
    message = struct.pack(">bbqii", 1, 0, 5_000, -1, 1) + b"x"
    plain = struct.pack(">qiI", 0, 4 + len(message), zlib.crc32(message)) + message
    (found,) = unpacked(only(old_wrapper(plain * 100_001)))
    assert isinstance(found, Unreadable)
    assert "it holds 100001 records" in found.reason
    assert len(unpacked(only(old_wrapper(plain * 1_000)))) == 1_000


@pytest.mark.parametrize("delta", [2**31 - 1, -1, -(2**31)])
def test_a_last_offset_that_no_record_has_costs_neither_memory_nor_progress(delta: int) -> None:
    def claim(batch: bytearray) -> None:
        struct.pack_into(">i", batch, LAST_DELTA_AT, delta)

    batch = only(changed(packed([(None, b"a", ())], base=7), claim))
    found = unpacked(batch)
    assert [one.offset for one in found if isinstance(one, FetchedRecord)] == [7]
    assert batch.next_offset == 8 + max(0, delta)


@pytest.mark.parametrize("size", [2**32 - 1, 2**34])
def test_a_snappy_block_that_claims_gigabytes_is_not_unpacked(size: int) -> None:
    claim = bytes((size >> (7 * at)) & 0x7F | 0x80 for at in range(4)) + bytes([size >> 28 & 0x7F])
    ((_, why),) = told(unpacked(only(with_body(claim + b"abc", 2, 1))))
    assert "unpacks to more than" in why


@given(ROWS, st.binary(min_size=1, max_size=4), st.integers(0, 2**16), st.sampled_from([0, 0, 1, 2, 3, 4]))
def test_whatever_bytes_are_changed_every_offset_is_accounted_for_once_and_in_order(
    rows: list[Row], noise: bytes, at: int, codec: int
) -> None:
    def damage(batch: bytearray) -> None:
        start = HEADER_BYTES + at % max(1, len(batch) - HEADER_BYTES)
        batch[start : start + len(noise)] = noise[: len(batch) - start]

    found = unpacked(only(changed(packed(rows, codec, base=100), damage)))
    ends = [(one.first, one.end) if isinstance(one, Unreadable) else (one.offset, one.offset + 1) for one in found]
    assert all(before[1] <= after[0] for before, after in pairwise(ends))
    assert all(100 <= first < end <= 100 + len(rows) for first, end in ends)


@given(st.binary(max_size=300))
def test_no_bytes_in_place_of_a_response_raise_an_error(message_set: bytes) -> None:
    for batch in split_batches(message_set):
        unpacked(batch)


def test_a_cut_off_last_batch_is_left_out() -> None:
    whole, other = packed([(None, b"a", ())]), packed([(None, b"b", ())], base=1)
    assert [batch.base_offset for batch in split_batches(whole + other[:-1])] == [0]


def test_records_of_the_old_formats_are_read() -> None:
    builder = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    builder.append(0, 5_000, b"key", b"value")
    batch = bytearray(builder.build())
    struct.pack_into(">q", batch, 0, 41)
    (record,) = unpacked(only(bytes(batch)))
    assert record == FetchedRecord(*TP, 41, 5_000, 0, b"key", b"value", ())
    batch[-1] ^= 1
    assert unpacked(only(bytes(batch))) == [Unreadable(41, 42, "its checksum is wrong")]


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
    (found,) = unpacked(only(old_wrapper(plain)))
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
