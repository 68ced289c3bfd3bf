"""What people see and type of what is on record against a model, and of a watch that a command ends."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result

from fraudstream.cli import ended_watch, model_card, model_grounds, model_history, model_page, promotion
from models.commands import Event, encode
from models.event_log import EventFold
from models.problems import Problem, ProblemCode
from models.repository import Repository
from models.times import format_time
from stream.clock import now_ms
from stream.control.client import CommandRequest
from stream.control.history import History, history_of
from support.command_line import answer_reads, record_requests, run_command
from support.control_events import accepted, event
from support.judged_log import command
from support.model_artifacts import artifact

A, C = "a" * 64, "c" * 64
BREACH = {
    "guards": {
        "declined": {
            "alpha": 0.01,
            "factor": 1.0,
            "action": "roll_back",
            "bound": 100.0,
            "e": 512.0,
            "breached": True,
            "counts": [{"share_bp": 1_000, "canary": 33, "live": 7}],
        }
    }
}


class World:
    """A log of events, a repository, and the commands that were sent; each is accepted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.repository = folder, Repository(str(folder))
        self.bad = self.repository.put(artifact(seed=1, weaknesses=("amount gives the label away: accepted",)))
        self.events: list[Event] = [accepted(1, model=A)]
        self.answer = accepted(9, model=self.bad)
        self.sent: list[CommandRequest] = []

    def breach(self) -> str:
        """Have a guard end a canary; return the event's id."""
        self.events.append(accepted(2, "canary", self.bad, share_bp=1_000, salt="s"))
        self.events.append(accepted(3, "end_canary", evidence=BREACH, actor="guard@host", event_id="e-breach"))
        return "e-breach"

    def watch(self, minutes: float) -> None:
        """Have a promotion watched for so many minutes from now."""
        until = format_time(now_ms() + int(minutes * 60_000))
        self.events.append(accepted(2, model=self.bad, watch_until=until, actor="bob"))

    def run(self, *arguments: str, typed: str = "") -> Result:
        settings = {"FRAUDSTREAM_MODELS": str(self.folder), "COLUMNS": "160"}
        return run_command("model", *arguments, settings=settings, typed=typed)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    made = World(tmp_path)

    def fold() -> EventFold:
        found = EventFold("default")
        for one in made.events:
            found.add(encode(one), one)
        return found

    def history() -> History:
        sent = command("promote", "c-e-9", 8, made.bad)
        sent = msgspec.structs.replace(sent, despite=("e-breach",), reason="the labels were wrong")
        return history_of("default", made.events, {"c-e-9": sent})

    made.sent = record_requests(monkeypatch, lambda _request: made.answer)
    answer_reads(monkeypatch, "read_fold", fold, promotion, ended_watch, model_grounds)
    answer_reads(monkeypatch, "read_history", history, model_card, model_history, model_page)
    return made


# --- the end of a watch


def test_a_challenge_that_ends_a_watch_says_so_and_asks(world: World) -> None:
    world.watch(43)
    asked = world.run("challenge", C, typed="y\n")
    assert asked.exit_code == 0, asked.stderr
    told = f"the watch of the promotion of {world.bad[:12]} at revision 2 by bob ends in 43 min; this ends it now"
    assert told in asked.stderr
    assert "End the watch? [y/N]" in asked.stderr
    assert [request.expected_revision for request in world.sent] == [2]


def test_without_a_yes_the_watch_goes_on(world: World) -> None:
    world.watch(43)
    refused = world.run("challenge", C, typed="n\n")
    assert (refused.exit_code, refused.stderr.endswith("nothing was sent\n")) == (1, True)
    nobody = world.run("challenge", C, "--json")
    assert (nobody.exit_code, nobody.stdout.strip()) == (1, "")
    assert nobody.stderr.endswith("nobody answered, so nothing was sent: --yes ends the watch without a question\n")
    assert world.sent == []


def test_with_yes_it_is_told_and_not_asked(world: World) -> None:
    world.watch(200)
    done = world.run("challenge", C, "--yes", "--expected-revision", "7")
    assert (done.exit_code, "ends in 4 h; this ends it now" in done.stderr, "[y/N]" in done.stderr) == (0, True, False)
    assert [request.expected_revision for request in world.sent] == [7]


def test_without_a_watch_nothing_is_asked(world: World) -> None:
    assert world.run("challenge", C).exit_code == 0
    world.watch(-1)
    over = world.run("challenge", C)
    assert (over.exit_code, over.stderr) == (0, "")
    assert [request.expected_revision for request in world.sent] == [None, None]


@pytest.mark.parametrize(
    "arguments",
    [("canary", C, "--share", "1%"), ("split", "--arm", f"x={C}:1%"), ("withdraw",), ("promote", C)],
    ids=lambda arguments: arguments[0],
)
def test_other_commands_that_end_a_watch_say_so_and_are_sent(world: World, arguments: tuple[str, ...]) -> None:
    world.watch(1)
    done = world.run(*arguments)
    assert done.exit_code == 0, done.stderr
    assert "ends in 60 s; this ends it now" in done.stderr
    assert len(world.sent) == 1


# --- despite


@pytest.mark.parametrize(
    "arguments",
    [
        ("promote", C),
        ("canary", C, "--share", "1%"),
        ("split", "--arm", f"x={C}:1%"),
        ("end-split", "--winner", "x", "--force"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_is_accepted_is_sent_by_its_ids_and_needs_a_reason(world: World, arguments: tuple[str, ...]) -> None:
    named = (*arguments, "--despite", "e-1", "--despite", "review:1-2")
    without = world.run(*named)
    assert (without.exit_code, "--despite needs a --reason" in without.stderr) == (2, True)
    wrong = world.run(*arguments, "--despite", "e 1", "--reason", "r")
    assert (wrong.exit_code, "despite: expected a list of at most 100 ids" in wrong.stderr) == (2, True)
    assert world.sent == []
    assert world.run(*named, "--reason", "labels were wrong").exit_code == 0
    assert [(one.despite, one.reason) for one in world.sent] == [(("e-1", "review:1-2"), "labels were wrong")]


def test_a_rollout_takes_it_as_well(world: World) -> None:
    arguments = ["rollout", "start", C, "--ladder", "1% 10min, 100%", "--despite", "e-1", "--reason", "r"]
    done = run_command(*arguments, settings={"FRAUDSTREAM_MODELS": str(world.folder)})
    assert done.exit_code == 0, done.stderr
    assert [one.despite for one in world.sent] == [("e-1",)]


def test_a_refusal_shows_what_is_on_record(world: World) -> None:
    problem = Problem(ProblemCode.BREACH_ON_RECORD, "a breach; --despite e-breach --reason TEXT accepts it")
    world.answer = event("refused", 3, "e-8", command_id="c-1", command="promote", problems=(problem,))
    done = world.run("promote", world.bad)
    assert done.exit_code == 1
    assert "  breach_on_record: a breach; --despite e-breach --reason TEXT accepts it" in done.stdout


# --- what is shown


def test_a_way_back_is_sent_and_then_says_what_is_on_record(world: World) -> None:
    world.breach()
    world.answer = accepted(4, "roll_back", world.bad)
    done = world.run("rollback")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.startswith(f"{world.bad[:12]}: a breach of guards is on record, event e-breach: end_canary at")
    assert "accepted  roll_back" in done.stdout
    world.answer = accepted(4, "roll_back", A)
    assert world.run("demote").stderr == ""


def test_a_model_is_shown_with_what_is_on_record(world: World) -> None:
    event_id = world.breach()
    shown = world.run("show", world.bad)
    assert "on record" in shown.stdout
    text = " ".join(shown.stdout.split())
    assert f"(--despite {event_id})" in text
    assert "its training is weak, as its manifest states: amount gives the label away: accepted" in text
    facts = json.loads(world.run("show", world.bad, "--json").stdout)
    assert [(one["code"], one["id"]) for one in facts["on_record"]] == [
        ("breach_on_record", event_id),
        ("training_on_record", f"training:{world.bad[:12]}"),
    ]


def test_the_history_says_what_a_command_accepted(world: World) -> None:
    world.breach()
    world.events.append(accepted(4, model=world.bad, despite=("e-breach",), actor="ann", reason="r", event_id="e-9"))
    problems = (Problem(ProblemCode.BREACH_ON_RECORD, "x"),)
    refused = event("refused", 4, "e-10", command_id="c-e-9", command="promote", model=world.bad, problems=problems)
    shown = world.run("history").stdout
    assert "by test (forced) despite e-breach: the labels were wrong" in shown
    facts = [json.loads(line) for line in world.run("history", "--json").stdout.splitlines()]
    assert [one.get("despite") for one in facts] == [None, None, None, ["e-breach"]]
    world.events[-1:] = [refused]
    facts = [json.loads(line) for line in world.run("history", "--json").stdout.splitlines()]
    assert (facts[-1]["kind"], facts[-1]["despite"]) == ("refused", ["e-breach"])


def test_a_failed_review_is_recorded_with_a_card_and_lasts_until_one_is_passed(world: World, tmp_path: Path) -> None:
    card = tmp_path / "card.toml"
    card.write_text('owner = "Fraud desk"')

    def on_record() -> list[str]:
        facts: dict[str, Any] = json.loads(world.run("show", world.bad, "--json").stdout)
        return [one["text"] for one in facts["on_record"] if one["code"] == "review_on_record"]

    alone = world.run("card", world.bad, "--review", "failed")
    assert (alone.exit_code, "give --record FILE" in alone.stderr) == (2, True)
    failed = world.run("card", world.bad, "--record", str(card), "--review", "failed")
    assert failed.exit_code == 0, failed.stderr
    assert "failed, " in failed.stdout
    assert "amount gives the label away: accepted" in failed.stdout
    assert ["it failed a review, recorded at" in text for text in on_record()] == [True]
    card.write_text('owner = "Fraud desk"\nreview_by = 2020-01-31')
    assert world.run("card", world.bad, "--record", str(card)).exit_code == 0
    texts = on_record()
    assert ["it failed a review" in text for text in texts] == [True, False]
    assert "its review is overdue by" in texts[1]
    card.write_text('owner = "Fraud desk"')
    assert world.run("card", world.bad, "--record", str(card), "--review", "passed").exit_code == 0
    assert on_record() == []


def test_a_withdrawal_carries_the_verdict_on_the_challenger(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "_stated", lambda file: {"verdict": {"file": file.name}})
    assert world.run("withdraw", "--verdict", "verdict.json").exit_code == 0
    assert [one.evidence for one in world.sent] == [{"verdict": {"file": "verdict.json"}}]
