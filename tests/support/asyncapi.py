"""Records held against an AsyncAPI document: which of its messages they are, and what is wrong with them."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from jsonschema import Draft7Validator

Document = Mapping[str, Any]


class WrittenRecord(Protocol):
    """The fields of a record that are looked at, as aiokafka's have them."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Read(NamedTuple):
    """A record as the document describes one: text headers, a text key, and the value as JSON, or as base64."""

    headers: Mapping[str, str | None]
    key: str | None
    payload: Any

    @classmethod
    def of(cls, record: WrittenRecord) -> "Read":
        """Read a record; of several headers of one name the last counts."""
        headers = {name: None if value is None else value.decode("utf-8", "replace") for name, value in record.headers}
        key = None if record.key is None else record.key.decode("utf-8", "replace")
        return cls(headers, key, _payload(record.value))


def _payload(value: bytes | None) -> Any:
    try:
        return None if value is None else json.loads(value)
    except ValueError:
        return base64.b64encode(value or b"").decode()


class Conformance:
    """Tells of records by a document, and notes which headers each message was seen with."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._messages = {one["address"]: list(one["messages"]) for one in document["channels"].values()}
        self._checks = {name: self._check_of(message) for name, message in document["components"]["messages"].items()}
        self.seen: dict[str, set[str]] = {}

    def _check_of(self, message: Document) -> Mapping[str, Draft7Validator]:
        parts = {
            "headers": message["headers"],
            "payload": message["payload"],
            "key": message["bindings"]["kafka"]["key"],
        }
        components = {"components": self._document["components"]}
        for schema in parts.values():
            Draft7Validator.check_schema(schema)
        return {name: Draft7Validator({**schema, **components}) for name, schema in parts.items()}

    def problems(self, message: str, read: Read) -> Iterator[str]:
        """Yield what is wrong with a record, if it is to be this message; a key may be absent in dead letters."""
        checks = self._checks[message]
        parts = {"headers": read.headers, "payload": read.payload}
        if read.key is not None or message != "deadLetter":
            parts["key"] = read.key
        for part, value in parts.items():
            for error in checks[part].iter_errors(value):
                yield f"{part} {error.json_path}: {error.message[:200]}"

    def message_of(self, record: WrittenRecord) -> str:
        """Return which message a record is.

        Raises:
            AssertionError: it is none of those of its topic, or the topic is none of the document.
        """
        assert record.topic in self._messages, f"{record.topic} is not in the document"
        read, found = Read.of(record), dict[str, list[str]]()
        for message in self._messages[record.topic]:
            found[message] = list(self.problems(message, read))
            if not found[message]:
                self.seen.setdefault(message, set()).update(read.headers)
                return message
        raise AssertionError(f"{record.topic}: {read} is no message of the document: {found}")

    def named_headers(self) -> dict[str, set[str]]:
        """Return the headers that the document names, by message."""
        messages = self._document["components"]["messages"]
        return {name: set(message["headers"]["properties"]) for name, message in messages.items()}

    def unseen(self, messages: Iterable[str]) -> set[tuple[str, str]]:
        """Return the headers of some messages that the document names and no record had."""
        named = self.named_headers()
        return {(one, header) for one in messages for header in named[one] - self.seen.get(one, set())}
