"""What the campaigns of brokers draw: replicas and leaders that move, while workers are killed and roles change."""

from collections.abc import Callable, Mapping

import numpy as np

from campaigns.plan import (
    AFTER_SECONDS,
    BEFORE_SECONDS,
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
from support.kafka.jars import OLD_VERSIONS
from support.kafka.three_brokers import IDS

MOVED = ("transactions", "labels", "scores", "outcomes", "dead-letters", "model-control", "model-events")
COMMITS = "__consumer_offsets"
"""The topic of Kafka whose leaders coordinate groups."""
MOVING_SECONDS = 32.0
OLD_SECONDS = 26.0
MOVE_SECONDS = 9.0
"""Within which a broker mostly is back on another port, with all replicas in sync."""


# --- reassignment of replicas and leaders


def draw_reassignment(seed: int) -> Plan:
    """Draw reassignments of all topics, elections of preferred leaders, role commands and rebalances."""
    draw = np.random.default_rng([4, seed])
    end = BEFORE_SECONDS + MOVING_SECONDS
    topics = [*MOVED, COMMITS, *draw.choice(["scores", "transactions", "model-events"], 3).tolist()]
    steps: list[Step] = []
    for topic in (topics[at] for at in draw.permutation(len(topics))):
        at_s = moment(draw, BEFORE_SECONDS, end)
        steps.append(Step(at_s, "reassign", {"topic": topic, "replicas": _replicas(draw)}))
        if draw.random() < 0.5:
            steps.append(Step(round(at_s + float(draw.uniform(2, 6)), 1), "elect_preferred", {"topic": topic}))
    steps += role_commands(draw, [moment(draw, BEFORE_SECONDS + 1, end) for _ in range(int(draw.integers(2, 5)))])
    steps += rebalances(draw, BEFORE_SECONDS, end, most=3)
    last = max(step.at_s for step in steps)
    return Plan(
        "reassignment",
        seed,
        last + AFTER_SECONDS,
        ordered(steps),
        rate=int(draw.choice([40, 120])),
        shares=shares_of_kinds(draw),
        labels=0.1,
    )


def _replicas(draw: np.random.Generator) -> str:
    """Draw the replicas of four partitions, as `31 213 …`: two or three brokers, the preferred leader first.

    Two alone have to be in sync for a write, and a broker that takes the place of another copies all.
    """
    shuffled = [draw.permutation(IDS).tolist()[: int(draw.integers(2, 4))] for _ in range(4)]
    return " ".join("".join(map(str, nodes)) for nodes in shuffled)


# --- brokers of old versions


def draw_old_brokers(seed: int) -> Plan:
    """Draw restarts of brokers, rebalances and role commands on 3.4 (even seeds) or 3.9 (odd ones)."""
    draw = np.random.default_rng([5, seed])
    oldest = seed % 2 == 0
    end = BEFORE_SECONDS + OLD_SECONDS
    nodes = [IDS[at] for at in draw.permutation(len(IDS))[: int(draw.integers(1, 3))]]
    steps = [
        Step(
            moment(draw, BEFORE_SECONDS, end - 10),
            "restart_broker",
            {"node": node, "how": str(draw.choice(["stop", "kill"])), "away_s": moment(draw, 0, 6)},
        )
        for node in nodes
    ]
    steps.append(Step(moment(draw, BEFORE_SECONDS, end), "kill_worker", {"worker": int(draw.integers(WORKERS))}))
    steps += rebalances(draw, BEFORE_SECONDS, end)
    steps += role_commands(draw, [moment(draw, BEFORE_SECONDS + 1, end) for _ in range(int(draw.integers(2, 5)))])
    if draw.random() < 0.5:
        steps += [Step(end, "empty_redis"), Step(end + 1.5, "send_again", {"count": 60})]
    last = max(step.at_s for step in steps)
    return Plan(
        "old_brokers",
        seed,
        last + AFTER_SECONDS,
        ordered(steps),
        rate=int(draw.choice([40, 80])),
        shares=shares_of_kinds(draw),
        labels=0.1,
        bounded=not oldest,
        services=Services(kafka=OLD_VERSIONS[0 if oldest else 1]),
    )


# --- brokers that come back on other ports


def draw_ports(seed: int) -> Plan:
    """Draw that two or all brokers move to other ports, one after the other, with kills between, and a guard's act.

    In three seeds of four all move: then nothing of what workers and guard were started with answers any more.
    """
    draw = np.random.default_rng([6, seed])
    count = len(IDS) - (seed % 4 == 0)
    nodes = [IDS[at] for at in draw.permutation(len(IDS))[:count]]
    steps = [Step(BEFORE_SECONDS, "start_guard")]
    for number, node in enumerate(nodes):
        moved = {"node": node, "how": str(draw.choice(["stop", "kill"])), "away_s": moment(draw, 0, 4)}
        steps.append(Step(BEFORE_SECONDS + 3 + MOVE_SECONDS * number, "move_broker", moved))
    end = BEFORE_SECONDS + 3 + MOVE_SECONDS * count
    steps += rebalances(draw, BEFORE_SECONDS, end)
    steps.append(Step(end + 1, "kill_worker", {"worker": int(draw.integers(WORKERS))}))
    steps += role_commands(draw, [moment(draw, BEFORE_SECONDS + 1, end) for _ in range(int(draw.integers(1, 4)))])
    steps.append(Step(end + 3, "let_guard_act"))
    return Plan(
        "ports", seed, end + 3 + AFTER_SECONDS, ordered(steps), rate=60, shares=shares_of_kinds(draw), labels=0.1
    )


# --- an unclean leader election


def draw_unclean(seed: int) -> Plan:
    """Draw that `scores` (even seeds) or `transactions` (odd ones) loses what a broker alone has acknowledged.

    An operator has two replicas of it, lets one alone acknowledge, and turns on unclean leader election: all that the
    documentation advises against.
    """
    draw = np.random.default_rng([7, seed])
    topic = ("scores", "transactions")[seed % 2]
    behind, ahead = (IDS[at] for at in draw.permutation(len(IDS))[:2])
    where = {"topic": topic, "behind": behind, "ahead": ahead}
    warned = int(draw.integers(WORKERS))
    steps = [
        Step(BEFORE_SECONDS, "endanger", where),
        Step(BEFORE_SECONDS + 2, "look_for_warnings", {"topic": topic, "worker": warned}),
        Step(BEFORE_SECONDS + 8, "elect_unclean", {**where, "alone_s": moment(draw, 3, 8)}),
    ]
    if draw.random() < 0.5:
        steps.append(Step(BEFORE_SECONDS + 12, "kill_worker", {"worker": int(draw.integers(WORKERS))}))
    end = max(step.at_s for step in steps)
    return Plan(
        "unclean",
        seed,
        end + 2 * AFTER_SECONDS,
        ordered(steps),
        rate=60,
        shares=shares_of_kinds(draw),
        idempotent=False,
    )


BROKER_CAMPAIGNS: Mapping[str, Callable[[int], Plan]] = {
    "reassignment": draw_reassignment,
    "old_brokers": draw_old_brokers,
    "ports": draw_ports,
    "unclean": draw_unclean,
}
