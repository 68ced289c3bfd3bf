"""The port to the traces of what is no batch: a command's steps, and records on their way out.

`stream.telemetry` keeps these promises with OpenTelemetry; without it, a trace that something came with is passed on.
Nothing here makes a span.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from stream.kafka.publisher import Headers

AttributeName = Literal[
    "db.operation.batch.size",
    "db.operation.name",
    "db.system.name",
    "error.type",
    "fraudstream.batch.size",
    "fraudstream.command.outcome",
    "fraudstream.decided_by",
    "fraudstream.decision",
    "fraudstream.degraded",
    "fraudstream.model.digest",
    "fraudstream.outcome",
    "fraudstream.problems",
    "fraudstream.revision",
    "fraudstream.worker",
    "messaging.batch.message_count",
    "messaging.consumer.group.name",
    "messaging.destination.name",
    "messaging.destination.partition.id",
    "messaging.kafka.offset",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.system",
    "server.address",
]

"""Names are those of OpenTelemetry's semantic conventions for messaging, databases and errors where they have one. None
holds a payment, a card, a token, a key or a text that quotes one."""

Attributes = dict[AttributeName, str | int | tuple[str, ...]]


def kafka_attributes(operation: Literal["process", "send"], topic: str) -> Attributes:
    """Say what is done with a topic."""
    return {
        "messaging.system": "kafka_attributes",
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
        "messaging.destination.name": topic,
    }


def sent_attributes(topic: str, partition: int, offset: int | None = None) -> Attributes:
    """Say where a record went; its offset only once the broker has told it."""
    said = kafka_attributes("send", topic) | {"messaging.destination.partition.id": str(partition)}
    return said if offset is None else said | {"messaging.kafka.offset": offset}


class OperationTrace(Protocol):
    """Something that is done once, seen by tracing. One of `done` and `failed` ends it."""

    @property
    def headers(self) -> Headers:
        """What its own messages carry: what it came with, its trace continued where it is sampled."""
        ...

    def done(self, attributes: Attributes) -> None:
        """Hear what came of it."""
        ...

    def failed(self, error: str) -> None:
        """Hear that it came to nothing, by an error's class or a code."""
        ...


class OperationTracing(Protocol):
    """Begins steps."""

    def begin(self, name: str, parent_headers: Headers = (), start_ns: int | None = None) -> OperationTrace:
        """Begin a step, now or at an earlier moment; one that came with no context begins a trace, if it is sampled."""
        ...


@dataclass(frozen=True, slots=True)
class UntracedOperation:
    """A step that nobody sees: a trace that it came with goes on behind it."""

    headers: Headers

    def done(self, attributes: Attributes) -> None:
        """Say nothing."""

    def failed(self, error: str) -> None:
        """Say nothing."""


class NoOperationTracing:
    """The steps of a process without traces."""

    def begin(self, name: str, parent_headers: Headers = (), start_ns: int | None = None) -> OperationTrace:  # noqa: ARG002 - the port's signature
        """Return a step that passes on what it came with."""
        return UntracedOperation(parent_headers)
