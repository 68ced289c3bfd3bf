"""The command line names models by their whole digests in what it sends, as far as the repository knows them."""

from pathlib import Path

import pytest

from fraudstream.cli.commands import with_whole_digests
from models.commands import CommandKind, RequestedArm
from models.repository import Repository
from stream.control.client import CommandRequest
from stream.settings import Settings
from support.fleet.payments import put_model


def wish(model: str | None, kind: CommandKind = CommandKind.PROMOTE, **options: object) -> CommandRequest:
    return CommandRequest(kind, "ann", "why", 60.0, model, **options)  # type: ignore[arg-type]


def test_a_short_digest_becomes_the_whole_one(tmp_path: Path) -> None:
    settings = Settings(models=str(tmp_path))
    first, second = put_model(str(tmp_path), seed=0), put_model(str(tmp_path), seed=1)
    asked = wish(first[:8])
    sent = with_whole_digests(settings, asked)
    assert (sent.model, sent.command_id) == (first, asked.command_id)
    arms = {"a": RequestedArm(first[:10], 100), "b": RequestedArm(second, 200)}
    sent = with_whole_digests(settings, wish(None, CommandKind.SPLIT, arms=arms))
    assert sent.arms == {"a": RequestedArm(first, 100), "b": RequestedArm(second, 200)}


def test_what_is_whole_or_names_no_model_asks_no_repository() -> None:
    settings = Settings(models="nowhere://at-all")
    for one in (wish("a" * 64), wish(None, CommandKind.ROLL_BACK)):
        assert with_whole_digests(settings, one) is one


@pytest.mark.parametrize("place", ["nowhere://at-all", "not-there"])
def test_what_cannot_be_found_here_is_left_to_the_judge(place: str, tmp_path: Path) -> None:
    models = place if "://" in place else str(tmp_path / place)
    assert with_whole_digests(Settings(models=models), wish("a" * 12)).model == "a" * 12


def test_an_ambiguous_digest_is_left_to_the_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Repository, "digests", lambda _: ("a" * 64, "a" * 63 + "b"))
    assert with_whole_digests(Settings(models=str(tmp_path)), wish("a" * 12)).model == "a" * 12
