"""Worker processes as an operator runs them: settings in the environment, an HTTP port, signals and an exit code."""

import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fraudstream.demo.services.processes import free_port
from support.fleet.preloaded import COMMAND_LINE, PreloadedChild

COMMAND = (*COMMAND_LINE, "worker")
GUARD_COMMAND = (*COMMAND[:-1], "guard")
EXPLAIN_COMMAND = (*COMMAND[:-1], "explain")
POLL_SECONDS = 0.05
LOG_BYTES = 100_000
"""So much of a log tells a worker's life from its start on."""
_BEFORE_IT_JOINS = ("starting", "the control log has not been read", "has not been joined")
"""Reasons why a worker is not ready that stand before it has joined its group."""
PATIENCE = "FRAUDSTREAM_TEST_PATIENCE"
"""The variable with the factor by which tests wait longer; without it, the machine's load says how much that is."""
_MOST_PATIENCE = 5.0


def patient(seconds: float) -> float:
    """Return how long a wait of so many seconds may take on this machine: as many times longer as it is overloaded."""
    if stated := os.environ.get(PATIENCE):
        return seconds * float(stated)
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return seconds * min(max(load, 1.0), _MOST_PATIENCE)


class Worker:
    """One worker process. `settings` are variables of the contract, with or without `FRAUDSTREAM_` in front.

    A port of its own is chosen unless the settings name one.
    """

    def __init__(self, settings: Mapping[str, str], log: Path, command: Sequence[str] = COMMAND) -> None:
        named = {k if k.startswith(("FRAUDSTREAM_", "OTEL_")) else f"FRAUDSTREAM_{k}": v for k, v in settings.items()}
        self.address = named.setdefault("FRAUDSTREAM_HTTP", f"127.0.0.1:{free_port()}")
        self.settings = named
        self._child = PreloadedChild(tuple(command), log, {"PYTHONUNBUFFERED": "1", **named})

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code (negative: the signal); None while it runs."""
        return self._child.exit_code

    def start(self) -> None:
        """Start the process, without waiting until it is ready."""
        self._child.start()

    def get(self, path: str, seconds: float = 2.0) -> tuple[int, str]:
        """Return status and body of a GET on the worker's port; status 0 if nothing answers."""
        connection = http.client.HTTPConnection(self.address, timeout=seconds)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, f"{type(error).__name__}: {error}"
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """Return the sum of the series of a metric whose name or labels begin so."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def readiness(self) -> tuple[bool, list[str]]:
        """Return whether it is ready, and its reasons."""
        status, body = self.get("/health/ready")
        if status not in {200, 503}:
            return False, [f"{status} {body}"]
        answer: dict[str, Any] = json.loads(body)
        return status == 200, [str(reason) for reason in answer.get("reasons", [])]

    @property
    def has_joined(self) -> bool:
        """Whether it answers and has joined the consumer group: not while it starts, when it says nothing of that."""
        status, body = self.get("/health/ready")
        return status in {200, 503} and not any(reason in body for reason in _BEFORE_IT_JOINS)

    def await_ready(self, seconds: float = 60.0) -> None:
        """Wait until it is ready; fails with its reasons and the end of its log."""
        self._await(wanted=True, seconds=seconds)

    def await_not_ready(self, seconds: float = 30.0) -> list[str]:
        """Wait until it is alive and not ready, and return its reasons."""
        return self._await(wanted=False, seconds=seconds)

    def _await(self, *, wanted: bool, seconds: float) -> list[str]:
        seconds = patient(seconds)
        deadline = time.monotonic() + seconds
        while True:
            ready, reasons = self.readiness()
            if ready is wanted and (ready or self.get("/health/live")[0] == 200):
                return reasons
            if self.exit_code is not None or time.monotonic() > deadline:
                state = f"exit code {self.exit_code}, ready={ready}, reasons={reasons}"
                raise AssertionError(f"wanted ready={wanted} within {seconds:g} s: {state}\n{self.log()}")
            time.sleep(POLL_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP, SIGCONT, SIGTERM, SIGKILL."""
        self._child.signal(number)

    def terminate(self, seconds: float = 40.0) -> int:
        """SIGTERM it and return its exit code; if that is not 0, print the end of its log for the report."""
        self._child.signal(signal.SIGTERM)
        code = self.wait(seconds)
        if code != 0:
            sys.stderr.write(self.log())
        return code

    def wait(self, seconds: float = 40.0) -> int:
        """Return the exit code of a process that is about to end."""
        return self._child.wait(patient(seconds))

    def kill(self) -> None:
        """SIGKILL it and reap the process."""
        self._child.kill()

    def log(self) -> str:
        """Return its log; of a long one the end."""
        log = self._child.log
        return log.read_bytes()[-LOG_BYTES:].decode(errors="replace") if log.exists() else ""


@contextmanager
def starting(folder: Path) -> Iterator[Callable[..., Worker]]:
    """A function that starts a worker with some settings; all are killed at the end, and a folder has their logs."""
    started: list[Worker] = []

    def start(settings: Mapping[str, str], command: Sequence[str] = COMMAND) -> Worker:
        worker = Worker(settings, folder / f"worker-{len(started)}.log", command)
        started.append(worker)
        worker.start()
        return worker

    try:
        yield start
    finally:
        for worker in started:
            worker.kill()
