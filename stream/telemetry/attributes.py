"""The meaning of each span attribute; `docs/reference/metrics-and-spans.md` is generated from this table.

Their names are `stream.engine.tracing.AttributeName`, which is also the list of all that leaves the process in a trace.
"""

from typing import get_args

from stream.engine.tracing import AttributeName

MEANINGS: dict[AttributeName, str] = {
    "db.operation.batch.size": "Records in one call to Redis, if more than one.",
    "db.operation.name": "`EVALSHA`: one script call observes or labels a whole batch.",
    "db.system.name": "`redis`.",
    "error.type": "A dead letter's code, or the class of the error that an attempt failed with; never its text.",
    "fraudstream.arm": "`live`, `canary`, or the name of a split's arm: the arm that the card belongs to.",
    "fraudstream.batch.size": "Records that were processed together.",
    "fraudstream.command.outcome": "The result: `accepted`, `refused`, `ready`, `not_ready`.",
    "fraudstream.decided_by": "`model`, `fallback` or `rules`.",
    "fraudstream.decision": "`approve`, `review` or `decline`.",
    "fraudstream.degraded": "What was missing for the decision, such as `history_incomplete`.",
    "fraudstream.model.digest": "The whole digest of the model that scored, or that a command is about.",
    "fraudstream.outcome": "`decided`, `dead_letter`, `repeated`, `backfilled`, `erasure`, `given_up`, or a status.",
    "fraudstream.overruled": "What changed the model's decision: `decline_cap`, `let_through` or `rule:<name>`.",
    "fraudstream.problems": "The codes of all problems of a command.",
    "fraudstream.revision": "The revision that decided, or that a command created.",
    "fraudstream.worker": "The id of the worker that judged the command or loaded the model.",
    "messaging.batch.message_count": "Records in the batch.",
    "messaging.consumer.group.name": "`FRAUDSTREAM_GROUP`.",
    "messaging.destination.name": "The topic, with its prefix.",
    "messaging.destination.partition.id": "The partition.",
    "messaging.kafka.offset": "The record's offset, once it is known.",
    "messaging.operation.name": "`process` or `send`.",
    "messaging.operation.type": "The same as `messaging.operation.name`.",
    "messaging.system": "`kafka`.",
    "server.address": "The Redis server's host.",
}

assert set(MEANINGS) == set(get_args(AttributeName))  # noqa: S101 - checked at import
