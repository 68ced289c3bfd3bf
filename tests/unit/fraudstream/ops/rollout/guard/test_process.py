"""In whose name a guard acts, and what of what it sees it warns of."""

import asyncio
import logging
import socket
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from fraudstream.ops.rollout.guard import process
from fraudstream.ops.rollout.guard.finding import Limits
from fraudstream.ops.rollout.guard.process import Guard
from fraudstream.ops.rollout.guard.sight import empty_state
from fraudstream.ops.rollout.guard.watched import past_of
from guards.errors import OtherHashKeyError
from guards.records import GuardedScore, ScorePlace
from models.commands import Command, Event, EventKind
from models.problems import Problem, ProblemCode
from stream.engine.tracing import NoOperationTracing
from stream.settings import Settings
from stream.tasks import end_tasks
from support.control_events import accepted

A, B = "a" * 64, "b" * 64
PAST = past_of("default", [accepted(1, model=A), accepted(2, "canary", B, share_bp=1_000, salt="s")])


class Sent:
    """A producer that keeps the commands which it is given."""

    def __init__(self) -> None:
        self.commands: list[Command] = []

    async def send_and_wait(self, _topic: str, value: bytes, *_: Any, **__: Any) -> None:
        self.commands.append(msgspec.json.decode(value, type=Command))


def seeing(settings: Settings) -> Guard:
    """Return a guard that has seen a canary which declines every card."""
    guard = Guard(settings, Limits(0, 0), NoOperationTracing(), None)
    watched = PAST.watched
    assert watched is not None
    state = empty_state(settings, watched)
    scores = [
        GuardedScore(f"t-{at}", f"card-{at}", said, "model", 2, 0, ScorePlace(at), "default", "canary")
        for at, said in enumerate(["decline"] * 40 + ["review"])
    ]
    state.count(0, scores, len(scores))
    reader: Any = SimpleNamespace(state=state, read_until_ms=watched.since_ms, lost={})
    guard._folded = (2, 0), PAST
    guard._look(PAST, watched, reader)
    return guard


def sent_by(settings: Settings) -> Command:
    guard, producer = seeing(settings), Sent()
    asyncio.run(guard._act(producer))  # type: ignore[arg-type]
    (command,) = producer.commands
    return command


def test_what_a_guard_does_is_done_by_it_and_not_by_whoever_started_it() -> None:
    for settings in (Settings(), Settings(actor="ann")):
        command = sent_by(settings)
        assert (command.kind.value, command.actor) == ("end_canary", f"guard@{socket.gethostname()}")


def test_a_guard_that_signs_names_the_person_of_its_key_and_its_evidence_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fraudstream.ops.rollout.guard.process.read_signer", lambda _settings: None)
    for actor, expected in (("robot", "robot"), ("", "guard")):
        command = sent_by(Settings(actor=actor, signing_key="robot.pem"))
        assert command.actor == expected
        assert (command.evidence or {})["process"] == f"guard@{socket.gethostname()}"


@pytest.mark.parametrize("more", [[], [accepted(3, "end_canary", B)]])
async def test_a_command_is_sent_only_if_the_event_log_has_no_later_revision(more: list[Event]) -> None:
    guard = seeing(Settings())
    events = [accepted(1, model=A), accepted(2, "canary", B, share_bp=1_000, salt="s"), *more]

    async def read_to_end() -> None:
        """All of it is read."""

    fold = SimpleNamespace(lineup=SimpleNamespace(revision=len(events)), term=SimpleNamespace(publisher=None))
    log: Any = SimpleNamespace(
        read_to_end=read_to_end,
        require_trusted=lambda: None,
        log=SimpleNamespace(fold=fold),
        reported=0,
        events=lambda: events,
    )
    assert await guard._is_current(log, PAST) == (not more)


def test_a_guard_warns_of_the_guards_that_are_breached_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fraudstream.guard")
    seeing(Settings())
    warned = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    told = [record.message for record in caplog.records if record.levelno == logging.INFO]
    assert [line.partition(":")[0] for line in warned] == ["declined", "sample_ratio"]
    assert warned[0].endswith("breached: roll_back")
    assert not any("not breached" in line for line in warned)
    (reviewed,) = [line for line in told if line.startswith("reviewed")]
    assert reviewed.endswith(": not breached")


def test_a_guard_whose_commands_are_refused_for_who_sends_them_is_not_ready_until_one_is_accepted() -> None:
    guard, producer, now = seeing(Settings()), Sent(), 0
    answers = {
        "unsigned": Problem(ProblemCode.UNSIGNED, "this worker counts signed commands alone"),
        "late": Problem(ProblemCode.EXPIRED, "it expired"),
        "": None,
    }
    found = []
    for problem in answers.values():
        guard._not_before_ms = {False: 0, True: 0}
        asyncio.run(guard._act(producer))  # type: ignore[arg-type]
        kind = EventKind.ACCEPTED if problem is None else EventKind.REFUSED
        answer = SimpleNamespace(kind=kind, problems=[] if problem is None else [problem], revision=3)
        log: Any = SimpleNamespace(answer_to=lambda _id, answer=answer: answer)
        guard._settle(log)
        found.append([one for one in guard.view.reasons(now) if "refuse" in one])
    assert [len(one) for one in found] == [1, 0, 0]
    assert "unsigned: this worker counts signed commands alone" in found[0][0]
    assert "FRAUDSTREAM_SIGNING_KEY" in found[0][0]


async def test_a_guard_that_does_not_know_the_excluded_cards_is_not_ready_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guard, asked = Guard(Settings(), Limits(0, 0), NoOperationTracing(), None), asyncio.Event()

    async def connect(_stack: object) -> None:
        if guard.view.trouble == "2 excluded cards are hashed with a key":
            asked.set()
        raise OtherHashKeyError("2 excluded cards are hashed with a key")

    monkeypatch.setattr(guard, "connect", connect)
    monkeypatch.setattr(process, "_TERMS", process._TERMS._replace(retry_seconds=0.0))
    running = asyncio.create_task(guard.run())
    async with asyncio.timeout(5):
        await asked.wait()
    assert guard.view.reasons(0) == ["2 excluded cards are hashed with a key"]
    await end_tasks(running)
