"""The tracing port for single operations: the judging of a command, a worker's answer, a record that is sent.

`stream.telemetry` implements it with OpenTelemetry; without it, a trace context is passed on unchanged.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from stream.engine.publisher import Headers

AttributeName = Literal[
    "db.operation.batch.size",
    "db.operation.name",
    "db.system.name",
    "error.type",
    "fraudstream.arm",
    "fraudstream.batch.size",
    "fraudstream.command.outcome",
    "fraudstream.decided_by",
    "fraudstream.decision",
    "fraudstream.degraded",
    "fraudstream.model.digest",
    "fraudstream.outcome",
    "fraudstream.overruled",
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
"""Names from OpenTelemetry's semantic conventions for messaging, databases and errors where they exist. No value holds
a payment, a card, a token, a key or a text that quotes one."""

Attributes = dict[AttributeName, str | int | tuple[str, ...]]


def kafka_attributes(operation: Literal["process", "send"], topic: str) -> Attributes:
    """Return the attributes of an operation on a topic."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
        "messaging.destination.name": topic,
    }


def sent_attributes(topic: str, partition: int, offset: int | None = None) -> Attributes:
    """Return the attributes of a sent record; the offset is known only after the acknowledgement."""
    attributes = kafka_attributes("send", topic) | {"messaging.destination.partition.id": str(partition)}
    return attributes if offset is None else attributes | {"messaging.kafka.offset": offset}


class OperationTrace(Protocol):
    """The trace of one operation. Exactly one of `done` and `failed` ends it."""

    @property
    def headers(self) -> Headers:
        """The headers of the operation's own messages: those of its parent, with the trace continued if sampled."""
        ...

    def done(self, attributes: Attributes) -> None:
        """End it with the attributes of its result."""
        ...

    def failed(self, error: str) -> None:
        """End it as failed, with an error class or a code."""
        ...


class OperationTracing(Protocol):
    """Begins traces of operations."""

    def begin(self, name: str, parent_headers: Headers = (), start_ns: int | None = None) -> OperationTrace:
        """Begin an operation, now or at `start_ns`; without a parent it starts a new trace, if it is sampled."""
        ...


@dataclass(frozen=True, slots=True)
class UntracedOperation:
    """An operation that is not traced; its messages carry its parent's headers."""

    headers: Headers

    def done(self, attributes: Attributes) -> None:
        """Do nothing."""

    def failed(self, error: str) -> None:
        """Do nothing."""


class NoOperationTracing:
    """The port of a process without tracing."""

    def begin(self, name: str, parent_headers: Headers = (), start_ns: int | None = None) -> OperationTrace:  # noqa: ARG002 - the port's signature
        """Return an operation that passes on its parent's headers."""
        return UntracedOperation(parent_headers)
