"""Who was live at a time: the stretch of revisions, its first payments, and what a score may contradict."""

from typing import Any

import pytest
from msgspec import structs

from fraudstream.ops.rollout.lineup.who import (
    FirstDecision,
    FirstScore,
    cutovers_of,
    earliest,
    first_decision,
    reign_at,
)
from fraudstream_client.outputs import DecidedBy, ModelName
from models.commands import Event, EventKind
from models.times import format_time
from stream.control.history import history_of
from support.demo_scores import Place, score
from support.shadow_cases import accepted

A, B = "a" * 64, "b" * 64
EVENTS = [
    accepted(1, "promote", A, 1_000),
    structs.replace(accepted(2, "canary", B, 2_000), share_bp=5_000, salt="s"),
    accepted(3, "challenge", "c" * 64, 3_000),
    structs.replace(accepted(4, "canary", B, 4_000), share_bp=9_000, salt="s"),
    accepted(4, "promote", B, 4_500),
    accepted(5, "promote", B, 5_000),
]
"""The second revision 4 is void; the challenger changes nothing of who decides."""
ENTRIES = history_of("default", EVENTS, {}).entries


@pytest.mark.parametrize(
    ("time_ms", "first", "until", "live", "share_bp"),
    [
        (1_000, 1, 2, A, None),
        (1_999, 1, 2, A, None),
        (3_500, 2, 4, A, 5_000),
        (4_500, 4, 5, A, 9_000),
        (9_000, 5, None, B, None),
    ],
)
def test_the_stretch_at_a_time_is_that_of_the_last_change_before_it(
    time_ms: int, first: int, until: Any, live: str, share_bp: Any
) -> None:
    reign = reign_at(ENTRIES, time_ms)
    assert reign is not None
    assert (reign.first, reign.until, reign.live) == (first, until, live)
    assert (None if reign.canary is None else reign.canary.share_bp) == share_bp
    assert not reign.holds(first - 1)
    assert reign.holds(first)


def test_before_the_first_promotion_nobody_was_live() -> None:
    assert reign_at(ENTRIES, 999) is None


def cutover(revision: int, partition: int, offset: int) -> Event:
    return Event(
        event_id=f"e-{revision}-{partition}-{offset}",
        deployment="default",
        kind=EventKind.CUTOVER,
        revision=revision,
        worker="w",
        at=format_time(0),
        partition=partition,
        offset=offset,
    )


def test_a_partitions_first_payment_may_be_of_any_revision_of_the_stretch() -> None:
    reign = reign_at(ENTRIES, 3_500)
    assert reign is not None
    events = [cutover(1, 0, 5), cutover(2, 0, 9), cutover(3, 0, 12), cutover(3, 1, 7), cutover(4, 2, 1)]
    assert cutovers_of(events, reign) == {0: {2: 9, 3: 12}, 1: {3: 7}}


def test_a_score_that_contradicts_the_event_log_is_told() -> None:
    reign = reign_at(ENTRIES, 3_500)
    assert reign is not None
    cards = {arm: next(card for card in (f"card-{n}" for n in range(99)) if arm_of(reign, card) == arm) for arm in ARMS}
    model = {"live": ModelName("m", "1", A), "canary": ModelName("m", "1", B)}
    for arm, card in cards.items():
        one = structs.replace(score("t", Place(0, 9), revision=2), card_id=card, arm=arm, model=model[arm])
        assert first(9, one, reign) == FirstDecision(9, 9)
        assert first(8, one, reign).disagrees == "offset 9, where the cutover event says 8"
        other = "canary" if arm == "live" else "live"
        assert "where the card's bucket says" in str(first(9, structs.replace(one, arm=other), reign).disagrees)
        assert f"where arm {arm} has" in str(first(9, structs.replace(one, model=model[other]), reign).disagrees)
        stood = structs.replace(one, model=model["live"], decided_by=DecidedBy.FALLBACK)
        assert first(9, stood, reign).disagrees is None
        # a lost cutover event does no harm: that of another revision says nothing of this one
        assert first_decision({3: 12}, FirstScore(one, is_first=True), reign) == FirstDecision(None, 9)
        deleted = first_decision({2: 4}, FirstScore(one, is_first=False), reign)
        assert deleted == FirstDecision(4, 9, None, earlier_deleted=True)
    assert first_decision({2: 4, 3: 12}, None, reign) == FirstDecision(4, None)


def test_of_published_and_silent_decisions_the_one_of_the_earliest_payment_is_the_first() -> None:
    silent = FirstScore(score("t-1", Place(0, 9), revision=2), is_first=True)
    published = FirstScore(score("t-2", Place(0, 12), revision=2), is_first=True)
    assert earliest([silent, published]) == earliest([published, silent]) == silent
    deleted = earliest([silent, published._replace(is_first=False)])
    assert deleted == silent._replace(is_first=False)
    assert earliest([]) is None


def first(cutover: int, one: Any, reign: Any) -> FirstDecision:
    return first_decision({2: cutover}, FirstScore(one, is_first=True), reign)


ARMS = ("live", "canary")


def arm_of(reign: Any, card: str) -> str:
    return str(reign.canary.split.arms_of([card])[0])
