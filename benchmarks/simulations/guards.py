"""How soon guards notice what is wrong with a canary, and how often without cause: simulations with known truth.

Beside them, on the same events, what is commonly done instead: fixed thresholds, and a test for one look at a fixed
time that is looked at after every event. Every figure follows from the seed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from benchmarks.simulations.guard_streams import (
    RATES,
    BadEvents,
    Flags,
    Floats,
    Ints,
    Scenario,
    SimulatedCards,
    bad_events,
    draw_cards,
    first_breach,
    late_breach,
    least_canary,
    ratio_logs,
)
from guards.specs import OF_A_CANARY, TWO_SIDED, Action, GuardKind, Guards, GuardSpec, default_guards, total_alpha

Progress = Callable[[str, int, int], None]
"""Told the stage, how much of it is done, and the total."""

DECLINED, STOOD_IN, FRAUD = GuardKind.DECLINED, GuardKind.STOOD_IN, GuardKind.FRAUD_APPROVED
_INVERTED = {GuardKind.REVIEWED: 0.5, DECLINED: 190.0, FRAUD: 4.5}
SCENARIOS = (
    Scenario("equal", {}),
    Scenario("better: declines and approves 0.7 times as much fraud", {DECLINED: 0.7, FRAUD: 0.7}),
    Scenario("worse: declines and approves 1.5 times as much fraud", {DECLINED: 1.5, FRAUD: 1.5}),
    Scenario("declines twice as much", {DECLINED: 2.0}),
    Scenario("declines ten times as much", {DECLINED: 10.0}),
    Scenario("raises on 1 % of rows", {STOOD_IN: 1_000.0}),
    Scenario("inverted scores", _INVERTED),
    Scenario("declines twice as much after a week", {DECLINED: 2.0}, 7.0),
    Scenario("declines ten times as much after a week", {DECLINED: 10.0}, 7.0),
)
EQUAL, DOUBLED = SCENARIOS[0], SCENARIOS[3]
RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
SHARES_BP = (100, 500, 1_000, 5_000)
THRESHOLDS = (1.25, 1.5, 2.0)
LEAST_CANARY_EVENTS = 20
"""A threshold on a rate is not applied before the canary has so many declines."""
LEAST_EVENTS = 30
"""A test that takes counts for normal is not applied before there are so many declines."""
MOST_EVENTS = 40_000
"""More than the declines of any run."""
_EVENTS_BY_SHARE = {100: 40_000, 500: 10_000, 1_000: 6_000, 5_000: 3_000}
"""More than enough first bad events for any of the ratios to be noticed."""


class EffectLine(NamedTuple):
    """How many first bad events a guard with f = 1 needs, for one ratio and share; those of the canary apart."""

    ratio: float
    share_bp: int
    median: float | None
    p90: float | None
    canary_median: float | None
    canary_p90: float | None
    missed: int


class ScenarioLine(NamedTuple):
    """One canary over all runs. Days and declines count from when it turns bad; they are of the runs rolled back.

    Attributes:
        rolled_back: the part of runs in which a guard rolled it back.
        held: the part of runs in which a guard held it, and none rolled it back.
        days_median, days_p90: days until the rollback.
        firsts_median: cards of the canary with a first bad event of the guard's kind at that time, earlier ones too.
        declines_median, declines_p90: declines by the canary until then, repeats included.
        by: the guards that were first, with the part of rollbacks of each.
    """

    name: str
    runs: int
    rolled_back: float
    held: float
    days_median: float | None
    days_p90: float | None
    firsts_median: float | None
    declines_median: float | None
    declines_p90: float | None
    by: dict[str, float]


class AlarmLine(NamedTuple):
    """False alarms of a guard or a rule over runs without a difference, looked at after each event.

    Of a rule on declines also the part of runs in which it notices that they double, and the canary's declines, repeats
    included, until then.
    """

    rule: str
    alpha: float | None
    false_alarms: float
    noticed: float | None
    canary_declines_median: float | None


class GuardFigures(NamedTuple):
    """Everything that was simulated."""

    seed: int
    alarm_runs: int
    effects: list[EffectLine]
    scenarios: list[ScenarioLine]
    alarms: list[AlarmLine]


class Effort(NamedTuple):
    """How many runs of each effect and canary, and how many without a difference, of which world."""

    runs: int
    alarm_runs: int
    world: SimulatedCards = SimulatedCards()


def simulate(seed: int, effort: Effort, progress: Progress) -> GuardFigures:
    """Simulate effects of several sizes, canaries with all guards, and runs without a difference."""
    runs, alarm_runs, world = effort
    guards = default_guards()
    effects = simulate_effects(seed, runs, guards[DECLINED], progress)
    scenarios = simulate_scenarios(seed, runs, guards, world, progress)
    alarms = simulate_alarms(seed, alarm_runs, guards, world, progress)
    return GuardFigures(seed, alarm_runs, effects, scenarios, alarms)


# --- by effect size


def simulate_effects(seed: int, runs: int, guard: GuardSpec, progress: Progress) -> list[EffectLine]:
    """Draw first bad events of a stated ratio until the guard is breached."""
    rng, lines = np.random.default_rng([seed, 1]), list[EffectLine]()
    for share_bp in SHARES_BP:
        share, most = share_bp / 10_000, _EVENTS_BY_SHARE[share_bp]
        least = least_canary(share, guard.factor, guard.alpha, most)
        for ratio in RATIOS:
            by_canary = share * ratio / (share * ratio + 1 - share)
            found = [_needed(rng.random(most) < by_canary, least) for _ in range(runs)]
            totals, canary = np.array([one for one in found if one is not None]).reshape(-1, 2).T
            lines.append(
                EffectLine(
                    ratio, share_bp, *_median_p90(totals), *_median_p90(canary), sum(one is None for one in found)
                )
            )
            progress("effects", len(lines), len(SHARES_BP) * len(RATIOS))
    return lines


def _needed(canary: Flags, least: Ints) -> tuple[int, int] | None:
    at = first_breach(canary, least)
    return None if at is None else (at + 1, int(canary[: at + 1].sum()))


# --- canaries


class _Breach(NamedTuple):
    """When a guard was breached, how many of the canary's cards had a first bad event by then, and what follows."""

    day: float
    kind: GuardKind
    firsts: int
    action: Action


def simulate_scenarios(
    seed: int, runs: int, guards: Guards, world: SimulatedCards, progress: Progress
) -> list[ScenarioLine]:
    """Simulate each canary with all guards."""
    lines = []
    for number, scenario in enumerate(SCENARIOS):
        rng = np.random.default_rng([seed, 2, number])
        outcomes = []
        for run in range(runs):
            outcomes.append(_run_scenario(world, scenario, guards, rng))
            progress("canaries", number * runs + run + 1, len(SCENARIOS) * runs)
        lines.append(_summarised(scenario, outcomes))
    return lines


def _run_scenario(
    world: SimulatedCards, scenario: Scenario, guards: Guards, rng: np.random.Generator
) -> tuple[_Breach | None, bool, int]:
    """Return the breach that rolls back, whether any guard was breached, and the canary's declines until then."""
    cards = draw_cards(world, rng)
    events = {kind: bad_events(world, scenario, kind, cards, rng) for kind in guards if kind in RATES}
    breaches = [one for kind, found in events.items() for one in _breaches(found, kind, guards[kind], world.share)]
    rolled_back = min((one for one in breaches if one.action is Action.ROLL_BACK), default=None)
    until = world.days if rolled_back is None else rolled_back.day
    days = events[DECLINED].days
    declines = int(events[DECLINED].canary[(days > scenario.from_day) & (days <= until)].sum())
    return rolled_back, bool(breaches), declines


def _breaches(events: BadEvents, kind: GuardKind, guard: GuardSpec, share: float) -> list[_Breach]:
    """Return when each side of a guard is breached; approved frauds are counted by day, all else by hour."""
    canary, days, found = events.canary[events.first], events.days[events.first], list[_Breach]()
    if not len(canary):
        return found
    blocks = np.floor(days if kind is FRAUD else days * 24).astype(np.int64)
    sides = (False, True) if kind in TWO_SIDED else (False,)
    for fewer in sides:
        at = late_breach(canary, blocks, share, guard.bound(len(sides)), fewer=fewer)
        if at is not None:
            action = Action.HOLD if fewer else guard.action
            found.append(_Breach(float(days[at]), kind, int(canary[: at + 1].sum()), action))
    return found


def _summarised(scenario: Scenario, outcomes: Sequence[tuple[_Breach | None, bool, int]]) -> ScenarioLine:
    rolled = [(breach, declines) for breach, _, declines in outcomes if breach is not None]
    held = sum(breach is None and any_breach for breach, any_breach, _ in outcomes)
    days = [breach.day - scenario.from_day for breach, _ in rolled]
    kinds = [str(breach.kind) for breach, _ in rolled]
    runs = len(outcomes)
    return ScenarioLine(
        scenario.name,
        runs,
        len(rolled) / runs,
        held / runs,
        *_median_p90(days),
        _median_p90([breach.firsts for breach, _ in rolled])[0],
        *_median_p90([declines for _, declines in rolled]),
        {kind: kinds.count(kind) / len(kinds) for kind in sorted(set(kinds), key=kinds.count, reverse=True)},
    )


# --- false alarms


class _Rule(NamedTuple):
    """A rule on declines, and the event of a run at which it raises an alarm, if at any."""

    name: str
    alpha: float | None
    find: Callable[[BadEvents], int | None]


def simulate_alarms(seed: int, runs: int, guards: Guards, world: SimulatedCards, progress: Progress) -> list[AlarmLine]:
    """Count the runs without a difference in which a guard, or a rule beside it, raises an alarm at any event."""
    rules, rng = _rules(guards[DECLINED], world), np.random.default_rng([seed, 3])
    by_guard, by_rule = list[set[GuardKind]](), list[list[tuple[bool, int | None]]]()
    for run in range(runs):
        cards = draw_cards(world, rng)
        events = {kind: bad_events(world, EQUAL, kind, cards, rng) for kind in guards if kind in RATES}
        by_guard.append(breached_guards(events, (cards[1], world.share), guards))
        worse = bad_events(world, DOUBLED, DECLINED, cards, rng)
        by_rule.append([_used(rule, events[DECLINED], worse) for rule in rules])
        progress("alarms", run + 1, runs)
    counted = {kind: guard for kind, guard in guards.items() if kind not in OF_A_CANARY}
    lines = [
        _guard_line(f"guard on {kind}", guard.alpha, [kind in one for one in by_guard])
        for kind, guard in counted.items()
    ]
    lines.append(_guard_line("any of these guards", total_alpha(counted), [bool(one) for one in by_guard]))
    return lines + [_rule_line(rule, list(used)) for rule, *used in zip(rules, *by_rule, strict=True)]


def breached_guards(
    events: Mapping[GuardKind, BadEvents], cards: tuple[Flags, float], guards: Guards
) -> set[GuardKind]:
    """Return the guards that are breached in a run, that of the sample ratio over all cards included.

    Args:
        events: the bad events of each kind.
        cards: whether each card is the canary's, and the canary's share.
        guards: what is guarded.
    """
    breached = {kind for kind, found in events.items() if _breaches(found, kind, guards[kind], cards[1])}
    if ratio_logs(*cards).max() >= math.log(guards[GuardKind.SAMPLE_RATIO].bound()):
        breached.add(GuardKind.SAMPLE_RATIO)
    return breached


def _used(rule: _Rule, equal: BadEvents, worse: BadEvents) -> tuple[bool, int | None]:
    """Return whether a rule raises an alarm without a difference, and the canary's declines until it notices one."""
    at = rule.find(worse)
    return rule.find(equal) is not None, None if at is None else int(worse.canary[: at + 1].sum())


def _guard_line(name: str, alpha: float, alarms: Sequence[bool]) -> AlarmLine:
    return AlarmLine(name, alpha, sum(alarms) / len(alarms), None, None)


def _rule_line(rule: _Rule, used: Sequence[tuple[bool, int | None]]) -> AlarmLine:
    declines = [needed for _, needed in used if needed is not None]
    false = sum(alarm for alarm, _ in used) / len(used)
    return AlarmLine(rule.name, rule.alpha, false, len(declines) / len(used), _median_p90(declines)[0])


def _rules(guard: GuardSpec, world: SimulatedCards) -> list[_Rule]:
    """Return the guard on declines, and what it is compared with; all look at each event."""
    share, alpha = world.share, guard.alpha
    of_cards = least_canary(share, guard.factor, alpha, world.cards)
    of_events = least_canary(share, guard.factor, alpha, MOST_EVENTS)
    tests = _least_of_fixed_test(share, alpha, MOST_EVENTS)
    rules = [
        _Rule(
            "evidence on the first decline of each card, from the start",
            alpha,
            lambda found: _on_firsts(found, of_cards),
        ),
        _Rule("the same evidence on every decline", alpha, lambda found: first_breach(found.canary, of_events)),
        _Rule("a fixed-horizon test on first declines", alpha, lambda found: _on_firsts(found, tests)),
        _Rule("a fixed-horizon test on every decline", alpha, lambda found: first_breach(found.canary, tests)),
    ]
    for ratio in THRESHOLDS:
        least = _least_of_threshold(share, ratio, MOST_EVENTS)
        name = f"a threshold: declines {ratio:g} times live's"
        rules.append(_Rule(name, None, partial(_over_threshold, least)))
    return rules


def _over_threshold(least: Ints, found: BadEvents) -> int | None:
    return first_breach(found.canary, least)


def _on_firsts(found: BadEvents, least: Ints) -> int | None:
    """Return the event, among all, at which the first events reach a boundary."""
    at = first_breach(found.canary[found.first], least)
    return None if at is None else int(np.flatnonzero(found.first)[at])


def _least_of_fixed_test(share: float, alpha: float, most: int) -> Ints:
    """Return the canary's number from which a one-sided z-test rejects at each total, as if that were its only look."""
    total = np.arange(most + 1)
    quantile = NormalDist().inv_cdf(1 - alpha)
    bound = total * share + quantile * np.sqrt(total * share * (1 - share))
    least: Ints = np.where(total < LEAST_EVENTS, total + 1, np.ceil(bound).astype(np.int64))
    return least


def _least_of_threshold(share: float, ratio: float, most: int) -> Ints:
    """Return the canary's number from which its rate is `ratio` times the live model's, at least 20."""
    total = np.arange(most + 1)
    part = share * ratio / (share * ratio + 1 - share)
    least: Ints = np.maximum(np.ceil(total * part).astype(np.int64), LEAST_CANARY_EVENTS)
    return least


def _median_p90(values: Sequence[float] | Floats) -> tuple[float | None, float | None]:
    if not len(values):
        return None, None
    return float(np.median(values)), float(np.quantile(values, 0.9))
