"""Faults injected into a fleet while it works: workers killed and stopped, Redis calls lost, delayed and stalled.

A seed determines their times and order. A killed worker is replaced.
"""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Self

import numpy as np

from support.fleet.fleet import Fleet
from support.fleet.workers import Worker
from support.redis.proxy import Loss, RedisProxy

STOPPED_SECONDS = 4.5
"""Past the session timeout of a fleet, 3 s: the stopped worker's partitions move, and it comes back as a zombie."""
STALLED_SECONDS = 1.5
"""Past the second for which a store waits for a reply."""
LONGEST_DELAY_S = 0.03


class Chaos:
    """Injects faults while its `with` block lasts; afterwards stopped workers continue, and the proxy forwards again.

    `counts` has the number of each fault. Faults of workers are at least `pause_s` apart, so that the group can settle.
    """

    def __init__(self, fleet: Fleet, workers: list[Worker], proxy: RedisProxy, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.pause_s = 2.0
        self._fleet = fleet
        self._workers = workers
        self._proxy = proxy
        self._draw = np.random.default_rng(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos")
        self._stopped: tuple[Worker, float] | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._inject_faults()
        except Exception as error:  # noqa: BLE001 - handed to the test
            self._failure = error
        finally:
            self._proxy.spare()
            self._proxy.resume()
            self._proxy.delay_s = 0.0
            for worker in self._workers:
                worker.signal(signal.SIGCONT)

    def _inject_faults(self) -> None:
        redis_faults: list[Callable[[], None]] = [self._lose] * 6 + [self._delay] * 2 + [self._cut] * 2 + [self._stall]
        next_worker_fault = time.monotonic() + self._draw.uniform(0.3, 1.5)
        while not self._over.wait(self._draw.uniform(0.05, 0.6)):
            redis_faults[self._draw.integers(len(redis_faults))]()
            if self._stopped is not None and time.monotonic() > self._stopped[1]:
                self._stopped[0].signal(signal.SIGCONT)
                self._stopped = None
            if time.monotonic() > next_worker_fault:
                (self._kill if self._stopped is not None or self._draw.random() < 0.6 else self._stop)()
                next_worker_fault = time.monotonic() + self.pause_s + self._draw.uniform(0.0, 2.0)

    def _alive(self) -> list[Worker]:
        stopped = None if self._stopped is None else self._stopped[0]
        return [worker for worker in self._workers if worker.exit_code is None and worker is not stopped]

    def _kill(self) -> None:
        running = self._alive()
        running[self._draw.integers(len(running))].kill()
        self._workers.append(self._fleet.worker())
        self.counts["SIGKILL"] += 1

    def _stop(self) -> None:
        running = self._alive()
        victim = running[self._draw.integers(len(running))]
        victim.signal(signal.SIGSTOP)
        self._stopped = victim, time.monotonic() + STOPPED_SECONDS
        self.counts["SIGSTOP"] += 1

    def _lose(self) -> None:
        losses = (Loss.REPLY, Loss.REPLY, Loss.REPLY, Loss.REQUEST, Loss.REQUEST, Loss.SILENCE)
        self._proxy.lose(losses[self._draw.integers(len(losses))])

    def _delay(self) -> None:
        self._proxy.delay_s = self._draw.uniform(0.0, LONGEST_DELAY_S)

    def _cut(self) -> None:
        self._proxy.cut()

    def _stall(self) -> None:
        self._proxy.stall()
        self._over.wait(STALLED_SECONDS)
        self._proxy.resume()
        self.counts["stall"] += 1
