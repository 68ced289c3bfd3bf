"""What operators accepted of partitions holds in the log of the topic in which they accepted it."""

from types import MappingProxyType

import pytest

from models.commands import Command, CommandKind, Event
from models.judge import Accepted, Fleet, InputTopic, Refused, judge
from models.lineup import Lineup
from models.logs import Logs, SkippedRange, TopicLogs, follow_logs
from models.problems import ProblemCode
from models.verdict_events import Origin, verdict_event

WHERE = ("default", "transactions", 3)
LATER = Logs(MappingProxyType({"transactions": TopicLogs(MappingProxyType({"id-new": 2}), 2)}))
SKIP = Command(
    command_id="c-1",
    deployment="default",
    expected_revision=4,
    kind=CommandKind.SKIP,
    actor="ann",
    reason="damaged",
    issued_at="2026-01-01T00:00:00.000Z",
    expires_at="2026-01-01T00:01:00.000Z",
    topic="transactions",
    partition=3,
    offset=5,
)


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
    event = Event(
        event_id="e-2",
        deployment="default",
        kind=accepted(Logs(), None).kind,
        revision=4,
        worker="w-1",
        at="2026-01-01T00:00:00.000Z",
        command=CommandKind.SKIP,
        topic="transactions",
        partition=3,
        offset=5,
    )
    both = follow_logs(follow_logs(LATER, event), accepted(LATER, "id-new"))
    assert both.skipped == {WHERE: {SkippedRange(0, 5), SkippedRange(2, 5)}}
