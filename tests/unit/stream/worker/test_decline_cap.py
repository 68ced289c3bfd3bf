"""The cap on declines in a worker: what it overrules follows from the scores alone, through retries and crashes."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream_client.outputs import Decision
from models.arms import Arm, Split
from models.decline_cap import DeclineCap, DeclineWindow
from stream.scoring.facts import Decided
from support.decline_cap import CAPPED, should_be_overruled
from support.examples import examples
from support.limited_worker import (
    BAD,
    CANARY,
    GOOD,
    HALF,
    LATE,
    LOST,
    PARTITIONS,
    POLL,
    WRITTEN,
    Brokers,
    Worker,
    decide_all,
)

CAP = DeclineCap(0.002)
"""Four declines in a window do not reach it."""
OLD = DeclineWindow(0b111 << 1990)
"""A window whose three declines are about to leave it."""
OLD_DECISIONS = [bool(OLD.bits >> at & 1) for at in reversed(range(2_000))]
SPLIT = Split((Arm("a", "b" * 64, 2_500), Arm("b", "b" * 64, 2_500)), "s", frozenset({"card-0-1", "card-1-2"}))


def brokers_of(declines: Sequence[Sequence[bool]]) -> Brokers:
    return Brokers([[BAD if declined else GOOD for declined in some] for some in declines], {"live": OLD})


step = st.tuples(
    st.integers(1, POLL), st.booleans(), st.lists(st.sampled_from([WRITTEN, LOST, HALF, LATE]), max_size=3)
)
often = st.lists(st.sampled_from([True, True, True, False]), min_size=10, max_size=30)


@given(
    st.lists(often, min_size=PARTITIONS, max_size=PARTITIONS),
    st.lists(step | st.none(), max_size=12),
    st.sampled_from([CANARY, SPLIT]),
)
@settings(max_examples=examples(60))
def test_what_is_overruled_follows_from_the_scores_whatever_is_lost_tried_again_or_killed(
    declines: list[list[bool]], steps: list[Any], split: Split
) -> None:
    brokers = brokers_of(declines)
    asyncio.run(decide_all(brokers, lambda: Worker(brokers, CAP, split=split), steps))
    scores = brokers.decided()
    assert [one.arm for one in scores] == split.arms_of([one.card_id for one in scores])
    assert len({one.transaction_id for one in scores}) == len(scores) == sum(map(len, declines))
    for partition in range(PARTITIONS):
        own = [one for one in scores if one.source.partition == partition]
        overruled = should_be_overruled(own, CAP.most, {"live": OLD_DECISIONS})
        assert [one.overruled for one in own] == [CAPPED if one else None for one in overruled]
        said = [Decision.DECLINE if declined else Decision.APPROVE for declined in declines[partition]]
        assert [one.said for one in own] == said
        assert [one.decision for one in own] == [
            Decision.REVIEW if capped else one for one, capped in zip(said, overruled, strict=True)
        ]


async def test_a_score_that_is_overruled_differs_in_nothing_but_its_decision() -> None:
    capped, free = brokers_of([[True] * 12, []]), brokers_of([[True] * 12, []])
    worker, other = Worker(capped, CAP), Worker(free)
    await worker.decide(12, commits=True)
    await other.decide(12, commits=True)
    (fact,) = [one for one in worker.facts if isinstance(one, Decided)]
    assert [one.overruled for one in fact.scored.judgements] == [one.overruled for one in capped.decided()]
    assert CAPPED in [one.overruled for one in capped.decided()]
    assert [Worker(brokers, CAP).positions.capped()["live"] for brokers in (capped, free)] == [1, 0]
    for one, before in zip(capped.decided(), free.decided(), strict=True):
        now = {"scored_at": before.scored_at, "latency_ms": before.latency_ms}
        assert msgspec.structs.replace(one, decision=Decision.DECLINE, overruled=None, **now) == before
