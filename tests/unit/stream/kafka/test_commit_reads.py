"""A coordinator that answers without the group's commits is asked again, and never taken for a group without any."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupAuthorizationFailedError, GroupLoadInProgressError, NotCoordinatorForGroupError
from aiokafka.protocol.commit import OffsetFetchResponse_v3
from aiokafka.structs import OffsetAndMetadata

from stream.engine.coordination import BriskClient

HERE = TopicPartition("labels", 3)
COMMITTED = OffsetFetchResponse_v3(0, [("labels", [(3, 40, "note", 0)])], 0)


def coordinator(monkeypatch: pytest.MonkeyPatch, *answers: OffsetFetchResponse_v3) -> Any:
    """Return a coordinator of aiokafka whose client gets these answers, one request after the other."""
    left, made = list(answers), GroupCoordinator.__new__(GroupCoordinator)

    async def send(*_: object, **__: object) -> OffsetFetchResponse_v3:
        return left.pop(0)

    async def known() -> None:
        pass

    monkeypatch.setattr(AIOKafkaClient, "send", send)
    made._client = BriskClient.of(AIOKafkaClient.__new__(AIOKafkaClient))
    made.group_id, made._retry_backoff_ms, made.coordinator_id = "group", 1, 1
    made.ensure_coordinator_known, made.coordinator_dead = known, lambda: None
    return made


@pytest.mark.parametrize("error", [GroupLoadInProgressError, NotCoordinatorForGroupError])
async def test_the_commits_of_a_coordinator_that_moves_are_asked_for_again(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    moving = OffsetFetchResponse_v3(0, [], error.errno)  # type: ignore[attr-defined]
    found = await coordinator(monkeypatch, moving, moving, COMMITTED).fetch_committed_offsets([HERE])
    assert found == {HERE: OffsetAndMetadata(40, "note")}


async def test_a_group_that_may_not_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = OffsetFetchResponse_v3(0, [], GroupAuthorizationFailedError.errno)
    with pytest.raises(GroupAuthorizationFailedError):
        await coordinator(monkeypatch, refused).fetch_committed_offsets([HERE])


async def test_a_group_without_a_commit_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = OffsetFetchResponse_v3(0, [("labels", [(3, -1, "", 0)])], 0)
    assert await coordinator(monkeypatch, nothing).fetch_committed_offsets([HERE]) == {}
