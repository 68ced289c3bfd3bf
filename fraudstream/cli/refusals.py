"""One table of what a command says of an error, and with which code it ends; what is not in it is a fault of ours.

| error | said | exit |
| --- | --- | --- |
| the repository of models does not respond | the setting that names it, and why | 1 |
| an error of fraudstream's own | its message, which says what is wrong, where, and what to do | 1 |
| an error of Kafka's client, or of the system | what it means, and the setting to look at | 1 |
| anything else | it is raised, with its traceback | |
"""

import asyncio
import sys
from types import TracebackType
from typing import NoReturn

from features.errors import FeatureError
from fraudstream.cli.output import refuse
from guards.errors import GuardError
from metrics.errors import MetricsError
from models.errors import ModelError, RepositoryUnavailableError
from stream.errors import StreamError
from stream.settings import PREFIX, Settings

OWN = (FeatureError, GuardError, MetricsError, ModelError, StreamError)
"""The roots of fraudstream's errors."""


class Refusals:
    """A context in which an error that a person can act upon is printed, and ends the command with 1.

    Args:
        settings: with which Kafka is connected to; None where a command needs none.
        before: what was done or left undone, to stand before the message.
    """

    def __init__(self, settings: Settings | None = None, before: str = "") -> None:
        self._settings = settings
        self._before = before

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Refuse what is in the table."""
        words = None if error is None else words_of(error, self._settings)
        if words is not None:
            refuse(self._before + words)


def refuse_error(error: Exception, settings: Settings | None, before: str = "") -> NoReturn:
    """Refuse an error that a command has caught, with words of its own before those of the table."""
    refuse(before + (words_of(error, settings) or str(error)))


def words_of(error: BaseException, settings: Settings | None) -> str | None:
    """Return what a command says of an error; None if it is a fault of ours, which is not hidden."""
    if isinstance(error, RepositoryUnavailableError):
        return f"{PREFIX}MODELS: {error}"
    if isinstance(error, OWN):
        return str(error)
    if not isinstance(error, OSError) and not _is_of_kafka(error):
        return None
    if settings is None:
        return str(error)
    from stream.kafka.client import explain_error  # noqa: PLC0415 - commands on files do not import Kafka's client

    return asyncio.run(explain_error(settings, error))


def _is_of_kafka(error: BaseException) -> bool:
    kafka = sys.modules.get("aiokafka.errors")
    return kafka is not None and isinstance(error, kafka.KafkaError)
