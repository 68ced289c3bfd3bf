"""The pollers of a topic, each with its batch in progress."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from stream.engine.batches import Batch


@dataclass(slots=True, eq=False)
class Lane:
    """One of the two pollers of a topic, and its batch in progress; `retries` polls what was set aside.

    `polls` counts its polls, for the watchdog.
    """

    topic: str
    retries: bool
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    polls: int = 0
    batch: Batch | None = None

    def count_poll(self) -> None:
        """Count one more poll."""
        self.polls += 1

    @contextmanager
    def working_on(self, batch: Batch) -> Iterator[None]:
        """Count the batch's beats as the lane's, while it is worked on."""
        self.batch = batch
        try:
            yield
        finally:
            self.polls += batch.beats
            self.batch = None

    @property
    def pulse(self) -> int:
        """A count that rises while the lane polls or its batch is worked on."""
        return self.polls + (0 if self.batch is None else self.batch.beats)
