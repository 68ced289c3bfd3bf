"""A stream of a few weeks with labels, published to a fleet whose Redis loses histories, and a recount of it.

The stream has few cards and merchants and 15 minutes between payments, so that it is longer than all windows and
delays; every payment is labelled a week later.
"""

import math
import threading
import time
from typing import Any

import numpy as np

from features.history import records
from fraudstream_client.outputs import Score
from support.fleet.fleet import Fleet, sources, until
from support.fleet.payments import START_MS
from support.handbook import Recount, label, transaction, weeks
from support.redis.own import OwnRedis
from support.redis.replicated import Server

GAP_MS = 900_000
A_WEEK = 7 * 24 * 4
CARDS, MERCHANTS = 60, 12
Rows = list[dict[str, Any]]


def payments(count: int) -> Rows:
    random = np.random.default_rng(7)
    return [
        {
            "transaction_id": f"t-{number}",
            "card_id": f"card-{random.integers(CARDS)}",
            "merchant_id": f"merchant-{random.integers(MERCHANTS)}",
            "occurred_at": START_MS + number * GAP_MS,
            "amount_minor": int(random.integers(100, 50_000)),
            "currency": "EUR",
            "fraud": bool(random.random() < 0.1),
        }
        for number in range(count)
    ]


class Scenario:
    """Runs a stream with its labels through a fleet, week by week."""

    def __init__(self, fleet: Fleet, redis: OwnRedis | Server, weeks_long: int = 7) -> None:
        self.fleet = fleet
        self.redis = redis
        self.weeks = list(weeks(payments(weeks_long * A_WEEK)))
        self.decided = self.labelled = 0

    def publish(self, week: int) -> None:
        """Publish a week's payments."""
        self.fleet.publish(transaction(row) for row in self.weeks[week])
        self.decided += len(self.weeks[week])

    def publish_slowly(self, week: int) -> threading.Thread:
        """Publish a week's payments over some seconds, in a thread."""
        self.decided += len(self.weeks[week])

        def publish() -> None:
            for start in range(0, len(self.weeks[week]), 20):
                self.fleet.publish(transaction(row) for row in self.weeks[week][start : start + 20])
                time.sleep(0.05)

        publishing = threading.Thread(target=publish)
        publishing.start()
        return publishing

    def settle(self, week: int) -> None:
        """Wait for a week's decisions, then publish its labels and wait until they are applied."""
        self.fleet.await_scores(self.decided)
        self.fleet.publish((label(row) for row in self.weeks[week]), topic="labels")
        self.labelled += len(self.weeks[week])
        self.fleet.await_outcomes(self.labelled)

    def run_weeks(self, *which: int) -> None:
        """Publish these weeks and wait until they are decided and labelled."""
        for week in which:
            self.publish(week)
            self.settle(week)

    # --- state in Redis

    @property
    def epoch(self) -> int:
        """The current history epoch; 0 while its key is missing."""
        return int(self.redis.client.get(self._key()) or 0)

    @property
    def is_whole(self) -> bool:
        """Whether all histories are recorded as whole in the current epoch."""
        whole = self.redis.client.get(self._key(":whole")) or b""
        return whole.split(b" ")[0] == (self.redis.client.get(self._key()) or b"none")

    def parts_done(self) -> list[bool]:
        """Return for each reported part whether all of it is applied again."""
        (key,) = self.redis.client.keys(self._key(f":rebuilding:{self.epoch} *")) or [b"none"]
        parts = [tuple(map(int, value.split()[1:3])) for value in self.redis.client.hvals(key)]
        return [reached >= end for reached, end in parts]

    def marked(self, redis: OwnRedis) -> int:
        """Return the sum of the offsets of a server's checkpoints in the current epoch."""
        marks = redis.client.hgetall(self._key(f":marks:{self.epoch}"))
        return sum(int(offset) for part, offset in marks.items() if b":" in part)

    def repaired(self) -> tuple[int, int]:
        """Return how many records the last repair skipped, and how many it applied again."""
        (key,) = self.redis.client.keys(self._key(f":rebuilding:{self.epoch} *"))
        parts = [tuple(map(int, value.split()[:3])) for value in self.redis.client.hvals(key)]
        return sum(first for first, _, _ in parts), sum(end - first for first, _, end in parts)

    def _key(self, rest: str = "") -> str:
        return f"fraudstream:{self.fleet.environment['DEPLOYMENT']}:epoch{rest}"

    def key_of(self, card_id: str) -> str:
        """Return the key of a card's history."""
        entity = records.card_hash(card_id) & records.HASH_MASK
        return f"fraudstream:{self.fleet.environment['DEPLOYMENT']}:c:{entity:016x}"

    def await_detected(self, before: int, seconds: float = 1.0) -> None:
        """Wait until the epoch rises above `before`; fail if that takes too long."""
        until_s = time.monotonic() + seconds
        while self.epoch <= before:
            assert time.monotonic() < until_s, f"the loss was not detected within {seconds} s"
            time.sleep(0.01)

    def await_whole(self, seconds: float = 40.0) -> None:
        """Wait until the histories are whole."""
        until(lambda: self.is_whole, "the histories are whole", seconds)

    # --- results

    def rows(self) -> Rows:
        """Return the rows that were published, in order."""
        return [row for week in self.weeks for row in week][: self.decided]

    def check(self) -> list[Score]:
        """Check that each payment has one valid score, and that the features of unmarked ones equal a recount."""
        valid = self.fleet.await_scores(self.decided)
        assert set(sources(valid).values()) == {1}
        assert self.fleet.read("dead-letters") == []
        by_id, recount, wrong = {score.transaction_id: score for score in valid}, Recount(), []
        assert len(by_id) == self.decided
        for row in self.rows():
            expected, score = recount.features(row), by_id[row["transaction_id"]]
            if not score.degraded:
                assert score.features is not None
                wrong += [
                    (score.transaction_id, name, score.features[name], value)
                    for name, value in expected.items()
                    if not same(score.features[name], value)
                ]
        assert wrong == []
        return valid


def same(computed: float | None, expected: float | None) -> bool:
    if computed is None or expected is None:
        return computed is expected
    return math.isclose(computed, expected, rel_tol=1e-12, abs_tol=1e-12)
