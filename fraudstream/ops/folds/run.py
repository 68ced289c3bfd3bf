"""The loop of a fold: connect, take turns, keep what is known; where Kafka does not answer, try again."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import NamedTuple, Protocol, TypeVar

from aiokafka.errors import KafkaError

from stream.kafka.client import explain_error
from stream.kafka.stray import given_up_as_error
from stream.settings import Settings

Connection = TypeVar("Connection")


class TurningFold(Protocol[Connection]):
    """What `run_fold` runs."""

    trouble: str | None
    """Why it does not work now, in words; None if it does."""

    async def connect(self, stack: AsyncExitStack) -> Connection:
        """Connect; `stack` disconnects."""

    async def turn(self, connection: Connection) -> bool:
        """Read once what is new, at most so much, look at it, and tell what follows; return whether it works."""

    async def keep(self) -> None:
        """Store what is known, if anywhere; connected, unless its owner closes it."""


class LoopTerms(NamedTuple):
    """How a fold runs.

    Attributes:
        log: where troubles are told.
        missing: what is missing while it does not work, such as "incidents are not told of".
        again: what is told when it works again.
        retry_seconds: after a trouble it connects again so much later.
        keep_seconds: it keeps what it knows so often.
        troubles: errors, beside those of Kafka, after which it tries again.
    """

    log: logging.Logger
    missing: str
    again: str
    retry_seconds: float
    keep_seconds: float
    troubles: tuple[type[Exception], ...]


async def run_fold(
    settings: Settings,
    fold: TurningFold[Connection],
    terms: LoopTerms,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Run until it is cancelled, or fails by a defect.

    If `stopping` becomes true, it ends after the turn in work, and keeps what is known then.
    """
    while not stopping():
        try:
            with given_up_as_error():
                await _connected(fold, terms, stopping)
        except (KafkaError, *terms.troubles) as error:
            said = await explain_error(settings, error) if isinstance(error, KafkaError) else str(error)
            note_trouble(fold, terms, said)
            await asyncio.sleep(terms.retry_seconds)


def note_trouble(fold: TurningFold[Connection], terms: LoopTerms, said: str) -> None:
    """Note why a fold does not work now, and tell it if it is news."""
    if said != fold.trouble:
        terms.log.warning("%s, retrying: %s", terms.missing, said)
    fold.trouble = said


async def _connected(fold: TurningFold[Connection], terms: LoopTerms, stopping: Callable[[], bool]) -> None:
    async with AsyncExitStack() as stack:
        connection = await fold.connect(stack)
        loop = asyncio.get_running_loop()
        kept_at = loop.time()
        while not stopping():
            works = await fold.turn(connection)
            if works and fold.trouble is not None:
                terms.log.info("%s", terms.again)
                fold.trouble = None
            if loop.time() >= kept_at + terms.keep_seconds:
                await fold.keep()
                kept_at = loop.time()
        await fold.keep()
