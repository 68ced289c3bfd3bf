"""Dead letters as they are kept: what was refused and why; and which of their originals can be sent again.

The producer's own headers come first in a dead letter, so of several with one name the last is the worker's.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from models.errors import InvalidTimeError
from models.times import format_time
from stream.contract.codes import DeadLetterCode
from stream.engine.unpacking import LARGEST_HEADER_COUNT
from stream.positions.dead_letters import AMOUNT, TRANSACTION, TRUNCATED, VALUES, Content
from stream.positions.letters import read_letter_place
from stream.readers import UNREADABLE
from stream.redaction import MASK, redact, redact_headers, redact_text
from stream.scan import FetchedRecord, Record

REDRIVEN_FROM = "redriven-from"
"""The header of a record that was sent again: topic, partition and offset of its original, separated by colons."""

_LONGEST_ID = 128
_INTEGER = re.compile(r"-?[0-9]{1,19}")


class OriginalPlace(NamedTuple):
    """The position of an input record."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """Return it as the header `redriven-from` holds it."""
        return ":".join(map(str, self))


class KeptLetter(NamedTuple):
    """A dead letter; `timestamp_ms` is that of the record that was refused, ids are None if they cannot be read.

    `log` is the number of the topic's log in which its original was. One without `has_value` does not keep the value;
    `amount` is the currency and the amount that it states then.
    """

    record: Record
    code: str
    detail: str
    source: OriginalPlace
    timestamp_ms: int
    deployment: str
    truncated: str
    transaction_id: str | None
    card_id: str | None
    log: int = 0
    has_value: bool = True
    amount: tuple[str, int] | None = None

    @property
    def redacted(self) -> bool:
        """Whether a part of it was replaced."""
        texts = [self.record.value or b"", self.record.key or b"", *(value or b"" for _, value in self.record.headers)]
        return any(MASK in text for text in texts)

    def named(self, names: Collection[str]) -> bool:
        """Tell whether one of these is its transaction or the place of its original."""
        return self.transaction_id in names or str(self.source) in names

    def facts(self) -> dict[str, Any]:
        """Return what the list shows of it."""
        return {
            "code": self.code,
            "detail": self.detail,
            **self.source._asdict(),
            "log": self.log,
            "time": _time_text(self.timestamp_ms),
            "transaction_id": self.transaction_id,
            "card_id": self.card_id,
            "deployment": self.deployment,
        }


def _time_text(timestamp_ms: int) -> str:
    """Format a record's timestamp; as a number where it is no time, such as one in nanoseconds."""
    try:
        return format_time(timestamp_ms)
    except InvalidTimeError:
        return str(timestamp_ms)


def read_letter(record: Record) -> KeptLetter | None:
    """Read a record of `dead-letters`; None if no worker wrote it."""
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    numbers = [headers.get(f"source.{name}", "") for name in ("partition", "offset", "timestamp")]
    if not all(map(_INTEGER.fullmatch, numbers)):
        return None
    partition, offset, timestamp_ms = map(int, numbers)
    has_value = headers.get(VALUES) != "none"
    ids = _ids(record.value) if has_value else _stated_ids(headers.get(TRANSACTION), record.key)
    return KeptLetter(
        record,
        headers.get("error.code", ""),
        headers.get("error.detail", ""),
        OriginalPlace(headers.get("source.topic", ""), partition, offset),
        timestamp_ms,
        headers.get("deployment", ""),
        headers.get(TRUNCATED, ""),
        ids.get("transaction_id"),
        ids.get("card_id"),
        0 if (place := read_letter_place(record)) is None else place.log,
        has_value,
        _amount(headers.get(AMOUNT, "")),
    )


def _stated_ids(transaction_id: str | None, key: bytes | None) -> Mapping[str, str | None]:
    """Return the ids that a letter without a value states: its key is that of its record."""
    return {"transaction_id": transaction_id, "card_id": key.decode("utf-8", "replace") if key else None}


def _amount(text: str) -> tuple[str, int] | None:
    currency, _, amount = text.partition(" ")
    return (currency, int(amount)) if _INTEGER.fullmatch(amount) else None


def _ids(value: bytes | None) -> Mapping[str, str]:
    """Return the ids of a transaction or a label, redacted, as far as they can be read."""
    try:
        found = msgspec.json.decode(value or b"")
    except UNREADABLE:
        return {}
    named = found if isinstance(found, dict) else {}
    return {
        name: redact_text(text)
        for name in ("transaction_id", "card_id")
        if isinstance(text := named.get(name), str) and len(text) <= _LONGEST_ID
    }


class Redrive(NamedTuple):
    """The plan: originals to send, with their letters; letters sent again before; refused letters, and why."""

    sent: list[tuple[KeptLetter, FetchedRecord]]
    before: list[KeptLetter]
    refused: list[tuple[KeptLetter, str]]


class Originals:
    """Collects the originals of letters, and the places of originals that were sent again, from their topics."""

    def __init__(self, letters: Iterable[KeptLetter]) -> None:
        self.letters = {letter.source: letter for letter in letters}  # a letter may be kept twice
        self._found: dict[OriginalPlace, FetchedRecord] = {}
        self._places = {str(place): place for place in self.letters}
        self._copies: dict[OriginalPlace, set[Content]] = {}

    def firsts(self, topic: str) -> Mapping[int, int]:
        """Return, by partition of a topic, the offset from which it is read: nothing is sent again before it."""
        places = [place for place in self.letters if place.topic == topic]
        return {
            partition: min(place.offset for place in places if place.partition == partition)
            for partition in {place.partition for place in places}
        }

    def add(self, records: Iterable[FetchedRecord]) -> None:
        """Add records of a source topic."""
        for record in records:
            place = OriginalPlace(record.topic, record.partition, record.offset)
            if place in self.letters:
                self._found[place] = record
            for name, value in record.headers:
                if name == REDRIVEN_FROM and (named := self._places.get((value or b"").decode("utf-8", "replace"))):
                    self._copies.setdefault(named, set()).add((record.key, record.value))

    def of(self, letter: KeptLetter) -> FetchedRecord | None:
        """Return a letter's original; None if it is gone, or has another timestamp."""
        found = self._found.get(letter.source)
        return found if found is not None and found.timestamp == letter.timestamp_ms else None

    def _is_sent(self, letter: KeptLetter) -> bool:
        """Tell whether a record names a letter's original, and is the same: any producer may set that header."""
        copies = self._copies.get(letter.source, ())
        if letter.source not in self._found and not letter.has_value:
            return bool(copies)  # nothing is left to compare them with
        original = self._found.get(letter.source, letter.record)
        return (original.key, original.value) in copies

    def plan(self, topics: Sequence[str], why_void: Callable[[KeptLetter], str], *, again: bool) -> Redrive:
        """Decide what is sent to these topics; `again` sends also what was sent before.

        `why_void` returns why a letter is no verdict on its original; empty if it is one.
        """
        plan = Redrive([], [], [])
        for place, letter in self.letters.items():
            original = self._found.get(place)
            foreign = "" if place.topic in topics else f"{place.topic} is not a topic of this deployment"
            why = foreign or _refusal(letter, original) or why_void(letter)
            if self._is_sent(letter) and not again:
                plan.before.append(letter)
            elif original is None or why:
                plan.refused.append((letter, why))
            else:
                plan.sent.append((letter, original))
        return plan


def _refusal(letter: KeptLetter, original: FetchedRecord | None) -> str:
    """Return why a letter's original is not sent again; empty if it is."""
    if letter.code == DeadLetterCode.CARD_NUMBER:
        return "it holds a card number"
    if original is None:
        return "its original is gone"
    if original.damage:
        return "its original cannot be unpacked"
    texts = [original.value or b"", original.key or b""]
    if any(redact(text) is not text for text in texts) or redact_headers(original.headers) is not original.headers:
        return "it holds a card number"
    is_same = letter.truncated or not letter.has_value or (letter.record.value or b"") == (original.value or b"")
    if original.timestamp != letter.timestamp_ms or not is_same:
        return "another record is at its place now"
    return ""


def headers_of(letter: KeptLetter, original: FetchedRecord) -> list[tuple[str, bytes | None]]:
    """Return the headers with which an original is sent again: its own, and where it was, which must be read again."""
    own = [(name, value) for name, value in original.headers if name != REDRIVEN_FROM]
    return [*own[: LARGEST_HEADER_COUNT - 1], (REDRIVEN_FROM, str(letter.source).encode())]
