"""A fleet that follows a day of load as an autoscaler would have it, and that is restarted and upgraded under load.

Workers are processes: one that is added starts, one that is taken away gets SIGTERM and drains. How many there should
be is computed from the lag of the consumer group, as brokers tell it (`fraudstream.bench.autoscaler`). What is decided
is read from `scores`, and each payment must be there once.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraudstream.bench.autoscaler import Autoscaler, ScalingRule, workers_needed
from fraudstream.bench.fleet import BenchFleet, CommittedLag, RunningWorker, await_ready
from fraudstream.bench.payments import PaymentSupply
from fraudstream.bench.slow_link import slow_link
from fraudstream.bench.worker import SeenScore, WorkerBench, own_names
from models.commands import CommandKind
from stream.kafka.client import connection_options, open_admin
from stream.kafka.stray import PlainConsumer
from stream.settings import Settings

_PATIENCE_SECONDS = 900.0
_BACKLOG_SECONDS = 8.0
_FIRST_BACKLOG = 1_500
_QUIET_SECONDS = 60.0
_STEP_SECONDS = 0.01
_SETTLE_SECONDS = 5.0
"""Between two parts, so that the pause of one is not counted with the other."""


@dataclass(frozen=True)
class DayOfLoad:
    """A day in a few minutes: from `low` to `high` payments a second and back, as a squared sine.

    Attributes:
        low, high: payments a second at night and at noon.
        seconds: from night to night.
    """

    low: float
    high: float
    seconds: float

    def rate(self, at: float) -> float:
        """Return the payments a second at a time."""
        return float(self.low + (self.high - self.low) * np.sin(np.pi * at / self.seconds) ** 2)

    def due(self) -> NDArray[np.float64]:
        """Return when each payment is due, in seconds since the day began, rising."""
        grid = np.arange(0.0, self.seconds + _STEP_SECONDS, _STEP_SECONDS)
        sines = np.sin(2 * np.pi * grid / self.seconds) * self.seconds / (4 * np.pi)
        arrived = self.low * grid + (self.high - self.low) * (grid / 2 - sines)
        found: NDArray[np.float64] = np.interp(np.arange(int(arrived[-1])), arrived, grid)
        return found


@dataclass(frozen=True)
class ScalingPlan:
    """What is run: a day of load, then restarts and an upgrade at a steady rate.

    Attributes:
        day: the load.
        rule: of the autoscaler; with a `lag_per_worker` of 0 it is computed, see `lag_per_worker`.
        partitions: of the topics.
        roll_rate: payments a second while workers are restarted; 0: they are not.
        roll_workers: how many are restarted, one after another.
        previous: the command of a worker of another version, from which and to which is upgraded; empty: none.
        redis_delay_s: by so much Redis's answers are later, so that workers wait more than they compute.
    """

    day: DayOfLoad
    rule: ScalingRule
    partitions: int
    roll_rate: float = 0.0
    roll_workers: int = 2
    previous: tuple[str, ...] = ()
    redis_delay_s: float = 0.0


class ScalingSample(NamedTuple):
    """What the autoscaler saw and did at one look; times are seconds since the day began."""

    at_s: float
    rate: float
    lag: int
    workers: int
    asked: int
    needed: int


class ScalingPhase(NamedTuple):
    """What one part of the run came to.

    Attributes:
        name: of the part.
        payments: that were published.
        lost, twice: payments without a score, and with more than one.
        changes: workers that were started or drained.
        p50_ms, p99_ms, worst_ms: from the time at which a payment was due to its score.
        pauses_ms: by partition, the longest time in which a payment waited there and none was decided.
        worker_seconds: from each worker's start to its end, or to the end of the part.
        needed_worker_seconds: the same if at each moment as few ran as can decide what arrives.
    """

    name: str
    payments: int
    lost: int
    twice: int
    changes: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    pauses_ms: tuple[float, ...]
    worker_seconds: float
    needed_worker_seconds: float


class ScalingFigures(NamedTuple):
    """The whole run.

    Attributes:
        capacity: payments a second that one worker decides from a backlog, measured first.
        lag_per_worker: with which the autoscaler ran.
        samples: the looks of the day.
        phases: the day, and what came after it.
    """

    capacity: float
    lag_per_worker: float
    samples: tuple[ScalingSample, ...]
    phases: tuple[ScalingPhase, ...]


def lag_per_worker(capacity: float, commit_interval: float) -> float:
    """Return the lag at which one more worker is due.

    Offsets are committed every `commit_interval` seconds, so a worker that keeps up shows half an interval of its
    payments as lag on average. Seven tenths of what a worker at its limit shows leave it a reserve.
    """
    return max(1.0, round(0.7 * capacity * commit_interval / 2))


async def measure_scaling(
    settings: Settings, digest: str, plan: ScalingPlan, say: Callable[[str], None]
) -> ScalingFigures:
    """Run a day, restarts and an upgrade; tell of each step by `say`.

    Raises:
        MeasurementError: the model cannot be made live, a worker ends with an error, or payments are not decided.
        InjectionError: a broker did not take payments.
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    made = PaymentSupply(len(plan.day.due()) + 10 * _FIRST_BACKLOG)  # before a client runs, since it takes long
    async with AsyncExitStack() as stack:
        run = await stack.enter_async_context(WorkerBench(own_names(settings), plan.partitions))
        lag = await _open_lag(stack, run)
        fleet = BenchFleet(run, _variables(stack, run, plan.redis_delay_s))
        stack.callback(fleet.stop)
        first = fleet.start()
        await run.command(CommandKind.PROMOTE, digest)
        capacity = await _capacity(run, fleet, first, made)
        per_worker = plan.rule.lag_per_worker or lag_per_worker(capacity, settings.commit_interval)
        say(f"one worker decides {capacity:,.0f} payments a second; one more for each {per_worker:,.0f} that wait")
        scene = _Scene(run, fleet, made, capacity)
        samples, day = await _day(scene, plan, replace(plan.rule, lag_per_worker=per_worker), lag)
        phases = [day]
        say(told(day))
        for name, command in _rolls(plan):
            phases.append(await _rolled(scene, plan, name, command))
            say(told(phases[-1]))
        return ScalingFigures(capacity, per_worker, tuple(samples), tuple(phases))


def _variables(stack: AsyncExitStack, run: WorkerBench, redis_delay_s: float) -> Mapping[str, str]:
    """Return what workers have set on top of the settings: with a delay, the URL of a proxy that causes it."""
    if not redis_delay_s:
        return {}
    proxy, url = slow_link(run.settings.redis_url, redis_delay_s, run.folder)
    stack.callback(proxy.stop)
    return {"FRAUDSTREAM_REDIS_URL": url}


class _Scene(NamedTuple):
    run: WorkerBench
    fleet: BenchFleet
    made: PaymentSupply
    capacity: float


async def _open_lag(stack: AsyncExitStack, run: WorkerBench) -> CommittedLag:
    admin = await stack.enter_async_context(open_admin(run.settings))
    consumer = PlainConsumer(**connection_options(run.settings), enable_auto_commit=False)
    await consumer.start()
    stack.push_async_callback(consumer.stop)
    return CommittedLag(run.settings, admin, consumer, run.partitions)


async def _capacity(run: WorkerBench, fleet: BenchFleet, first: RunningWorker, made: PaymentSupply) -> float:
    """Return the payments a second that one worker decides from a backlog of some seconds, without the first ones."""
    await await_ready(first)
    await run.publish(await made.take(_FIRST_BACKLOG))
    await run.await_seen(_FIRST_BACKLOG)
    guessed = _FIRST_BACKLOG / max(0.1, (run.seen[-1].at_ms - run.seen[0].at_ms) / 1000)
    count, before = int(guessed * _BACKLOG_SECONDS), len(run.seen)
    await fleet.drain(first)
    await run.publish(await made.take(count))
    fleet.start()
    await run.await_seen(before + count, _PATIENCE_SECONDS)
    seen = run.seen[before + count // 4 :]
    return round(len(seen) / max(0.1, (seen[-1].at_ms - seen[0].at_ms) / 1000))


async def _day(
    scene: _Scene, plan: ScalingPlan, rule: ScalingRule, lag: CommittedLag
) -> tuple[list[ScalingSample], ScalingPhase]:
    run, fleet, day = scene.run, scene.fleet, plan.day
    await fleet.await_size(rule.min_workers)
    await asyncio.sleep(_SETTLE_SECONDS)
    due = day.due()
    before, changes = len(run.seen), fleet.changes
    records = await scene.made.take(len(due))
    fleet.worker_seconds()
    offering = asyncio.create_task(run.offer(records, lambda number: float(due[number])))
    scaler, samples = Autoscaler(rule, plan.partitions), list[ScalingSample]()
    began = time.monotonic()
    while not offering.done():
        at = time.monotonic() - began
        waiting = await lag.read()
        asked = scaler.workers(at, waiting, len(fleet.running))
        needed = workers_needed(day.rate(min(at, day.seconds)), scene.capacity)
        samples.append(ScalingSample(round(at, 2), round(day.rate(at), 1), waiting, len(fleet.running), asked, needed))
        fleet.set_size(asked)
        await asyncio.wait([offering], timeout=rule.poll_seconds)
    offered = await offering
    await _until_quiet(run, before + len(due))
    await fleet.settle()
    await asyncio.sleep(_SETTLE_SECONDS)
    effort = _Effort(fleet.changes - changes, fleet.worker_seconds(), _needed_seconds(day, scene.capacity))
    return samples, _phase("a day of load", offered.due_ms, run.seen[before:], effort)


async def _until_quiet(run: WorkerBench, count: int) -> None:
    """Wait for so many scores, or until none has come for a minute: what lacks then is lost."""
    seen, since = len(run.seen), time.monotonic()
    while len(run.seen) < count and time.monotonic() < since + _QUIET_SECONDS:
        if len(run.seen) > seen:
            seen, since = len(run.seen), time.monotonic()
        await asyncio.sleep(_STEP_SECONDS)


def _needed_seconds(day: DayOfLoad, capacity: float) -> float:
    steps = np.arange(0.0, day.seconds, _STEP_SECONDS)
    return sum(workers_needed(day.rate(at), capacity) for at in steps) * _STEP_SECONDS


def _rolls(plan: ScalingPlan) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the parts after the day: what each is, and the command of the workers that it ends with."""
    if plan.roll_rate:
        yield "a rolling restart", ()
        if plan.previous:
            yield "a downgrade to the other version", plan.previous
            yield "an upgrade from the other version", ()


async def _rolled(scene: _Scene, plan: ScalingPlan, name: str, command: tuple[str, ...]) -> ScalingPhase:
    run, fleet = scene.run, scene.fleet
    await fleet.await_size(plan.roll_workers)
    await fleet.settle()
    await asyncio.sleep(_SETTLE_SECONDS)
    before, changes, began = len(run.seen), fleet.changes, time.monotonic()
    fleet.worker_seconds()
    rolling = asyncio.create_task(fleet.roll(command))
    due_ms = dict[str, int]()
    while not rolling.done():  # in pieces, since nobody knows how long it takes
        offered = await run.offer(await scene.made.take(max(1, int(plan.roll_rate))), plan.roll_rate)
        due_ms |= offered.due_ms
    await rolling
    await _until_quiet(run, before + len(due_ms))
    spent = time.monotonic() - began
    await asyncio.sleep(_SETTLE_SECONDS)
    needed = workers_needed(plan.roll_rate, scene.capacity) * spent
    effort = _Effort(fleet.changes - changes, fleet.worker_seconds(), needed)
    return _phase(name, due_ms, run.seen[before:], effort)


class _Effort(NamedTuple):
    changes: int
    worker_seconds: float
    needed_worker_seconds: float


def _phase(name: str, due_ms: dict[str, int], seen: Sequence[SeenScore], effort: _Effort) -> ScalingPhase:
    """Return what was decided of the payments of a part, and when."""
    counts = Counter(one.transaction_id for one in seen)
    late = [one.at_ms - due_ms[one.transaction_id] for one in seen if one.transaction_id in due_ms]
    p50, p99, worst = np.percentile(late, [50, 99, 100]).round(1).tolist() if late else (0.0, 0.0, 0.0)
    return ScalingPhase(
        name=name,
        payments=len(due_ms),
        lost=len(due_ms.keys() - counts.keys()),
        twice=sum(count > 1 for count in counts.values()),
        changes=effort.changes,
        p50_ms=p50,
        p99_ms=p99,
        worst_ms=worst,
        pauses_ms=tuple(pause for _, pause in sorted(longest_pauses(due_ms, seen).items())),
        worker_seconds=round(effort.worker_seconds, 1),
        needed_worker_seconds=round(effort.needed_worker_seconds, 1),
    )


def longest_pauses(due_ms: Mapping[str, int], seen: Iterable[SeenScore]) -> dict[int, float]:
    """Return for each partition the longest time, in ms, in which a payment waited there and none was decided."""
    last: dict[int, int] = {}
    longest: dict[int, float] = defaultdict(float)
    for one in seen:
        due = due_ms.get(one.transaction_id)
        if due is not None:
            since = max(due, last.get(one.partition, due))
            longest[one.partition] = max(longest[one.partition], float(one.at_ms - since))
            last[one.partition] = one.at_ms
    return dict(longest)


def told(phase: ScalingPhase) -> str:
    """Return a part in a line."""
    pauses = phase.pauses_ms or (0.0,)
    return (
        f"{phase.name}: {phase.payments:,} payments, {phase.lost} lost, {phase.twice} twice; {phase.changes} starts "
        f"and drains; p50 {phase.p50_ms:,.0f} ms, p99 {phase.p99_ms:,.0f} ms, worst {phase.worst_ms:,.0f} ms; longest "
        f"pause of a partition {np.median(pauses):,.0f} ms in the median, {max(pauses):,.0f} ms at worst; "
        f"{phase.worker_seconds:,.0f} worker-seconds, {phase.needed_worker_seconds:,.0f} needed"
    )
