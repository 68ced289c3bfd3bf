"""A child process that dies with this one: started, awaited until it is ready, stopped by its id."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fraudstream.demo.services.errors import NotReady

DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
POLL_SECONDS = 0.02
TAIL_BYTES = 3000

# The kernel's death signal follows the thread that forked, not the process: one thread that stays starts all children.
FORKER = ThreadPoolExecutor(1, "forker")


def free_port() -> int:
    """Return a loopback port that is free now; another process may take it before it is used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> bool:
    """Tell whether something accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Child:
    """One command, run at most once at a time, with its output appended to a log file.

    Args:
        command: the program and its arguments; the program is looked up on PATH.
        log: the file for its output; the folder must exist.
        environment: variables on top of this process's.
        output: the file for its standard output; without one, that goes to the log, too.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        output: Path | None = None,
    ) -> None:
        self.command = tuple(command)
        self.log = log
        self.output = output or log
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the command, unless it is running."""
        if self.running:
            return
        self._process = FORKER.submit(self._fork).result()
        atexit.register(self.kill)

    def _fork(self) -> subprocess.Popen[bytes]:
        """Start the wrapper, which executes the command."""
        wrapper = [sys.executable, "-I", "-S", str(DIE_WITH_PARENT), str(os.getpid())]
        with self.log.open("ab") as errors, self.output.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - the command is our own
                [*wrapper, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env={**os.environ, **self._environment},
                start_new_session=True,  # keeps a Ctrl-C of the terminal from it: we stop our children in order
            )

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's id, also after its end.

        Raises:
            NotReady: it was never started.
        """
        if self._process is None:
            raise NotReady(f"{self.command[0]} was never started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last process, negative for a signal; None while it runs."""
        return None if self._process is None else self._process.poll()

    def await_ready(self, answers: Callable[[], bool], seconds: float) -> None:
        """Wait until `answers` returns true.

        Raises:
            NotReady: the process exited, or `seconds` have passed; nothing is left running.
        """
        deadline = time.monotonic() + seconds
        while not answers():
            if not self.running or time.monotonic() > deadline:
                code = self.exit_code
                self.kill()
                state = f"no answer within {seconds:g} s" if code is None else f"ended with {code}"
                raise NotReady(f"{Path(self.command[0]).name}: {state}; {self.log} ends with:\n{self.tail()}")
            time.sleep(POLL_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it is running."""
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Wait for the process to exit and return its code; raises `subprocess.TimeoutExpired` after `seconds`."""
        if self._process is None:
            raise NotReady(f"{self.command[0]} was never started")
        return self._process.wait(seconds)

    def stop(self, seconds: float = 10) -> None:
        """Terminate the process, and kill it if it has not exited within `seconds`."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            if self._process is not None:
                self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def kill(self) -> None:
        """Kill the process and wait for it; safe to repeat."""
        if self._process is not None and self.running:
            self._process.kill()
            self._process.wait()
        atexit.unregister(self.kill)

    def tail(self) -> str:
        """Return the end of the log."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
