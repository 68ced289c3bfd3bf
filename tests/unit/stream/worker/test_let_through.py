"""Let-through in a worker: who gets a lot, and what it says, follows from the scores, through retries and crashes."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream_client.outputs import Decision
from models.decline_cap import DeclineCap
from models.let_through import LetThrough
from models.lineup import Lineup
from stream.scoring.facts import Decided
from stream.worker.gauges import LetThroughGauges
from support.decline_cap import CAPPED, should_be_overruled
from support.examples import examples
from support.let_through import PASSED, Lot, PartitionDays, Rule, expected_lots, found_lots
from support.limited_worker import (
    BAD,
    GOOD,
    HALF,
    LATE,
    LOST,
    PARTITIONS,
    POLL,
    WRITTEN,
    Brokers,
    Price,
    Worker,
    decide_all,
    positions_on,
)
from support.stream_records import LATEST_MS

CAP = DeclineCap(0.002)
"""Four declines in a window do not reach it."""
TOLD = Rule(5_000, {"EUR": 240_001, "USD": 40_000}, "s", PARTITIONS)
RULE = LetThrough(TOLD.share_bp, dict(TOLD.caps), TOLD.salt, TOLD.partitions)
HOUR_MS = 3_600_000


class Clock:
    """The worker's clock, in epoch milliseconds."""

    def __init__(self) -> None:
        self.ms = LATEST_MS

    def __call__(self) -> int:
        return self.ms


prices = st.lists(
    st.sampled_from(
        [GOOD, BAD, Price(20_000), Price(30_000), Price(130_000), Price(15_000, "USD"), Price(20_000, "SEK")]
    ),
    min_size=10,
    max_size=30,
)
step = st.tuples(
    st.integers(1, POLL),
    st.booleans(),
    st.lists(st.sampled_from([WRITTEN, LOST, HALF, LATE]), max_size=3),
    st.sampled_from([0, 1, 16, 40, -3]),
)


@given(
    st.lists(prices, min_size=PARTITIONS, max_size=PARTITIONS),
    st.lists(step | st.none(), max_size=12),
    st.sampled_from([CAP, None]),
)
@settings(max_examples=examples(60))
def test_lots_follow_from_the_scores_whatever_is_lost_tried_again_or_killed_and_whatever_the_clock_shows(
    told: list[list[Price]], steps: list[Any], cap: DeclineCap | None
) -> None:
    brokers, clock = Brokers(told), Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stream.worker.isolation.now_ms", clock)
        asyncio.run(_run(brokers, cap, steps, clock))
    scores = brokers.decided()
    assert len({one.transaction_id for one in scores}) == len(scores) == sum(map(len, told))
    for partition in range(PARTITIONS):
        own = [one for one in scores if one.source.partition == partition]
        lots = expected_lots(own, lambda _score: TOLD)
        assert found_lots(own) == lots
        reviewed = should_be_overruled(own, cap.most) if cap else [False] * len(own)
        assert [one.overruled == CAPPED for one in own] == reviewed
        said = [Decision.DECLINE if one.amount_minor >= 10_000 else Decision.APPROVE for one in told[partition]]
        assert [one.said for one in own] == said
        assert [one.decision for one in own] == [
            Decision.APPROVE if lot.passed else Decision.REVIEW if is_reviewed else one
            for one, lot, is_reviewed in zip(said, lots, reviewed, strict=True)
        ]
        days = PartitionDays()
        for one in own:
            days.expect(one, TOLD)
        assert all(amount <= {"EUR": 120_000, "USD": 20_000}[name] for (_, name), amount in days.used.items())
        found = brokers.position(partition).let_through
        assert dict(found.amounts) == {name: amount for (day, name), amount in days.used.items() if day == found.day}


async def _run(brokers: Brokers, cap: DeclineCap | None, steps: Sequence[Any], clock: Clock) -> None:
    """Work in steps between which hours pass; the clock of another worker may be behind."""

    def timed() -> Any:
        for one in steps:
            clock.ms += 0 if one is None else one[3] * HOUR_MS
            yield None if one is None else one[:3]

    await decide_all(brokers, lambda: Worker(brokers, cap, RULE), timed())


async def test_a_score_that_is_let_through_differs_in_nothing_but_its_decision() -> None:
    some, none = Brokers([[BAD] * 2 + [Price(20_000)] * 10, []]), Brokers([[BAD] * 2 + [Price(20_000)] * 10, []])
    worker, plain = Worker(some, let_through=RULE), Worker(none)
    await worker.decide(12, commits=True)
    await plain.decide(12, commits=True)
    (fact,) = [one for one in worker.facts if isinstance(one, Decided)]
    scores = some.decided()
    assert [(one.decision, one.overruled, one.propensity) for one in fact.scored.judgements] == [
        (one.decision, one.overruled, one.propensity) for one in scores
    ]
    assert {one.propensity for one in scores if one.overruled == PASSED} == {0.5}
    assert {one.decision for one in scores if one.overruled == PASSED} == {Decision.APPROVE}
    assert {one.decision for one in scores if one.overruled is None} == {Decision.DECLINE}
    assert 0.5 in [one.propensity for one in scores if one.overruled is None]
    for one, before in zip(scores, none.decided(), strict=True):
        now = {"scored_at": before.scored_at, "latency_ms": before.latency_ms}
        undone = {"decision": Decision.DECLINE, "overruled": None, "propensity": None}
        assert msgspec.structs.replace(one, **undone, **now) == before


async def test_a_silent_deployment_draws_no_lots() -> None:
    brokers = Brokers([[BAD] * 10, [BAD] * 10])
    await Worker(brokers, let_through=RULE, publishes=False).decide(10, commits=True)
    assert set(found_lots(brokers.decided())) == {Lot(None, passed=False)}
    assert {one.decision for one in brokers.decided()} == {Decision.DECLINE}


async def test_a_worker_tells_what_its_partitions_may_still_let_through_today() -> None:
    brokers, lineup = Brokers([[Price(20_000)] * 10, [GOOD]]), Lineup("default", 1)
    worker = Worker(brokers, let_through=RULE)
    follower: Any = worker._decider._follower
    gauges = LetThroughGauges(worker.positions, follower)
    assert gauges.cap() == gauges.left() == {"EUR": 240_000, "USD": 40_000}
    await worker.decide(10, commits=True)
    used = sum(one.amount_minor for one in brokers.decided() if one.overruled == PASSED)
    assert gauges.left() == {"EUR": 240_000 - used, "USD": 40_000}
    assert used > 0
    worker.positions.partitions = frozenset({1})
    assert gauges.left() == {"EUR": 120_000, "USD": 20_000}
    follower.lineup = lineup
    assert gauges.cap() == gauges.left() == {}
    silent = LetThroughGauges(
        positions_on(brokers, lineup, publishes=False), Worker(brokers, None, RULE)._decider._follower
    )
    assert silent.cap() == {}
