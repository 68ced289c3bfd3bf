"""Commits that a coordinator refuses for long are told of, with the reason: aiokafka asks on, and says nothing."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest

from stream.engine import coordination
from stream.engine.coordination import BriskClient, Refusals

NOT_COORDINATOR, NOT_AVAILABLE = 16, 15
LOG = "fraudstream.coordination"


def commit_answer(*codes: int) -> Any:
    return SimpleNamespace(topics=[("transactions", [(0, 0)]), ("labels", list(enumerate(codes)))])


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", logger=LOG)
    return caplog


def test_refusals_are_told_every_ten_seconds_and_that_they_are_over(told: pytest.LogCaptureFixture) -> None:
    refusals = Refusals("nothing was committed", "see the broker")
    for tenths in range(250):
        refusals.note("NotCoordinatorForGroupError", 100 + tenths / 10)
    assert [record.getMessage() for record in told.records] == [
        "nothing was committed for 10 s (NotCoordinatorForGroupError), and is asked on; see the broker",
        "nothing was committed for 20 s (NotCoordinatorForGroupError), and is asked on; see the broker",
    ]
    refusals.note("", 126.0)
    refusals.note("", 127.0)
    assert [record.getMessage() for record in told.records][2:] == ["that is over after 26 s: nothing was committed"]


def test_an_outage_that_ends_soon_is_not_told_and_the_next_one_begins_anew(told: pytest.LogCaptureFixture) -> None:
    refusals = Refusals("nothing was committed", "see the broker")
    for start in (0.0, 9.0):
        refusals.note("NotCoordinatorForGroupError", start)
        refusals.note("NotCoordinatorForGroupError", start + 8.0)
        refusals.note("", start + 8.5)
    assert not told.records


def test_refusals_far_apart_are_not_those_of_one_request(told: pytest.LogCaptureFixture) -> None:
    refusals = Refusals("nothing was committed", "see the broker")
    for minutes in range(5):
        refusals.note("RebalanceInProgressError", 120.0 * minutes)
    assert not told.records


async def test_a_client_notes_what_the_coordinator_answers_to_commits_and_brokers_to_searches_for_it(
    monkeypatch: pytest.MonkeyPatch, told: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = []

    async def send(_client: object, _node: int, _request: object, **_: object) -> Any:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    monkeypatch.setattr(AIOKafkaClient, "send", send)
    monkeypatch.setattr(coordination, "_TOLD_SECONDS", 0.0)
    client = BriskClient.of(AIOKafkaClient.__new__(AIOKafkaClient))
    commit, search = OffsetCommitRequest("group", 7, "member", -1, []), FindCoordinatorRequest("group", 0)
    answers += [commit_answer(0, NOT_COORDINATOR)] * 2 + [NodeNotReadyError("gone"), commit_answer(0, 0)]
    answers += [SimpleNamespace(error_code=NOT_AVAILABLE)] * 2 + [SimpleNamespace(error_code=0)]
    for request in (commit, commit):
        await client.send(1, request)
    with pytest.raises(NodeNotReadyError):
        await client.send(1, commit)
    for request in (commit, search, search, search):
        await client.send(1, request)
    messages = [record.getMessage().partition(", and is asked on; ") for record in told.records]
    assert [said for said, _, _ in messages] == [
        "the group's coordinator has taken no commit for 0 s (NotCoordinatorForGroupError)",
        "the group's coordinator has taken no commit for 0 s (no answer: NodeNotReadyError('gone'))",
        "that is over after 0 s: the group's coordinator has taken no commit",
        "no broker has named the group's coordinator for 0 s (GroupCoordinatorNotAvailableError)",
        "that is over after 0 s: no broker has named the group's coordinator",
    ]
    assert ["__consumer_offsets" in advice for _, _, advice in messages] == [True, True, False, True, False]
