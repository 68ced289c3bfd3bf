"""A fault campaign: faults drawn by a seed while payments and labels flow, week by week, and everything checked.

In each week some faults of workers, brokers and Redis happen one after the other, and what producers do meanwhile
disturbs too. When the week's payments are decided, its labels are published. In the end each payment has one valid
score, whose features equal a recount; dead letters and outcomes are those that had to come; and every worker is ready.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from support.campaign.faults import FAULTS, WORKERS, Whole
from support.campaign.losses import LOSSES
from support.campaign.traffic import DISTURBANCES, Rows, Traffic, weeks
from support.fleet.fleet import Fleet, until
from support.fleet.payments import put_model
from support.fleet.repair_scenario import same
from support.handbook import Recount, label
from support.kafka.three_brokers import ThreeBrokers
from support.redis.replicated import Pair

_PLACE = ("source.topic", "source.log", "source.partition", "source.offset")
FAULTS_A_WEEK = 6
WEEK_SECONDS = 8.0
SETTLE_SECONDS = 180.0


def kinds() -> tuple[str, ...]:
    """Return the names of the faults that are drawn; those of `LOSSES` follow, each once."""
    return (*FAULTS, *DISTURBANCES)


class Summary(NamedTuple):
    """What a campaign went through; `marked` decisions say that they lacked histories, and are not compared."""

    seed: int
    redis_down: str
    faults: dict[str, int]
    payments: int
    marked: int
    dead_letters: int
    void_scores: int
    exits: dict[str, int]
    seconds: int


class Campaign:
    """Draws faults by a seed: so many, of all kinds or `only` some; `say` receives a line for each week.

    While Redis is away, the workers of an odd seed decide without it, those of an even one wait.
    """

    def __init__(
        self,
        whole: tuple[ThreeBrokers, Fleet, Pair],
        drawn: tuple[int, int],
        say: Callable[[str], None],
        only: Sequence[str] = (),
    ) -> None:
        (cluster, fleet, pair), (seed, faults) = whole, drawn
        draw = np.random.default_rng(seed)
        self._redis_down = "degrade" if seed % 2 else "wait"
        fleet.environment["REDIS_DOWN"] = self._redis_down
        self._whole = Whole(cluster, fleet, pair, draw)
        self._traffic = Traffic(cluster, fleet, np.random.default_rng(seed + 1))
        self._fleet, self._seed, self._say = fleet, seed, say
        names = list(only or kinds())
        rounds = -(-faults // len(names))
        all_names = [name for _ in range(rounds) for name in draw.permutation(names).tolist()][:faults]
        self._weeks = [all_names[at : at + FAULTS_A_WEEK] for at in range(0, faults, FAULTS_A_WEEK)]
        self._losses = {} if only else LOSSES
        self._rows: list[Rows] = []
        self.counts: Counter[str] = Counter()

    def run(self) -> Summary:
        """Run all weeks and check everything; fails with what is not as it has to be."""
        began = time.monotonic()
        self._go_live()
        coming = weeks(self._seed)
        for names in self._weeks:
            rows = next(coming)
            self._begin(rows, names)
            self._disturb(rows, names)
            self._settle(rows)
        for name, lose in self._losses.items():
            rows = lose(self._whole, self._traffic, next(coming))
            self._begin(rows, [name])
            self.counts[name] += 1
            self._settle(rows)
        return self._check(round(time.monotonic() - began))

    def _begin(self, rows: Rows, names: list[str]) -> None:
        self._rows.append(rows)
        self._say(f"week {len(self._rows)}: {', '.join(names)}")

    def _go_live(self) -> None:
        whole = self._whole
        whole.workers = [self._fleet.worker() for _ in range(WORKERS)]
        until(lambda: all(worker.has_joined for worker in whole.workers), "the group is joined")
        self._fleet.promote(put_model(self._fleet.models))
        whole.heal()

    def _disturb(self, rows: Rows, names: list[str]) -> None:
        """Publish a week while its faults happen."""
        failures: list[BaseException] = []
        disturbances = [name for name in names if name in DISTURBANCES]

        def publish() -> None:
            try:
                self._traffic.publish(rows, disturbances, WEEK_SECONDS)
            except BaseException as error:  # noqa: BLE001 - handed to the campaign
                failures.append(error)

        publishing = threading.Thread(target=publish, name="traffic")
        publishing.start()
        try:
            for name in names:
                if name in FAULTS:
                    FAULTS[name](self._whole)
                    self._whole.revive()
                self.counts[name] += 1
        finally:
            publishing.join()
        if failures:
            raise failures[0]

    def _settle(self, rows: Rows) -> None:
        """Wait until all payments so far are decided, then publish the week's labels and wait for their outcomes."""
        decided = sum(map(len, self._rows))
        self._until(lambda: self._count("scores") >= decided and len(self._fleet.scores()[0]) >= decided, "decisions")
        self._fleet.publish((label(dict(row)) for row in rows), topic="labels")
        self._until(lambda: self._count("outcomes") >= decided and self._answered() >= decided, "outcomes")

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        def revived() -> bool:
            self._whole.revive()
            return holds()

        try:
            until(revived, f"{what} of week {len(self._rows)}, seed {self._seed}", SETTLE_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}: {json.dumps(self._state(), indent=1)}") from error

    def _state(self) -> dict[str, Any]:
        """Return what an operator would look at: the ends of the topics, and each worker's answer and figures."""
        named = ("fraudstream_lag", "fraudstream_aside", "fraudstream_uncommitted", "fraudstream_partitions")
        pages = {worker.pid: worker.get("/metrics")[1].splitlines() for worker in self._whole.workers}
        return {
            "ends": {topic: self._fleet.ends(topic) for topic in ("transactions", "scores", "labels", "outcomes")},
            "workers": {worker.pid: worker.get("/health/ready") for worker in self._whole.workers},
            "figures": {pid: [line for line in page if line.startswith(named)] for pid, page in pages.items()},
        }

    def _count(self, topic: str) -> int:
        return sum(self._fleet.ends(topic).values())

    def _answered(self) -> int:
        return len(set(self._outcomes()))

    def _outcomes(self) -> dict[tuple[int, int], str]:
        """Return the status of each label that has an outcome."""
        found = (json.loads(record.value) for record in self._fleet.read("outcomes"))
        return {(one["source"]["partition"], one["source"]["offset"]): one["status"] for one in found}

    def _not_applied(self) -> str:
        """Return all outcomes of the labels that were answered otherwise, and the scores of their transactions."""
        odd = {where for where, status in self._outcomes().items() if status != "applied"}
        outcomes = [json.loads(record.value) | {"at": record.timestamp} for record in self._fleet.read("outcomes")]
        found = [one for one in outcomes if (one["source"]["partition"], one["source"]["offset"]) in odd]
        names = {one["transaction_id"] for one in found}
        scores = [json.loads(record.value) | {"at": record.timestamp} for record in self._fleet.read("scores")]
        found += [one | {"features": None} for one in scores if one["transaction_id"] in names]
        return json.dumps(found, indent=1)

    # --- what has come of it

    def _check(self, seconds: int) -> Summary:
        rows = [row for week in self._rows for row in week]
        valid, reader = self._fleet.scores()
        assert Counter(score.transaction_id for score in valid) == Counter(row["transaction_id"] for row in rows)
        places = Counter((score.source.log, score.source.partition, score.source.offset) for score in valid)
        assert set(places.values()) == {1}
        dead = self._dead_letters()
        assert dead == self._traffic.dead, f"dead letters {dict(dead)}, where {dict(self._traffic.dead)} were sent"
        assert Counter(self._outcomes().values()) == {"applied": len(rows)}, self._not_applied()
        self._check_features(rows, {score.transaction_id: score for score in valid})
        for worker in self._whole.workers:
            worker.await_ready()
        exits = dict(self._whole.exits)
        marked = sum(bool(score.degraded) for score in valid)
        return Summary(
            self._seed,
            self._redis_down,
            dict(self.counts),
            len(rows),
            marked,
            dead.total(),
            reader.void,
            exits,
            seconds,
        )

    def _dead_letters(self) -> Counter[str]:
        """Return how many records became dead letters, by code; each counts once, however often it is written."""
        found = (dict(letter.headers) for letter in self._fleet.read("dead-letters"))
        codes = {tuple(one.get(name) for name in _PLACE): one["error.code"].decode() for one in found}
        return Counter(codes.values())

    def _check_features(self, rows: Rows, scores: dict[str, Any]) -> None:
        """Compare the features of decisions that are not marked with a recount in the order of time."""
        recount, wrong = Recount(), []
        for row in rows:
            expected, score = recount.features(dict(row)), scores[row["transaction_id"]]
            if not score.degraded:
                wrong += [
                    (score.transaction_id, name, score.features[name], value)
                    for name, value in expected.items()
                    if not same(score.features[name], value)
                ]
        assert wrong == []
