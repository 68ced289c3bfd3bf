"""How long decisions pause while a worker joins a fleet, and while one leaves it after SIGTERM, at a steady rate.

The pause of a move is that of its worst partition: the longest time in which a payment was due there and none was
decided. Each leave takes the oldest worker away, so after some moves every worker has joined and left.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fraudstream.bench.fleet import BenchFleet, await_ready
from fraudstream.bench.payments import PaymentSupply
from fraudstream.bench.scaling import longest_pauses
from fraudstream.bench.worker import WorkerBench, own_names
from models.commands import CommandKind
from stream.settings import Settings

_MOVE_SECONDS = 15
"""About so long a move takes, with the time in which a worker starts or ends and what follows."""
_SETTLE_SECONDS = 3.0
"""Between two moves, so that the pause of one is not counted with the other."""
_PIECE_SECONDS = 1.0


@dataclass(frozen=True)
class PausesPlan:
    """What is run.

    Attributes:
        workers: how many run after one has joined; one fewer after one has left.
        moves: joins, and as many leaves.
        rate: payments a second.
        partitions: of the topics.
        command: of the workers, to measure another version; empty: this one's.
    """

    workers: int
    moves: int
    rate: float
    partitions: int
    command: tuple[str, ...] = ()


class Move(NamedTuple):
    """One join, one leave, or a time of the same kind without either: the pause of each partition, in ms."""

    kind: str
    pauses_ms: tuple[float, ...]

    @property
    def worst_ms(self) -> float:
        """The pause of the worst partition."""
        return max(self.pauses_ms, default=0.0)


class PauseSummary(NamedTuple):
    """The moves of one kind: the median and the worst of their pauses, and how many were above half a second, in ms."""

    kind: str
    moves: int
    median_ms: float
    worst_ms: float
    above_500_ms: int


class PauseFigures(NamedTuple):
    """The whole run; `lost` and `twice` count payments without a score and with more than one."""

    payments: int
    lost: int
    twice: int
    moves: tuple[Move, ...]

    def summaries(self) -> list[PauseSummary]:
        """Return the moves by kind."""
        kinds = dict.fromkeys(one.kind for one in self.moves)
        return [summary(kind, [one.worst_ms for one in self.moves if one.kind == kind]) for kind in kinds]


def summary(kind: str, worst_ms: Sequence[float]) -> PauseSummary:
    """Return what the pauses of some moves come to."""
    above = sum(one > 500 for one in worst_ms)  # noqa: PLR2004 - the name says it
    return PauseSummary(kind, len(worst_ms), float(np.median(worst_ms)), max(worst_ms), above)


async def measure_pauses(settings: Settings, digest: str, plan: PausesPlan, say: Callable[[str], None]) -> PauseFigures:
    """Let workers join and leave in turns while payments flow; tell of each move by `say`.

    Raises:
        MeasurementError: the model cannot be made live, a worker ends with an error, or payments are not decided.
        InjectionError: a broker did not take payments.
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    made = PaymentSupply(int(2 * plan.moves * _MOVE_SECONDS * plan.rate))  # before a client runs, since it takes long
    async with AsyncExitStack() as stack:
        run = await stack.enter_async_context(WorkerBench(own_names(settings), plan.partitions))
        fleet = BenchFleet(run)
        stack.callback(fleet.stop)
        for number in range(max(1, plan.workers - 1)):
            one = fleet.start(plan.command)
            if not number:
                await run.command(CommandKind.PROMOTE, digest)
            await await_ready(one)
        load = _SteadyLoad(run, made, plan.rate)
        offering = asyncio.create_task(load.run())
        moves = await _moves(fleet, load, plan, say)
        load.ending = True
        await offering
        await run.await_seen(len(load.due_ms))
        counts = Counter(one.transaction_id for one in run.seen)
        lost, twice = len(load.due_ms.keys() - counts.keys()), sum(count > 1 for count in counts.values())
        return PauseFigures(len(load.due_ms), lost, twice, tuple(moves))


class _SteadyLoad:
    """Payments at one rate, until they shall end: in pieces, since nobody knows how long that takes."""

    def __init__(self, run: WorkerBench, made: PaymentSupply, rate: float) -> None:
        self._run = run
        self._made = made
        self._rate = rate
        self.due_ms: dict[str, int] = {}
        self.ending = False

    async def run(self) -> None:
        count = max(1, int(self._rate * _PIECE_SECONDS))
        while not self.ending:
            offered = await self._run.offer(await self._made.take(count), self._rate)
            self.due_ms |= offered.due_ms

    async def during(self, kind: str, work: Callable[[], Awaitable[object]]) -> Move:
        """Return the pauses of a move, and of the seconds after it in which its partitions go on."""
        before = len(self._run.seen)
        await work()
        await asyncio.sleep(_SETTLE_SECONDS)
        seen = self._run.seen[before:]
        await asyncio.sleep(2 * _PIECE_SECONDS)  # when payments were due is known at the end of their piece
        return Move(kind, tuple(pause for _, pause in sorted(longest_pauses(self.due_ms, seen).items())))


async def _moves(fleet: BenchFleet, load: _SteadyLoad, plan: PausesPlan, say: Callable[[str], None]) -> list[Move]:
    async def join() -> None:
        await await_ready(fleet.start(plan.command))

    async def leave() -> None:
        await fleet.drain(fleet.running[0])

    await asyncio.sleep(_SETTLE_SECONDS)
    moves = [await load.during("none", lambda: asyncio.sleep(_SETTLE_SECONDS))]
    say(told(moves[-1]))
    for _ in range(plan.moves):
        for kind, work in (("join", join), ("leave", leave)):
            moves.append(await load.during(kind, work))
            say(told(moves[-1]))
    return moves


def told(move: Move) -> str:
    """Return a move in a line."""
    pauses = move.pauses_ms or (0.0,)
    return f"{move.kind}: {np.median(pauses):,.0f} ms in the median of the partitions, {move.worst_ms:,.0f} at worst"
