"""Runs commands of `fraudstream` in this process, without a broker.

What a command would read is given, and what it would send is recorded.
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fraudstream.cli import commands
from fraudstream.cli.main import main
from models.commands import Event
from stream.control.client import CommandRequest
from stream.settings import Settings

DEFAULTS = {"FRAUDSTREAM_ACTOR": "ann", "FRAUDSTREAM_BROKERS": "127.0.0.1:1", "COLUMNS": "160"}


def run_command(*arguments: str, settings: Mapping[str, str] | None = None, typed: str = "") -> Result:
    """Run a command by ann with brokers that do not answer; `settings` go before these."""
    return CliRunner(env=DEFAULTS | dict(settings or {})).invoke(main, arguments, input=typed)


def record_requests(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[CommandRequest], Event | None]
) -> list[CommandRequest]:
    """Return the list of the requests that commands send from now on; each gets the event that `answer` returns."""
    requests = list[CommandRequest]()

    async def send(_settings: Settings, request: CommandRequest, _tell: object) -> tuple[str, Event | None]:
        requests.append(request)
        return "c-1", answer(request)

    monkeypatch.setattr(commands, "command_traced", send)
    return requests


def answer_reads(
    monkeypatch: pytest.MonkeyPatch, function: str, answer: Callable[[], Any], *modules: ModuleType
) -> None:
    """Replace a coroutine function of these modules: it returns what `answer` returns, or raises what that raises."""

    async def read(*_: object, **__: object) -> Any:
        return answer()

    for module in modules:
        monkeypatch.setattr(module, function, read)
