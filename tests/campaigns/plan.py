"""What happens in each seed of a campaign: steps at moments, drawn by the seed alone, so that the same seed gives the
same plan. `actions.py` does what a step names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from support.kafka.jars import VERSION

FIRST_SEEDS = (1, 2, 3)
"""Those of `make acceptance`, which two of the campaigns draw smaller than others."""
WORKERS = 3
MODELS = 5
"""So many models decide differently from each other; commands are drawn of them."""
SAME_MODEL, OTHER_MODEL = MODELS, MODELS + 1
"""Of two more models, no command but that of a rollout or of another fleet is drawn: one decides as the model does that
is live first, so that a guard climbs with it, the other differently, so that a guard may end it."""
FAKED_WORKER = 0
"""The worker whose clock is moved, where only one is."""
LIVE_FIRST = 3
"""So many models are promoted before the steps begin, so that there are some to go back to."""
STOPPED_SECONDS = 4.5
"""Past the session timeout of a fleet, 3 s: the partitions of a stopped worker move, and it comes back as a zombie."""
BEFORE_SECONDS, AFTER_SECONDS = 4.0, 5.0
"""Of traffic before the first step and after the last."""
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
class Services:
    """How the servers of a seed are set up."""

    kafka: str = VERSION
    """The version of the brokers."""
    idle_ms: int = 600_000
    """After which brokers close a connection that nobody uses."""
    redis: tuple[str, ...] = ()
    """Arguments of redis-server."""
    has_standby: bool = False
    """Whether Redis has a replica behind a slow link, and a proxy in front that a fail-over switches."""
    disk_mb: int = 0
    """The size of the disk with the models and the guard's checkpoint; 0: that of the machine."""


USUAL = asdict(Services())


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
    workers: int = WORKERS
    labels: float = 0.0
    """The share of payments that get a label."""
    bounded: bool = True
    """Whether brokers refuse timestamps more than an hour ahead, as `topics apply` sets it."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of all workers, without `FRAUDSTREAM_` in front."""
    alone: int | None = None
    """The broker that alone has some partitions of `scores`, in place of three replicas."""
    idempotent: bool = True
    """Whether the producer is; one that is ends where brokers no longer have what they acknowledged."""
    services: Services = Services()
    faked: tuple[int, ...] = ()
    """The places of the workers whose clock can be moved."""
    night_s: int = 0
    """How far behind their clocks and the traffic's begin."""
    may_end: bool = False
    """Whether a worker may end by itself, and is replaced."""

    def summary(self) -> str:
        """Tell the plan in a line."""
        options = [f"{self.rate} a second", *(f"{name}={value}" for name, value in self.settings.items())]
        options += [] if self.workers == WORKERS else [f"{self.workers} workers"]
        options += [f"{name}={value}" for name, value in asdict(self.services).items() if value != USUAL[name]]
        options += [] if self.bounded else ["no bound of timestamps"]
        options += [] if self.alone is None else [f"broker {self.alone} alone has some scores"]
        return "; ".join([*options, *map(str, self.steps)])


def ordered(steps: list[Step]) -> tuple[Step, ...]:
    return tuple(sorted(steps, key=lambda step: (step.at_s, step.action)))


def moment(draw: np.random.Generator, first_s: float, last_s: float) -> float:
    return round(float(draw.uniform(first_s, last_s)), 1)


def shares_of_kinds(draw: np.random.Generator, **other: float) -> dict[str, float]:
    """Return the shares of bad records, repeats and the like; they vary between seeds, from hardly any to many."""
    bad = float(draw.choice([0.01, 0.05, 0.15]))
    kinds = {"repeat": 0.04, "backfill": 0.02, "conflict": 0.01, "early": 0.01, "late": 0.01} | other
    return kinds | dict.fromkeys(BAD_KINDS, bad / len(BAD_KINDS))


def rebalances(draw: np.random.Generator, first_s: float, last_s: float, most: int = 2) -> list[Step]:
    """Draw up to so many rebalances: a worker is killed and replaced, added, or stopped beyond its session."""
    steps: list[Step] = []
    for _ in range(int(draw.integers(0, most + 1))):
        at_s, worker = moment(draw, first_s + 2, last_s), int(draw.integers(WORKERS))
        match str(draw.choice(["kill", "add", "stop"])):
            case "kill":
                steps.append(Step(at_s, "kill_worker", {"worker": worker}))
            case "add":
                steps.append(Step(at_s, "add_worker"))
            case _:
                stopped_s = moment(draw, STOPPED_SECONDS, 12)
                steps.append(Step(at_s, "stop_worker", {"worker": worker, "seconds": stopped_s}))
    return steps


def role_commands(draw: np.random.Generator, moments: Sequence[float]) -> list[Step]:
    """Draw a command of roles for each moment: a model is demoted, promoted or rolled back."""
    kinds = draw.choice(["demote", "promote", "roll_back"], len(moments), p=[0.5, 0.3, 0.2]).tolist()
    return [
        Step(
            at_s,
            "command",
            {"kind": kind} | ({"model": int(draw.integers(LIVE_FIRST - 1, MODELS))} if kind == "promote" else {}),
        )
        for at_s, kind in zip(moments, kinds, strict=True)
    ]
