"""The measurements of a worker, each as facts to print: name and unit to figure."""

import asyncio
import signal
import time
from typing import Any

from models.commands import CommandKind
from stream.bench.driving import Bench, resident_mib
from stream.bench.traffic import Sent
from stream.embedded.processes import Child

Facts = dict[str, Any]

LOSS_COUNT = 5_000
_LOSS_RATE = 500.0


async def drain(run: Bench, digest: str, backlog: list[Sent]) -> tuple[Facts, Child]:
    """Start a worker on a backlog; its first decision, its throughput, its memory."""
    first = run.start_worker()
    await run.command(CommandKind.PROMOTE, digest)
    first.stop()
    await run.publish(backlog)
    started, child = time.monotonic(), run.start_worker()
    await run.await_seen(1)
    until_first = time.monotonic() - started
    await run.await_seen(len(backlog))
    spent = (run.seen[-1].at_ms - run.seen[0].at_ms) / 1000
    return {
        "start to first decision, s": round(until_first, 2),
        "from backlog, decisions/s": round(len(backlog) / spent),
        "resident after backlog, MiB": round(resident_mib(child)),
    }, child


async def hold(run: Bench, records: list[Sent], rate: float) -> Facts:
    """Inject at a fixed rate."""
    latency = await run.inject(records, rate)
    return {f"at {rate:g}/s: p50, p99, worst, ms": (latency.p50, latency.p99, latency.worst)}


async def lose_one(run: Bench, records: list[Sent], child: Child) -> Facts:
    """Kill one of two workers in mid-stream; the longest that a payment then waits."""
    other, before = run.start_worker(), len(run.seen)
    await asyncio.sleep(5)  # a rebalance
    injecting = asyncio.create_task(run.inject(records, _LOSS_RATE))
    await asyncio.sleep(3)
    child.signal(signal.SIGKILL)
    latency = await injecting
    other.stop()
    return {
        f"SIGKILL of one of two at {_LOSS_RATE:g}/s: worst, ms": latency.worst,
        "  session timeout, s": run.settings.session_timeout,
        "  scores more than transactions": len(run.seen) - before - len(records),
    }
