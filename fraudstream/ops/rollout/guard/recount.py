"""Count again from the topics what some evidence was computed of, so that anybody can check a guard's command."""

from collections.abc import Mapping, Sequence

from aiokafka import TopicPartition

from fraudstream.ops.rollout.guard.reader import GuardReader
from guards.paired import Pair
from guards.state import GuardState
from stream.errors import RecountError
from stream.settings import Settings

_WAIT_MS = 200


async def recount(
    settings: Settings,
    state: GuardState,
    since_ms: int,
    up_to: Mapping[str, Sequence[int]],
    pair: Pair | None = None,
) -> None:
    """Count into an empty state, whose shares are known, all records before some positions.

    Args:
        settings: the brokers and the topic prefix.
        state: the state to count into.
        since_ms: when the rollout or the watch began.
        up_to: `positions` of the evidence: for `scores` (of a watch, of `shadow-scores`) and `outcomes`, the offset
            behind the last record that was read, by partition.
        pair: the models of a watch; None for a rollout.

    Raises:
        RecountError: the topics no longer hold all these records; the message names the partitions.
        aiokafka.errors.KafkaError: the brokers do not respond, or a topic is missing.
    """
    async with GuardReader(settings, state, since_ms, pair) as reader:
        ranges = await reader.topics.ranges()
        ends = {tp: end for tp, end in reader.ends_of(up_to).items() if end}
        _require_held(reader, ends, ranges)
        while behind := [tp for tp, end in ends.items() if reader.topics.positions[tp] < end]:
            fetched = await reader.topics.fetch(_WAIT_MS, behind)
            if fetched.anew:
                raise _gone([f"{tp.topic} partition {tp.partition} was made anew" for tp in fetched.anew])
            scores = {tp: [one for one in found if one.offset < ends[tp]] for tp, found in fetched.scores.items()}
            records = {tp: [one for one in found if one.offset < ends[tp]] for tp, found in fetched.records.items()}
            positions = {tp: min(fetched.positions[tp], end) for tp, end in ends.items()}
            reader.count(fetched._replace(scores=scores, records=records, positions=positions))
        _require_held(reader, ends, ranges)


def _require_held(
    reader: GuardReader, ends: Mapping[TopicPartition, int], ranges: Mapping[TopicPartition, tuple[int, int]]
) -> None:
    """Raise if records before these ends are gone."""
    problems = []
    for tp, end in sorted(ends.items()):
        first, last = ranges.get(tp, (0, 0))
        if last < end:
            problems.append(f"{tp.topic} partition {tp.partition} ends at {last}, before {end}: it was made anew")
        elif first >= end or tp in reader.lost:
            problems.append(f"{tp.topic} partition {tp.partition} has no records before {first} any more")
    if problems:
        raise _gone(problems)


def _gone(problems: Sequence[str]) -> RecountError:
    return RecountError(
        f"the evidence cannot be counted again: {'; '.join(problems)}. `retention.ms` of these topics says how long "
        "records are kept; the counts that the evidence states are all that is left"
    )
