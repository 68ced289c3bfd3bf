"""The same seed gives the same plan, and the seeds of a campaign draw all that it is about."""

import pytest

from campaigns.plans import CAMPAIGNS, Plan, draw_clocks, draw_outage

SEEDS = range(1, 61)


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_the_same_seed_gives_the_same_plan_and_another_seed_another(name: str) -> None:
    draw = CAMPAIGNS[name]
    assert [draw(seed) for seed in SEEDS] == [draw(seed) for seed in SEEDS]
    assert len({draw(seed).summary() for seed in SEEDS}) == len(SEEDS)


def actions(plan: Plan) -> set[str]:
    return {step.action for step in plan.steps}


def test_sixty_seeds_draw_each_action_of_their_campaign() -> None:
    drawn = {name: set().union(*(actions(draw(seed)) for seed in SEEDS)) for name, draw in CAMPAIGNS.items()}
    assert drawn["outages"] == {
        *("begin_outage", "end_outage", "command", "kill_worker", "add_worker", "stop_worker"),
    }
    assert drawn["clocks"] == {
        *("set_clock", "burst", "stop_before_letters", "empty_redis", "send_again"),
        *("kill_worker", "add_worker", "stop_worker"),
    }
    assert drawn["operators"] == {
        *("move_offsets", "make_anew", "restart_workers", "redrive", "empty_redis_and_send_again", "kill_worker"),
    }


def test_each_outage_lasts_longer_than_a_write_is_waited_for_and_all_kinds_are_drawn() -> None:
    kinds = set()
    for plan in map(draw_outage, SEEDS):
        begin, end = (step for step in plan.steps if step.action.endswith("_outage"))
        assert end.at_s - begin.at_s > 30
        kinds.add((begin.arguments["kind"], end.at_s - begin.at_s > 60))
    assert len(kinds) == 6


def test_each_seed_of_clocks_goes_beyond_65_minutes_behind_and_ends_at_the_right_time() -> None:
    for plan in map(draw_clocks, SEEDS):
        offsets = [step.arguments["offset_s"] for step in plan.steps if step.action == "set_clock"]
        assert min(offsets) < -65 * 60
        assert max(map(abs, offsets)) <= 7_200
        assert offsets[-1] == 0
    assert {draw_clocks(seed).bounded for seed in SEEDS} == {True, False}
