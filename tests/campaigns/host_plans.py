"""What the campaigns of hosts draw: a Redis that fails over and loses its last writes, a disk and a memory that are
full, a night in which nobody pays, and a second fleet to which all is handed over.
"""

from collections.abc import Callable, Mapping

import numpy as np

from campaigns.plan import (
    AFTER_SECONDS,
    BEFORE_SECONDS,
    MODELS,
    OTHER_MODEL,
    WORKERS,
    Plan,
    Services,
    Step,
    moment,
    ordered,
    rebalances,
    role_commands,
    shares_of_kinds,
)

REPLICATION = (
    (),
    ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "10"),
    ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"),
)
"""No demand; one that a slow replica meets, so that writes are lost all the same; one that it meets at times."""
FOLLOWED_SECONDS = 30.0
"""Within which the master of before has become a replica behind the slow link."""
DISK_MB = 24
FULL_SECONDS, PAUSE_SECONDS = 14.0, 2.0
LIMITED_SECONDS = (3.0, 8.0)
NIGHT_HOURS = 9
NIGHT_SECONDS = 22.0
IDLE_MS, REDIS_IDLE_S = 5_000, "4"
"""After which brokers and Redis close connections, so that none outlives the night."""


def draw_failover(seed: int) -> Plan:
    """Draw one or two fail-overs to a replica that is two seconds behind, with commands and rebalances around them."""
    draw = np.random.default_rng([13, seed])
    steps, at_s = list[Step](), BEFORE_SECONDS + moment(draw, 2, 6)
    for _ in range(int(draw.integers(1, 3))):
        over = {"how": str(draw.choice(["kill", "demote"])), "cut": bool(draw.random() < 0.5)}
        steps.append(Step(round(at_s, 1), "fail_over", over))
        if draw.random() < 0.5:
            steps.append(Step(round(at_s + moment(draw, 0, 4), 1), "send_again", {"count": 80}))
        at_s += FOLLOWED_SECONDS
    end = at_s - FOLLOWED_SECONDS + 8
    steps += rebalances(draw, BEFORE_SECONDS, end)
    steps += role_commands(draw, [moment(draw, BEFORE_SECONDS + 1, end) for _ in range(int(draw.integers(1, 4)))])
    return Plan(
        "failover",
        seed,
        end + AFTER_SECONDS,
        ordered(steps),
        rate=60,
        shares=shares_of_kinds(draw),
        settings={"REDIS_DOWN": str(draw.choice(["wait", "degrade"]))},
        services=Services(redis=REPLICATION[seed % len(REPLICATION)], has_standby=True),
    )


def draw_full_disk(seed: int) -> Plan:
    """Draw a disk with models, control log and checkpoint that is full, while roles change and workers are killed."""
    draw = np.random.default_rng([14, seed])
    steps, end = [Step(BEFORE_SECONDS - 2, "start_guard_with_checkpoint")], BEFORE_SECONDS
    for _ in range(int(draw.integers(1, 3))):
        begin = end + PAUSE_SECONDS
        end = begin + FULL_SECONDS
        steps += [
            Step(begin, "fill_disk", {"spare": int(draw.choice([0, 0, 3_000, 40_000]))}),
            Step(begin + 1, "put_model", {"seed": 100 * seed + len(steps)}),
            Step(moment(draw, begin + 1, end), "kill_worker", {"worker": int(draw.integers(WORKERS))}),
            Step(end, "free_disk"),
            Step(end + 1, "put_model", {"seed": 100 * seed + len(steps)}),
        ]
        moments = [moment(draw, begin + 0.5, end - 1) for _ in range(int(draw.integers(2, 4)))]
        steps += role_commands(draw, moments)
        if draw.random() < 0.5:
            steps.append(Step(moment(draw, begin + 1, end + 2), "restart_guard_with_checkpoint"))
    steps.append(Step(end + 2, "command", {"kind": "promote", "model": int(draw.integers(MODELS))}))
    return Plan(
        "full_disk",
        seed,
        end + 2 + AFTER_SECONDS,
        ordered(steps),
        rate=60,
        shares=shares_of_kinds(draw),
        labels=0.1,
        services=Services(disk_mb=DISK_MB),
    )


def draw_memory(seed: int) -> Plan:
    """Draw workers that get hardly any more memory for some seconds, most of them while thousands pay at once.

    A worker may end for want of memory, as an operating system ends it, too; it is replaced.
    """
    draw = np.random.default_rng([15, seed])
    end, steps = BEFORE_SECONDS + 20, list[Step]()
    for _ in range(int(draw.integers(2, 5))):
        at_s, seconds = moment(draw, BEFORE_SECONDS, end), moment(draw, *LIMITED_SECONDS)
        limited = {"worker": int(draw.integers(WORKERS)), "spare_mb": int(draw.choice([0, 1, 4, 16]))}
        steps.append(Step(at_s, "limit_memory", {**limited, "seconds": seconds}))
        if draw.random() < 0.7:
            steps.append(Step(round(at_s + 0.5, 1), "burst", {"count": int(draw.choice([200, 600]))}))
    steps += role_commands(draw, [moment(draw, BEFORE_SECONDS + 1, end) for _ in range(int(draw.integers(1, 4)))])
    steps += rebalances(draw, BEFORE_SECONDS, end, most=1)
    last = max(step.at_s for step in steps)
    return Plan(
        "memory",
        seed,
        last + LIMITED_SECONDS[1] + AFTER_SECONDS,
        ordered(steps),
        rate=60,
        shares=shares_of_kinds(draw),
        labels=0.1,
        may_end=True,
    )


def draw_idle_night(seed: int) -> Plan:
    """Draw a night of nine hours without a payment, in which all connections are closed, and a full load at its end."""
    draw = np.random.default_rng([16, seed])
    morning = BEFORE_SECONDS + 1
    """The night is one step, behind which the others wait; they come at once when it is over."""
    steps = [
        Step(BEFORE_SECONDS, "let_night_pass", {"hours": NIGHT_HOURS, "seconds": NIGHT_SECONDS}),
        Step(morning, "burst", {"count": int(draw.choice([300, 800]))}),
    ]
    if draw.random() < 0.5:
        steps.append(Step(morning, "send_again", {"count": 60}))
    after = BEFORE_SECONDS + NIGHT_SECONDS
    steps += role_commands(draw, [moment(draw, after, after + 3) for _ in range(int(draw.integers(1, 3)))])
    if draw.random() < 0.5:
        steps.append(Step(moment(draw, after, after + 4), "kill_worker", {"worker": int(draw.integers(WORKERS))}))
    steps.append(Step(after + 4, "burst", {"count": 300}))
    return Plan(
        "idle_night",
        seed,
        after + 4 + AFTER_SECONDS,
        ordered(steps),
        rate=int(draw.choice([60, 120])),
        shares=shares_of_kinds(draw),
        labels=0.1,
        services=Services(idle_ms=IDLE_MS, redis=("--timeout", REDIS_IDLE_S)),
        faked=tuple(range(WORKERS)),
        night_s=NIGHT_HOURS * 3_600,
    )


def draw_hand_over(seed: int) -> Plan:
    """Draw hand-overs between two fleets, at the moments of canaries, promotions and kills.

    All payments are sound: a dead letter counts only where its fleet publishes, which the checks do not follow.
    """
    draw = np.random.default_rng([17, seed])
    steps, at_s = [Step(BEFORE_SECONDS - 2, "start_other_fleet", {"model": OTHER_MODEL})], BEFORE_SECONDS + 14
    for number in range(int(draw.integers(2, 4))):
        steps.append(Step(round(at_s, 1), "hand_over", {"to_other": number % 2 == 0}))
        canary = {"model": int(draw.integers(MODELS)), "share_bp": int(draw.choice([500, 2_000, 5_000]))}
        steps.append(Step(round(at_s + moment(draw, -1, 1), 1), "canary", canary))
        steps += role_commands(draw, [round(at_s + moment(draw, -1, 1), 1) for _ in range(int(draw.integers(1, 3)))])
        if draw.random() < 0.5:
            killed = {"worker": int(draw.integers(WORKERS))}
            steps.append(Step(round(at_s + moment(draw, -0.5, 1), 1), "kill_worker", killed))
        at_s += moment(draw, 4, 8)
    steps += rebalances(draw, BEFORE_SECONDS + 12, at_s, most=1)
    last = max(step.at_s for step in steps)
    return Plan(
        "hand_over",
        seed,
        last + AFTER_SECONDS,
        ordered(steps),
        rate=60,
        shares={"repeat": 0.04, "backfill": 0.02},
    )


HOST_CAMPAIGNS: Mapping[str, Callable[[int], Plan]] = {
    "failover": draw_failover,
    "full_disk": draw_full_disk,
    "memory": draw_memory,
    "idle_night": draw_idle_night,
    "hand_over": draw_hand_over,
}
