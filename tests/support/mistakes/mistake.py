"""A common mistake as a value: what is typed, what has to be there for it, and what comes of it."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

DIGEST = "3f9a02c1d84e5b7762f0a9c35e1d48b60c7f92ae13d5864fb0297ce8a1640d5b"
"""Stands for the digest of a stored model, in commands and in what they print; so do its first 8 or 12 digits."""
ADDRESS = "127.0.0.1:6066"
"""Stands for the address of a worker."""


class Stage(StrEnum):
    """What runs when the mistake is made."""

    NO_SERVER = "no server"
    NO_TOPICS = "Kafka without topics, and Redis"
    NO_WORKER = "Kafka with topics, and Redis"
    DECIDING = "a worker with a live model"


class Answer(NamedTuple):
    """The exit code of a command, None if it goes on, and what it printed: standard output, then standard error."""

    code: int | None
    printed: str


class Place(NamedTuple):
    """Where a mistake is made: the working folder, settings without `FRAUDSTREAM_`, and what stands for what.

    `words` has values of the page, and what is used in their place here.
    """

    folder: Path
    settings: Mapping[str, str]
    words: Mapping[str, str]


def nothing(_place: Place) -> Mapping[str, str]:
    """Prepare nothing."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One mistake.

    Attributes:
        title: the heading on the page.
        command: what is typed after `fraudstream`.
        settings: variables of this command alone, without `FRAUDSTREAM_`.
        files: text files in the working folder, by name; the page shows them.
        prepare: makes what else has to be there, and returns further words of the place.
        stage: what runs.
        hidden: packages that are not installed.
        reason: part of the reason for which a worker waits; the page then shows its /health/ready.
        note: a sentence under the heading.
    """

    title: str
    command: str
    settings: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Place], Mapping[str, str]] = nothing
    stage: Stage = Stage.NO_SERVER
    hidden: Sequence[str] = ()
    reason: str = ""
    note: str = ""

    @property
    def typed(self) -> str:
        """The lines that are typed, as the page shows them."""
        shown = [f"$ cat {name}\n{text}" for name, text in self.files.items()]
        named = [f"FRAUDSTREAM_{name}={shlex.quote(value)}" for name, value in self.settings.items()]
        asked = f"$ curl -s http://{ADDRESS}/health/ready\n" if self.reason else ""
        return "".join([*shown, f"$ {' '.join([*named, 'fraudstream', self.command])}\n", asked])
