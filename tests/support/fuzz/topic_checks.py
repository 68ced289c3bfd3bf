"""Checks of what reads records of Kafka's topics: each takes any bytes, and raises only where a reader is at fault."""

import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import get_args

import msgspec
from aiokafka import TopicPartition
from opentelemetry.trace import get_current_span

from features.history.records import HASH_MASK, HASHES
from features.history.store import Entity
from features.redis.damage import DamagedHistory
from fraudstream.ops.repair.kept_letters import Originals, headers_of, read_letter
from fraudstream_client.validity import ValidScores, trace_of
from models.decline_cap import noted
from models.let_through import noted_totals
from shadow.comparison import read_comparison
from stream.contract.codes import Rejection
from stream.contract.fields import ORDINARY_VALUE_BYTES
from stream.contract.label import read_label
from stream.contract.transaction import Transaction, read_transaction
from stream.engine.unpacking import FetchedRecord, RecordBatch, Unreadable, committed, split_batches
from stream.kafka.client import LARGEST_OUTPUT_BYTES
from stream.positions.dead_letters import DeadLetter, LetterOrigin, Values
from stream.positions.offsets import Position, folded, parse_metadata
from stream.recovery.damage import EntitySearch
from stream.scoring.decode import decode, without_impassable_headers
from stream.telemetry.tracing import context_of, is_unsampled, traceparent_of, with_traceparent
from support.record_batches import HEADER_BYTES, signed
from support.stream_records import LATEST_MS

TP = TopicPartition("transactions", 3)
_LENGTH = struct.Struct(">i")
_MAGIC_AT, _LENGTH_AT, _BEHIND_LENGTH = 16, 8, 12
"""Where a batch of any format states its format and its length, which counts from `_BEHIND_LENGTH` on."""
_OLD_CRC = struct.Struct(">I")

Headers = Sequence[tuple[str, bytes | None]]


def check_record_batches(data: bytes) -> None:
    """Unpack a fetch response as it is, and with its checksums corrected: else no change would get past them."""
    for message_set in (data, resigned(data)):
        batches = split_batches(message_set)
        for batch in batches:
            found = [one for piece in batch.unpack(TP) for one in piece]
            ends = [
                (one.first, one.end) if isinstance(one, Unreadable) else (one.offset, one.offset + 1) for one in found
            ]
            assert batch.base_offset < batch.next_offset
            if isinstance(batch, RecordBatch):
                assert all(before[1] <= after[0] for before, after in pairwise(ends))
                assert all(batch.base_offset <= first < end <= batch.next_offset for first, end in ends)
        list(committed(batches, [(7, 0)]))


def resigned(message_set: bytes) -> bytes:
    """Correct the checksums of all batches, as far as they can be told apart."""
    batches, at = [], 0
    while at + HEADER_BYTES <= len(message_set):
        end = at + _BEHIND_LENGTH + _LENGTH.unpack_from(message_set, at + _LENGTH_AT)[0]
        if end <= at + _MAGIC_AT:
            break
        batch = bytearray(message_set[at:end])
        if len(batch) >= HEADER_BYTES and batch[_MAGIC_AT] >= 2:
            batches.append(signed(batch))
        else:
            _OLD_CRC.pack_into(batch, _BEHIND_LENGTH, zlib.crc32(batch[_MAGIC_AT:]))
            batches.append(bytes(batch))
        at = end
    return b"".join((*batches, message_set[at:]))


def check_transactions(data: bytes) -> None:
    """Decode a record, `key NUL value`, by both ways; what is refused becomes a dead letter that can be read back."""
    key, _, value = data.partition(b"\0")
    decoded = decode([_record(key, value)], 0, now_ms=LATEST_MS)
    for letter in decoded.dead:
        _check_letter(letter)
    read = read_transaction(value, key, LATEST_MS)
    again = read_transaction(value + b" " * ORDINARY_VALUE_BYTES, key, LATEST_MS)
    if isinstance(read, Rejection):
        assert isinstance(again, Rejection)
        assert not value or again.code == read.code
    else:
        assert again == read
        rewritten = read_transaction(msgspec.json.encode(read.transaction), key, LATEST_MS)
        assert not isinstance(rewritten, Rejection)
        assert (rewritten.transaction, rewritten.content) == (read.transaction, read.content)
        _check_found_again(read.transaction, _record(key, value))


def _check_found_again(transaction: Transaction, record: FetchedRecord) -> None:
    """Check that a payment is found by all its names when histories are rebuilt."""
    names = (Entity.CARD, transaction.card_id), (Entity.MERCHANT, transaction.merchant_id)
    wanted = [*names, *([(Entity.DEVICE, transaction.device_id)] if transaction.device_id is not None else [])]
    for kind, name in wanted:
        assert _search(kind, name).transactions([record]) == [record]


def _search(kind: Entity, name: str) -> EntitySearch:
    return EntitySearch([DamagedHistory(kind, HASHES[kind](name) & HASH_MASK, b"", 0)])


def check_labels(data: bytes) -> None:
    """Decode a record of the labels, `key NUL value`."""
    key, _, value = data.partition(b"\0")
    read = read_label(value, key, (1, 2))
    if not isinstance(read, Rejection):
        assert read.label.card_id.encode() == key
        record = _record(key, value)
        assert _search(Entity.CARD, read.label.card_id).labels([record]) == [record]


def check_headers(data: bytes) -> None:
    """Read a record's headers, `name:value` by line, and pass them on, with a trace and in a dead letter."""
    headers = _headers(data)
    record, _ = without_impassable_headers(_record(b"card-1", b"", headers))
    assert set(record.headers) <= set(headers)
    trace_of(record)
    if (parent := traceparent_of(headers)) is not None:
        is_unsampled(parent)
    context = context_of(headers)
    if context is not None:
        span = get_current_span(context).get_span_context()
        passed = context_of(with_traceparent(headers, span))
        assert passed is not None
        assert get_current_span(passed).get_span_context().span_id == span.span_id
    for letter in decode([_record(b"card-1", b"", headers)], 0).dead:
        _check_letter(letter)


def check_dead_letters(data: bytes) -> None:
    """Read a dead letter back, `headers NUL value`, list it, and plan to send its original again."""
    lines, _, value = data.partition(b"\0")
    headers = _headers(lines)
    letter = read_letter(_record(b"card-1", value, headers))
    if letter is None:
        return
    msgspec.json.encode((letter.facts(), letter.redacted))
    original = FetchedRecord(*letter.source, letter.timestamp_ms, 0, b"card-1", value, headers)
    originals = Originals([letter])
    originals.firsts(letter.source.topic)
    originals.add([original])
    for _, sent in originals.plan([letter.source.topic], lambda _: "", again=True).sent:
        headers_of(letter, sent)


def check_scores(data: bytes) -> None:
    """Read records of the topics of scores and comparisons, one by line, as the worker and as consumers do."""
    position, valid = Position(), ValidScores[FetchedRecord]()
    for offset, value in enumerate(data.split(b"\n")):
        record = FetchedRecord("scores", 0, offset, LATEST_MS, 0, None, value, ())
        position = folded(position, record)
        list(valid.of([record]))
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            read_comparison(value)
    assert position.scores_offset == data.count(b"\n") + 1
    assert _noted(parse_metadata(position.to_metadata(with_declines=True))) == _noted(position)


def check_commit_notes(data: bytes) -> None:
    """Read the metadata of a commit, which anyone who may commit for the group can write."""
    position = parse_metadata(data.decode("utf-8", "surrogateescape"))
    assert _noted(parse_metadata(position.to_metadata(with_declines=True))) == _noted(position)


def _noted(position: Position) -> tuple[object, ...]:
    """Return what a note says of a position."""
    return (*position[:3], *position[5:8], noted(position.declines), noted_totals(position.let_through))


def _check_letter(refused: DeadLetter) -> None:
    """Check that a dead letter fits into a record, and is read back, whatever it keeps."""
    for values in get_args(Values):
        kept = refused.to_record(LetterOrigin("blue", values=values))
        key, value, headers = kept.key, kept.value, kept.headers
        assert len(key or b"") + len(value or b"") + sum(len(one) for _, one in headers if one) <= LARGEST_OUTPUT_BYTES
        letter = read_letter(FetchedRecord("dead-letters", 0, 0, LATEST_MS, 0, key, value, headers))
        assert letter is not None
        assert (letter.source, letter.timestamp_ms, letter.deployment) == (("transactions", 3, 7), LATEST_MS, "blue")
        assert letter.has_value is (values == "redacted")


def _record(key: bytes | None, value: bytes | None, headers: Headers = ()) -> FetchedRecord:
    return FetchedRecord(*TP, 7, LATEST_MS, 0, key, value, headers)


def _headers(lines: bytes) -> list[tuple[str, bytes | None]]:
    pairs = [line.partition(b":") for line in lines.split(b"\n")]
    return [(name.decode("utf-8", "replace"), value if colon else None) for name, colon, value in pairs]
