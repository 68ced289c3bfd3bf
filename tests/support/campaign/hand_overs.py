"""A campaign of hand-overs between two fleets under load, with a kill at a random moment around each.

The seed determines the faults and their moments. Everything is checked in the end, from `scores` alone, as a consumer
reads them: each offset is decided once, and each partition changes its fleet once in a term.
"""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any, NamedTuple

import numpy as np

from models.terms import term_of
from models.times import parse_time_ms
from support.fleet.deployments import cut_over, go_live_when_warm, published_by_term
from support.fleet.fleet import Fleet, until
from support.fleet.load import Load
from support.fleet.workers import Worker
from support.kafka.three_brokers import ThreeBrokers

RATE = 120
"""Payments a second: a pause is known to about 35 ms in each of four partitions."""
PARTIES = 20_000, 2_000
"""Cards and merchants: after a hundred hand-overs, some fifteen payments of a card. Of 400 cards they were 700, and a
machine of two cores could not keep up."""
WORKERS = 2
STOPPED_SECONDS = 4.5
"""Past the session timeout of a fleet, 3 s: the stopped worker comes back and does not know of the hand-over."""
EARLIEST_SECONDS, LATEST_SECONDS = -1.5, 1.0
"""When a fault happens, from when the command is sent on."""
COMMAND_SECONDS = 15.0
FAULTLESS = 5
"""Each fifth hand-over has no fault."""


class Fleets:
    """Two deployments with their workers; `publishing` is the index of the one that publishes."""

    def __init__(self, cluster: ThreeBrokers, both: Sequence[Fleet], draw: np.random.Generator) -> None:
        self.cluster, self.both, self.draw = cluster, tuple(both), draw
        self.publishing = 0
        self.workers: list[list[Worker]] = []
        self.exits: Counter[int] = Counter()

    @property
    def named(self) -> Fleet:
        """The fleet that is silent, and named next."""
        return self.both[1 - self.publishing]

    def start(self) -> None:
        """Let the first one publish, and the second decide silently."""
        blue, green = self.both
        self.workers = [blue.go_live(WORKERS), go_live_when_warm(green, WORKERS, seed=1)]

    def replace(self, which: int, at: int) -> None:
        """Kill a worker and start another in its place, as a supervisor does."""
        self.workers[which][at].kill()
        self.workers[which][at] = self.both[which].worker()

    def heal(self) -> None:
        """Replace workers that ended by themselves, and wait until all are ready and all brokers are in service."""
        self.cluster.start()
        for which, some in enumerate(self.workers):
            for at, worker in enumerate(some):
                if worker.exit_code is not None:
                    self.exits[worker.exit_code] += 1
                    some[at] = self.both[which].worker()
        for some in self.workers:
            for worker in some:
                worker.await_ready(90)


Fault = Callable[[Fleets], None]


def nothing(_fleets: Fleets) -> None:
    """Kill nothing: the pause of an ordinary hand-over."""


def _kill(fleets: Fleets, which: int) -> None:
    fleets.replace(which, int(fleets.draw.integers(WORKERS)))


def _stop(fleets: Fleets, which: int) -> None:
    worker = fleets.workers[which][fleets.draw.integers(WORKERS)]
    worker.signal(signal.SIGSTOP)
    time.sleep(STOPPED_SECONDS)
    worker.signal(signal.SIGCONT)


def kill_a_worker_that_publishes(fleets: Fleets) -> None:
    """Kill a worker of the fleet that is replaced."""
    _kill(fleets, fleets.publishing)


def kill_a_worker_that_is_named(fleets: Fleets) -> None:
    """Kill a worker of the fleet that is to publish."""
    _kill(fleets, 1 - fleets.publishing)


def stop_a_worker_that_publishes(fleets: Fleets) -> None:
    """Stop a worker of the fleet that is replaced, until its partitions have moved."""
    _stop(fleets, fleets.publishing)


def stop_a_worker_that_is_named(fleets: Fleets) -> None:
    """Stop a worker of the fleet that is to publish, until its partitions have moved."""
    _stop(fleets, 1 - fleets.publishing)


def kill_the_judge(fleets: Fleets) -> None:
    """Kill the worker that judges the command."""
    which = 1 - fleets.publishing
    topic = f'fraudstream_partitions{{topic="{fleets.both[which].prefix}model-control"}} 1'
    judges = [at for at, worker in enumerate(fleets.workers[which]) if topic in worker.get("/metrics")[1]]
    fleets.replace(which, judges[0] if judges else 0)


def kill_a_broker(fleets: Fleets) -> None:
    """Kill the broker that leads a partition of `scores`, and start it again."""
    leaders = fleets.cluster.leaders(f"{fleets.both[0].prefix}scores")
    node = fleets.cluster.nodes[leaders[int(fleets.draw.integers(len(leaders)))]]
    node.kill()
    time.sleep(fleets.draw.uniform(0.5, 3.0))
    node.launch()


FAULTS: tuple[Fault, ...] = (
    kill_a_worker_that_publishes,
    kill_a_worker_that_is_named,
    stop_a_worker_that_publishes,
    stop_a_worker_that_is_named,
    kill_the_judge,
    kill_a_broker,
)


class HandOvers(NamedTuple):
    """The results of a campaign; pauses are in seconds, by partition: from the last old score to the first new one."""

    seed: int
    cut_overs: int
    faults: Mapping[str, int]
    commands: int
    refused: Mapping[str, int]
    payments: int
    undecided: int
    sent_twice: int
    examples: Sequence[Mapping[str, Any]]
    decided_twice: int
    changed_more_than_once: int
    void: int
    exits: Mapping[int, int]
    pauses_without_a_fault: Mapping[str, float]
    pauses_with_a_fault: Mapping[str, float]


def run_hand_overs(
    fleets: Fleets, drawn: tuple[int, int], say: Callable[[str], None], *, faulty: bool = True
) -> HandOvers:
    """Hand over so many times under load, from one fleet to the other and back; `drawn` is the seed and the count.

    Every fifth hand-over has no fault, if `faulty`; else none has.
    """
    seed, count = drawn
    faults, refused, terms = Counter[str](), Counter[str](), dict[int, str]()
    order = list(_faults(fleets.draw, count, faulty=faulty))
    with Load(fleets.both[0], RATE, parties=PARTIES) as load:
        fleets.start()
        load.await_decisions(time.monotonic())
        for number, fault in enumerate(order, 1):
            term = _hand_over(fleets, fault, refused)
            faults[fault.__name__] += 1
            terms[term] = fault.__name__
            seconds = load.await_decisions(time.monotonic(), 120)
            say(f"{number}: term {term}, {fault.__name__}; decided again after {max(seconds.values()):.2f} s")
            fleets.heal()
    return _summary(fleets, seed, faults, refused, terms)


def _faults(draw: np.random.Generator, count: int, *, faulty: bool) -> Iterator[Fault]:
    """Draw faults for all but every fifth hand-over: each kind as often as the others, in an order of the draw."""
    with_fault = [faulty and number % FAULTLESS != 0 for number in range(count)]
    kinds = iter(draw.permutation(np.arange(sum(with_fault)) % len(FAULTS)).tolist())
    for is_faulty in with_fault:
        yield FAULTS[next(kinds)] if is_faulty else nothing


@contextmanager
def _beside(fleets: Fleets, fault: Fault) -> Iterator[None]:
    """Do a fault at a moment around the start of the block, and wait for its end."""
    moment = fleets.draw.uniform(EARLIEST_SECONDS, LATEST_SECONDS)
    failures: list[BaseException] = []

    def run() -> None:
        time.sleep(max(0.0, moment))
        try:
            fault(fleets)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            failures.append(error)

    thread = Thread(target=run, name=fault.__name__)
    thread.start()
    time.sleep(max(0.0, -moment))
    try:
        yield
    finally:
        thread.join()
    if failures:
        raise failures[0]


def _hand_over(fleets: Fleets, fault: Fault, refused: Counter[str]) -> int:
    """Ask for a hand-over until it is accepted, with a fault beside the first command; return the term."""
    accepted: list[int] = []

    def ask() -> bool:
        verdict = cut_over(fleets.named, wait=COMMAND_SECONDS)
        if verdict is not None and verdict.kind == "accepted":
            accepted.append(int(verdict.term or 0))
            return True
        refused.update(["no verdict"] if verdict is None else {one.code.value for one in verdict.problems})
        return False

    with _beside(fleets, fault):
        done = ask()
    if not done:
        until(ask, "a hand-over is accepted", 180)
    fleets.publishing = 1 - fleets.publishing
    return accepted[0]


def _summary(
    fleets: Fleets, seed: int, faults: Counter[str], refused: Counter[str], terms: Mapping[int, str]
) -> HandOvers:
    blue, green = (fleet.environment["DEPLOYMENT"] for fleet in fleets.both)
    checked = published_by_term(fleets.both[0], [blue, green] * (len(terms) // 2 + 1))
    pauses: dict[bool, list[float]] = {True: [], False: []}
    for of_partition in checked.decided.values():
        last_ms, term = 0, 0
        for score in of_partition:
            at_ms, new = parse_time_ms(score.scored_at).epoch_ms, term_of(score.epoch)
            if new > term:
                pauses[terms[new] == nothing.__name__].append((at_ms - last_ms) / 1000)
            last_ms, term = at_ms, new
    return HandOvers(
        seed=seed,
        cut_overs=len(terms),
        faults=faults,
        commands=len(terms) + sum(refused.values()),
        refused=refused,
        payments=checked.payments,
        undecided=checked.undecided,
        sent_twice=checked.sent_twice,
        examples=checked.examples,
        decided_twice=checked.decided_twice,
        changed_more_than_once=checked.changed_more_than_once,
        void=checked.void,
        exits=fleets.exits,
        pauses_without_a_fault=_quantiles(pauses[True]),
        pauses_with_a_fault=_quantiles(pauses[False]),
    )


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    names = {"median": 0.5, "p99": 0.99, "max": 1.0}
    return {"count": len(seconds)} | {name: round(float(np.quantile(seconds, at)), 3) for name, at in names.items()}
