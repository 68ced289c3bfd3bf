"""The port to the shadow: what was decided is offered to the challenger, and nobody waits for it."""

from typing import Protocol

from stream.control.model_cache import Serving
from stream.scoring.encode import Scored
from stream.scoring.tracing import Journey


class Shadow(Protocol):
    """Takes decisions that are written, for the challenger to score the same vectors."""

    def offer(self, scored: Scored, serving: Serving, journey: Journey) -> None:
        """Take them, or count them as skipped; returns at once and does not raise."""
        ...


class NoShadow:
    """The shadow of a process that compares nothing."""

    def offer(self, scored: Scored, serving: Serving, journey: Journey) -> None:
        """Let them go."""
