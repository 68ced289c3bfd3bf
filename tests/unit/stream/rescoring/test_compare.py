"""`fraudstream score --topic --diff`: decisions are reproduced, or each difference is explained."""

from hypothesis import HealthCheck, given, settings

from support.examples import examples
from support.rescoring.faults import Act, Play, acts
from support.rescoring.model import Trained, compared

ORDINARY = ("label", "early label", "again", "conflict")
FAULTS = ("away", "back", "decide elsewhere", "lose", "repair", "crash")


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
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_difference_after_faults_of_redis_is_explained(live: Trained, stream: list[Act]) -> None:
    world = live.world()
    play = Play(world)
    if play.run(stream):
        found = compared(world)
        assert found.examples == ()
        assert found.compared == play.decided == found.equal + found.explained
        assert set(found.reasons) <= {"degraded", "order_unknown", "history_epoch_changed"}
