"""The same seed gives the same plan, and the seeds of a campaign draw all that it is about."""

import pytest

from campaigns.broker_plans import COMMITS, MOVED, draw_old_brokers, draw_ports, draw_reassignment, draw_unclean
from campaigns.plan import Plan
from campaigns.plans import CAMPAIGNS, draw_clocks, draw_outage

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
    common = {"command", "kill_worker", "add_worker", "stop_worker"}
    assert drawn["disturbances"] == common - {"add_worker"} | {"burst", "send_again"}
    assert drawn["reassignment"] == common | {"reassign", "elect_preferred"}
    assert drawn["old_brokers"] == common | {"restart_broker", "empty_redis", "send_again"}
    assert drawn["unclean"] == {"endanger", "look_for_warnings", "elect_unclean", "kill_worker"}
    assert drawn["ports"] == common | {"move_broker", "start_guard", "let_guard_act"}
    assert drawn["rollouts"] == common | {
        *("start_guard", "start_rollout", "kill_guard_at_each_step", "canary", "empty_redis"),
    }
    assert drawn["artifacts"] == {"damage_artifact", "restore_artifact", "command", "kill_worker"}
    assert drawn["descriptors"] == {"limit_descriptors", "restart_broker", "command", "kill_worker"}
    assert drawn["rolling"] == {"restart_one_by_one", "command"}
    assert drawn["failover"] == common | {"fail_over", "send_again"}
    assert drawn["full_disk"] == {
        *("start_guard_with_checkpoint", "restart_guard_with_checkpoint", "fill_disk", "free_disk", "put_model"),
        *("command", "kill_worker"),
    }
    assert drawn["memory"] == common | {"limit_memory", "burst"}
    assert drawn["idle_night"] == {"let_night_pass", "burst", "send_again", "command", "kill_worker"}
    assert drawn["hand_over"] == common | {"start_other_fleet", "hand_over", "canary"}


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


def test_reassignments_move_every_topic_to_two_or_three_brokers() -> None:
    for plan in map(draw_reassignment, SEEDS):
        moves = [step.arguments for step in plan.steps if step.action == "reassign"]
        assert {move["topic"] for move in moves} == {*MOVED, COMMITS}
        for nodes in (nodes for move in moves for nodes in move["replicas"].split()):
            assert len(set(nodes)) == len(nodes)
            assert len(nodes) in {2, 3}


def test_old_brokers_are_of_3_4_in_even_seeds_and_of_3_9_in_odd_ones() -> None:
    assert {plan.services.kafka[:3] for plan in map(draw_old_brokers, SEEDS[1::2])} == {"3.4"}
    assert {plan.services.kafka[:3] for plan in map(draw_old_brokers, SEEDS[::2])} == {"3.9"}


def test_brokers_move_one_after_the_other_and_in_most_seeds_all_of_them() -> None:
    for plan in map(draw_ports, SEEDS):
        moved = [step.arguments["node"] for step in plan.steps if step.action == "move_broker"]
        assert len(set(moved)) == len(moved) == (2 if plan.seed % 4 == 0 else 3)


def test_unclean_elections_are_of_scores_and_of_transactions_after_a_look_for_warnings() -> None:
    topics = set()
    for plan in map(draw_unclean, SEEDS):
        first, second, third = (step for step in plan.steps if step.action != "kill_worker")
        assert [first.action, second.action, third.action] == ["endanger", "look_for_warnings", "elect_unclean"]
        assert third.arguments["behind"] != third.arguments["ahead"]
        topics.add(third.arguments["topic"])
    assert topics == {"scores", "transactions"}
