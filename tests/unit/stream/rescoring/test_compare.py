"""`fraudstream score --topic --diff`: what was decided comes out again, whatever happened; what did not is told."""

from hypothesis import HealthCheck, given, settings

from support.examples import examples
from support.rescoring.faults import Act, Play, acts
from support.rescoring.model import Trained, compared

ORDINARY = ("label", "early label", "again", "conflict")
FAULTS = ("away", "back", "decide elsewhere", "lose", "repair", "crash")


@given(acts(*ORDINARY))
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_decided_undisturbed_comes_out_again_to_the_last_bit(live: Trained, stream: list[Act]) -> None:
    world = live.world()
    play = Play(world)
    if play.run(stream):
        found = compared(world)
        assert found.examples == ()
        assert (found.compared, found.equal) == (play.decided, play.decided)


@given(acts(*ORDINARY, *FAULTS))
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_happened_to_redis_explains_every_difference(live: Trained, stream: list[Act]) -> None:
    world = live.world()
    play = Play(world)
    if play.run(stream):
        found = compared(world)
        assert found.examples == ()
        assert found.compared == play.decided == found.equal + found.explained
        assert set(found.reasons) <= {"degraded", "order_unknown", "history_epoch_changed"}
