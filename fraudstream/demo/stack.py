"""The processes of the demo: broker, Redis, workers and a guard, in one folder; none of them outlives the demo."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fraudstream.demo.errors import DemoError
from fraudstream.demo.services.processes import Child, free_port
from fraudstream.demo.services.readiness import not_ready_reasons
from fraudstream.demo.services.servers import EmbeddedBroker, EmbeddedRedis
from fraudstream.demo.shell import Shell, end_of
from stream.settings import PREFIX, Settings, read_settings

WORKER_START_SECONDS = 90.0
POLL_SECONDS = 0.1
FIRST, GREEN = "demo", "green"
"""The deployments: the one of every demo, and the second fleet of `--blue-green`."""


class SecondFleet(NamedTuple):
    """A worker of another deployment beside the first one, not started yet, and its settings."""

    shell: Shell
    worker: Child

    @property
    def settings(self) -> Settings:
        """The worker's settings, parsed."""
        return read_settings(self.shell.environment)

    def reasons(self) -> list[str]:
        """Return why the worker does not decide yet; empty if it does."""
        return not_ready_reasons(self.settings.http)


@dataclass(frozen=True, slots=True)
class DemoStack:
    """The running services, and how to reach them."""

    folder: Path
    shell: Shell
    """With the worker's settings."""
    worker: Child
    guard: Child
    """It watches canaries and promotions; started for the last act alone."""
    guard_http: str
    green: SecondFleet
    """It decides silently beside the worker; started with `--blue-green` alone."""

    @property
    def settings(self) -> Settings:
        """The worker's settings, parsed."""
        return read_settings(self.shell.environment)

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
        shell = Shell(folder, "settings", _environment(folder, broker.brokers, redis.url, session_seconds))
        worker, guard_http = shell.child(("worker",), "worker"), f"127.0.0.1:{free_port()}"
        own = {f"{PREFIX}HTTP": guard_http, f"{PREFIX}WORKER_ID": "demo-guard"}
        guard, green = shell.child(("guard",), "guard", variables=own), _second_fleet(shell)
        for one in (shell, green.shell):
            one.write_settings()
        try:
            yield DemoStack(folder, shell, worker, guard, guard_http, green)
        finally:
            guard.stop()
            green.worker.stop()
            worker.stop()


def _second_fleet(first: Shell) -> SecondFleet:
    """Return the second fleet: the same brokers, Redis and models, but a deployment and a port of its own.

    It writes the features of all decisions, so that each can be made again in full before it takes over.
    """
    own = {
        f"{PREFIX}DEPLOYMENT": GREEN,
        f"{PREFIX}WORKER_ID": f"{GREEN}-worker",
        f"{PREFIX}SCORE_FEATURES": "all",
        f"{PREFIX}HTTP": f"127.0.0.1:{free_port()}",
    }
    shell = Shell(first.folder, f"settings-{GREEN}", {**first.environment, **own})
    return SecondFleet(shell, shell.child(("worker",), GREEN))


def _environment(folder: Path, brokers: str, redis_url: str, session_seconds: int) -> dict[str, str]:
    """Return the settings for the embedded broker; docs/decisions/0002 explains where they differ from the defaults."""
    named = {
        "BROKERS": brokers,
        "REDIS_URL": redis_url,
        "MODELS": str(folder / "models"),
        "DEPLOYMENT": FIRST,
        "HTTP": f"127.0.0.1:{free_port()}",
        "KAFKA_IDEMPOTENCE": "false",
        "FETCH_WAIT_MS": "5",
        "SCORE_FEATURES": "alerts",
        "WORKER_ID": "demo-worker",
        "SESSION_TIMEOUT": f"{session_seconds}s",
        "ACTOR": "demo",
    }
    return {f"{PREFIX}{name}": value for name, value in named.items()}
