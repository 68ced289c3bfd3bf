"""The judge asks the repository only for models that a command names, and lets no command wait for another's answer."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from models.commands import CAPABILITIES, Command, RequestedArm
from models.judge import HeldArtifact
from models.let_through import LetThrough, LetThroughWish
from models.limits import Limits
from models.problems import Problem, ProblemCode
from stream.control import judge as judge_module
from stream.control.judge import Judge
from support.control_events import event
from support.given_up import give_up
from support.hashed_cards import check_by_the_contract, exclusion_key, hashed
from support.judged_log import JudgedLog, Repository, command
from support.stream_records import CARD_NUMBER

A, B, C = (letter * 64 for letter in "abc")
HELD = {name: HeldArtifact(name, "f") for name in (A, B, C)}


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Set when a hanging repository may answer; at the end of the test in any case."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> JudgedLog:
    return JudgedLog(monkeypatch, HELD)


def hang(monkeypatch: pytest.MonkeyPatch, name: str, released: threading.Event) -> None:
    """Let the repository not return one model until it is released."""

    def inspect(repository: Repository, asked: str) -> HeldArtifact:
        repository.asked.append(asked)
        assert asked != name or released.wait(10), "it is released at the end"
        return HELD[asked]

    monkeypatch.setattr(judge_module, "inspect_artifact", inspect)


async def expired_command() -> Command:
    """Return a promotion of C whose time is over before anybody can have read it."""
    late = command("promote", "late", 2, C, seconds=0.01)
    await asyncio.sleep(0.02)
    return late


async def live(judged: JudgedLog) -> None:
    """Make B live, A before it; both are loaded."""
    for number, digest in enumerate((A, B)):
        await judged.send(command("promote", f"first-{number}", number, digest))
        judged.load(digest)
    judged.repository.asked.clear()
    judged.log.events.clear()
    judged.follower._next_offset = 0


@pytest.mark.parametrize("kind", ["roll_back", "demote"])
async def test_the_way_back_to_a_loaded_model_asks_no_repository(judged: JudgedLog, kind: str) -> None:
    await live(judged)
    await judged.send(command(kind, "back", 2))
    assert judged.repository.asked == []
    (event,) = judged.log.events
    assert (event.kind, event.revision, event.model) == ("accepted", 3, A)
    assert judged.follower.lineup.live == A


async def test_the_way_back_is_judged_by_what_loading_found_where_the_model_is_not_loaded(judged: JudgedLog) -> None:
    await live(judged)
    judged.models.keep_only({B})
    judged.cache._failures.add(A, (Problem(ProblemCode.DAMAGED_ARTIFACT, "cut short"),))
    await judged.send(command("roll_back", "back", 2))
    assert [problem.code for problem in judged.log.events[-1].problems] == [ProblemCode.DAMAGED_ARTIFACT]
    judged.cache._failures.remove(A)
    await judged.send(command("roll_back", "again", 2))
    assert judged.verdicts == [("refused", "back"), ("accepted", "again")]


async def test_commands_behind_one_that_waits_for_the_repository_are_judged_meanwhile(
    judged: JudgedLog, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(judged)
    hang(monkeypatch, C, released)
    monkeypatch.setattr(judge_module, "_IN_ORDER_SECONDS", 0.05)
    async with asyncio.timeout(5):
        batch = await judged.send(
            command("promote", "hangs", 2, C), command("promote", "other", 2, A), command("roll_back", "back", 2)
        )
        again = await judged.send(command("withdraw", "last", 2))
        await judged.await_verdicts(3)
        assert sorted(judged.verdicts)[1:] == [("refused", "last"), ("refused", "other")]
        assert judged.verdicts[0] == ("accepted", "back")
        assert batch.current(), "the batch is not acknowledged before all its commands have a verdict"
        released.set()
        await judged.await_verdicts(4)
        assert judged.verdicts[-1] == ("refused", "hangs"), "the lineup has another revision by now"
        while batch.current() or again.current():
            await judged.follower.wait_for_change(0.01)


async def test_while_the_repository_is_quick_commands_are_judged_in_their_order(judged: JudgedLog) -> None:
    await judged.send(*(command("promote", f"c-{number}", number, (A, B, C)[number % 3]) for number in range(9)))
    assert judged.verdicts == [("accepted", f"c-{number}") for number in range(9)]


async def test_a_repository_that_does_not_answer_refuses_the_command_at_the_deadline_or_when_it_expires(
    judged: JudgedLog, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(judged)
    hang(monkeypatch, C, released)
    monkeypatch.setattr(judge_module, "_IN_ORDER_SECONDS", 0.01)
    async with asyncio.timeout(5):
        await judged.send(command("promote", "expires", 2, C, seconds=0.1))
        await judged.await_verdicts()
        monkeypatch.setattr(judge_module, "DEADLINE_SECONDS", 0.05)
        await judged.send(command("challenge", "overdue", 2, C))
        await judged.await_verdicts(2)
    expired, overdue = judged.log.events
    assert [problem.code for problem in expired.problems] == ["repository_unavailable", "expired"]
    assert [problem.detail for problem in overdue.problems] == ["store://models: no answer within 0.05 s"]


async def test_the_answer_to_a_command_that_expired_before_it_was_read_waits_for_a_slow_repository(
    judged: JudgedLog, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(judged)
    hang(monkeypatch, C, released)
    monkeypatch.setattr(judge_module, "_IN_ORDER_SECONDS", 0.01)
    monkeypatch.setattr(judge_module, "_POLL_SECONDS", 0.01)
    judged.judge._backlog_end = 3
    late = await expired_command()
    async with asyncio.timeout(5):
        await judged.send(late)
        await asyncio.sleep(0.1)
        assert not judged.verdicts
        assert judged.judge.settled, "no decision waits for what is refused in any case"
        released.set()
        await judged.await_verdicts()
    (event,) = judged.log.events
    assert ([problem.code for problem in event.problems], event.model) == (["expired"], C)


async def test_a_repository_that_hangs_keeps_a_command_that_expired_before_until_its_deadline_alone(
    judged: JudgedLog, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(judged)
    hang(monkeypatch, C, released)
    monkeypatch.setattr(judge_module, "DEADLINE_SECONDS", 0.05)
    late = await expired_command()
    async with asyncio.timeout(5):
        await judged.send(late)
        await judged.await_verdicts()
    problems = {problem.code: problem.detail for problem in judged.log.events[-1].problems}
    assert problems.keys() == {"repository_unavailable", "expired"}
    assert problems["repository_unavailable"] == "store://models: no answer within 0.05 s"


async def test_decisions_wait_until_the_repository_has_answered_for_the_commands_of_the_backlog(
    judged: JudgedLog, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forced promotion may be the way out of a crash, as a roll-back is."""
    await live(judged)
    hang(monkeypatch, C, released)
    monkeypatch.setattr(judge_module, "_IN_ORDER_SECONDS", 0.01)
    judged.judge._backlog_end = 4
    judged._offset = 2
    await judged.send(command("promote", "rescue", 2, C), command("withdraw", "w", 2))
    assert judged.verdicts == [("refused", "w")]
    assert not judged.judge.settled
    await judged.send(command("promote", "later", 2, A))
    released.set()
    async with asyncio.timeout(5):
        while not judged.judge.settled:
            await judged.follower.wait_for_change(1.0)
    assert ("accepted", "rescue") in judged.verdicts


async def test_a_command_is_judged_again_after_a_request_was_given_up(
    monkeypatch: pytest.MonkeyPatch, judged: JudgedLog
) -> None:
    members = judge_module.group_members
    monkeypatch.setattr(judge_module, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(judge_module, "group_members", give_up)
    await judged.send(command("promote", "p-1", 0, A))
    assert judged.verdicts == []
    monkeypatch.setattr(judge_module, "group_members", members)
    await asyncio.wait_for(asyncio.gather(*judged.judge._tasks), 5)
    assert judged.verdicts[-1] == ("accepted", "p-1")


def split(command_id: str, revision: int, *cards: str, **arms: str) -> Command:
    asked = {name: RequestedArm(model, 1_000) for name, model in arms.items()}
    return msgspec.structs.replace(command("split", command_id, revision), arms=asked, exclude=cards)


async def test_a_split_is_refused_with_what_the_repository_says_of_each_arm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = (Problem(ProblemCode.UNKNOWN_MODEL, "no model begins with it"),)
    judged = JudgedLog(monkeypatch, HELD | {"eeeeeeee": missing, C: HeldArtifact(C, "other")})
    await live(judged)
    await judged.send(split("s-1", 2, a="eeeeeeee", b=C))
    assert [(one.code, one.detail.partition(":")[0]) for one in judged.log.events[0].problems] == [
        ("unknown_model", "arm a"),
        ("wrong_fingerprint", "arm b"),
    ]


@pytest.mark.parametrize(("cards", "name"), [((CARD_NUMBER,), "a"), ((), CARD_NUMBER)])
async def test_a_split_that_names_a_card_by_its_number_is_refused(
    judged: JudgedLog, cards: tuple[str, ...], name: str
) -> None:
    await live(judged)
    await judged.send(split("s-1", 2, *cards, **{name: C}))
    (event,) = judged.log.events
    assert (event.kind, event.command_id) == ("refused", "s-1")
    what = "exclude" if cards else "arms"
    assert [one.detail for one in event.problems] == [f"{what}: holds card numbers; name arms and cards by tokens"]


def hidden(command_id: str, *entries: str) -> Command:
    asked = split(command_id, 2, *entries, new=C)
    return msgspec.structs.replace(asked, exclude_key_check=check_by_the_contract())


async def announce(judged: JudgedLog, worker: str = "w-1", can: tuple[str, ...] = CAPABILITIES) -> None:
    about = {"group": "g", "code_version": "0.1.0+g1", "settings": "0a1b2c3d", "can": can}
    await judged.log.publish_event(event("ready", 2, f"ready-{worker}", worker=worker, **about))
    judged.log.events.clear()
    judged.follower._next_offset = 0


async def test_a_split_with_hashed_cards_needs_the_announcement_of_every_member_and_the_same_key(
    judged: JudgedLog,
) -> None:
    await live(judged)
    cards = hashed("card-1")
    with exclusion_key():
        await judged.send(hidden("s-1", *cards.entries))
        assert [(one.code, one.detail[:20]) for one in judged.log.events[-1].problems] == [
            ("older_workers", "exclude: w-1 have no")
        ]
        await announce(judged, "w-2")
        await announce(judged, can=())
        await judged.send(hidden("s-2", *cards.entries))
        assert [one.code for one in judged.log.events[-1].problems] == ["older_workers"]
    await announce(judged)
    await judged.send(hidden("s-3", *cards.entries))
    assert [one.code for one in judged.log.events[-1].problems] == ["other_hash_key"]
    with exclusion_key():
        await judged.send(hidden("s-4", *cards.entries))
    found = judged.log.events[-1]
    assert (found.kind, found.exclude, found.exclude_key_check) == ("accepted", cards.entries, cards.key_check)
    assert judged.follower.lineup.split is not None
    assert judged.follower.lineup.split.exclude == cards


async def test_an_acceptance_says_who_asked_and_why_without_card_numbers(
    judged: JudgedLog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fraudstream")
    asked = msgspec.structs.replace(command("promote", "c-1", 0, A), actor="ann", reason=f"card {CARD_NUMBER}")
    await judged.send(asked)
    await judged.send(command("promote", "c-2", 0, B))
    accepted, refused = judged.log.events
    assert (accepted.actor, accepted.reason) == ("ann", "card [redacted]")
    assert (refused.kind, refused.actor, refused.reason) == ("refused", None, None)
    assert caplog.messages[0] == "command c-1 (promote): accepted"
    assert caplog.messages[-1].startswith("command c-2 (promote): refused; wrong_revision: ")


async def test_a_refusal_for_a_failed_verdict_keeps_it_without_card_numbers_and_another_judge_knows_it(
    judged: JudgedLog,
) -> None:
    await judged.send(command("promote", "c-1", 0, A))
    stated = {"verdict": "REJECT", "gate": "loss", "challenger": B, "live": A, "at": "2026-01-01T00:00:00.000Z"}
    evidence = {"verdict": stated, "note": f"card {CARD_NUMBER}"}
    await judged.send(msgspec.structs.replace(command("promote", "c-2", 1, B), actor="ann", evidence=evidence))
    refused = judged.log.events[-1]
    assert (refused.kind, refused.actor) == ("refused", "ann")
    assert refused.evidence == {"verdict": stated, "note": "card [redacted]"}
    judged.restart()
    await judged.send(command("promote", "c-3", 1, B))
    assert [one.code for one in judged.log.events[-1].problems] == ["verdict_on_record"]
    accepted = msgspec.structs.replace(command("promote", "c-4", 1, B), reason="why", despite=(refused.event_id,))
    await judged.send(accepted)
    event = judged.log.events[-1]
    assert (event.kind, event.despite, event.reason) == ("accepted", (refused.event_id,), "why")


class Admin:
    """Describes `transactions`; the first answers may be errors."""

    def __init__(self, *errors: int) -> None:
        self.errors = [*errors]
        self.asked: list[list[str]] = []

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        self.asked.append(names)
        partitions = [{"partition": number} for number in range(6)]
        return [{"error_code": self.errors.pop(0) if self.errors else 0, "topic": names[0], "partitions": partitions}]


async def test_a_let_through_is_divided_by_the_partitions_that_the_brokers_name_and_asked_again_if_they_name_none(
    judged: JudgedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_module, "_POLL_SECONDS", 0.001)
    admin: Any = Admin(3)
    judged.judge = Judge(**judged.parts | {"admin": admin})
    await judged.send(command("promote", "p-1", 0, A))
    assert admin.asked == [], "only a command that needs it asks"
    wish = LetThroughWish(50, {"EUR": 50_000})
    await judged.send(msgspec.structs.replace(command("limits", "l-1", 1), force=False, let_through=wish))
    async with asyncio.timeout(5):
        await judged.await_verdicts(2)
    assert judged.log.events[-1].limits == Limits(None, LetThrough(50, {"EUR": 50_000}, "l-1", 6))
    assert judged.follower.lineup.let_through == judged.log.events[-1].limits.let_through
    assert admin.asked == [["transactions"]] * 2
