"""The judge counts only commands that a trusted key signed, and those for two persons only once both have signed."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from guards.ladder import Ladder
from models.commands import Command, Event, EventKind, encode
from models.judge import HeldArtifact
from models.signing import Role
from stream.control import judge as judge_module
from stream.control.announcements import new_origin
from stream.settings import Settings
from support.judged_log import JudgedLog, Logged, command
from support.signing import holder

A, B = "a" * 64, "b" * 64
HELD = {name: HeldArtifact(name, "f") for name in (A, B)}
ANN, BOB, GUARD = holder("ann"), holder("bob"), holder("guard", Role.GUARD)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> JudgedLog:
    keys = tmp_path / "keys.toml"
    keys.write_text("\n".join(one.line for one in (ANN, BOB, GUARD)))
    monkeypatch.setattr(judge_module, "_POLL_SECONDS", 0.001)
    return JudgedLog(monkeypatch, HELD, Settings(command_keys=str(keys), two_persons=True))


def asked(kind: str, command_id: str, revision: int, model: str | None = None, **changes: Any) -> Command:
    by = {"actor": "ann"} | changes
    return msgspec.structs.replace(command(kind, command_id, revision, model, by.pop("seconds", 60.0)), **by)


def countersign(command_id: str, of: str, revision: int = 0, by: str = "bob") -> Command:
    return asked("countersign", command_id, revision, actor=by, countersigns=of)


async def eventually(judged: JudgedLog, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await judged.follower.wait_for_change(0.002)


def problems(event: Event) -> list[str]:
    return [problem.code.value for problem in event.problems]


def answer(judged: JudgedLog, command_id: str) -> Event:
    return judged.follower.lineup.answers[command_id]


async def report_ready(judged: JudgedLog, command_id: str, model: str) -> None:
    """Have the one worker answer for a candidate."""
    ready = new_origin("w-1").event(
        "default", EventKind.READY, 0, command_id=command_id, model=model, probe_hash="0" * 64
    )
    await judged.log.publish_event(ready)


async def test_an_unsigned_command_is_refused_and_asks_nobody_for_a_model(judged: JudgedLog) -> None:
    await judged.send(asked("promote", "p", 0, A))
    assert problems(answer(judged, "p")) == ["unsigned"]
    assert judged.repository.asked == []


async def test_a_changed_record_is_refused(judged: JudgedLog) -> None:
    signed = ANN.signed(asked("promote", "p", 0, A))
    await judged.send_records(Logged(0, signed.value.replace(A.encode(), B.encode()), signed.headers))
    assert problems(answer(judged, "p")) == ["wrong_signature"]


async def test_a_command_for_two_waits_for_another_person_and_blocks_no_other(judged: JudgedLog) -> None:
    batch = await judged.send_records(ANN.signed(asked("promote", "p", 0, A)))
    await judged.send_records(ANN.signed(asked("withdraw", "w", 0)), ANN.signed(countersign("own", "p", by="ann")))
    assert judged.verdicts == [("candidate", "p"), ("refused", "w"), ("refused", "own")]
    assert problems(answer(judged, "own")) == ["same_person"]
    assert batch.current(), "a worker that starts anew reads the command again"
    await judged.send_records(BOB.signed(countersign("c", "p")))
    await eventually(judged, lambda: "p" in judged.follower.lineup.answers)
    approved, accepted = answer(judged, "c"), answer(judged, "p")
    assert (approved.kind, approved.revision, approved.countersigns, approved.actor) == ("accepted", 0, "p", "bob")
    assert (accepted.kind, accepted.revision, accepted.actor, accepted.countersigned_by) == (
        "accepted",
        1,
        "ann",
        "bob",
    )
    await eventually(judged, lambda: not batch.current())
    await judged.send_records(BOB.signed(countersign("late", "p", 1)))
    assert problems(answer(judged, "late")) == ["already_decided"]


async def test_only_the_top_of_a_ladder_that_two_persons_began_needs_no_second_person(judged: JudgedLog) -> None:
    await judged.send_records(GUARD.signed(asked("promote", "alone", 0, A, actor="guard")))
    assert "alone" not in judged.follower.lineup.answers
    await judged.send_records(ANN.signed(asked("promote", "p", 0, A)), BOB.signed(countersign("c", "p")))
    await eventually(judged, lambda: "p" in judged.follower.lineup.answers)
    begin = asked("rollout", "r", 1, B, ladder=Ladder.parse("1% 1s, 100%").rungs)
    await judged.send_records(ANN.signed(begin), BOB.signed(countersign("d", "r", 1)))
    await eventually(judged, lambda: "r" in judged.follower.lineup.answers)
    await judged.send_records(GUARD.signed(asked("promote", "top", 2, B, actor="guard")))
    assert answer(judged, "top").countersigned_by is None
    assert judged.follower.lineup.live == B


async def test_a_judge_that_starts_anew_finds_command_and_countersignature_again(judged: JudgedLog) -> None:
    records = (
        ANN.signed(asked("promote", "p", 0, A, force=False)),
        ANN.signed(asked("withdraw", "w", 0)),
        BOB.signed(countersign("c", "p")),
    )
    await judged.send_records(*records[:2])
    judged.restart()
    await judged.send_records(*records)
    assert answer(judged, "c").countersigns == "p"
    judged.restart()
    await judged.send_records(*records)
    assert "p" not in judged.follower.lineup.answers, "no worker has loaded the model"
    await report_ready(judged, "p", A)
    await eventually(judged, lambda: "p" in judged.follower.lineup.answers)
    assert answer(judged, "p").countersigned_by == "bob"
    assert judged.follower.lineup.live == A


async def test_no_other_record_takes_the_place_of_the_command_that_is_countersigned(judged: JudgedLog) -> None:
    await judged.send_records(ANN.signed(asked("promote", "p", 0, A, force=False)))
    await judged.send_records(ANN.signed(asked("promote", "p", 0, B)), Logged(0, encode(asked("promote", "p", 0, B))))
    unreadable = b'{"command_id": "p", "deployment": "default"}'
    await judged.send_records(Logged(0, unreadable), BOB.signed(countersign("c", "p")))
    assert judged.verdicts[1:] == [("refused", "None"), ("accepted", "c")]
    await asyncio.sleep(0.02)
    assert "p" not in judged.follower.lineup.answers, "a forced copy counted before the first"
    await report_ready(judged, "p", A)
    await eventually(judged, lambda: judged.verdicts.count(("accepted", "p")) == 3)
    assert judged.follower.lineup.live == A
    assert judged.follower.lineup.revision == 1


async def test_a_repeated_command_that_waits_holds_no_decision_up(judged: JudgedLog) -> None:
    judged.judge._backlog_end = 2
    await judged.send_records(*(2 * [ANN.signed(asked("promote", "p", 0, A))]))
    assert judged.judge.settled


async def test_a_command_that_nobody_countersigns_expires(judged: JudgedLog) -> None:
    batch = await judged.send_records(ANN.signed(asked("promote", "p", 0, A, seconds=0.05)))
    await eventually(judged, lambda: not batch.current())
    assert problems(answer(judged, "p")) == ["expired", "not_countersigned"]


async def test_a_signed_command_that_is_sent_again_gets_its_first_answer(judged: JudgedLog) -> None:
    record = ANN.signed(asked("challenge", "x", 0, A))
    await judged.send_records(record)
    await judged.send_records(ANN.signed(asked("withdraw", "w", 1)))
    await judged.send_records(record)
    assert judged.follower.lineup.challenger is None
    assert judged.log.events[-1] == answer(judged, "x")


async def test_a_signed_command_for_another_deployment_is_not_judged_here(judged: JudgedLog) -> None:
    await judged.send_records(ANN.signed(asked("promote", "p", 0, A, deployment="other")))
    assert judged.verdicts == []
