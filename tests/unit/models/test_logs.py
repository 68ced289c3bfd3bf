"""What operators accepted of partitions holds in the log of the topic in which they accepted it."""

from types import MappingProxyType

import pytest
from msgspec.structs import replace

from models.command_decoder import read_command
from models.commands import Command, CommandKind, Event, UnreadableRecord, encode
from models.judge import Accepted, Fleet, InputTopic, Refused, judge
from models.lineup import Lineup
from models.logs import AcceptedLoss, Logs, LostRange, SkippedRange, TopicLogs, follow_logs
from models.problems import Problem, ProblemCode
from models.verdict_events import Origin, verdict_event
from stream.control.client import CommandRequest, PartitionArguments
from support import control_events

WHERE = ("default", "transactions", 3)
LATER = Logs(MappingProxyType({"transactions": TopicLogs(MappingProxyType({"id-new": 2}), 2)}))
SKIP = control_events.command("skip", expected_revision=4, topic="transactions", partition=3, offset=5)


def fleet(logs: Logs, topic_id: str | None) -> Fleet:
    return Fleet(frozenset(), frozenset(), logs=logs, input_topic=InputTopic(topic_id, 0, 100))


def accepted(logs: Logs, topic_id: str | None) -> Event:
    verdict = judge(Lineup("default", revision=4), SKIP, fleet(logs, topic_id), 0)
    assert isinstance(verdict, Accepted)
    return verdict_event(SKIP, verdict, 4, Origin("e-1", "w-1", 0))


@pytest.mark.parametrize(
    ("logs", "topic_id", "number"), [(Logs(), "id", 0), (Logs(), None, 0), (LATER, "id-new", 2), (LATER, None, 2)]
)
def test_a_skip_is_accepted_in_the_log_that_the_topic_is_now(logs: Logs, topic_id: str | None, number: int) -> None:
    event = accepted(logs, topic_id)
    assert (event.log, event.offset, event.topic_id) == (number, 5, topic_id)
    assert follow_logs(logs, event).skipped == {WHERE: {SkippedRange(number, 5)}}


def test_a_skip_of_a_topic_made_anew_waits_until_that_is_accepted() -> None:
    verdict = judge(Lineup("default", revision=4), SKIP, fleet(LATER, "id-newest"), 0)
    assert isinstance(verdict, Refused)
    assert [problem.code for problem in verdict.problems] == [ProblemCode.WRONG_LOG]
    assert "accept its loss first" in verdict.problems[0].detail


def test_a_skip_that_names_no_log_was_accepted_in_the_first() -> None:
    unnamed = control_events.event(
        "accepted", 4, "e-2", command=CommandKind.SKIP, topic="transactions", partition=3, offset=5
    )
    both = follow_logs(follow_logs(LATER, unnamed), accepted(LATER, "id-new"))
    assert both.skipped == {WHERE: {SkippedRange(0, 5), SkippedRange(2, 5)}}


# --- losses

LOSS = replace(SKIP, kind=CommandKind.ACCEPT_LOSS, offset=None, log=0, first=40, up_to=60)


def loss(first: int | None, up_to: int, log: int = 0) -> Event:
    """Return the event that accepts a loss; the versions before did not say where it begins."""
    command = replace(LOSS, first=first, up_to=up_to, log=log)
    verdict = judge(Lineup("default", revision=4), command, fleet(Logs(), "id" if log == 0 else "id-new"), 0)
    assert isinstance(verdict, Accepted)
    return verdict_event(command, verdict, 4, Origin("e-1", "w-1", 0))


def test_all_losses_of_a_partition_stay_known_and_the_last_one_says_where_it_goes_on() -> None:
    logs = Logs()
    for event in (loss(40, 60), loss(None, 80), loss(0, 5, log=1)):
        logs = follow_logs(logs, event)
    assert logs.lost == {WHERE: (LostRange(0, 40, 60), LostRange(0, None, 80), LostRange(1, 0, 5))}
    assert logs.losses == {WHERE: AcceptedLoss(1, 5, 0)}


def test_a_loss_that_ends_before_it_begins_is_refused() -> None:
    verdict = judge(Lineup("default", revision=4), replace(LOSS, first=61), fleet(Logs(), "id"), 0)
    assert isinstance(verdict, Refused)
    assert verdict.problems == (
        Problem(ProblemCode.WRONG_OFFSET, "first: 61 is above up_to, 60, so that nothing would be lost"),
    )


def test_a_loss_that_is_sent_names_its_first_offset() -> None:
    where = PartitionArguments("transactions", 3, 0, 60, first=40)
    sent = CommandRequest(CommandKind.ACCEPT_LOSS, "ann", "retention", 60, partition=where).arguments()
    assert (sent["first"], sent["up_to"]) == (40, 60)
    kept = read_command(encode(LOSS))
    assert isinstance(kept, Command)
    assert kept.first == 40
    misplaced = read_command(encode(replace(SKIP, first=4)))
    assert isinstance(misplaced, UnreadableRecord)


def test_the_end_of_a_topic_may_be_cut_off_again_and_again() -> None:
    logs = Logs()
    for number in range(1, 4):
        cut_off = replace(LOSS, log=number, first=None, up_to=0)
        for partition in (3, 1):  # each of its partitions is accepted, whichever comes first
            verdict = judge(Lineup("default", revision=4), replace(cut_off, partition=partition), fleet(logs, "id"), 0)
            assert isinstance(verdict, Accepted)
            logs = follow_logs(logs, verdict_event(cut_off, verdict, 4, Origin("e-1", "w-1", 0)))
        assert (logs.number("transactions", "id"), logs.last("transactions")) == (number, number)
