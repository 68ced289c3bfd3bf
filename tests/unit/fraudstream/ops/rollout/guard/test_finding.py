"""What a guard watches by the event log, and what it does by what it has counted."""

from typing import Any

import pytest

from fraudstream.ops.rollout.guard.finding import Finding, Limits, Order, Sight, finding_on
from fraudstream.ops.rollout.guard.watched import Past, Stretch, after, past_of
from guards.excluded import ExcludedCards
from guards.ladder import Ladder, RolloutPhase
from guards.paired import PAIRED_SHARE_BP, paired_guards
from guards.records import GuardedScore, ScorePlace
from guards.report import evidence
from guards.row_time import row_time_evidence, slowest
from guards.specs import (
    DEFAULT_ROW_TIME,
    OF_A_CANARY,
    Action,
    ClimbSpec,
    GuardKind,
    RowTimeSpec,
    default_guards,
    guards_json,
)
from guards.state import GuardState, OutcomePartition, PartitionCounts
from models.commands import AcceptedArm, CommandKind, Event, EventKind
from models.times import format_time

A, B, C = (letter * 64 for letter in "abc")
LADDER = Ladder.parse("1% 10min, 5% 1h, 100% 2h")
MINUTE = 60_000
LIMITS = Limits(cool_down_ms=10 * MINUTE, least_decisions=200)
Step = tuple[str, dict[str, Any]]
PROMOTED: Step = ("promote", {"model": A})
STARTED: Step = (
    "rollout",
    {
        "model": B,
        "share_bp": 100,
        "salt": "s",
        "ladder": LADDER.rungs,
        "guards": guards_json(default_guards()),
        "paused": False,
    },
)
CANARY: Step = ("canary", {"model": B, "share_bp": 100, "salt": "s"})
TOP: Step = ("promote", {"model": B, "watch_until": format_time(200 * MINUTE)})


def ramp(share_bp: int) -> Step:
    return ("canary", {"model": B, "share_bp": share_bp, "salt": "s"})


def breached(kind: str, command: str) -> Step:
    return (
        command,
        {"evidence": {"guards": {kind: {"breached": True}}}, "paused": True if command == "pause" else None},
    )


def past(*steps: Step) -> Past:
    """Fold accepted commands, one a minute, the first at minute 0."""
    return past_of("default", [event(number, *step) for number, step in enumerate(steps)])


def event(number: int, kind: str, fields: dict[str, Any]) -> Event:
    return Event(
        event_id=f"e-{number}",
        deployment="default",
        kind=EventKind.ACCEPTED,
        revision=number + 1,
        worker="w",
        at=format_time(number * MINUTE),
        command_id=f"c-{number}",
        command=CommandKind(kind),
        **fields,
    )


def counted(now: Past, decision: str = "decline", by: str = "model", **arms: int) -> dict[str, Any]:
    """Return the evidence of one decision for each of so many cards in each arm."""
    assert now.watched is not None
    state = GuardState(now.watched.guards, "default", now.watched.shares, now.watched.arms)
    revision = max(now.watched.shares)
    scores = [
        GuardedScore(f"t{arm}{card}", f"{arm}{card}", decision, by, revision, 0, ScorePlace(card), "default", arm)
        for arm, number in arms.items()
        for card in range(number)
    ]
    state.count(0, scores, len(scores))
    row_time = now.watched.row_time and row_time_evidence(now.watched.row_time, slowest(now.row_times.values()))
    return evidence(state, row_time=row_time, climb=now.watched.climb)


def find(now: Past, minutes: float, *, decisions: int = 1_000, blind: tuple[str, ...] = (), **counts: Any) -> Finding:
    assert now.watched is not None
    at_ms = round(minutes * MINUTE)
    return finding_on(now, now.watched, Sight(at_ms, at_ms, counted(now, **counts), decisions, blind), LIMITS)


def test_a_canary_is_watched_under_the_share_of_each_revision_from_its_beginning_to_its_end() -> None:
    assert past(PROMOTED).watched is None
    now = past(PROMOTED, STARTED, ("freeze", {"hands_off": False}), ramp(500), ("thaw", {}), ramp(500))
    watched = now.watched
    assert watched is not None
    assert (watched.stretch, watched.since, watched.since_ms) == (Stretch.CANARY, 2, MINUTE)
    assert (watched.model, watched.other, watched.guards) == (B, A, default_guards())
    assert dict(watched.shares) == {2: 100, 3: 100, 4: 500, 5: 500, 6: 500}
    assert (watched.share_bp, watched.share_since_ms) == (500, 3 * MINUTE)
    assert past(PROMOTED, STARTED, ("end_canary", {})).watched is None


def test_a_second_canary_is_another_one() -> None:
    watched = past(PROMOTED, CANARY, ("end_canary", {}), ramp(700)).watched
    assert watched is not None
    assert (watched.since, dict(watched.shares), watched.rollout) == (4, {4: 700}, None)


def test_a_canary_after_a_rollout_is_over_climbs_no_ladder() -> None:
    other: Step = ("canary", {"model": C, "share_bp": 100, "salt": "t"})
    now = past(PROMOTED, STARTED, TOP, other)
    assert now.watched is not None
    assert (now.watched.model, now.watched.rollout, now.watched.row_time) == (C, None, DEFAULT_ROW_TIME)
    assert find(now, 10_000).order is None


def test_a_promotion_is_watched_in_pairs_for_as_long_as_its_predecessor_stays_in_the_shadow() -> None:
    now = past(PROMOTED, STARTED, TOP, ("freeze", {}))
    watched = now.watched
    assert watched is not None
    assert (watched.stretch, watched.since, watched.model, watched.other) == (Stretch.PROMOTION, 3, B, A)
    assert dict(watched.shares) == {3: PAIRED_SHARE_BP, 4: PAIRED_SHARE_BP}
    assert watched.guards == paired_guards(default_guards())
    assert [watched.is_over(minute * MINUTE) for minute in (199, 200)] == [False, True]
    only = {"sample_ratio": {"alpha": 0.01, "action": "hold", "factor": 1.0}}
    again = past(PROMOTED, ("rollout", STARTED[1] | {"guards": only}), TOP).watched
    assert again is not None
    assert again.guards == paired_guards(default_guards())
    assert past(PROMOTED, STARTED, TOP, ("withdraw", {})).watched is None
    assert past(PROMOTED, STARTED, TOP, ("roll_back", {})).watched is None


def test_it_climbs_when_time_is_over_enough_was_decided_and_nothing_is_held() -> None:
    now = past(PROMOTED, STARTED)
    early = find(now, 5)
    assert (early.order, early.progress and early.progress.phase) == (None, RolloutPhase.WAITING)
    assert find(now, 11, decisions=199).order is None
    due = find(now, 11).order
    assert due == Order(CommandKind.CANARY, f"rung 2 of {LADDER}: 5%", raises=True, model=B, share_bp=500)
    top = find(past(PROMOTED, STARTED, ramp(500)), 63).order
    assert top == Order(CommandKind.PROMOTE, f"rung 3 of {LADDER}", raises=True, model=B, watch=7_200)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (("pause", {"paused": True}), "paused"),
        (("freeze", {"hands_off": False}), "frozen"),
        (("freeze", {"hands_off": True}), "frozen"),
    ],
)
def test_nothing_climbs_while_a_person_holds_it(step: Step, why: str) -> None:
    found = find(past(PROMOTED, STARTED, step), 60)
    assert (found.order, found.progress and found.progress.phase) == (None, RolloutPhase.HELD)
    assert why in found.held[0]
    assert find(past(PROMOTED, STARTED), 60, blind=("a partition was lost",)).held == ("a partition was lost",)


def test_a_breach_ends_the_canary_at_once_and_under_a_freeze_too_but_not_with_hands_off() -> None:
    ending = Order(CommandKind.END_CANARY, "breached: declined")
    for steps in ((STARTED,), (CANARY,), (STARTED, ("freeze", {"hands_off": False})), (STARTED, ("pause", {}))):
        assert find(past(PROMOTED, *steps), 2, canary=30, live=30).order == ending
    found = find(past(PROMOTED, STARTED, ("freeze", {"hands_off": True})), 2, canary=30, live=30)
    assert (found.order, list(found.breached)) == (None, [GuardKind.DECLINED, GuardKind.SAMPLE_RATIO])


def test_reviews_pause_a_rollout_and_once_resumed_do_not_hold_it_again() -> None:
    reviews = {"canary": 30, "live": 30, "decision": "review"}
    assert find(past(PROMOTED, STARTED), 2, **reviews).order == Order(
        CommandKind.PAUSE, "breached: reviewed, sample_ratio"
    )
    held = past(PROMOTED, STARTED, breached("reviewed", "pause"))
    assert find(held, 60, **reviews).order is None
    resumed = past(PROMOTED, STARTED, breached("reviewed", "pause"), ("resume", {"paused": False}))
    climbing = past(PROMOTED, STARTED, ("canary", ramp(500)[1] | breached("reviewed", "canary")[1]))
    assert climbing.breached_ms is None
    assert list(find(resumed, 60, **reviews).breached) == [GuardKind.SAMPLE_RATIO]
    assert find(resumed, 60, canary=9, live=0, decision="review").order is not None
    assert find(past(PROMOTED, CANARY), 2, **reviews).order is None  # there is no ladder to hold


def test_nothing_climbs_in_the_cool_down_after_a_breach() -> None:
    again = past(
        PROMOTED, STARTED, breached("declined", "end_canary"), ("canary", CANARY[1]), ("end_canary", {}), STARTED
    )
    assert again.breached_ms == 2 * MINUTE
    assert find(again, 11.5).held == ("cool-down after a breach: 30 s more",)
    assert find(again, 16).order is not None


def test_a_watched_promotion_is_rolled_back_by_declines_that_only_it_makes_and_only_told_of_reviews() -> None:
    now = past(PROMOTED, STARTED, TOP)
    assert find(now, 5, canary=30, live=2).order == Order(CommandKind.ROLL_BACK, "breached: declined")
    reviews = find(now, 5, canary=30, live=2, decision="review")
    assert (reviews.order, list(reviews.breached)) == (None, [GuardKind.REVIEWED])
    assert find(now, 5, canary=9, live=9).order is None


# --- too many declines, which may be a wave of fraud


def declining(now: Past, minutes: float, firsts: tuple[int, int], labels: tuple[int, int] = (0, 0)) -> Finding:
    """Find what follows of so many first declines at 5 %, some of the canary's labelled as fraud and as genuine."""
    assert now.watched is not None
    state, counts, outcomes = GuardState(now.watched.guards, "default"), PartitionCounts(), OutcomePartition()
    counts.firsts = {GuardKind.DECLINED: {(0, 500): list(firsts)}}
    for at in range(sum(labels)):
        counts.declined.add(at)
        if at < labels[0]:
            outcomes.frauds[at] = at
        else:
            outcomes.genuine.add(at)
    state.partitions[0], state.outcomes[0] = counts, outcomes
    at_ms = round(minutes * MINUTE)
    return finding_on(now, now.watched, Sight(at_ms, at_ms, evidence(state), 1_000), LIMITS)


TWICE, FIVE_TIMES = (80, 700), (80, 300)  # of canary and live; at 5 % alike would be 80 of 1,520
RAMPED = (PROMOTED, STARTED, ramp(500))
RETREATED = (*RAMPED, ("canary", ramp(100)[1] | breached("declined", "canary")[1]))
STANDS_BACK = (*RETREATED, breached("declined", "pause"))


def test_a_canary_that_declines_too_much_goes_back_to_the_first_rung_is_paused_and_ends_after_an_hour() -> None:
    back = declining(past(*RAMPED), 10, TWICE)
    assert back.order == Order(CommandKind.CANARY, "breached: declined; back to 1%", model=B, share_bp=100)
    assert back.breached == {GuardKind.DECLINED: Action.HOLD}
    assert past(*RETREATED).retreated_ms == 3 * MINUTE
    assert declining(past(*RETREATED), 4, TWICE).order == Order(CommandKind.PAUSE, "breached: declined")
    assert declining(past(PROMOTED, STARTED), 4, TWICE).order == Order(CommandKind.PAUSE, "breached: declined")
    for minutes, expected in ((62, None), (63, Order(CommandKind.END_CANARY, "breached: declined"))):
        assert declining(past(*STANDS_BACK), minutes, TWICE).order == expected


def test_labels_that_call_most_of_its_declines_fraud_keep_it_at_the_first_rung() -> None:
    for labels, ends in (((4, 0), True), ((3, 2), False), ((2, 3), True), ((40, 9), False)):
        order = declining(past(*STANDS_BACK), 90, TWICE, labels).order
        assert order == (Order(CommandKind.END_CANARY, "breached: declined") if ends else None)


def test_a_canary_that_declines_three_times_as_much_or_that_another_guard_speaks_against_ends_at_once() -> None:
    ending = Order(CommandKind.END_CANARY, "breached: declined")
    for steps in (RAMPED, RETREATED, STANDS_BACK, (PROMOTED, STARTED, ("pause", {"paused": True})), (PROMOTED, CANARY)):
        assert declining(past(*steps), 10, FIVE_TIMES).order == ending
    assert declining(past(PROMOTED, CANARY), 10, TWICE).order == ending, "there is no rung to go back to"
    assert declining(past(PROMOTED, STARTED, ("pause", {"paused": True})), 10, TWICE).order == ending
    assert find(past(*RAMPED), 10, canary=80, live=700).order == ending, "the sample ratio is breached as well"


def test_a_person_may_let_a_canary_go_on_that_declines_too_much() -> None:
    resumed = past(*STANDS_BACK, ("resume", {"paused": False}))
    assert (resumed.retreated_ms, resumed.accepts_declines) == (None, True)
    found = declining(resumed, 120, TWICE)
    assert (found.breached, found.order and found.order.share_bp) == ({}, 500)
    assert declining(resumed, 120, FIVE_TIMES).order == Order(CommandKind.END_CANARY, "breached: declined")


def test_too_few_declines_hold_a_rollout_until_a_person_lets_it_go_on_and_then_too_many_still_count() -> None:
    few = (0, 140)
    found = declining(past(*RAMPED), 10, few)
    assert (found.order, found.breached) == (
        Order(CommandKind.PAUSE, "breached: declined"),
        {GuardKind.DECLINED: Action.HOLD},
    )
    guard = {"breached": True, "action": "roll_back", "follows": "hold"}
    paused: Step = ("pause", {"evidence": {"guards": {"declined": guard}}, "paused": True})
    resumed = past(*RAMPED, paused, ("resume", {"paused": False}))
    assert declining(resumed, 120, few).breached == {}
    again = declining(resumed, 120, TWICE)
    assert again.breached == {GuardKind.DECLINED: Action.HOLD}
    assert again.order is not None
    assert again.order.share_bp == 100


# --- evidence to climb

ASKING: Step = ("rollout", STARTED[1] | {"guards": guards_json(default_guards(), None, ClimbSpec())})


def test_a_rung_waits_for_evidence_that_a_doubling_is_excluded() -> None:
    assert find(past(PROMOTED, ASKING), 11).order is not None, "5 % asks for none"
    ramped = past(PROMOTED, ASKING, ramp(500))
    waiting = find(ramped, 63)
    assert (waiting.order, waiting.progress and waiting.progress.phase) == (None, RolloutPhase.WAITING)
    assert waiting.progress is not None
    first, second = waiting.progress.waits_for
    assert first == (
        "evidence that it has fewer than 2 times as many first declines as live: E = 1 of 20, by 0 of the canary's and "
        "0 of live's"
    )
    assert "first reviews" in second
    declines = declining(ramped, 63, (30, 600)).progress
    assert declines is None or declines.waits_for == ()  # without a stated climb in this evidence nothing is asked


def measured(now: Past, row_us: float, worker: str = "w-1", revision: int = 2, **other: Any) -> Past:
    """Fold a worker's report on the new model's time."""
    fields = {"deployment": "default", "model": B} | other
    return after(
        now,
        Event(
            event_id=f"row-{worker}-{row_us:g}",
            kind=EventKind.ROW_TIME,
            revision=revision,
            worker=worker,
            at=format_time(0),
            row_us=row_us,
            **fields,
        ),
    )


def with_budget(action: Action) -> Step:
    return ("rollout", STARTED[1] | {"guards": guards_json(default_guards(), RowTimeSpec(300.0, action))})


@pytest.mark.parametrize(
    ("action", "kind"), [(Action.HOLD, CommandKind.PAUSE), (Action.ROLL_BACK, CommandKind.END_CANARY)]
)
def test_a_model_that_takes_longer_than_its_budget_on_any_worker_is_held_or_ended(
    action: Action, kind: CommandKind
) -> None:
    now = measured(measured(past(PROMOTED, with_budget(action)), 120.0), 290.0, "w-2")
    assert find(now, 11).breached == {}
    over = measured(now, 310.0, "w-2")
    assert find(over, 11).order == Order(kind, "breached: row_time")
    assert find(measured(over, 290.0, "w-2"), 11).breached == {}


def test_a_person_may_let_a_slow_model_go_on() -> None:
    steps = (PROMOTED, with_budget(Action.HOLD), breached("row_time", "pause"), ("resume", {"paused": False}))
    found = find(measured(past(*steps), 310.0, revision=4), 60)
    assert found.breached == {}
    assert found.order is not None
    assert found.order.share_bp == 500


def test_times_of_other_models_deployments_and_earlier_stretches_do_not_count() -> None:
    now = past(PROMOTED, CANARY)
    assert now.watched is not None
    assert now.watched.row_time == DEFAULT_ROW_TIME
    assert measured(now, 9_000.0, model=A).row_times == {}
    assert measured(now, 9_000.0, deployment="green").row_times == {}
    assert measured(now, 9_000.0, revision=1).row_times == {}
    over = measured(now, 9_000.0)
    assert find(over, 11).breached == {GuardKind.ROW_TIME: Action.HOLD}
    assert find(over, 11).order is None  # there is no ladder to hold
    assert after(over, event(2, *ramp(200))).row_times == over.row_times
    assert after(over, event(2, *TOP)).row_times == {}
    assert past(PROMOTED, STARTED).watched.row_time is None  # type: ignore[union-attr] # its guards have no budget


def test_a_promoted_model_is_held_to_the_budget_of_its_rollout() -> None:
    now = measured(past(PROMOTED, with_budget(Action.ROLL_BACK), TOP), 310.0, revision=3)
    assert find(now, 5).order == Order(CommandKind.ROLL_BACK, "breached: row_time")


# --- a split

ARMS = {"a": AcceptedArm(B, 1_000), "b": AcceptedArm(C, 2_000), "control": AcceptedArm(A, 500)}
SPLIT: Step = ("split", {"arms": ARMS, "salt": "s", "exclude": ("card-1",)})


def test_a_split_is_watched_from_its_beginning_to_its_end_with_the_same_shares() -> None:
    now = past(PROMOTED, SPLIT, ("freeze", {"hands_off": False}), ("challenge", {"model": "d" * 64}))
    watched = now.watched
    assert watched is not None
    assert (watched.stretch, watched.since, watched.since_ms) == (Stretch.SPLIT, 2, MINUTE)
    guards = {kind: guard for kind, guard in default_guards().items() if kind not in OF_A_CANARY}
    assert (watched.models, watched.other, watched.guards, watched.rollout) == ((B, C), A, guards, None)
    assert dict(watched.shares) == {2: 3_500, 3: 3_500, 4: 3_500}
    arms = [("a", 1_000), ("b", 2_000), ("control", 500), ("live", 6_500)]
    assert watched.arms == (tuple(arms), ExcludedCards.of(["card-1"], None))
    assert (watched.pair, watched.is_over(10**15)) == (None, False)
    assert past(PROMOTED, SPLIT, ("end_split", {"winner": "live"})).watched is None
    again = past(PROMOTED, SPLIT, ("end_split", {"winner": "live"}), SPLIT).watched
    assert again is not None
    assert (again.since, dict(again.shares)) == (4, {4: 3_500})


def test_an_arm_that_wins_is_watched_beside_what_was_live_before() -> None:
    won: Step = ("end_split", {"winner": "a", "model": B, "watch_until": format_time(200 * MINUTE)})
    watched = past(PROMOTED, SPLIT, won).watched
    assert watched is not None
    assert (watched.stretch, watched.model, watched.other) == (Stretch.PROMOTION, B, A)


def test_an_arm_that_declines_more_ends_the_split_and_live_wins() -> None:
    now = past(PROMOTED, SPLIT)
    assert find(now, 5, a=9, b=18, control=5, live=60).order is None
    ending = find(now, 5, a=40, b=18, control=5, live=60)
    assert ending.order == Order(CommandKind.END_SPLIT, "breached: declined", winner="live")
    assert (ending.progress, ending.breached[GuardKind.DECLINED]) == (None, Action.ROLL_BACK)
    frozen = past(PROMOTED, SPLIT, ("freeze", {"hands_off": False}))
    assert find(frozen, 5, a=40, live=60).order == ending.order
    hands_off = past(PROMOTED, SPLIT, ("freeze", {"hands_off": True}))
    assert find(hands_off, 5, a=40, live=60).order is None


def test_what_a_guard_only_holds_is_told_and_ends_no_split() -> None:
    found = find(past(PROMOTED, SPLIT), 5, a=40, live=60, decision="review")
    assert (found.order, found.breached[GuardKind.REVIEWED]) == (None, Action.HOLD)
    assert "reviewed is breached" in found.held


def test_a_split_that_was_ended_on_evidence_begins_a_cool_down() -> None:
    now = past(PROMOTED, SPLIT, ("end_split", {"winner": "live"} | breached("declined", "end_split")[1]), STARTED)
    assert now.breached_ms == 2 * MINUTE
    assert any("cool-down" in why for why in find(now, 5).held)


def test_the_slowest_of_the_new_models_of_a_split_is_held_to_the_budget() -> None:
    now = past(PROMOTED, SPLIT)
    both = measured(measured(now, 120.0, model=B), 9_000.0, model=C)
    assert [one.row_us for one in both.row_times.values()] == [120.0, 9_000.0]
    assert find(both, 5).breached == {GuardKind.ROW_TIME: Action.HOLD}
    assert measured(now, 9_000.0, model=A).row_times == {}
