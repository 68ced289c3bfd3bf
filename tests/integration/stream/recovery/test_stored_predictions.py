"""Predictions from storage through a killed worker and an emptied Redis: decisions are made again from the logs."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from aiokafka.partitioner import murmur2

from features.declaration import load
from models.times import format_time
from stream.clock import now_ms
from support.fleet.fleet import Fleet, until
from support.fleet.payments import PARTITIONS, partition_of, put_model
from support.fleet.workers import Worker
from support.paths import HOUSE
from support.redis.own import OwnRedis

MODULE = "support.features.quick_prediction_set"
TEACHER = "prediction_teacher_delayed_1h"
CARDS, DELAY_MS = 40, 120_000
MANY = 10_000
"""Predictions that nothing reads, before those that are read: a worker applies them for seconds."""
PAYMENTS = 200
"""Payments of a round: some before the round's predictions may be read, some after."""


class Rounds:
    """Publishes predictions about all cards, and payments beside them, without waiting for either."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        self.folder = folder
        self.number = self.paid = self.predicted = 0

    def play(self) -> None:
        """Publish one round."""
        self.number += 1
        computed_ms = now_ms()
        self._pay(computed_ms, range(PAYMENTS // 2))
        self._predict(computed_ms)
        self._pay(computed_ms + DELAY_MS, range(PAYMENTS // 2, PAYMENTS))

    def _predict(self, computed_ms: int) -> None:
        self.publish(
            {
                "card_id": [f"card-{card}" for card in range(CARDS)],
                "name": ["teacher"] * CARDS,
                "value": [None if card % 10 == 9 else self.number + card / 64 for card in range(CARDS)],
                "computed_at": [format_time(computed_ms)] * CARDS,
            }
        )

    def publish(self, columns: dict[str, list[Any]]) -> None:
        """Publish a file of predictions."""
        file, count = self.folder / f"{self.predicted}.parquet", len(columns["name"])
        pyarrow.parquet.write_table(pa.table(columns), file)
        done = self.fleet.cli("predictions", "publish", str(file), "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["sent"] == count
        self.predicted += count

    def _pay(self, since_ms: int, numbers: range) -> None:
        self.fleet.publish(
            {
                "transaction_id": f"t-{self.number}-{number}",
                "card_id": f"card-{number % CARDS}",
                "merchant_id": f"shop-{number % 7}",
                "occurred_at": since_ms + number,
                "amount_minor": 100 + number,
                "currency": "EUR",
            }
            for number in numbers
        )
        self.paid += len(numbers)

    def settle(self) -> None:
        """Wait until everything is decided and answered."""
        self.fleet.await_scores(self.paid, seconds=90)
        self.fleet.await_outcomes(self.predicted, seconds=90)


@pytest.fixture
def rounds(apart: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rounds:
    monkeypatch.setenv("PYTHONPATH", str(HOUSE / "tests"))  # workers import the set from there
    apart.environment["FEATURES"] = MODULE
    return Rounds(apart, tmp_path)


def live(fleet: Fleet) -> list[Worker]:
    digest = put_model(fleet.models, features=load(MODULE))
    workers = [fleet.worker() for _ in range(2)]
    until(lambda: all(worker.has_joined for worker in workers), "the group is joined")
    fleet.promote(digest)
    for worker in workers:
        worker.await_ready()
    return workers


def compared(fleet: Fleet) -> dict[str, Any]:
    done = fleet.cli("score", "--topic", "--diff", "--json", "--threads", "1")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.acceptance
def test_what_decisions_read_survives_a_killed_worker_and_an_emptied_redis(rounds: Rounds, own_redis: OwnRedis) -> None:
    first, _ = live(rounds.fleet)
    rounds.play()
    rounds.settle()
    rounds.play()
    first.kill()
    rounds.fleet.worker()
    rounds.play()
    rounds.settle()
    rounds.play()
    own_redis.client.flushall()
    rounds.play()
    rounds.settle()
    scores, _ = rounds.fleet.scores()
    assert len(scores) == rounds.paid
    read = [score.features[TEACHER] for score in scores if score.features]
    assert sum(value is not None for value in read) > rounds.paid // 4  # payments may overtake predictions
    assert {score.positions.prediction for score in scores} - {0, None}
    assert len({score.positions.history_epoch for score in scores}) == 2
    found = compared(rounds.fleet)
    assert (found["compared"], found["unexplained"]) == (rounds.paid, 0), found
    assert found["equal"] >= 0.9 * rounds.paid, found
    assert set(found["reasons"]) <= {"history_epoch_changed", "order_unknown"}, found


def is_beside_its_predictions(card: int) -> bool:
    """Tell whether the command's partitioner puts a card where its payments are: the tests' own is another."""
    name = f"card-{card}"
    return (murmur2(name.encode()) & 0x7FFF_FFFF) % PARTITIONS == partition_of(name)


@pytest.mark.acceptance
def test_after_all_workers_were_down_payments_read_the_predictions_that_had_come_before_them(rounds: Rounds) -> None:
    for worker in live(rounds.fleet):
        worker.kill()
    rounds.publish(
        {
            "card_id": [f"card-{number % CARDS}" for number in range(MANY)],
            "name": ["other"] * MANY,
            "value": [float(number) for number in range(MANY)],
            "computed_at": [format_time(now_ms() - MANY + number) for number in range(MANY)],
        }
    )
    rounds.play()
    rounds.fleet.worker()
    rounds.settle()
    scores, _ = rounds.fleet.scores()
    read = {score.transaction_id: score.features[TEACHER] for score in scores if score.features}
    later = {f"t-1-{number}": number % CARDS for number in range(PAYMENTS // 2, PAYMENTS)}
    later = {name: card for name, card in later.items() if is_beside_its_predictions(card)}
    assert len(later) > 10
    assert {name: read[name] for name in later} == {
        name: None if card % 10 == 9 else 1 + card / 64 for name, card in later.items()
    }


def test_a_fleet_without_such_features_needs_no_topic_of_predictions_and_writes_no_key_of_them(
    apart: Fleet, own_redis: OwnRedis
) -> None:
    apart.go_live()
    apart.publish([{"transaction_id": "t-1", "card_id": "card-1", "merchant_id": "shop-1", "occurred_at": now_ms(),
                    "amount_minor": 1, "currency": "EUR"}])  # fmt: skip
    (score,) = apart.await_scores(1)
    assert not isinstance(score.positions.prediction, int)
    assert own_redis.client.keys("*:p:*") == []
