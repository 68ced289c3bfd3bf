"""`fraudstream score --topic --diff`: decisions are reproduced, or each difference is explained."""

import pytest
from hypothesis import HealthCheck, example, given, settings

from support.examples import examples
from support.rescoring.cases import APPENDED_LONG_BEFORE_ITS_DECISION, DISPLACED_BESIDE_A_PAYMENT_ON_TWO_PARTITIONS, PAY
from support.rescoring.faults import DAY_MS, Act, Play, acts
from support.rescoring.model import Trained, assert_explained, compared

ORDINARY = ("label", "early label", "again", "conflict")
FAULTS = ("away", "back", "decide elsewhere", "lose", "repair", "crash", "label crash")
LATE_BEHIND_ONE_APPENDED_BY_A_CRASH = [
    *[PAY] * 4,
    PAY._replace(merchant=1),
    PAY._replace(what="decide", pause_ms=7 * DAY_MS),
    PAY._replace(what="decide", pause_ms=20 * DAY_MS),
    PAY,
    PAY._replace(merchant=1, pause_ms=20 * DAY_MS),
    PAY._replace(what="crash"),
    PAY._replace(card=2, merchant=1, late_ms=38 * DAY_MS),
    PAY._replace(what="decide", partitions=(2, 1, 0)),
    *[PAY] * 10,
    PAY._replace(what="lose"),
]
"""The merchant's newest payment, appended before a crash and decided last, moved what the late one still saw."""
CONFLICT_DECIDED_BEFORE_THE_PAYMENT_SENT_FIRST = [
    PAY,
    PAY,
    PAY._replace(what="lose"),
    PAY._replace(what="conflict", pause_ms=DAY_MS),
    PAY._replace(what="label crash", fraud=True),
    PAY,
    PAY._replace(what="repair"),
    PAY._replace(card=2),
]
"""The partition of the conflicting payment is read first, so that one is decided, and is in the merchant's log."""


@given(acts(*ORDINARY))
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_decisions_without_faults_are_reproduced_to_the_last_bit(live: Trained, stream: list[Act]) -> None:
    world = live.world()
    play = Play(world)
    if play.run(stream):
        found = compared(world)
        assert found.examples == ()
        assert (found.compared, found.equal) == (play.decided, play.decided)


@given(acts(*ORDINARY, *FAULTS))
@example(LATE_BEHIND_ONE_APPENDED_BY_A_CRASH)
@example(APPENDED_LONG_BEFORE_ITS_DECISION)
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_difference_after_faults_of_redis_is_explained(live: Trained, stream: list[Act]) -> None:
    assert_explained(live.world(), stream)


@pytest.mark.acceptance
@given(acts(*ORDINARY, *FAULTS))
@example(CONFLICT_DECIDED_BEFORE_THE_PAYMENT_SENT_FIRST)
@example(DISPLACED_BESIDE_A_PAYMENT_ON_TWO_PARTITIONS)
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_difference_of_cards_on_several_partitions_is_explained(live: Trained, stream: list[Act]) -> None:
    world = live.world()
    world.divides = True
    assert_explained(world, stream, "card_on_two_partitions")
