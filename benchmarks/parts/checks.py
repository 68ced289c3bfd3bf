"""Nanoseconds a byte of each check of bytes from outside, for the worst input that is known, at two sizes.

An input repeats a unit within a frame. What takes longer for each byte the more bytes there are is not linear: whoever
may write to a topic could stop a worker with one record. `search` looks for units that are worse than those listed.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import msgspec
import numpy as np
from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from fraudstream_client.field_types import Token
from fraudstream_client.validity import ValidScores, trace_of
from models.command_decoder import LARGEST_COMMAND_BYTES, read_command
from models.commands import read_event
from models.errors import InvalidTimeError
from models.times import parse_time_ms
from stream.contract.codes import DeadLetterCode
from stream.contract.fields import ORDINARY_VALUE_BYTES
from stream.contract.label import read_label
from stream.contract.transaction import read_transaction
from stream.engine.unpacking import RecordBatch
from stream.positions.dead_letters import DeadLetter, LetterOrigin
from stream.positions.offsets import parse_metadata
from stream.redaction import holds_card_number, redact, redact_beginning, redact_headers, redact_thoroughly, shown
from stream.scan import FetchedRecord
from stream.scoring.decode import without_impassable_headers
from stream.telemetry.tracing import context_of

SMALL, LARGE = 64 * 1024, 1024 * 1024
LEAST_RATIO = 4.0
"""Caches make a byte of a large input up to twice as dear; with quadratic work it is 16 times as dear."""

_HEADER_BYTES = 250
_TRACEPARENT = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
_KEY = b"card-1"
_PAYMENT = (
    b'{"transaction_id":"t-1","merchant_id":"merchant-1","occurred_at":"2026-01-31T12:00:00.123Z","amount_minor":1250,'
    b'"currency":"EUR"'
)
_LABEL = b'{"transaction_id":"t-1","fraud":true,"labelled_at":"2026-02-01T00:00:00Z","reported_by":"customer"'
_COMMAND = (
    b'{"command_id":"c","deployment":"d","expected_revision":1,"actor":"a","issued_at":"2026-01-01T00:00:00Z",'
    b'"expires_at":"2026-01-02T00:00:00Z"'
)
_SCORE = b'{"schema":"score/1","transaction_id":"t","card_id":"c","merchant_id":"m"'

Frame = tuple[bytes, bytes]
"""What stands before and behind the repeated unit."""

_BARE: Frame = (b"", b"")

DIGITS = (
    b"5-",
    b"55-",
    b"34-34",
    b"4",
    b"4532015112830366,",
    b"4532015112830366 ",
    b"1234567890123,",
    rb"\u0035\u002d",
    rb"\u0035",
    rb"\u00b0",
    b"x",
    b"- ",
    b"4" + b"-" * 99,
)
"""Units for searches of card numbers."""

VALUES = (
    b"[],",
    b"{},",
    b"[[[[]]]],",
    b"[" * 400 + b"]" * 400 + b",",
    b'{"":[{"":{}}]},',
    b"[",
    b'"[",',
    b'"\xc3\xa9",',
    rb'"\u0100",',
    b"1,",
    b"9" * 4_300 + b",",
    b"2e-308,",
    b"2.2250738585072011e-308,",
    b"1.00000000000000011102230246251565404236316680908203125,",
    b"1e400,",
    b" ",
)
"""Units that are JSON values, or begin one."""

MEMBERS = (
    b'"%x":1,',
    b'"%x":{},',
    b'"a":1,',
    b'"amount_minor":1,',
    b'"":2e-308,',
    b'"latitude":2e-308,',
    b'"a":[[[]]],',
)
"""Units that are members of a JSON object; `%x` is replaced by a number that rises."""

TEXTS = (*DIGITS, b"\\n", rb"\"", b"\\\\", b"\xff", b"\xf0\x9f\x92\xb3", b"1", b",", b"=", b"a=1,", b" \t", b"Z", b"\n")
"""Units for texts and bytes of any kind."""


class Check(NamedTuple):
    """A check: what reads the bytes, and the frames and units of its inputs; it accepts no more than `largest`."""

    name: str
    run: Callable[[bytes], object]
    inputs: "Inputs"
    largest: int = LARGE


class CheckLine(NamedTuple):
    """The worst input of a check, and its nanoseconds a byte at two sizes."""

    check: str
    worst: str
    small_bytes: int
    large_bytes: int
    small_ns: float
    large_ns: float

    @property
    def ratio(self) -> float:
        """How much dearer a byte of a large input is."""
        return self.large_ns / self.small_ns

    @property
    def is_linear(self) -> bool:
        """Whether the time is proportional to the size, as far as a measurement can tell."""
        return self.ratio < LEAST_RATIO


def filled(repeated: tuple[Frame, bytes], size: int) -> bytes:
    """Return an input of about `size` bytes that repeats a unit in a frame."""
    frame, unit = repeated
    count = max(1, (size - len(frame[0]) - len(frame[1])) // len(unit))
    body = b"".join(unit % at for at in range(count)) if b"%x" in unit else unit * count
    return frame[0] + body + frame[1]


Inputs = tuple[tuple[Sequence[Frame], Sequence[bytes]], ...]


def _json(sound: bytes, *texts: bytes) -> Inputs:
    """Return the inputs of a record: in an unknown field, as members, and in fields that are texts."""
    lists = [(sound + b',"%b":[' % name, b"1]}") for name in (b"x", texts[0])]
    fields = [(sound + b',"%b":"' % name, b'"}') for name in (b"x", *texts)]
    members = [(b"{", sound[1:] + b"}")]
    return (lists, VALUES), (members, MEMBERS), (fields, TEXTS), ([_BARE, (b"[", b"")], (*VALUES, *TEXTS))


def _record(value: bytes = b"{}", key: bytes = _KEY, headers: Sequence[tuple[str, bytes]] = ()) -> FetchedRecord:
    return FetchedRecord("transactions", 0, 0, 0, 0, key, value, headers)


def _headers(data: bytes, name: str = "h") -> list[tuple[str, bytes]]:
    return [(name, data[at : at + _HEADER_BYTES]) for at in range(0, len(data), _HEADER_BYTES)]


def _parse_time(data: bytes) -> object:
    try:
        return parse_time_ms(data.decode("latin-1"))
    except InvalidTimeError:
        return None


def _match_token(data: bytes) -> object:
    try:
        return msgspec.convert(data.decode("latin-1"), Token)
    except msgspec.ValidationError:
        return None


def _dead_letter(data: bytes) -> object:
    third = len(data) // 3
    record = _record(data[:third], data[third : 2 * third], _headers(data[2 * third :]))
    return DeadLetter(record, DeadLetterCode.NOT_JSON, "why").to_record(LetterOrigin(values="redacted"))


@cache
def _batch_of_headers(count: int) -> RecordBatch:
    """Return a batch of one record with so many empty headers."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 4 * LARGE)
    builder.append(0, 0, _KEY, b"{}", [("", None)] * count)
    return RecordBatch(bytes(builder.build()))


_ANY: Inputs = (([_BARE, (b"4" * 13, b"")], (*TEXTS, *VALUES)),)
_SIZE: Inputs = (([_BARE], (b"x",)),)

CHECKS = (
    Check(
        "a transaction",
        lambda data: read_transaction(data, _KEY, 2**50),
        _json(_PAYMENT, b"card_id", b"occurred_at", b"channel"),
    ),
    Check(
        "an ordinary transaction",
        lambda data: read_transaction(data, _KEY, 2**50),
        _json(_PAYMENT, b"card_id", b"occurred_at", b"channel"),
        ORDINARY_VALUE_BYTES,
    ),
    Check("a transaction's key", lambda data: read_transaction(_PAYMENT + b',"card_id":"card-1"}', data, 2**50), _ANY),
    Check(
        "a label",
        lambda data: read_label(data, _KEY, (0, 0)),
        _json(_LABEL, b"card_id", b"reported_by", b"fraud_type"),
    ),
    Check("a command", read_command, _json(_COMMAND, b"kind", b"reason", b"model", b"schema"), LARGEST_COMMAND_BYTES),
    Check("an event", read_event, _json(b'{"schema":"event/1"', b"kind", b"at")),
    Check(
        "a score",
        lambda data: list(ValidScores[FetchedRecord]().of([_record(data)])),
        (*_json(_SCORE, b"band", b"decision"), ([(_SCORE + b',"features":{', b"}}")], MEMBERS)),
    ),
    Check("a commit's metadata", lambda data: parse_metadata(data.decode("latin-1")), _ANY),
    Check("a time", _parse_time, (([(b"2026-01-31T12:00:00.", b"Z"), _BARE], TEXTS),)),
    Check("a token", _match_token, _ANY),
    Check("a search for card numbers", lambda data: holds_card_number(data.decode("latin-1")), _ANY),
    Check("a redaction", redact, _ANY),
    Check("redactions of 250 bytes each", lambda data: [redact(value) for _, value in _headers(data)], _ANY),
    Check("a redaction of a beginning", lambda data: redact_beginning(data, len(data) - 1), _ANY),
    Check("a thorough redaction", lambda data: redact_thoroughly(data, len(data) - 1), _ANY),
    Check("a redaction of headers", lambda data: redact_headers(_headers(data)), _ANY),
    Check("a redaction of empty headers", lambda data: redact_headers([("", b"")] * (len(data) // 3)), _SIZE),
    Check(
        "a record of empty headers",
        lambda data: list(_batch_of_headers(len(data) // 2).unpack(TopicPartition("transactions", 0))),
        _SIZE,
    ),
    Check("headers that are passed on", lambda data: without_impassable_headers(_record(headers=_headers(data))), _ANY),
    Check(
        "many headers that are not passed on",
        lambda data: without_impassable_headers(_record(headers=[("", b"")] * len(data))),
        _SIZE,
    ),
    Check("a value shown in a message", shown, _ANY),
    Check("a dead letter", _dead_letter, _ANY),
    Check("a trace context in headers", lambda data: context_of([_TRACEPARENT, *_headers(data, "tracestate")]), _ANY),
    Check("trace headers of a score", lambda data: trace_of(_record(headers=_headers(data, "tracestate"))), _ANY),
)


def inputs(check: Check) -> Iterator[tuple[Frame, bytes]]:
    """Yield the frames and units of a check's inputs."""
    for frames, units in check.inputs:
        yield from product(frames, units)


def measure(check: Check, sizes: tuple[int, int] = (SMALL, LARGE)) -> CheckLine:
    """Return the worst input of a check, by its time at the larger size or at what the check accepts."""
    small, large = (min(size, check.largest) for size in sizes)
    if small == large:
        small = large // 16
    worst = max(inputs(check), key=lambda one: nanoseconds(check, filled(one, large), 3))
    return CheckLine(
        check.name,
        _told(*worst),
        small,
        large,
        nanoseconds(check, filled(worst, small), 5),
        nanoseconds(check, filled(worst, large), 3),
    )


def nanoseconds(check: Check, data: bytes, rounds: int) -> float:
    """Return the nanoseconds of this thread for each byte, in the fastest of some rounds."""
    fastest = float("inf")
    for _ in range(rounds):
        began = time.thread_time_ns()
        check.run(data)
        fastest = min(fastest, time.thread_time_ns() - began)
    return fastest / len(data)


def _told(frame: Frame, unit: bytes) -> str:
    """Show a frame's last field and a unit."""
    field = re.search(rb'("\w+":)["\[{]$', frame[0])
    text = re.sub(r"(.)\1{9,}", r"\1..", unit.decode("latin-1"), flags=re.DOTALL)
    return f"{field[1].decode() if field else ''}{text.encode('unicode_escape').decode()}…"


# --- the search for worse inputs

_PIECES = (*VALUES, *MEMBERS, *TEXTS, *(bytes([byte]) for byte in b'09\\"{}]:e-.37'))
_SEARCH_BYTES = 16 * 1024


def search(check: Check, seconds: float, seed: int = 0) -> tuple[str, float]:
    """Look for the unit with the highest time for each byte, by changing the best one at random for some seconds."""
    random = np.random.default_rng(seed)
    frames = [frame for some, _ in check.inputs for frame in some]
    size = min(_SEARCH_BYTES, check.largest)
    best = max(inputs(check), key=lambda one: nanoseconds(check, filled(one, size), 2))
    found = nanoseconds(check, filled(best, size), 5)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        frame = frames[random.integers(len(frames))] if random.random() < 0.2 else best[0]  # noqa: PLR2004
        changed = (frame, _changed(best[1], random))
        cost = nanoseconds(check, filled(changed, size), 2)
        if cost > found * 1.05 and (cost := nanoseconds(check, filled(changed, size), 5)) > found * 1.05:
            best, found = changed, cost
    return _told(*best), found


def _changed(unit: bytes, random: np.random.Generator) -> bytes:
    """Insert a piece into a unit, or cut some bytes out."""
    at, piece = random.integers(len(unit) + 1), _PIECES[random.integers(len(_PIECES))]
    removed = random.integers(4)
    changed = unit[:at] + piece * random.integers(3) + unit[at + removed :]
    return changed.replace(b"%", b"") or piece.replace(b"%", b"")
