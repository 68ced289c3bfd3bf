"""Every attribute that a span of ours may have: this list, and nothing beside it, leaves the process in a trace.

Names are those of OpenTelemetry's semantic conventions for messaging, databases and errors where they have one. None
holds a payment, a card, a token, a key or a text that quotes one. `docs/telemetry.md` is generated from this table.
"""

from typing import Literal, get_args

from models.commands import Event

Name = Literal[
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

Attributes = dict[Name, str | int | tuple[str, ...]]


def kafka(operation: Literal["process", "send"], topic: str) -> Attributes:
    """Say what is done with a topic."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
        "messaging.destination.name": topic,
    }


def sent(topic: str, partition: int, offset: int | None = None) -> Attributes:
    """Say where a record went; its offset only once the broker has told it."""
    said = kafka("send", topic) | {"messaging.destination.partition.id": str(partition)}
    return said if offset is None else said | {"messaging.kafka.offset": offset}


def answered(event: Event) -> Attributes:
    """Say what a command came to, as the judge or a worker wrote it: codes, not texts."""
    said: Attributes = {
        "fraudstream.command.outcome": event.kind,
        "fraudstream.revision": event.revision,
        "fraudstream.worker": event.worker,
        "fraudstream.problems": tuple(problem.code for problem in event.problems),
    }
    return said if event.model is None else said | {"fraudstream.model.digest": event.model}


MEANINGS: dict[Name, str] = {
    "db.operation.batch.size": "Records in one call of Redis, where they are more than one.",
    "db.operation.name": "`EVALSHA`: one script observes or labels a whole batch.",
    "db.system.name": "`redis`.",
    "error.type": "A dead letter's code, or the class of the error that an attempt came to; never its text.",
    "fraudstream.batch.size": "Records that went this way together.",
    "fraudstream.command.outcome": "What came of it: `accepted`, `refused`, `ready`, `not_ready`.",
    "fraudstream.decided_by": "`model`, `fallback` or `rules`.",
    "fraudstream.decision": "`approve`, `review` or `decline`.",
    "fraudstream.degraded": "What the decision had to do without.",
    "fraudstream.model.digest": "The whole digest of the model that scored, or that a command is about.",
    "fraudstream.outcome": "`decided`, `dead_letter`, `repeated`, `given_up`; of a label, its outcome's status.",
    "fraudstream.problems": "The codes of all that speaks against a command.",
    "fraudstream.revision": "The revision that decided, or that a command made.",
    "fraudstream.worker": "Who judged or loaded.",
    "messaging.batch.message_count": "Records in the batch.",
    "messaging.consumer.group.name": "`FRAUDSTREAM_GROUP`.",
    "messaging.destination.name": "The topic, with its prefix.",
    "messaging.destination.partition.id": "The partition.",
    "messaging.kafka.offset": "The record's offset, where it has one already.",
    "messaging.operation.name": "`process` or `send`.",
    "messaging.operation.type": "The same.",
    "messaging.system": "`kafka`.",
    "server.address": "The Redis server's host.",
}

assert set(MEANINGS) == set(get_args(Name))  # noqa: S101 - a table with a hole is no table
