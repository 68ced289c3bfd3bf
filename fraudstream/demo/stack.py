"""The processes of the demo: broker, Redis, workers and a guard, in one folder; none of them outlives the demo."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fraudstream.demo.errors import DemoError
from fraudstream.demo.services.processes import Child, free_port
from fraudstream.demo.services.readiness import not_ready_reasons
from fraudstream.demo.services.servers import EmbeddedBroker, EmbeddedRedis
from stream.settings import PREFIX, Settings, read_settings

WORKER_START_SECONDS = 90.0
POLL_SECONDS = 0.1
LOG_LINES = 12
FIRST, GREEN = "demo", "green"
"""The deployments: the one of every demo, and the second fleet of `--blue-green`; their groups have the same names."""


class SecondFleet(NamedTuple):
    """A worker of another deployment beside the first one, not started yet, and its settings."""

    environment: dict[str, str]
    worker: Child

    @property
    def settings(self) -> Settings:
        """The worker's settings, parsed."""
        return read_settings(self.environment)

    def reasons(self) -> list[str]:
        """Return why the worker does not decide yet; empty if it does."""
        return not_ready_reasons(self.settings.http)


@dataclass(frozen=True, slots=True)
class DemoStack:
    """The running services, and how to reach them."""

    folder: Path
    environment: dict[str, str]
    """The worker's settings, also for every other command."""
    worker: Child
    guard: Child
    """It watches canaries and promotions; started for the last act alone."""
    guard_http: str
    green: SecondFleet
    """It decides silently beside the worker; started with `--blue-green` alone."""

    @property
    def settings(self) -> Settings:
        """The worker's settings, parsed."""
        return read_settings(self.environment)

    @property
    def exports(self) -> tuple[str, ...]:
        """Lines for a shell, so that `fraudstream …` uses these services."""
        return tuple(f"export {name}={value}" for name, value in self.environment.items())

    def reasons(self) -> list[str]:
        """Return why the worker does not decide yet; empty if it does."""
        return not_ready_reasons(self.settings.http)

    def guard_reasons(self) -> list[str]:
        """Return why the guard does not watch yet; empty if it does."""
        return not_ready_reasons(self.guard_http)

    def check(self) -> None:
        """Raise DemoError, with the end of the log, if the worker, or another process that was started, has exited."""
        if not self.worker.running:
            raise DemoError(f"the worker ended with {self.worker.exit_code}; its log ends with:\n{self.log_end()}")
        for name, child in (("guard", self.guard), ("second fleet's worker", self.green.worker)):
            if child.exit_code is not None:
                raise DemoError(f"the {name} ended with {child.exit_code}; its log ends with:\n{end_of(child)}")

    def cut_over(self, to: str, options: Sequence[str]) -> Child:
        """Return `fraudstream deployment cut-over` to a deployment, with its settings; it prints one JSON object."""
        environment, other = (self.green.environment, FIRST) if to == GREEN else (self.environment, GREEN)
        named = (to, "--json", "--group", f"{other}={other}")
        command = ("deployment", "cut-over", *named, *options)
        return _child(self.folder, f"cut-over-{to}", environment, command, output=self.folder / f"cut-over-{to}.json")

    def await_worker(self, holds: Callable[[list[str]], bool]) -> None:
        """Wait until `holds` accepts the worker's reasons; raises DemoError after a minute and a half."""
        deadline = time.monotonic() + WORKER_START_SECONDS
        while not holds(reasons := self.reasons()):
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"the worker is not ready: {'; '.join(reasons)}; its log ends with:\n{self.log_end()}")
            time.sleep(POLL_SECONDS)

    def log_end(self) -> str:
        """Return the last lines of the worker's log."""
        return end_of(self.worker)


def end_of(child: Child) -> str:
    """Return the last lines of a process's log."""
    return "\n".join(child.tail().splitlines()[-LOG_LINES:])


def joined(reasons: list[str]) -> bool:
    """Tell whether a live model is all that is missing."""
    return all("no model is live" in reason for reason in reasons)


@contextmanager
def demo_stack(folder: Path, session_seconds: int) -> Iterator[DemoStack]:
    """Run a broker and a Redis in `folder`, with workers and a guard that are not started yet; stop all at the end.

    The workers' session timeout is `session_seconds`.

    Raises:
        EmbeddedError: a service is not installed, or does not start.
    """
    with EmbeddedBroker(folder) as broker, EmbeddedRedis(folder) as redis:
        environment = _environment(folder, broker.brokers, redis.url) | {
            f"{PREFIX}SESSION_TIMEOUT": f"{session_seconds}s"
        }
        worker, guard_http = _child(folder, "worker", environment, ("worker",)), f"127.0.0.1:{free_port()}"
        guarding = environment | {f"{PREFIX}HTTP": guard_http, f"{PREFIX}WORKER_ID": "demo-guard"}
        guard, green = _child(folder, "guard", guarding, ("guard",)), _second_fleet(folder, environment)
        try:
            yield DemoStack(folder, environment, worker, guard, guard_http, green)
        finally:
            guard.stop()
            green.worker.stop()
            worker.stop()


def _second_fleet(folder: Path, environment: dict[str, str]) -> SecondFleet:
    """Return the second fleet: the same brokers, Redis and models, but a deployment, a group and a port of its own.

    It writes the features of all decisions, so that each can be made again in full before it takes over.
    """
    own = {
        f"{PREFIX}DEPLOYMENT": GREEN,
        f"{PREFIX}GROUP": GREEN,
        f"{PREFIX}WORKER_ID": f"{GREEN}-worker",
        f"{PREFIX}SCORE_FEATURES": "all",
        f"{PREFIX}HTTP": f"127.0.0.1:{free_port()}",
    }
    return SecondFleet(environment | own, _child(folder, GREEN, environment | own, ("worker",)))


def _child(
    folder: Path, name: str, environment: dict[str, str], command: Sequence[str], output: Path | None = None
) -> Child:
    """Return a process of fraudstream that is not started yet; its log has the given name."""
    whole = (sys.executable, "-P", "-m", "fraudstream.cli", *command)
    variables = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": _path(), **environment}
    return Child(whole, folder / f"{name}.log", variables, output)


def _path() -> str:
    """Let a child import the packages from where this process imported them."""
    return os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))


def _environment(folder: Path, brokers: str, redis_url: str) -> dict[str, str]:
    """Return the settings for the embedded broker; docs/decisions/0002 explains where they differ from the defaults."""
    named = {
        "BROKERS": brokers,
        "REDIS_URL": redis_url,
        "MODELS": str(folder / "models"),
        "DEPLOYMENT": FIRST,
        "GROUP": FIRST,
        "HTTP": f"127.0.0.1:{free_port()}",
        "KAFKA_IDEMPOTENCE": "false",
        "FETCH_WAIT_MS": "5",
        "SCORE_FEATURES": "alerts",
        "WORKER_ID": "demo-worker",
    }
    return {f"{PREFIX}{name}": value for name, value in named.items()}
