"""The example programs in other languages: built, and run against a fleet's topics."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fraudstream.demo.services.processes import Child
from support.example_commands import BUILD_GO, BUILD_JARS, CLIENTS, LIBRARIES, ExampleClient
from support.fleet.fleet import until
from support.paths import HOUSE

CACHE = HOUSE / ".cache"
RESOLVE_SECONDS = 600.0
ORDINARY_SECONDS = 90.0
"""How long a registry that does not answer may hold up an ordinary test."""
PRODUCE_SECONDS = 120.0
END_SECONDS = 30.0
_UNRESOLVED = re.compile(r"could not be resolved|Could not (?:transfer|find) artifact|Unknown host")
"""What Maven says where it reaches no repository and has not kept what it needs."""

Decision = dict[str, Any]


class NoToolchain(Exception):  # noqa: N818 - a state of the machine
    """A language's tools are missing or too old, or its libraries cannot be resolved."""


def built(name: str) -> ExampleClient:
    """Return a client whose programs are compiled, without a warning.

    Raises:
        NoToolchain: it cannot be built on this machine.
    """
    with _locked(name):
        _BUILDERS.get(name, lambda: None)()
    return CLIENTS[name]


def run_conformance(name: str) -> None:
    """Run the tests of `clients/java` or `clients/go`, which pass the cases of `clients/conformance`.

    Raises:
        NoToolchain: they cannot be built on this machine.
    """
    with _locked(name):
        if name == "java":
            _need("java", "javac", "mvn")
            _build_by_maven(("mvn", "-q", "-B", "-f", "clients/java", "verify"), ORDINARY_SECONDS)
        else:
            _need("go", "gofmt")
            _check_go("clients/go", ORDINARY_SECONDS)
            _compile(("go", "test", "-C", "clients/go", "-count=1", "./..."), prints=True)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"examples-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        yield


def _build_java() -> None:
    _need("java", "javac", "mvn")
    if _is_newer(
        "examples/java/build/classes/ConsumeDecisions.class", "examples/java/*.*", "clients/java/src/**/*.java"
    ):
        return
    _build_by_maven(BUILD_JARS)
    sources = sorted(str(path.relative_to(HOUSE)) for path in HOUSE.glob("examples/java/*.java"))
    options = ("-Xlint:all", "-Werror", "-cp", f"{LIBRARIES}/*", "-d", "examples/java/build/classes")
    _compile(("javac", *options, *sources))


def _build_go() -> None:
    _need("go", "gofmt")
    if _is_newer("examples/go/build/produce", "examples/go/**/*.*", "clients/go/*.*"):
        return  # another process may be running it
    _check_go("examples/go")
    _compile(BUILD_GO)


def _check_go(folder: str, seconds: float = RESOLVE_SECONDS) -> None:
    _resolve(("go", "mod", "download", "-C", folder), seconds)
    _compile(("gofmt", "-l", folder))
    _compile(("go", "vet", "-C", folder, "./..."))


_BUILDERS: Mapping[str, Callable[[], None]] = {"java": _build_java, "go": _build_go}


def _is_newer(made: str, *sources: str) -> bool:
    """Tell whether a file that a build makes is there and newer than the sources."""
    newest = max(path.stat().st_mtime for pattern in sources for path in HOUSE.glob(pattern))
    return (HOUSE / made).exists() and (HOUSE / made).stat().st_mtime > newest


def _need(*commands: str) -> None:
    if missing := [command for command in commands if shutil.which(command) is None]:
        raise NoToolchain(f"not on PATH: {', '.join(missing)}")


def _resolve(command: Sequence[str], seconds: float) -> None:
    """Get a language's libraries, which needs its registry, or what was got before."""
    done = _run(command, seconds)
    if done.returncode != 0:
        raise NoToolchain(f"`{' '.join(command)}` failed: {(done.stdout + done.stderr)[-500:]}")


def _build_by_maven(command: Sequence[str], seconds: float = RESOLVE_SECONDS) -> None:
    done = _run(command, seconds)
    said = done.stdout + done.stderr
    if done.returncode != 0 and _UNRESOLVED.search(said):
        raise NoToolchain(f"`{' '.join(command)}` failed: {said[-500:]}")
    assert done.returncode == 0, f"{' '.join(command)}: {said[-2_000:]}"


def _compile(command: Sequence[str], *, prints: bool = False) -> None:
    done = _run(command)
    assert (done.returncode, done.stdout * (not prints), done.stderr) == (0, "", ""), f"{' '.join(command)}: {done}"


def _run(command: Sequence[str], seconds: float = RESOLVE_SECONDS) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"GOTOOLCHAIN": "local"}  # an older Go says so, and downloads no newer one
    try:
        return subprocess.run(
            command, cwd=HOUSE, env=environment, check=False, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise NoToolchain(f"`{' '.join(command)}` did not end within {seconds:g} s") from error


def _anywhere(command: Sequence[str]) -> list[str]:
    """Return a command of the README for any working folder, with the tests' own Python."""
    places = [str(HOUSE / word) if word.startswith("examples/") else word for word in command]
    return [sys.executable if word == "python" else word for word in places]


def run_program(program: Sequence[str], brokers: str, topic: str, file: Path) -> subprocess.CompletedProcess[str]:
    """Run a producer, or a consumer that is to refuse its work, until it ends."""
    command = _anywhere([*program, brokers, topic, str(file)])
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=PRODUCE_SECONDS)


def send(client: ExampleClient, brokers: str, topic: str, file: Path) -> list[str]:
    """Run a producer until it ends, and return the lines that it prints."""
    done = run_program(client.producer, brokers, topic, file)
    assert done.returncode == 0, f"{client.name}: {done.stdout}{done.stderr}"
    return done.stdout.splitlines()


class RunningConsumer:
    """A consumer process, which can be killed and started again, and its file of decisions."""

    def __init__(self, client: ExampleClient, brokers: str, topic: str, file: Path) -> None:
        self.name = client.name
        self.file = file
        self._child = Child(_anywhere([*client.consumer, brokers, topic, str(file)]), file.with_suffix(".log"))
        self.start()

    def start(self) -> None:
        """Start it, unless it runs."""
        self._child.start()

    def kill(self) -> None:
        """SIGKILL it."""
        self._child.kill()

    def interrupt(self) -> None:
        """End it as Ctrl-C does; by SIGTERM where this process ignores Ctrl-C, as its children do then."""
        is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        self._child.signal(signal.SIGTERM if is_ignored else signal.SIGINT)
        self.wait()

    def terminate(self) -> None:
        """End it as a service manager does."""
        self._child.signal(signal.SIGTERM)
        self.wait()

    def wait(self) -> int:
        """Return the exit code of a process that is about to end."""
        return self._child.wait(END_SECONDS)

    def decisions(self) -> list[Decision]:
        """Return the decisions of its file, in the file's order."""
        text = self.file.read_text() if self.file.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def await_decisions(self, count: int, seconds: float = 60.0) -> list[Decision]:
        """Wait until its file has so many decisions; it must not end before."""

        def enough() -> bool:
            assert self._child.running or len(self.decisions()) >= count, f"{self.name} ended: {self._child.tail()}"
            return len(self.decisions()) >= count

        until(enough, f"{count} decisions by {self.name}", seconds)
        return self.decisions()

    def printed(self) -> list[str]:
        """Return the lines that it has printed, however often it was started."""
        return self._child.log.read_text().splitlines()
