"""What one fetch of some topics brings, of records as a consumer returns them."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition

from fraudstream.ops.folds.topics import FetchedPart
from stream.readers import read_scores


def fetched_part(
    records: Mapping[TopicPartition, Sequence[Any]],
    positions: Mapping[TopicPartition, int],
    until_ms: Mapping[TopicPartition, int],
    anew: Sequence[TopicPartition] = (),
) -> FetchedPart:
    """Return a part with these records, those of `scores` read."""
    scores = {tp: read_scores(some) for tp, some in records.items() if tp.topic == "scores"}
    others = {tp: some for tp, some in records.items() if tp.topic != "scores"}
    return FetchedPart(tuple(anew), scores, others, positions, until_ms)
