"""Commands of the product that begin in a fork of a process that has imported it: a second less of CPU for each."""

import atexit
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from fraudstream.cli.main import main
from fraudstream.demo.services.processes import FORKER, Child
from support import json_shapes
from support.paths import HOUSE

PROCESS = Path(__file__).with_name("preloaded_process.py")
COMMAND_LINE = (sys.executable, "-m", "fraudstream.cli")
SCRIPT = (str(Path(sys.executable).with_name("fraudstream")),)
PROGRAMS = {COMMAND_LINE: str(HOUSE / "fraudstream" / "cli" / "__main__.py"), SCRIPT: SCRIPT[0]}
"""The ways to call the product, and what each sees as its own name."""
BEFORE_IMPORTS = ("PYTHON", "OMP_", "OPENBLAS_", "MKL_", "LD_", "MALLOC_")
"""What begins with these is read while a process starts."""
OFF = "FRAUDSTREAM_TEST_PRELOADED"
_LOCK = threading.Lock()


class Forked:
    """A command in a fork, as a `Popen` of it would be."""

    def __init__(self, command: Sequence[str], pid: int, status: socket.socket) -> None:
        self.args = list(command)
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code; raises `subprocess.TimeoutExpired`."""
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            reply = self._status.recv(8)
            self._status.close()
            status = struct.unpack("=q", reply)[0] if reply else signal.SIGKILL
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL it."""
        self.send_signal(signal.SIGKILL)


class _Preloaded:
    """The process that forks. It dies with this one, and its forks die with it."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, str(PROCESS), str(theirs.fileno()), str(os.getpid())]
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # it would start threads when it is imported
        self._process = FORKER.submit(
            lambda: subprocess.Popen(
                command, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        ).result()
        theirs.close()
        atexit.register(self._process.kill)

    def fork(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, output: int, errors: int
    ) -> Forked:
        """Run a command in a fork with these descriptors as its output."""
        way = _way_of(command)
        assert way is not None
        request = {
            "program": PROGRAMS[way],
            "package": "fraudstream.cli" if way == COMMAND_LINE else None,
            "arguments": command[len(way) :],
            "environment": dict(environment),
            "folder": str(folder),
        }
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._requests, [json.dumps(request).encode()], [output, errors, theirs.fileno()])
            reply = self._requests.recv(8)
        assert reply, f"the preloaded process has ended: {self._process.poll()}"
        return Forked(command, struct.unpack("=q", reply)[0], ours)


@cache
def _preloaded() -> _Preloaded:
    """Return the process of all tests that run in this one."""
    return _Preloaded()


def _way_of(command: Sequence[str]) -> tuple[str, ...] | None:
    return next((way for way in PROGRAMS if tuple(command[: len(way)]) == way), None)


def _fork(command: Sequence[str], environment: Mapping[str, str], folder: Path, output: int, errors: int) -> Forked:
    with _LOCK:
        return _preloaded().fork(command, environment, folder, output, errors)


def _of_a_start(environment: Mapping[str, str]) -> dict[str, str]:
    kept = (name for name in environment if name.startswith(BEFORE_IMPORTS) and name != "PYTHONUNBUFFERED")
    return {name: environment[name] for name in kept}


_AT_FIRST = _of_a_start(os.environ)


def can_fork(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Tell whether a command is the product's, with the code of this checkout and nothing that changes its start."""
    is_wanted = os.environ.get(OFF) != "no"
    return is_wanted and _way_of(command) is not None and _of_a_start(environment) == _AT_FIRST


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    seconds: float,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end with these variables and no others, as `subprocess.run` does, in a fork if it can."""
    done = _run(command, environment, seconds, folder or Path.cwd())
    if (way := _way_of(command)) is not None:
        json_shapes.record(main, command[len(way) :], done.stdout)
    return done


def _run(
    command: Sequence[str], environment: Mapping[str, str], seconds: float, folder: Path
) -> subprocess.CompletedProcess[str]:
    if not can_fork(command, environment):
        return subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=seconds
        )
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = _fork(command, environment, folder, output.fileno(), errors.fileno())
        try:
            code = process.wait(seconds)
        except BaseException:
            process.kill()
            raise
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess(list(command), code, output.read(), errors.read())


class PreloadedChild(Child):
    """A child process that begins in a fork if it can."""

    def start(self) -> None:
        """Start the command, unless it is running."""
        environment = os.environ | self._environment
        if self.running or not can_fork(self.command, environment):
            super().start()
            return
        with self.log.open("ab") as errors, self.output.open("ab") as output:
            self._process = _fork(self.command, environment, Path.cwd(), output.fileno(), errors.fileno())
        atexit.register(self.kill)
