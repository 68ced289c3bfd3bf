"""Who countersigns sees all of what he approves before it is signed, and senders wait longer for a second person."""

import msgspec
import pytest
from click.testing import CliRunner, Result

from fraudstream.cli import countersign as module
from fraudstream.cli.commands import wait_of
from fraudstream.cli.main import main
from models.commands import Command, CommandKind
from stream.settings import Settings
from support.hashed_cards import hashed
from support.judged_log import command
from support.stream_records import CARD_NUMBER

MODEL = "a" * 64
ASKED = msgspec.structs.replace(
    command("promote", "c-1", 4, MODEL), actor="ann", reason=f"card {CARD_NUMBER}\x1b[2J", force=True
)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[CommandKind]:
    """The commands that were sent; `model-control` holds one."""
    kinds: list[CommandKind] = []

    async def read_commands(_: Settings) -> dict[str, Command]:
        return {"c-1": ASKED}

    def send(_: Settings, request: module.CommandRequest, **__: bool) -> None:
        assert request.countersigns == "c-1"
        kinds.append(request.kind)

    monkeypatch.setattr(module, "read_commands", read_commands)
    monkeypatch.setattr(module, "send", send)
    return kinds


def run(*arguments: str, key: str = "bob.pem", typed: str = "") -> Result:
    settings = {"FRAUDSTREAM_SIGNING_KEY": key, "FRAUDSTREAM_BROKERS": "127.0.0.1:1"}
    return CliRunner().invoke(main, ["model", "countersign", *arguments], env=settings, input=typed)


def test_it_shows_the_whole_command_and_signs_after_a_yes(sent: list[CommandKind]) -> None:
    done = run("c-1", typed="y\n")
    assert done.exit_code == 0, done.output
    assert sent == ["countersign"]
    lines = done.stderr.splitlines()
    fields = (
        "kind: promote",
        f"model: {MODEL}",
        "force: true",
        "expected_revision: 4",
        "actor: ann",
        "watch_seconds: 0",
    )
    assert {"command c-1", *(f"  {field}" for field in fields)} <= set(lines)
    assert "  reason: card [redacted]\\x1b[2J" in lines


def test_of_excluded_cards_it_shows_how_many_there_are(
    sent: list[CommandKind], monkeypatch: pytest.MonkeyPatch
) -> None:
    for exclude, check in ((("card-1", "card-2"), None), (hashed("card-1", "card-2").entries, "0f" * 16)):
        asked = msgspec.structs.replace(ASKED, kind=CommandKind.SPLIT, exclude=exclude, exclude_key_check=check)

        async def read_commands(_: Settings, asked: Command = asked) -> dict[str, Command]:
            return {"c-1": asked}

        monkeypatch.setattr(module, "read_commands", read_commands)
        lines = run("c-1", typed="y\n").stderr.splitlines()
        assert "  exclude: 2 cards" in lines
        assert not [line for line in lines if "card-1" in line or "h1=" in line or "0f0f" in line]
    assert sent == ["countersign"] * 2


def test_without_a_yes_nothing_is_signed(sent: list[CommandKind]) -> None:
    assert [run("c-1", typed=typed).exit_code for typed in ("", "n\n")] == [1, 1]
    assert sent == []
    assert run("c-1", "--yes").exit_code == 0
    assert sent == ["countersign"]


def test_an_unknown_command_and_a_missing_key_are_refused(sent: list[CommandKind]) -> None:
    unknown = run("c-2", "--yes")
    assert (unknown.exit_code, unknown.stderr) == (
        1,
        "deployment default was sent no command c-2: its sender was told the id\n",
    )
    keyless = run("c-1", "--yes", key="")
    assert keyless.exit_code == 2
    assert "FRAUDSTREAM_SIGNING_KEY is empty" in keyless.stderr
    impossible = run("no id", "--yes")
    assert impossible.exit_code == 2
    assert "countersigns: expected 1 to 64 letters" in impossible.stderr
    assert sent == []


def test_only_what_two_persons_sign_waits_longer_by_default() -> None:
    two = Settings(two_persons=True)
    assert wait_of(two, CommandKind.PROMOTE, None) == 600
    assert wait_of(two, CommandKind.ROLL_BACK, None, to=1) == 600
    assert wait_of(two, CommandKind.ROLL_BACK, None) == 60
    assert wait_of(Settings(), CommandKind.PROMOTE, None) == 60
    assert wait_of(two, CommandKind.PROMOTE, 5) == 5


@pytest.mark.parametrize(("kind", "told"), [("promote", True), ("challenge", False)])
def test_a_sender_is_told_what_the_other_person_runs(kind: str, told: bool) -> None:  # noqa: FBT001
    settings = {"FRAUDSTREAM_TWO_PERSONS": "true", "FRAUDSTREAM_BROKERS": "127.0.0.1:1"}
    done = CliRunner().invoke(main, ["model", kind, MODEL, "--force", "--wait", "7"], env=settings)
    assert done.exit_code == 1
    said = "within 7 s and with a key of their own: fraudstream model countersign "
    assert (said in done.stderr) is told
