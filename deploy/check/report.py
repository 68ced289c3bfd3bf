"""The report of the check, one line a step."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import click


class CheckError(Exception):
    """The check cannot continue; the message says why."""


@dataclass(slots=True)
class CheckReport:
    """Prints the result of each step at once, and collects the failures."""

    failures: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        click.echo(f"{time.monotonic() - self.began:5.0f} s  {text}")

    def expect(self, holds: bool, text: str, found: object = "") -> None:  # noqa: FBT001 - the result itself
        """Report whether an expectation holds; if it does not, also what was found instead."""
        if not holds:
            self.failures.append(text)
        self.say(f"{'ok  ' if holds else 'FAIL'}  {text}" + (f"; found {found}" if not holds and found != "" else ""))
