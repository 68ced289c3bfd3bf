"""What a contender is told: where payments come from, where scores go, and what may be kept in Redis."""

import os
from enum import StrEnum

import msgspec

VARIABLE = "CONTENDER_TASK"


class Line(StrEnum):
    """What is held equal.

    With `same`, every contender computes our features by our code, from histories that it reads from Redis itself; with
    `own`, it does what its author would: fewer and cheaper features. The model is the same.
    """

    SAME = "same"
    OWN = "own"


class ContenderTask(msgspec.Struct, frozen=True):
    """One run of one contender.

    Attributes:
        brokers: bootstrap addresses.
        redis_url: of one server.
        keys: begins each key that it keeps in Redis.
        models: the model repository.
        digest: of the model.
        inputs: the topic of payments.
        outputs: the topic of scores.
        group: the consumer group.
        line: what is held equal.
    """

    brokers: str
    redis_url: str
    keys: str
    models: str
    digest: str
    inputs: str
    outputs: str
    group: str
    line: Line

    def environment(self) -> dict[str, str]:
        """Return the variable that tells a process of it."""
        return {VARIABLE: msgspec.json.encode(self).decode()}


def read_task() -> ContenderTask:
    """Return the task of this process."""
    return msgspec.json.decode(os.environ[VARIABLE], type=ContenderTask)
