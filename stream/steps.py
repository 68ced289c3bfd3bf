"""The port to the traces of what is no batch: a command's steps, and records on their way out.

`stream.telemetry` keeps these promises with OpenTelemetry; without it, a trace that something came with is passed on.
Nothing here makes a span.
"""

from dataclasses import dataclass
from typing import Protocol

from stream.publishing import Headers
from stream.telemetry.attributes import Attributes


class Step(Protocol):
    """Something that is done once, seen by tracing. One of `done` and `failed` ends it."""

    @property
    def headers(self) -> Headers:
        """What its own messages carry: what it came with, its trace continued where it is sampled."""
        ...

    def done(self, said: Attributes) -> None:
        """Hear what came of it."""
        ...

    def failed(self, error: str) -> None:
        """Hear that it came to nothing, by an error's class or a code."""
        ...


class Steps(Protocol):
    """Begins steps."""

    def step(self, name: str, came_with: Headers = (), began_ns: int | None = None) -> Step:
        """Begin a step, now or at an earlier moment; one that came with no context begins a trace, if it is sampled."""
        ...


@dataclass(frozen=True, slots=True)
class UntracedStep:
    """A step that nobody sees: a trace that it came with goes on behind it."""

    headers: Headers

    def done(self, said: Attributes) -> None:
        """Say nothing."""

    def failed(self, error: str) -> None:
        """Say nothing."""


class UntracedSteps:
    """The steps of a process without traces."""

    def step(self, name: str, came_with: Headers = (), began_ns: int | None = None) -> Step:  # noqa: ARG002 - the port's signature
        """Return a step that passes on what it came with."""
        return UntracedStep(came_with)
