"""What the campaigns of outages, clocks and operators draw; `broker_plans.py` has those of brokers."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from campaigns.broker_plans import BROKER_CAMPAIGNS
from campaigns.host_plans import HOST_CAMPAIGNS
from campaigns.plan import (
    AFTER_SECONDS,
    BEFORE_SECONDS,
    FAKED_WORKER,
    FIRST_SEEDS,
    STOPPED_SECONDS,
    WORKERS,
    Plan,
    Step,
    moment,
    ordered,
    rebalances,
    role_commands,
    shares_of_kinds,
)
from campaigns.service_plans import SERVICE_CAMPAIGNS

OUTAGE_SECONDS = ((34.0, 45.0), (63.0, 75.0))
"""A write is given up after 30 s: once in an outage of the first length, twice in one of the second."""
OUTAGE_PARTITIONS = 12
"""Four of a worker: its batches differ in size with how many of them are set aside at a time."""
PHASE_SECONDS = 8.0
"""For so long a clock stays as it was set."""
FAR_BEHIND_S = 3_900
"""Behind by more than the hour and the default skew, a worker takes payments of now for ones of the future."""
MINUTE = 60
UNBOUNDED_SEED = 4
"""Each fourth seed of the campaign of clocks has topics that take any timestamp."""
DISTURBANCES, QUICK_DISTURBANCES = 40, 12
"""In a seed, and in each of the first ones: 25 seeds behind those are a thousand histories of payments around something
that happened to a worker."""
CALM_SECONDS = (2.5, 4.5)
OUTAGES = ("too_few_replicas", "two_brokers_killed", "leader_hangs")


# --- outages of `scores` beyond 30 s, with role changes


def draw_outage(seed: int) -> Plan:
    """Draw an outage of `scores`, the commands sent meanwhile, and perhaps a rebalance."""
    draw = np.random.default_rng([1, seed])
    kind, length = OUTAGES[seed % len(OUTAGES)], moment(draw, *OUTAGE_SECONDS[int(draw.integers(2))])
    end = BEFORE_SECONDS + length
    node = int(draw.integers(1, 4))
    begin = Step(BEFORE_SECONDS, "begin_outage", {"kind": kind, "node": node})
    steps = [begin, Step(end, "end_outage", {"kind": kind, "node": node})]
    steps += _commands(draw, end, control_is_up=kind != "two_brokers_killed")
    steps += rebalances(draw, BEFORE_SECONDS, end)
    last = max(step.at_s for step in steps)
    alone, shares = node if kind == "leader_hangs" else None, shares_of_kinds(draw)
    rate, poll = int(draw.choice([40, 80])), int(draw.choice([60, 512]))
    settings = {"POLL_RECORDS": str(poll)}
    return Plan(
        "outages",
        seed,
        last + AFTER_SECONDS,
        ordered(steps),
        rate=rate,
        shares=shares,
        partitions=OUTAGE_PARTITIONS,
        settings=settings,
        alone=alone,
    )


def _commands(draw: np.random.Generator, end: float, *, control_is_up: bool) -> list[Step]:
    """Draw commands of roles: the first is sent in the outage, if anyone could judge it then."""
    count = int(draw.integers(1, 4))
    first, last = (BEFORE_SECONDS + 3, end - 2) if control_is_up else (end - 4, end + 4)
    moments = [moment(draw, first, last), *(moment(draw, first, end + 4) for _ in range(count - 1))]
    return role_commands(draw, moments)


# --- clocks that step on one of three workers


def draw_clocks(seed: int) -> Plan:
    """Draw steps of one worker's clock, with bad records, kills, and Redis emptied."""
    draw = np.random.default_rng([2, seed])
    offsets, bounded = _clock_offsets(draw), seed % UNBOUNDED_SEED != 0
    phases = [(2.0 + PHASE_SECONDS * number, offset) for number, offset in enumerate(offsets)]
    end = 2.0 + PHASE_SECONDS * len(offsets)
    steps = [Step(at_s, "set_clock", {"offset_s": offset}) for at_s, offset in [*phases, (end, 0)]]
    for at_s, offset in phases:
        if offset < -FAR_BEHIND_S:
            steps += _while_behind(draw, at_s)
    for _ in range(int(draw.integers(0, 3))):
        stopped = {"worker": int(draw.integers(WORKERS)), "seconds": moment(draw, STOPPED_SECONDS, 8)}
        steps.append(Step(moment(draw, 2, end - 2), "stop_before_letters", stopped))
    steps += rebalances(draw, 2, end, most=1)
    if draw.random() < 0.4:
        steps.append(Step(moment(draw, 4, end), "empty_redis"))
    if draw.random() < 0.7:
        steps += [Step(end + 1, "empty_redis"), Step(end + 2.5, "send_again", {"count": 80})]
    shares = shares_of_kinds(draw, lead=0.05, **({} if bounded else {"far": 0.02}))
    return Plan(
        "clocks", seed, end + AFTER_SECONDS, ordered(steps), shares=shares, bounded=bounded, faked=(FAKED_WORKER,)
    )


def _clock_offsets(draw: np.random.Generator) -> list[int]:
    """Draw offsets of 10 minutes to 2 hours, both ways, one of them at least beyond 65 minutes behind."""
    others = [int(draw.choice([-1, 1])) * int(draw.integers(10, 121)) * MINUTE for _ in range(int(draw.integers(0, 3)))]
    offsets = [-int(draw.integers(66, 121)) * MINUTE, *others]
    return [offsets[at] for at in draw.permutation(len(offsets))]


def _while_behind(draw: np.random.Generator, began_s: float) -> list[Step]:
    """Draw what happens while the worker refuses for its clock: it is killed or stopped, or refuses a thousand."""
    at_s = moment(draw, began_s + 3, began_s + PHASE_SECONDS - 0.5)
    match str(draw.choice(["kill", "stop", "burst", "nothing"], p=[0.35, 0.2, 0.35, 0.1])):
        case "kill":
            return [Step(at_s, "kill_worker", {"worker": FAKED_WORKER})]
        case "stop":
            seconds = moment(draw, STOPPED_SECONDS, 8)
            return [Step(at_s, "stop_worker", {"worker": FAKED_WORKER, "seconds": seconds})]
        case "burst":
            return [Step(began_s + 2, "burst", {"count": 1_150})]
        case _:
            return []


# --- operators


def draw_operators(seed: int) -> Plan:
    """Draw what operators do, one thing after the other: each waits until the fleet is well again."""
    draw = np.random.default_rng([3, seed])
    kinds = [*_OPERATIONS, *draw.choice(list(_OPERATIONS), 2).tolist()]
    kinds = [kinds[at] for at in draw.permutation(len(kinds))][: int(draw.integers(3, 6))]
    steps = [Step(3.0 + 3.0 * at, *_OPERATIONS[kind](draw)) for at, kind in enumerate(kinds)]
    seconds = 3.0 + 3.0 * len(kinds) + AFTER_SECONDS
    return Plan("operators", seed, seconds, tuple(steps), rate=40, shares=shares_of_kinds(draw, early=0.03), labels=0.1)


def _move_offsets(draw: np.random.Generator) -> tuple[str, dict[str, Any]]:
    how = str(draw.choice(["to_latest", "to_earliest", "forward", "backward"], p=[0.4, 0.2, 0.2, 0.2]))
    topics = str(draw.choice(["transactions", "labels", "both"]))
    return "move_offsets", {"topics": topics, "how": how, "by": int(draw.integers(3, 40)), "unread": 200}


def _make_anew(draw: np.random.Generator) -> tuple[str, dict[str, Any]]:
    topics = str(draw.choice(["transactions", "both"], p=[0.6, 0.4]))
    again = int(draw.choice([0, 40, 150]))
    return "make_anew", {"topics": topics, "running": bool(draw.random() < 0.5), "unread": 40, "again": again}


def _restart(draw: np.random.Generator) -> tuple[str, dict[str, Any]]:
    return "restart_workers", {"skew_s": int(draw.choice([MINUTE, 5 * MINUTE, 15 * MINUTE]))}


def _redrive(_: np.random.Generator) -> tuple[str, dict[str, Any]]:
    return "redrive", {}


def _empty_redis(draw: np.random.Generator) -> tuple[str, dict[str, Any]]:
    return "empty_redis_and_send_again", {"count": int(draw.integers(20, 100)), "at_once": bool(draw.random() < 0.5)}


def _kill_worker(draw: np.random.Generator) -> tuple[str, dict[str, Any]]:
    return "kill_worker", {"worker": int(draw.integers(WORKERS))}


_OPERATIONS: Mapping[str, Callable[[np.random.Generator], tuple[str, dict[str, Any]]]] = {
    "move_offsets": _move_offsets,
    "make_anew": _make_anew,
    "restart_workers": _restart,
    "redrive": _redrive,
    "empty_redis": _empty_redis,
    "kill_worker": _kill_worker,
}

# --- one disturbance after the other


def draw_disturbances(seed: int) -> Plan:
    """Draw many disturbances of workers in short turns: many of them happen before the one before is over."""
    draw = np.random.default_rng([18, seed])
    steps, at_s = list[Step](), BEFORE_SECONDS
    for _ in range(QUICK_DISTURBANCES if seed in FIRST_SEEDS else DISTURBANCES):
        steps.append(_disturbance(draw, round(at_s, 1)))
        at_s += moment(draw, *CALM_SECONDS)
    return Plan("disturbances", seed, at_s + AFTER_SECONDS, ordered(steps), shares=shares_of_kinds(draw), labels=0.1)


def _disturbance(draw: np.random.Generator, at_s: float) -> Step:
    worker = {"worker": int(draw.integers(WORKERS))}
    match str(draw.choice(["kill", "stop", "command", "again", "burst"], p=[0.3, 0.25, 0.25, 0.1, 0.1])):
        case "kill":
            return Step(at_s, "kill_worker", worker)
        case "stop":
            return Step(at_s, "stop_worker", {**worker, "seconds": moment(draw, 1, STOPPED_SECONDS + 2)})
        case "command":
            return role_commands(draw, [at_s])[0]
        case "again":
            return Step(at_s, "send_again", {"count": 40})
        case _:
            return Step(at_s, "burst", {"count": 150})


CAMPAIGNS: Mapping[str, Callable[[int], Plan]] = {
    "outages": draw_outage,
    "clocks": draw_clocks,
    "operators": draw_operators,
    "disturbances": draw_disturbances,
    **BROKER_CAMPAIGNS,
    **SERVICE_CAMPAIGNS,
    **HOST_CAMPAIGNS,
}
