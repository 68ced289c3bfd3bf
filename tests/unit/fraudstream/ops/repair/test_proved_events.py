"""An acceptance of a snapshot counts as proved if its command stands on `model-control`, signed as it must be."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraudstream.ops.repair import proved_events
from fraudstream.ops.repair.proved_events import unproved_events
from models.commands import Command, CommandKind, Event
from models.signing import Role, SealScope
from stream.control.client import SentCommand
from stream.control.estate import Estate
from stream.settings import Settings
from support.control_events import accepted, event
from support.judged_log import ESTATE, Logged, command
from support.signing import HERE, holder

A, B = "a" * 64, "b" * 64
ANN, EVE = holder("ann"), holder("eve")
MODELLER = holder("mo", Role.MODEL)


def promote(**changes: Any) -> Command:
    return msgspec.structs.replace(command("promote", "c-1", 0, A), **({"actor": "ann"} | changes))


def promoted(**changes: Any) -> Event:
    return accepted(1, model=A, command_id="c-1", actor="ann", **changes)


def as_sent(record: Logged, deployment: str = "default") -> dict[tuple[str, str], SentCommand]:
    sent = msgspec.json.decode(record.value, type=Command)
    return {(deployment, sent.command_id): SentCommand(sent, record.value, record.headers)}


async def doubts(
    monkeypatch: pytest.MonkeyPatch,
    sent: dict[tuple[str, str], SentCommand],
    *events: Event,
    keys: Path | None = None,
) -> dict[str, str]:
    async def read_sent_commands(_: Settings) -> dict[tuple[str, str], SentCommand]:
        return sent

    monkeypatch.setattr(proved_events, "read_sent_commands", read_sent_commands)
    settings = Settings(estate=ESTATE, command_keys="" if keys is None else str(keys))
    return await unproved_events(settings, Estate(settings), events)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys.toml"
    file.write_text("\n".join(one.line for one in (ANN, MODELLER)))
    return file


async def test_a_signed_command_proves_its_acceptance(monkeypatch: pytest.MonkeyPatch, keys: Path) -> None:
    assert await doubts(monkeypatch, as_sent(ANN.signed(promote())), promoted(), keys=keys) == {}
    of_short = as_sent(ANN.signed(promote(model=A[:8])))
    assert await doubts(monkeypatch, of_short, promoted(), keys=keys) == {}


async def test_what_answers_no_command_needs_none(monkeypatch: pytest.MonkeyPatch, keys: Path) -> None:
    refused = event("refused", 1, "r", command_id="c-9", command=CommandKind.PROMOTE)
    assert await doubts(monkeypatch, {}, refused, event("cutover", 1, "cut"), keys=keys) == {}


async def test_an_acceptance_without_its_command_is_not_proved(monkeypatch: pytest.MonkeyPatch, keys: Path) -> None:
    why = {"e-1-default": "its command c-1 is not on model-control"}
    assert await doubts(monkeypatch, {}, promoted(), keys=keys) == why
    assert await doubts(monkeypatch, {}, promoted()) == why, "whether commands are signed or not"


@pytest.mark.parametrize(
    "changed",
    [{"model": B}, {"kind": CommandKind.CHALLENGE}, {"actor": "eve"}],
    ids=["of another model", "of another kind", "of another person"],
)
async def test_a_command_that_asks_for_something_else_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, keys: Path, changed: dict[str, Any]
) -> None:
    other = as_sent(ANN.signed(promote(**changed)))
    (why,) = (await doubts(monkeypatch, other, promoted(), keys=keys)).values()
    assert why == "its command c-1 on model-control asks for something else"


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (EVE.signed(promote()), "unknown_key"),
        (MODELLER.signed(promote()), "not_permitted"),
        (Logged(0, ANN.signed(promote()).value), "unsigned"),
        (ANN.signed(promote(), SealScope("elsewhere", "", "default")), "wrong_signature"),
    ],
    ids=["a key that is not trusted", "a key of another role", "no key", "for another estate"],
)
async def test_a_command_without_a_valid_seal_proves_nothing_where_commands_are_signed(
    monkeypatch: pytest.MonkeyPatch, keys: Path, record: Logged, code: str
) -> None:
    (why,) = (await doubts(monkeypatch, as_sent(record), promoted(), keys=keys)).values()
    assert why.startswith(f"{code}: ")
    assert await doubts(monkeypatch, as_sent(record), promoted()) == {}, "without keys nothing is asked"


async def test_the_deployment_of_the_event_is_the_one_that_was_signed_for(
    monkeypatch: pytest.MonkeyPatch, keys: Path
) -> None:
    other = HERE._replace(deployment="other")
    theirs = as_sent(ANN.signed(promote(deployment="other"), other), "other")
    event_of_other = accepted(1, model=A, command_id="c-1", actor="ann", deployment="other")
    assert await doubts(monkeypatch, theirs, event_of_other, keys=keys) == {}
