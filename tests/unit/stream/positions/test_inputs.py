"""A deployment has histories if it has decided something, or committed payments or labels without deciding any."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from stream.positions import inputs
from stream.positions.inputs import has_filled_histories
from stream.settings import Settings

SETTINGS = Settings(topic_prefix="shop-")


@pytest.mark.parametrize(
    ("scores", "commits", "filled"),
    [
        (False, {}, False),
        (False, {TopicPartition("shop-transactions", 1): 0}, False),
        (False, {TopicPartition("shop-transactions", 1): 7}, True),
        (False, {TopicPartition("shop-labels", 0): 7}, True),
        (True, {}, True),
    ],
)
async def test_scores_or_commits_tell_that_histories_were_filled(
    monkeypatch: pytest.MonkeyPatch, *, scores: bool, commits: dict[TopicPartition, int], filled: bool
) -> None:
    async def has_records(_settings: Settings, topic: str) -> bool:
        assert topic == "shop-scores"
        return scores

    async def counts(*_: object) -> dict[str, int]:
        return {"shop-transactions": 2, "shop-labels": 2, "shop-scores": 2}

    async def committed(_settings: Settings, _admin: Any, tps: list[TopicPartition]) -> dict[TopicPartition, Any]:
        assert len(tps) == 4
        return {tp: OffsetAndMetadata(commits.get(tp, -1), "") for tp in tps}

    monkeypatch.setattr(inputs, "has_records", has_records)
    monkeypatch.setattr(inputs, "partition_counts", counts)
    monkeypatch.setattr(inputs, "committed_offsets", committed)
    admin: Any = None
    assert await has_filled_histories(SETTINGS, admin) is filled
