"""What each span attribute means. `docs/reference/metrics-and-spans.md` is generated from this table.

The names are `stream.kafka.tracing.AttributeName`: only attributes of that list leave the process in a trace.
"""

from typing import get_args

from stream.kafka.tracing import AttributeName

MEANINGS: dict[AttributeName, str] = {
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

assert set(MEANINGS) == set(get_args(AttributeName))  # noqa: S101 - a table with a hole is no table
