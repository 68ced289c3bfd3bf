"""Runs the commands that the demo shows: each as a viewer can type it, in a process of its own, with `--json` added.

A file of settings lets any other terminal type them, too.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from fraudstream.demo.services.processes import Child
from stream.clock import now_ms
from stream.settings import PREFIX

OF_ONE_PROCESS = (f"{PREFIX}HTTP", f"{PREFIX}WORKER_ID")
_LOOK_SECONDS = 0.05
_LOOKS = 6_000
"""So often is looked whether a command has ended: a busy machine takes minutes to train a model, or to read topics."""
LOG_LINES = 12

Command = tuple[str, ...]
"""What follows `fraudstream` on the command line."""


def typed(command: Command) -> str:
    """Return what a viewer types."""
    return f"fraudstream {shlex.join(command)}"


def end_of(child: Child) -> str:
    """Return the last lines of a process's log."""
    return "\n".join(child.tail().splitlines()[-LOG_LINES:])


@dataclass(slots=True)
class CommandRun:
    """One run of a command. Times in epoch milliseconds; `ended_ms` and `exit_code` are None until it has ended."""

    command: Command
    began_ms: int
    ended_ms: int | None = None
    exit_code: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    """The JSON object that it printed; empty if it printed none."""
    error: str = ""
    """The end of its standard error, of a command that failed."""

    @property
    def took_ms(self) -> int | None:
        """How long it ran; None until it has ended."""
        return None if self.ended_ms is None else self.ended_ms - self.began_ms

    @property
    def problem(self) -> str:
        """Why it failed; empty if it did not, or has not ended."""
        if self.ended_ms is None or self.exit_code == 0:
            return ""
        return "; ".join(_reasons(self.facts)) or self.error or f"it ended with {self.exit_code}"


def _reasons(facts: Mapping[str, Any]) -> list[str]:
    """Return why a command was refused, and which gates of a hand-over did not let it pass."""
    verdict = facts.get("verdict")
    refused = verdict if isinstance(verdict, dict) else facts
    gates = [gate for gate in facts.get("gates", ()) if not gate["passed"]]
    return [
        *(f"no-go: {gate['gate']}: {gate['found']}" for gate in gates),
        *(problem["detail"] for problem in refused.get("problems", ())),
    ]


@dataclass(frozen=True, slots=True)
class Shell:
    """Settings of one deployment, and `fraudstream` with them.

    Attributes:
        folder: for logs and outputs.
        name: of the file with the settings, in that folder.
        environment: the settings.
    """

    folder: Path
    name: str
    environment: Mapping[str, str]

    @property
    def source(self) -> str:
        """The line that gives another terminal these settings, and finds `fraudstream` there."""
        return f"source {shlex.quote(str(self.folder / self.name))}"

    def write_settings(self) -> None:
        """Write the file for `source`: without what belongs to one process, so that another worker can join."""
        path = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
        shared = {name: value for name, value in self.environment.items() if name not in OF_ONE_PROCESS}
        lines = (f"export {name}={shlex.quote(value)}" for name, value in shared.items())
        (self.folder / self.name).write_text("\n".join((path, *lines, "")), encoding="utf-8")

    def child(
        self, command: Command, log: str, output: Path | None = None, variables: Mapping[str, str] | None = None
    ) -> Child:
        """Return a process of fraudstream that is not started yet; `variables` are set beside the settings."""
        whole = (sys.executable, "-P", "-m", "fraudstream.cli", *command)
        imports = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": _path()}
        return Child(whole, self.folder / f"{log}.log", {**imports, **self.environment, **(variables or {})}, output)

    async def run(self, command: Command) -> CommandRun:
        """Run a command with `--json` to its end, and return what it printed."""
        return await self.finish(CommandRun(command, now_ms()))

    async def finish(self, run: CommandRun) -> CommandRun:
        """Do a run that has begun, which others may look at meanwhile; return it at its end."""
        name = f"command-{time.monotonic_ns()}"
        output = self.folder / f"{name}.json"
        child = self.child((*run.command, "--json"), name, output)
        child.start()
        try:
            for _ in range(_LOOKS):
                if not child.running:
                    break
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            child.kill()
        try:
            run.facts = msgspec.json.decode(output.read_bytes(), type=dict[str, Any])
        except msgspec.DecodeError:
            run.error = end_of(child)
        run.exit_code, run.ended_ms = child.exit_code, now_ms()
        return run


def _path() -> str:
    """Let a child import the packages from where this process imported them."""
    return os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
