"""The command log joins commands and their answers, which come from two topics in any order."""

from fraudstream.demo.commands import CommandLog
from models.commands import CommandKind, EventKind
from models.problems import Problem, ProblemCode
from support.demo_scores import NEW, OLD, STORY, command, commands_of, event, sound_board


def test_the_command_log_has_revisions_durations_and_cutovers() -> None:
    changes = commands_of(sound_board()).records
    assert [(change.kind, change.revision) for change in changes] == [
        (CommandKind.PROMOTE, 1),
        (CommandKind.CHALLENGE, 2),
        (CommandKind.PROMOTE, 3),
        (CommandKind.ROLL_BACK, 4),
    ]
    assert [change.took_ms for change in changes] == [1_000, 900, 100, 20]
    assert changes[2].ready == {"w": 1_100}
    assert changes[2].cutovers == {0: 2, 1: 2}
    assert changes[3].model == OLD
    assert changes[3].ready == {}


def test_an_answer_may_come_before_its_command() -> None:
    log = CommandLog()
    details = {"command_id": "x", "command": CommandKind.PROMOTE, "model": NEW}
    log.event(event(EventKind.ACCEPTED, 3, **details))
    (early,) = log.records
    assert (early.accepted, early.took_ms, early.kind) == (True, None, CommandKind.PROMOTE)
    log.command(command("x", CommandKind.PROMOTE, NEW[:8], 1_040))
    (change,) = log.records
    assert (change.took_ms, change.model) == (60, NEW)


def test_the_first_answer_is_kept_and_other_events_are_not_answers() -> None:
    log = CommandLog()
    log.command(command("x", CommandKind.PROMOTE, NEW))
    why = (Problem(ProblemCode.UNKNOWN_MODEL, "gone"), Problem(ProblemCode.EXPIRED, "late"))
    log.event(event(EventKind.CANDIDATE, 2, command_id="x", model=NEW))
    log.event(event(EventKind.REFUSED, 2, command_id="x", problems=why))
    log.event(event(EventKind.ACCEPTED, 3, command_id="x", model=NEW))
    log.event(event(EventKind.SHADOW, 2, model=NEW, skipped=4))
    (change,) = log.records
    assert (change.accepted, change.revision, change.refusal) == (False, None, "gone; late")


def test_the_last_command_is_found_by_kind_or_by_kind_and_model() -> None:
    log = commands_of(sound_board())
    promotion, first = log.last(CommandKind.PROMOTE), log.last(CommandKind.PROMOTE, OLD)
    assert promotion is not None
    assert first is not None
    assert (promotion.command_id, first.command_id) == (STORY[2][0].command_id, STORY[0][0].command_id)
    assert log.last(CommandKind.DEMOTE) is None
