"""A consumer of `scores` that lags: it reads a little, stores where it is, goes away, and comes back much later.

Half of the times it forgets what it read since it last stored, as one does that is killed. What it took for valid in
the end must be what a reader of the whole takes for valid, whatever workers wrote that had outlived their time.
"""

import threading
import time
from collections.abc import Callable
from typing import Self

import numpy as np
from confluent_kafka import KafkaException, Message

from campaigns.witness import opened_at
from fraudstream_client.validity import Standing, ValidScores

AWAY_SECONDS = (1.0, 12.0)
READ_SECONDS = (0.2, 2.0)
FEW = 40
LAST_SECONDS = 60.0

Position = tuple[int, int]
"""Partition and offset of `scores`."""


class LateReader:
    """Reads until it is told to finish; `brokers` tells where they are now."""

    def __init__(self, brokers: Callable[[], str], topic: str, seed: int) -> None:
        self.valid: set[Position] = set()
        self._brokers, self._topic = brokers, topic
        self._draw = np.random.default_rng([18, seed])
        self._positions: dict[int, int] = {}
        self._standings: dict[int, Standing] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="late reader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def finish(self) -> None:
        """Stop, and read on from what is stored to the end."""
        self.stop()
        with _Visit(self._brokers(), self._topic, self._positions, self._standings) as visit:
            deadline = time.monotonic() + LAST_SECONDS
            while not visit.is_at_end:
                assert time.monotonic() < deadline, f"{self._topic} cannot be read to its end"
                visit.read(5_000)
        self.valid |= visit.valid

    def _run(self) -> None:
        while not self._over.wait(float(self._draw.uniform(*AWAY_SECONDS))):
            try:
                self._visit()
            except KafkaException:  # brokers are away
                continue

    def _visit(self) -> None:
        until = time.monotonic() + float(self._draw.uniform(*READ_SECONDS))
        is_killed = self._draw.random() < 0.5
        with _Visit(self._brokers(), self._topic, self._positions, self._standings) as visit:
            while time.monotonic() < until:
                visit.read(FEW)
        if not is_killed:
            self._positions, self._standings = visit.positions, visit.standings
            self.valid |= visit.valid


class _Visit:
    """One time of reading, from stored positions and standings on."""

    def __init__(self, brokers: str, topic: str, positions: dict[int, int], standings: dict[int, Standing]) -> None:
        self.positions, self.valid = dict(positions), set[Position]()
        self._scores: ValidScores[Message] = ValidScores(dict(standings))
        self._consumer, self._ends = opened_at(brokers, topic, positions)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    @property
    def standings(self) -> dict[int, Standing]:
        return self._scores.standings

    @property
    def is_at_end(self) -> bool:
        return all(self.positions.get(number, 0) >= end for number, end in self._ends.items())

    def read(self, most: int) -> None:
        messages = [one for one in self._consumer.consume(most, 0.2) if one.error() is None]
        self.valid.update((one.partition() or 0, one.offset() or 0) for one, _ in self._scores.of(messages))
        for one in messages:
            self.positions[one.partition() or 0] = (one.offset() or 0) + 1
