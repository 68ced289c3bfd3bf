"""Faults of workers, brokers and Redis, each with its end: afterwards everything is in service again.

A worker that ends is replaced at once, as a supervisor does; one that ends by itself is counted.
"""

import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from stream.kafka.topics import LAYOUTS
from support.fleet.fleet import Fleet
from support.fleet.workers import Worker
from support.kafka.three_brokers import IDS, ThreeBrokers
from support.redis.replicated import Pair, Server

WORKERS = 3
STOPPED_SECONDS = 4.5
"""Past the session timeout of a fleet, 3 s."""
HUNG_SECONDS = 1.5
"""Of a broker: short of its session timeout."""
ZOMBIE_SECONDS = 5.0
"""Past the session timeout of a broker, 3 s: others lead its partitions when it comes back."""
BLINK_SECONDS = 0.2
ORDERLY = (0, -signal.SIGTERM)
"""Exit codes after SIGTERM; the second if it comes before the process can handle it."""
SHORTEST_SECONDS, LONGEST_SECONDS = 0.5, 4.0
"""For which a broker is away."""


class Whole:
    """Three workers on three brokers and a Redis with sentinels; `exits` counts workers that ended by themselves."""

    def __init__(self, cluster: ThreeBrokers, fleet: Fleet, pair: Pair, draw: np.random.Generator) -> None:
        self.cluster, self.fleet, self.pair, self.draw = cluster, fleet, pair, draw
        self.workers: list[Worker] = []
        self.exits: Counter[str] = Counter()

    def revive(self) -> None:
        """Replace workers that have ended by themselves."""
        for at, worker in enumerate(self.workers):
            if worker.exit_code is not None:
                critical = [line for line in worker.log().splitlines() if " CRITICAL " in line]
                self.exits[f"{worker.exit_code}: {critical[-1] if critical else worker.log()[-300:]}"] += 1
                self.workers[at] = self.fleet.worker()

    def heal(self) -> None:
        """Wait until all brokers are in service and in sync, so that the next fault meets a whole cluster."""
        self.cluster.start()
        self.cluster.await_in_sync(*(f"{self.fleet.prefix}{layout.name}" for layout in LAYOUTS), "__consumer_offsets")

    def master(self) -> tuple[Server, Server]:
        """Return the present master and its replica."""
        first = self.pair.master
        is_master = first.client.info("replication")["role"] == "master"
        return (first, self.pair.replica) if is_master else (self.pair.replica, first)

    def some(self) -> int:
        """Draw a worker."""
        return int(self.draw.integers(len(self.workers)))

    def without(self, *nodes: int) -> None:
        """Kill brokers, and start them again some seconds later."""
        for node in nodes:
            self.cluster.nodes[node].kill()
        time.sleep(self.draw.uniform(SHORTEST_SECONDS, LONGEST_SECONDS))
        self.heal()


def kill_a_worker(whole: Whole) -> None:
    at = whole.some()
    whole.workers[at].kill()
    whole.workers[at] = whole.fleet.worker()


def replace_a_worker(whole: Whole) -> None:
    at = whole.some()
    if (code := whole.workers[at].terminate()) not in ORDERLY:
        whole.exits[f"{code} after SIGTERM: {whole.workers[at].log()[-300:]}"] += 1
    whole.workers[at] = whole.fleet.worker()


def fence_a_worker(whole: Whole) -> None:
    """Stop a worker until the group has removed it; it comes back as a zombie."""
    worker = whole.workers[whole.some()]
    worker.signal(signal.SIGSTOP)
    time.sleep(STOPPED_SECONDS)
    worker.signal(signal.SIGCONT)


def kill_a_leader(whole: Whole) -> None:
    leaders = whole.cluster.leaders(f"{whole.fleet.prefix}transactions")
    whole.without(leaders[int(whole.draw.integers(len(leaders)))])


def kill_the_controller(whole: Whole) -> None:
    whole.without(whole.cluster.controller())


def kill_the_coordinator(whole: Whole) -> None:
    whole.without(whole.cluster.coordinator(whole.fleet.environment["GROUP"]))


def kill_two_brokers(whole: Whole) -> None:
    whole.without(*(int(node) for node in whole.draw.choice(IDS, 2, replace=False)))


def restart_a_broker(whole: Whole) -> None:
    whole.cluster.nodes[int(whole.draw.choice(IDS))].stop()
    whole.heal()


def stop_a_broker_for_a_moment(whole: Whole) -> None:
    node = whole.cluster.nodes[int(whole.draw.choice(IDS))]
    node.pause()
    time.sleep(HUNG_SECONDS)
    node.resume()


def hang_a_broker(whole: Whole) -> None:
    """Stop a broker until others have replaced it; it comes back believing that it leads."""
    node = whole.cluster.nodes[int(whole.draw.choice(IDS))]
    node.pause()
    time.sleep(ZOMBIE_SECONDS)
    node.resume()
    whole.heal()


def empty_redis(whole: Whole) -> None:
    whole.master()[0].client.flushall()


def stop_redis_for_a_moment(whole: Whole) -> None:
    master, _ = whole.master()
    master.signal(signal.SIGSTOP)
    time.sleep(BLINK_SECONDS)
    master.signal(signal.SIGCONT)


def kill_the_master(whole: Whole) -> None:
    """Kill Redis' master; sentinels replace it, and it comes back, empty, as a replica."""
    master, replica = whole.master()
    master.signal(signal.SIGKILL)
    whole.pair.await_named(replica)
    master.start()
    master.follow(replica)
    master.await_following()
    whole.pair.await_watched()


def hang_the_master(whole: Whole) -> None:
    """Stop Redis' master until sentinels have replaced it; it comes back and is demoted."""
    master, replica = whole.master()
    master.signal(signal.SIGSTOP)
    whole.pair.await_named(replica)
    master.signal(signal.SIGCONT)
    master.follow(replica)
    master.await_following()
    whole.pair.await_watched()


FAULTS: Mapping[str, Callable[[Whole], None]] = {
    one.__name__: one
    for one in (
        kill_a_worker,
        replace_a_worker,
        fence_a_worker,
        kill_a_leader,
        kill_the_controller,
        kill_the_coordinator,
        kill_two_brokers,
        restart_a_broker,
        stop_a_broker_for_a_moment,
        hang_a_broker,
        empty_redis,
        stop_redis_for_a_moment,
        kill_the_master,
        hang_the_master,
    )
}
"""What an operator meets."""
