"""Worlds of the guards: what `docs/reference/guards.md` promises of a canary, of its rollout and of a promotion."""

import math
from functools import partial

import numpy as np

from benchmarks.simulations.guard_streams import RATES, Scenario, SimulatedCards, bad_events, draw_cards, late_breach
from benchmarks.simulations.guards import EQUAL, breached_guards
from benchmarks.worlds.canaries import (
    Traffic,
    clean,
    climbed,
    declines_until_found,
    firsts_until_climb,
    payments_until,
    until_breach,
)
from benchmarks.worlds.promise import Bound, Promise, World
from benchmarks.worlds.watched_pairs import Labelled, watch_frauds
from guards.report import breaches, evidence
from guards.row_time import RowTime, row_time_evidence
from guards.specs import DEFAULT_ROW_TIME, OF_A_CANARY, GuardKind, default_guards, total_alpha
from models.loading import LAST_CALLS, RowTimes

_PAGE, _PART = "guards", "guards"
_GUARDS = default_guards()
_COUNTED = {kind: guard for kind, guard in _GUARDS.items() if kind not in OF_A_CANARY}
_CARDS = SimulatedCards(cards=5_000)
_SILENT = Scenario("approves everything", {GuardKind.DECLINED: 0.0, GuardKind.REVIEWED: 0.0})
_RARE = Traffic(2.0, 0.001)
_CLEAN_HOURS = 300
_FRAUDS, _LOOKS = 400, 20
_EQUAL, _BETTER, _WORSE = (0.6, 0.6), (0.75, 0.6), (0.3, 0.6)
_SLOW_PART, _QUICK_US, _SLOW_US = 0.4, 150.0, 9_000.0


def _equal_canary(rng: np.random.Generator) -> tuple[bool, bool]:
    """Tell whether the guard on declines, on either side, and whether any that counts events is breached."""
    cards = draw_cards(_CARDS, rng)
    events = {kind: bad_events(_CARDS, EQUAL, kind, cards, rng) for kind in _COUNTED if kind in RATES}
    breached = breached_guards(events, (cards[1], _CARDS.share), _GUARDS)
    return GuardKind.DECLINED in breached, bool(breached)


def _silent_canary(rng: np.random.Generator) -> tuple[bool, float]:
    """Tell whether a canary that never declines is found, and after how many first declines in all."""
    events = bad_events(_CARDS, _SILENT, GuardKind.DECLINED, draw_cards(_CARDS, rng), rng)
    hours = np.floor(events.days[events.first] * 24).astype(np.int64)
    bound = _GUARDS[GuardKind.DECLINED].bound(2)
    at = late_breach(events.canary[events.first], hours, _CARDS.share, bound, fewer=True)
    return at is not None, math.inf if at is None else at + 1


def _ruled_canary(rng: np.random.Generator) -> tuple[bool, float]:
    needed = declines_until_found(rng, 0.1, 2_000)
    return needed < math.inf, needed


def _doubling(rng: np.random.Generator) -> tuple[bool, bool]:
    found = climbed(rng, 2.0, _RARE)
    return found.share_bp >= 2_500, found.end == "top"  # noqa: PLR2004 - the rung of 25 %


def _equal_climb(rng: np.random.Generator) -> tuple[bool, float]:
    found = climbed(rng, 1.0, _RARE, days=30)
    return found.end == "top", found.hours if found.end == "top" else math.inf


def _late_harm(rng: np.random.Generator) -> tuple[float, float]:
    """Return how many first declines of the canary ten times as many take after 3,000 clean ones, and twice as many."""
    tenfold, double = (until_breach(clean(0.1, _CLEAN_HOURS, rng), 0.1, ratio, rng)[0] for ratio in (10.0, 2.0))
    return tenfold, double


def _slow_on_some_rows(rng: np.random.Generator) -> tuple[bool, bool]:
    """Tell whether the budget is breached, and whether the median alone is above it."""
    times = RowTimes()
    for slow in (rng.random(LAST_CALLS) < _SLOW_PART).tolist():
        times.add(round(float(rng.normal(_SLOW_US if slow else _QUICK_US, 20.0)) * 1_000), 1)
    found = times.quantiles
    assert found is not None  # noqa: S101 - there are enough calls
    measured = RowTime(found.median_us, "w-1", "e-1", found.p95_us, found.p99_us)
    stated = row_time_evidence(DEFAULT_ROW_TIME, measured)
    return stated["breached"], found.median_us > DEFAULT_ROW_TIME.budget_us


def _promoted_pair(rng: np.random.Generator, stopped: tuple[float, float], labelled: float) -> tuple[bool]:
    """Tell whether the guard on approved frauds is breached at any look."""
    states = watch_frauds(rng, stopped, Labelled(labelled), _FRAUDS, _LOOKS)
    return (any(GuardKind.FRAUD_APPROVED in breaches(evidence(state)) for state in states),)


def _pair_world(name: str, peculiar: str, stopped: tuple[float, float], labelled: float) -> World:
    promise = Promise("approved frauds are a breach", Bound.AT_MOST, _GUARDS[GuardKind.FRAUD_APPROVED].alpha, _PAGE)
    return World(name, _PART, peculiar, (promise,), 100, partial(_promoted_pair, stopped=stopped, labelled=labelled))


def _climb_world(share: float, firsts: float) -> World:
    return World(
        f"equal canary of {share:.0%}, before a rung of 25 %",
        _PART,
        "nothing is wrong with it, and it has to prove so",
        (Promise("its first declines until a doubling is excluded", Bound.MEDIAN, firsts, _PAGE),),
        60,
        lambda rng: (firsts_until_climb(share, rng),),
    )


GUARD_WORLDS = (
    World(
        "equal canary",
        _PART,
        "cards decline again and again, rates differ by card, labels come after days; looked at after each event",
        (
            Promise("a breach of declines, of either side", Bound.AT_MOST, _GUARDS[GuardKind.DECLINED].alpha, _PAGE),
            Promise("a breach of any guard that counts", Bound.AT_MOST, total_alpha(_COUNTED), _PAGE),
        ),
        40,
        _equal_canary,
    ),
    World(
        "canary that approves everything",
        _PART,
        "it has no bad event of its own, and looks like a better model",
        (
            Promise("it is found", Bound.AT_LEAST, 1.0, _PAGE),
            Promise("first declines in all until then", Bound.MEDIAN, 66, _PAGE),
        ),
        60,
        _silent_canary,
    ),
    World(
        "canary whose own rule declines everything",
        _PART,
        "its model approves, and the cap on declines makes reviews of half of what its rule declines",
        (
            Promise("it is found", Bound.AT_LEAST, 1.0, _PAGE),
            Promise("its first declines until then", Bound.MEDIAN, 10, _PAGE),
        ),
        60,
        _ruled_canary,
    ),
    World(
        "doubling where declines are rare",
        _PART,
        "2 payments/s, 0.1 % declined, the ladder 1% 10min, 5% 1h, 25% 1h, 100%: hours show nothing",
        (
            Promise("it reaches 25 %", Bound.AT_MOST, 0.05, _PAGE),
            Promise("it reaches 100 %", Bound.AT_MOST, 0.05, _PAGE),
        ),
        30,
        _doubling,
    ),
    World(
        "equal canary where declines are rare",
        _PART,
        "the same traffic and ladder",
        (
            Promise("it reaches 100 % within 30 days", Bound.AT_LEAST, 0.99, _PAGE),
            Promise("hours until then", Bound.MEDIAN, 38, _PAGE),
        ),
        30,
        _equal_climb,
    ),
    _climb_world(0.01, 9),
    _climb_world(0.1, 12),
    _climb_world(0.25, 14),
    World(
        "harm after 3,000 clean first declines",
        _PART,
        "all that was seen speaks for the canary, of 10 %",
        (
            Promise("its first declines until ten times as many are found", Bound.MEDIAN, 13, _PAGE),
            Promise("until twice as many are", Bound.MEDIAN, 72, _PAGE),
        ),
        12,
        _late_harm,
    ),
    World(
        "scores near 0",
        _PART,
        "a canary of 10 % whose features are undefined: no label, no decline tells",
        (Promise("first payments in all until it is found", Bound.MEDIAN, 150, _PAGE),),
        100,
        lambda rng: (payments_until(rng, 0.1, (20, 10)),),
    ),
    World(
        "slow on 40 % of its rows",
        _PART,
        "the median of its time is usual",
        (
            Promise("row_time is breached", Bound.AT_LEAST, 1.0, _PAGE),
            Promise("the median alone is above the budget", Bound.NONE, 0.0, _PAGE),
        ),
        50,
        _slow_on_some_rows,
    ),
    _pair_world("equal models, no declines labelled", "what live declines is never labelled", _EQUAL, 0.0),
    _pair_world("equal models, 30 % of declines labelled", "what live declines is seldom labelled", _EQUAL, 0.3),
    _pair_world("equal models, all declines labelled", "what live declines has labels, too", _EQUAL, 1.0),
    _pair_world("better model, no declines labelled", "it stops 75 % of frauds, before 60 %", _BETTER, 0.0),
    World(
        "worse model, 30 % of declines labelled",
        _PART,
        "it stops 30 % of frauds, before 60 %",
        (Promise("approved frauds are a breach", Bound.AT_LEAST, 1.0, _PAGE),),
        60,
        partial(_promoted_pair, stopped=_WORSE, labelled=0.3),
    ),
)
