"""Compare variants of a worker in one run: all of them run all the time and are measured in alternating rounds.

A single figure on a shared machine says little; the ratio of medians of alternating rounds says more. Each variant has
topics, a group and Redis keys of its own; the others idle while one is measured. The variants: tracing off and on; no
challenger, a sound one and faulty ones; each codec of Kafka.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.parts.hampered import hampered_command
from benchmarks.parts.log_sizes import log_bytes
from fraudstream.bench.payments import PublishedPayment, payments
from fraudstream.bench.worker import Latency, WorkerBench, cpu_seconds, own_names
from fraudstream.demo.services.processes import Child, free_port, listening
from models.commands import CommandKind
from stream.kafka.topics import SCORES
from stream.settings import PREFIX, Settings

_SETTLE_SECONDS = 1.0
"""After a round, until comparisons and spans in the background are done."""
_START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a worker: variables on top of the settings, another command, a challenger."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = ()
    challenger: str | None = None


class AlternatingEffort(NamedTuple):
    """How much to measure: rounds of all variants, each with a backlog and then an open loop of so many seconds.

    With `measures_bytes`, also the bytes of scores on disk, which not every broker tells.
    """

    rounds: int
    backlog: int
    rate: float
    seconds: int
    measures_bytes: bool = False

    @property
    def each(self) -> int:
        """The number of transactions of one variant in one round."""
        return self.backlog + int(self.rate * self.seconds)


class DecisionCost(NamedTuple):
    """Of each decision: microseconds of the worker's CPU, and bytes of its score on disk if they were measured."""

    cpu_us: float
    score_bytes: float | None


class VariantRound(NamedTuple):
    """The result of one variant in one round."""

    per_second: float
    latency: Latency
    backlog_cost: DecisionCost
    paced_cost: DecisionCost


class _Meter(NamedTuple):
    """The worker's CPU, and the bytes of the log of its scores."""

    cpu_s: float
    log_bytes: int | None

    def cost_of(self, count: int, before: _Meter) -> DecisionCost:
        """Return the cost of each of so many decisions since an earlier reading."""
        written = None
        if self.log_bytes is not None and before.log_bytes is not None:
            written = (self.log_bytes - before.log_bytes) / count
        return DecisionCost((self.cpu_s - before.cpu_s) / count * 1e6, written)


@dataclass(slots=True)
class _Runner:
    variant: Variant
    bench: WorkerBench
    child: Child
    records: list[PublishedPayment]
    rounds: list[VariantRound] = field(default_factory=list)

    async def measure(self, effort: AlternatingEffort) -> None:
        """Publish a backlog while the worker is stopped, let it drain, then publish at a fixed rate."""
        begin = len(self.rounds) * effort.each
        backlog = self.records[begin : begin + effort.backlog]
        paced = self.records[begin + effort.backlog : begin + effort.each]
        before, idle = len(self.bench.seen), await self._read(effort)
        self.child.signal(signal.SIGSTOP)
        try:
            await self.bench.publish(backlog)
        finally:
            self.child.signal(signal.SIGCONT)
        await self.bench.await_seen(before + len(backlog))
        spent = max(1, self.bench.seen[-1].at_ms - self.bench.seen[before].at_ms) / 1000  # one poll may bring all
        backlog_cost = (await self._read(effort)).cost_of(len(backlog), idle)
        await asyncio.sleep(_SETTLE_SECONDS)
        idle = await self._read(effort)
        latency = await self.bench.inject(paced, effort.rate)
        paced_cost = (await self._read(effort)).cost_of(len(paced), idle)
        self.rounds.append(VariantRound(len(backlog) / spent, latency, backlog_cost, paced_cost))
        await asyncio.sleep(_SETTLE_SECONDS)

    async def _read(self, effort: AlternatingEffort) -> _Meter:
        scores = self.bench.settings.topic(SCORES.name)
        size = (await log_bytes(self.bench.settings, [scores]))[scores] if effort.measures_bytes else None
        return _Meter(cpu_seconds(self.child), size)


async def alternate(
    settings: Settings, digest: str, variants: Sequence[Variant], effort: AlternatingEffort
) -> dict[str, list[VariantRound]]:
    """Return the rounds of each variant without the first, which is a warm-up."""
    records = payments((effort.rounds + 1) * effort.each, seed=3)
    async with AsyncExitStack() as stack:
        runners = [await _start(stack, settings, digest, variant, records) for variant in variants]
        for _ in range(effort.rounds + 1):
            for runner in runners:
                await runner.measure(effort)
        return {runner.variant.name: runner.rounds[1:] for runner in runners}


async def _start(
    stack: AsyncExitStack, settings: Settings, digest: str, variant: Variant, records: list[PublishedPayment]
) -> _Runner:
    bench = await stack.enter_async_context(WorkerBench(own_names(settings)))
    child = bench.start_worker(variant.environment, variant.command)
    stack.callback(child.stop)
    await bench.command(CommandKind.PROMOTE, digest)
    if variant.challenger is not None:
        await bench.command(CommandKind.CHALLENGE, variant.challenger)
    return _Runner(variant, bench, child, records)


def summarise(rounds: Mapping[str, Sequence[VariantRound]]) -> dict[str, dict[str, float]]:
    """Return the medians of each variant, and of the ratios to the first one in the same round.

    What else runs on a machine changes from minute to minute, and least within a round.
    """
    figures = {name: [_figures(one) for one in results] for name, results in rounds.items()}
    base, found = next(iter(figures.values())), dict[str, dict[str, float]]()
    for name, results in figures.items():
        medians = {what: median(one[what] for one in results) for what in results[0]}
        ratios = {
            f"{what} to the first": median(one[what] / first[what] for one, first in zip(results, base, strict=True))
            for what in results[0]
        }
        found[name] = {what: round(value, 3) for what, value in (medians | ratios).items()}
    return found


def _figures(one: VariantRound) -> dict[str, float]:
    """Return the figures of one round; bytes of a score only if they were measured."""
    costs = {"backlog": one.backlog_cost, "paced": one.paced_cost}
    return {
        "decisions/s": one.per_second,
        "p50, ms": one.latency.p50,
        "p99, ms": one.latency.p99,
        **{f"CPU µs, {phase}": cost.cpu_us for phase, cost in costs.items()},
        **{
            f"bytes a score, {phase}": cost.score_bytes for phase, cost in costs.items() if cost.score_bytes is not None
        },
    }


@contextmanager
def collector() -> Iterator[str]:
    """Run a collector that discards everything, and yield its OTLP endpoint."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="fraudstream-bench-") as folder:
        child = Child((sys.executable, "-P", "-m", "benchmarks.parts.otlp_sink", str(port)), Path(folder) / "sink.log")
        child.start()
        try:
            child.await_ready(lambda: listening(port), _START_SECONDS)
            yield f"http://127.0.0.1:{port}"
        finally:
            child.stop()


def tracing_variants(endpoint: str) -> tuple[Variant, ...]:
    """Return workers that trace nothing, 1 % and everything."""
    on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
    return (
        Variant("off", {"OTEL_TRACES_EXPORTER": "none"}),
        Variant("1 %", {**on, "OTEL_TRACES_SAMPLER_ARG": "0.01"}),
        Variant("100 %", {**on, "OTEL_TRACES_SAMPLER_ARG": "1"}),
    )


def shadow_variants(challenger: str) -> tuple[Variant, ...]:
    """Return workers without a challenger, with a sound one, one that is 100 ms slower, and one that raises."""
    return (
        Variant("off"),
        Variant("on", challenger=challenger),
        Variant("100 ms slower", command=hampered_command("slow"), challenger=challenger),
        Variant("raising", command=hampered_command("raising"), challenger=challenger),
    )


def compression_variants(codecs: Sequence[str]) -> tuple[Variant, ...]:
    """Return workers that compress what they write with each of these codecs."""
    return tuple(Variant(codec, {f"{PREFIX}COMPRESSION": codec}) for codec in codecs)
