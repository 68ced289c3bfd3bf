"""What the campaigns of a fleet's own services draw: rollouts whose guard is killed, artifacts that are damaged while
they serve, descriptors that run out, and a large fleet that is restarted one by one.
"""

from collections.abc import Callable, Mapping

import numpy as np

from campaigns.plan import (
    AFTER_SECONDS,
    BEFORE_SECONDS,
    FIRST_SEEDS,
    LIVE_FIRST,
    MODELS,
    OTHER_MODEL,
    SAME_MODEL,
    WORKERS,
    Plan,
    Step,
    moment,
    ordered,
    rebalances,
    role_commands,
    shares_of_kinds,
)
from support.kafka.three_brokers import IDS

CLIMBING_SECONDS = 20.0
UNDISTURBED_SECONDS = 16.0
"""Within which a guard mostly has climbed its ladder, or ended the rollout."""
DAMAGES = ("truncate", "remove", "replace")
"""What happens to an artifact's folder in the repository."""
DAMAGED_SECONDS = 7.0
STARVED_SECONDS = (4.0, 9.0)
LARGE_FLEET, ROUNDS = 8, 10
QUICK_FLEET, QUICK_ROUNDS = 4, 1
"""The first seeds restart half of the fleet, once; all others the whole, ten times."""
PARTITIONS_OF_WORKER = 3


def draw_rollouts(seed: int) -> Plan:
    """Draw a rollout whose guard is killed at each step of its ladder, beside canaries, promotions and a repair.

    In odd seeds commands of others, which may end the rollout, come at any time, in even ones after the first steps. In
    each third the model decides differently from the live one, so that the guard may end the rollout.
    """
    draw = np.random.default_rng([8, seed])
    first = BEFORE_SECONDS + (3 if seed % 2 else UNDISTURBED_SECONDS)
    end = first + CLIMBING_SECONDS
    steps = [
        Step(BEFORE_SECONDS, "start_guard"),
        Step(BEFORE_SECONDS + 2, "start_rollout", {"model": OTHER_MODEL if seed % 3 == 0 else SAME_MODEL}),
        Step(BEFORE_SECONDS + 2, "kill_guard_at_each_step", {"times": int(draw.integers(2, 5))}),
    ]
    steps += role_commands(draw, [moment(draw, first, end) for _ in range(int(draw.integers(1, 4)))])
    for _ in range(int(draw.integers(1, 3))):
        canary = {"model": int(draw.integers(MODELS)), "share_bp": int(draw.choice([500, 2_000, 5_000]))}
        steps.append(Step(moment(draw, first, end), "canary", canary))
    at_s = moment(draw, first + 1, end)
    promoted = {"kind": "promote", "model": int(draw.integers(LIVE_FIRST - 1, MODELS))}
    steps += [Step(at_s, "empty_redis"), Step(round(at_s + float(draw.uniform(0, 2)), 1), "command", promoted)]
    steps += rebalances(draw, BEFORE_SECONDS, end)
    last = max(step.at_s for step in steps)
    return Plan(
        "rollouts", seed, last + AFTER_SECONDS, ordered(steps), rate=60, shares=shares_of_kinds(draw), labels=0.1
    )


def draw_artifacts(seed: int) -> Plan:
    """Draw artifacts that are truncated, removed or replaced while they serve, are promoted, or a worker starts."""
    draw = np.random.default_rng([9, seed])
    steps: list[Step] = []
    models = draw.permutation(MODELS)[:3].tolist()
    models[int(draw.integers(3))] = LIVE_FIRST - 1  # the one that is live at first
    for number, model in enumerate(dict.fromkeys(models)):
        at_s = BEFORE_SECONDS + (DAMAGED_SECONDS + 2) * number
        steps += [
            Step(at_s, "damage_artifact", {"model": model, "how": str(draw.choice(DAMAGES))}),
            Step(at_s + 0.5, "command", {"kind": "promote", "model": model}),
            Step(at_s + moment(draw, 1, 5), "kill_worker", {"worker": int(draw.integers(WORKERS))}),
            Step(at_s + DAMAGED_SECONDS, "restore_artifact", {"model": model}),
        ]
        if draw.random() < 0.5:
            steps.append(Step(at_s + moment(draw, 1, 5), "command", {"kind": "roll_back"}))
    last = max(step.at_s for step in steps)
    return Plan("artifacts", seed, last + AFTER_SECONDS, ordered(steps), rate=60, shares=shares_of_kinds(draw))


def draw_descriptors(seed: int) -> Plan:
    """Draw workers that may open hardly any more descriptors, while brokers are restarted and models promoted."""
    draw = np.random.default_rng([10, seed])
    end, steps = BEFORE_SECONDS + 24, list[Step]()
    for _ in range(int(draw.integers(2, 5))):
        starved = {
            "worker": int(draw.integers(WORKERS)),
            "spare": int(draw.integers(0, 4)),
            "seconds": moment(draw, *STARVED_SECONDS),
        }
        steps.append(Step(moment(draw, BEFORE_SECONDS, end), "limit_descriptors", starved))
    restarted = {"node": int(draw.choice(IDS)), "how": str(draw.choice(["stop", "kill"])), "away_s": moment(draw, 0, 4)}
    steps.append(Step(moment(draw, BEFORE_SECONDS, end - 8), "restart_broker", restarted))
    steps += role_commands(draw, [moment(draw, BEFORE_SECONDS + 1, end) for _ in range(int(draw.integers(1, 4)))])
    if draw.random() < 0.5:
        killed = {"worker": int(draw.integers(WORKERS))}
        steps.append(Step(moment(draw, BEFORE_SECONDS + 2, end), "kill_worker", killed))
    last = max(step.at_s for step in steps)
    return Plan(
        "descriptors", seed, last + 2 * AFTER_SECONDS, ordered(steps), rate=60, shares=shares_of_kinds(draw), labels=0.1
    )


def draw_rolling(seed: int) -> Plan:
    """Draw restarts of eight workers on 24 partitions, one by one, in order or by a kill, with commands between."""
    draw = np.random.default_rng([11, seed])
    workers, rounds = (QUICK_FLEET, QUICK_ROUNDS) if seed in FIRST_SEEDS else (LARGE_FLEET, ROUNDS)
    steps = [
        Step(BEFORE_SECONDS + number, "restart_one_by_one", {"killed_share": float(draw.choice([0.0, 0.25, 1.0]))})
        for number in range(rounds)
    ]
    steps += role_commands(draw, [moment(draw, BEFORE_SECONDS, BEFORE_SECONDS + rounds) for _ in range(rounds)])
    return Plan(
        "rolling",
        seed,
        BEFORE_SECONDS + rounds + AFTER_SECONDS,
        ordered(steps),
        rate=60,
        shares=shares_of_kinds(draw),
        partitions=PARTITIONS_OF_WORKER * workers,
        workers=workers,
    )


SERVICE_CAMPAIGNS: Mapping[str, Callable[[int], Plan]] = {
    "rollouts": draw_rollouts,
    "artifacts": draw_artifacts,
    "descriptors": draw_descriptors,
    "rolling": draw_rolling,
}
