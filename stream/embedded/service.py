"""A server on a loopback port, as a context manager: what the embedded broker and the embedded Redis have in common."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import TracebackType
from typing import Self

from stream.embedded.processes import Child

START_SECONDS = 30.0


class Service:
    """A child process that answers on a port; with `with`, or by hand with `start` and `stop`.

    Args:
        child: the process, not yet started.
        port: where it will listen; it keeps it over restarts.
        answers: says whether the server on a port is in service.
    """

    def __init__(self, child: Child, port: int, answers: Callable[[int], bool]) -> None:
        self.port = port
        self._child = child
        self._answers = answers

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._child.running

    def start(self) -> None:
        """Start it, if it does not run, and wait until it is in service; raises NotReady."""
        self._child.start()
        self._child.await_ready(lambda: self._answers(self.port), START_SECONDS)

    def stop(self) -> None:
        """Stop it in order; what it kept in memory is gone."""
        self._child.stop()

    def kill(self) -> None:
        """End it at once."""
        self._child.kill()

    def pause(self) -> None:
        """Stop its clock: connections stay open and nothing answers."""
        self._child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End a pause."""
        self._child.signal(signal.SIGCONT)

    def log(self) -> str:
        """Return the end of its log."""
        return self._child.tail()

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, whatever happened."""
        self.stop()
