"""`fraudstream limits`: what `set` sends, and how `show` says what is in force."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from models.commands import CommandKind, Event
from models.limits import Limits
from models.lineup import Lineup
from stream.cli import commands, limits
from stream.cli.main import main
from stream.control.client import CommandRequest
from stream.settings import Settings
from support.control_events import accepted


def run(*arguments: str) -> Result:
    return CliRunner(env={"FRAUDSTREAM_ACTOR": "ann"}).invoke(main, ["limits", *arguments])


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[CommandRequest]:
    """The requests that are sent; each is accepted."""
    requests = list[CommandRequest]()

    async def send(_settings: Settings, request: CommandRequest, _tell: object) -> tuple[str, Event]:
        requests.append(request)
        return "c-1", accepted(3, "limits", limits=Limits(request.decline_cap))

    monkeypatch.setattr(commands, "command_traced", send)
    return requests


@pytest.mark.parametrize(
    ("text", "share", "said"),
    [
        ("2%", 0.02, "declines capped at 2%"),
        ("0.05 %", 0.0005, "declines capped at 0.05%"),
        ("off", 1.0, "no cap on declines"),
    ],
)
def test_a_cap_is_set_and_taken_away(sent: list[CommandRequest], text: str, share: float, said: str) -> None:
    options = ("--reason", "harm", "--expected-revision", "2", "--wait", "5")
    result = run("set", "--decline-cap", text, *options)
    assert (result.exit_code, result.stdout) == (0, f"2026-01-01T00:00:00.000Z  revision 3  accepted  limits {said}\n")
    expected = CommandRequest(CommandKind.LIMITS, "ann", "harm", 5.0, expected_revision=2, decline_cap=share)
    assert sent == [expected]
    assert json.loads(run("set", "--decline-cap", text, "--json").stdout)["limits"] == {"decline_cap": share}


@pytest.mark.parametrize("text", ["0%", "101%", "2", "0.02", "0.001%", "none"])
def test_what_is_no_share_of_decisions_is_refused_before_anything_is_sent(
    sent: list[CommandRequest], text: str
) -> None:
    result = run("set", "--decline-cap", text)
    assert (result.exit_code, sent) == (2, [])
    assert "a share is a percentage from 0.01% to 100%" in result.stderr
    assert "`off` removes the cap" in result.stderr


@pytest.mark.parametrize(
    ("found", "text", "cap"),
    [
        (None, "revision 7: no cap on declines", None),
        (Limits(1.0), "revision 7: no cap on declines", None),
        (
            Limits(0.02),
            (
                "revision 7: declines capped at 2%, that is 40 of the last 2,000 decisions of an arm in a partition; "
                "what is declined beyond it is reviewed"
            ),
            0.02,
        ),
    ],
)
def test_what_is_in_force_is_shown(
    monkeypatch: pytest.MonkeyPatch, found: Limits | None, text: str, cap: float | None
) -> None:
    async def fold(_settings: Settings) -> Any:
        return SimpleNamespace(lineup=Lineup("default", 7, limits=found))

    monkeypatch.setattr(limits, "read_fold", fold)
    assert run("show").stdout == f"{text}\n"
    assert json.loads(run("show", "--json").stdout) == {"deployment": "default", "revision": 7, "decline_cap": cap}
