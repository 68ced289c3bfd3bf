"""What happens in each seed of a campaign: steps at moments, drawn by the seed alone, so that the same seed gives the
same plan. `actions.py` does what a step names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

WORKERS = 3
MODELS = 5
LIVE_FIRST = 3
"""So many models are promoted before the steps begin, so that there are some to go back to."""
STOPPED_SECONDS = 4.5
"""Past the session timeout of a fleet, 3 s: the partitions of a stopped worker move, and it comes back as a zombie."""
OUTAGE_SECONDS = ((34.0, 45.0), (63.0, 75.0))
"""A write is given up after 30 s: once in an outage of the first length, twice in one of the second."""
OUTAGE_PARTITIONS = 12
"""Four of a worker: its batches differ in size with how many of them are set aside at a time."""
BEFORE_SECONDS, AFTER_SECONDS = 4.0, 5.0
"""Of traffic before the first step and after the last."""
PHASE_SECONDS = 8.0
"""For so long a clock stays as it was set."""
FAR_BEHIND_S = 3_900
"""Behind by more than the hour and the default skew, a worker takes payments of now for ones of the future."""
FAKED_WORKER = 0
"""The worker whose clock is moved."""
MINUTE = 60
UNBOUNDED_SEED = 4
"""Each fourth seed of the campaign of clocks has topics that take any timestamp."""
OUTAGES = ("too_few_replicas", "two_brokers_killed", "leader_hangs")
BAD_KINDS = tuple(
    f"bad:{code}"
    for code in (
        *("not_json", "wrong_key", "in_the_future", "missing_field", "invalid_field", "unknown_currency"),
        *("unsupported_kind", "not_an_object", "empty_value"),
    )
)
"""Records that are always refused, with this code."""


class Step(NamedTuple):
    """An action, so many seconds after the traffic began."""

    at_s: float
    action: str
    arguments: Mapping[str, Any] = {}

    def __str__(self) -> str:
        told = " ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.at_s:.1f} {self.action} {told}".rstrip()


@dataclass(frozen=True)
class Plan:
    """A seed's whole: payments a second, the shares of other kinds of records, how the topics are, and the steps."""

    campaign: str
    seed: int
    seconds: float
    steps: tuple[Step, ...]
    rate: int = 40
    shares: Mapping[str, float] = field(default_factory=dict)
    partitions: int = 4
    labels: float = 0.0
    """The share of payments that get a label."""
    bounded: bool = True
    """Whether brokers refuse timestamps more than an hour ahead, as `topics apply` sets it."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of all workers, without `FRAUDSTREAM_` in front."""
    alone: int | None = None
    """The broker that alone has some partitions of `scores`, in place of three replicas."""

    def summary(self) -> str:
        """Tell the plan in a line."""
        options = [f"{self.rate} a second", *(f"{name}={value}" for name, value in self.settings.items())]
        options += [] if self.bounded else ["no bound of timestamps"]
        options += [] if self.alone is None else [f"broker {self.alone} alone has some scores"]
        return "; ".join([*options, *map(str, self.steps)])


def _ordered(steps: list[Step]) -> tuple[Step, ...]:
    return tuple(sorted(steps, key=lambda step: (step.at_s, step.action)))


def _moment(draw: np.random.Generator, first_s: float, last_s: float) -> float:
    return round(float(draw.uniform(first_s, last_s)), 1)


def _shares(draw: np.random.Generator, **other: float) -> dict[str, float]:
    """Return the shares of bad records, repeats and the like; they vary between seeds, from hardly any to many."""
    bad = float(draw.choice([0.01, 0.05, 0.15]))
    kinds = {"repeat": 0.04, "backfill": 0.02, "conflict": 0.01, "early": 0.01, "late": 0.01} | other
    return kinds | dict.fromkeys(BAD_KINDS, bad / len(BAD_KINDS))


# --- outages of `scores` beyond 30 s, with role changes


def draw_outage(seed: int) -> Plan:
    """Draw an outage of `scores`, the commands sent meanwhile, and perhaps a rebalance."""
    draw = np.random.default_rng([1, seed])
    kind, length = OUTAGES[seed % len(OUTAGES)], _moment(draw, *OUTAGE_SECONDS[int(draw.integers(2))])
    end = BEFORE_SECONDS + length
    node = int(draw.integers(1, 4))
    begin = Step(BEFORE_SECONDS, "begin_outage", {"kind": kind, "node": node})
    steps = [begin, Step(end, "end_outage", {"kind": kind, "node": node})]
    steps += _commands(draw, end, control_is_up=kind != "two_brokers_killed")
    steps += _rebalances(draw, BEFORE_SECONDS, end)
    last = max(step.at_s for step in steps)
    alone, shares = node if kind == "leader_hangs" else None, _shares(draw)
    rate, poll = int(draw.choice([40, 80])), int(draw.choice([60, 512]))
    settings = {"POLL_RECORDS": str(poll)}
    return Plan(
        "outages",
        seed,
        last + AFTER_SECONDS,
        _ordered(steps),
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
    moments = [_moment(draw, first, last), *(_moment(draw, first, end + 4) for _ in range(count - 1))]
    kinds = draw.choice(["demote", "promote", "roll_back"], count, p=[0.5, 0.3, 0.2]).tolist()
    return [
        Step(
            at_s,
            "command",
            {"kind": kind} | ({"model": int(draw.integers(LIVE_FIRST - 1, MODELS))} if kind == "promote" else {}),
        )
        for at_s, kind in zip(moments, kinds, strict=True)
    ]


def _rebalances(draw: np.random.Generator, first_s: float, last_s: float, most: int = 2) -> list[Step]:
    """Draw up to so many rebalances: a worker is killed and replaced, added, or stopped beyond its session."""
    steps: list[Step] = []
    for _ in range(int(draw.integers(0, most + 1))):
        at_s, worker = _moment(draw, first_s + 2, last_s), int(draw.integers(WORKERS))
        match str(draw.choice(["kill", "add", "stop"])):
            case "kill":
                steps.append(Step(at_s, "kill_worker", {"worker": worker}))
            case "add":
                steps.append(Step(at_s, "add_worker"))
            case _:
                stopped_s = _moment(draw, STOPPED_SECONDS, 12)
                steps.append(Step(at_s, "stop_worker", {"worker": worker, "seconds": stopped_s}))
    return steps


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
        stopped = {"worker": int(draw.integers(WORKERS)), "seconds": _moment(draw, STOPPED_SECONDS, 8)}
        steps.append(Step(_moment(draw, 2, end - 2), "stop_before_letters", stopped))
    steps += _rebalances(draw, 2, end, most=1)
    if draw.random() < 0.4:
        steps.append(Step(_moment(draw, 4, end), "empty_redis"))
    if draw.random() < 0.7:
        steps += [Step(end + 1, "empty_redis"), Step(end + 2.5, "send_again", {"count": 80})]
    shares = _shares(draw, lead=0.05, **({} if bounded else {"far": 0.02}))
    return Plan("clocks", seed, end + AFTER_SECONDS, _ordered(steps), shares=shares, bounded=bounded)


def _clock_offsets(draw: np.random.Generator) -> list[int]:
    """Draw offsets of 10 minutes to 2 hours, both ways, one of them at least beyond 65 minutes behind."""
    others = [int(draw.choice([-1, 1])) * int(draw.integers(10, 121)) * MINUTE for _ in range(int(draw.integers(0, 3)))]
    offsets = [-int(draw.integers(66, 121)) * MINUTE, *others]
    return [offsets[at] for at in draw.permutation(len(offsets))]


def _while_behind(draw: np.random.Generator, began_s: float) -> list[Step]:
    """Draw what happens while the worker refuses for its clock: it is killed or stopped, or refuses a thousand."""
    at_s = _moment(draw, began_s + 3, began_s + PHASE_SECONDS - 0.5)
    match str(draw.choice(["kill", "stop", "burst", "nothing"], p=[0.35, 0.2, 0.35, 0.1])):
        case "kill":
            return [Step(at_s, "kill_worker", {"worker": FAKED_WORKER})]
        case "stop":
            seconds = _moment(draw, STOPPED_SECONDS, 8)
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
    return Plan("operators", seed, seconds, tuple(steps), rate=40, shares=_shares(draw, early=0.03), labels=0.1)


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

CAMPAIGNS: Mapping[str, Callable[[int], Plan]] = {
    "outages": draw_outage,
    "clocks": draw_clocks,
    "operators": draw_operators,
}
