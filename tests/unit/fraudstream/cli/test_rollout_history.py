"""`model history` groups what belongs to a rollout, and says on what evidence a guard acted."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fraudstream.cli import model_history
from fraudstream.cli.main import main
from guards.ladder import Ladder
from guards.records import GuardedScore, ScorePlace
from guards.report import evidence
from guards.specs import default_guards, guards_json
from guards.state import GuardState
from models.commands import Event
from stream.control.history import History, history_of
from stream.settings import Settings
from support.control_events import accepted

A, B = "a" * 64, "b" * 64


def found() -> dict[str, object]:
    """Return the evidence of nine cards that only the canary declined, at 10 % of the cards."""
    state = GuardState(default_guards(), "default", {2: 1_000})
    scores = [
        GuardedScore(f"t{card}", f"c{card}", "decline", "model", 2, 0, ScorePlace(card), "default", "canary")
        for card in range(9)
    ]
    state.count(0, scores, 9)
    return evidence(state)


def log() -> list[Event]:
    ladder, guards = Ladder.parse("10% 1h, 100%").rungs, guards_json(default_guards())
    return [
        accepted(1, model=A),
        accepted(2, "rollout", B, share_bp=1_000, salt="s", ladder=ladder, guards=guards),
        accepted(3, "end_canary", evidence=found()),
        accepted(4, "freeze", evidence={"why": "the weekend"}),
    ]


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def read(_settings: Settings) -> History:
        return history_of("default", log(), {})

    monkeypatch.setattr(model_history, "read_history", read)
    monkeypatch.setenv("FRAUDSTREAM_MODELS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "400")


@pytest.mark.usefixtures("history")
def test_a_rollouts_verdicts_stand_below_it_with_the_evidence_in_words() -> None:
    lines = CliRunner().invoke(main, ["model", "history"]).output.splitlines()
    start = lines.index(f"rollout of {B[:12]} by the ladder 10% 1h, 100%")
    assert [line for line in lines[:start] if line.startswith("    ")] == []
    end = next(at for at, line in enumerate(lines) if "revision 4" in line)
    assert all(line.startswith("    ") for line in lines[start + 1 : end])
    (declined,) = [line for line in lines[start:end] if "first declines" in line]
    assert "declined: 9 of 9 first declines are the canary's" in declined
    assert declined.endswith("breached: roll_back")
    assert '  on the ground of {"why":"the weekend"}' in lines[end:]


@pytest.mark.usefixtures("history")
def test_the_json_history_names_the_rollout_of_each_verdict() -> None:
    entries = [
        json.loads(line) for line in CliRunner().invoke(main, ["model", "history", "--json"]).stdout.splitlines()
    ]
    rollout = log()[1].command_id
    assert [entry["rollout"] for entry in entries] == [None, rollout, rollout, None]
    assert entries[2]["evidence"] == found()
