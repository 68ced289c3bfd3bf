"""What the check found, one line a step. Nothing here looks at anything."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import click


class CheckError(Exception):
    """The check cannot go on, and why."""


@dataclass(slots=True)
class Outcomes:
    """Says each outcome when it is known, and remembers the misses."""

    misses: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Write a line with the seconds since the beginning."""
        click.echo(f"{time.monotonic() - self.began:5.0f} s  {text}")

    def expect(self, holds: bool, text: str, found: object = "") -> None:  # noqa: FBT001 - what holds is the point
        """Note whether a sentence about the stack holds; where it does not, what was found instead."""
        if not holds:
            self.misses.append(text)
        self.say(f"{'ok  ' if holds else 'MISS'}  {text}" + (f"; found {found}" if not holds and found != "" else ""))
