"""`fraudstream score --topic` and `replay` on real Kafka and Redis reproduce the workers' decisions to the last bit."""

import asyncio
import json
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from fraudstream_client.outputs import Score
from models.repository import Repository
from support.fleet.fleet import Fleet, until
from support.fleet.payments import PARTITIONS, payment
from support.handbook import label, needs_handbook, rows, transaction, weeks
from support.redis.own import OwnRedis
from support.training_files import trained

COUNT = 6_000


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a trained model, whose scores depend on many features."""
    return trained(tmp_path_factory.mktemp("training"))


def run_through(fleet: Fleet, stream: list[dict[str, Any]], contents: dict[str, bytes]) -> str:
    """Have two workers decide a stream, with each week's labels after it; return the model's digest."""
    fleet.go_live(2)
    digest = Repository(fleet.models).put(contents)
    fleet.promote(digest)
    decided = 0
    for stretch in weeks(stream):
        fleet.publish(transaction(row) for row in stretch)
        decided += len(stretch)
        fleet.await_scores(decided, seconds=90)
        fleet.publish((label(row) for row in stretch), topic="labels")
        fleet.await_outcomes(decided, seconds=90)
    return digest


def compared(fleet: Fleet, *arguments: str, exit_code: int = 0, **settings: str) -> dict[str, Any]:
    done = fleet.cli("score", "--topic", "--diff", "--json", "--threads", "2", *arguments, **settings)
    assert done.returncode == exit_code, done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def replayed(fleet: Fleet, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
    done = fleet.cli("replay", *arguments, "--json")
    assert done.returncode == exit_code, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(done.stdout) if exit_code == 0 else {"said": done.stderr}


@pytest.mark.acceptance
@needs_handbook
def test_rescoring_reproduces_every_decision_and_finds_an_altered_feature(
    fleet: Fleet, contents: dict[str, bytes], tmp_path: Path
) -> None:
    stream = rows(terminals=100, most=COUNT)
    digest = run_through(fleet, stream, contents)
    out = tmp_path / "out.parquet"
    found = compared(fleet, "--out", str(out))
    assert (found["compared"], found["equal"], found["unexplained"], found["examples"]) == (COUNT, COUNT, 0, [])
    assert found["models"] == {digest: COUNT}
    (alerts,) = duckdb.connect().execute(f"SELECT count(*) FROM '{out}' WHERE decision <> 'approve'").fetchall()[0]  # noqa: S608
    assert 0 < alerts < COUNT

    done = fleet.cli("score", "--topic", "--model", digest[:12], "--out", str(tmp_path / "scored.parquet"), "--json")
    assert done.returncode == 0, done.stderr
    both = f"'{out}' a JOIN '{tmp_path}/scored.parquet' b USING (transaction_id)"
    unlike = duckdb.connect().execute(f"SELECT count(*), count(*) FILTER (a.score <> b.score) FROM {both}")  # noqa: S608
    assert unlike.fetchall() == [(COUNT, 0)]

    find_the_altered_feature(fleet, stream[-1]["transaction_id"])


def find_the_altered_feature(fleet: Fleet, last: str) -> None:
    again = replayed(fleet, last)
    assert again["equal"]
    assert again["logs"]["verdict"] == "equal"
    assert "no valid decision" in replayed(fleet, "nobody", exit_code=1)["said"]
    copy = f"{fleet.prefix}copy-"
    assert fleet.cli("topics", "apply", "--partitions", str(PARTITIONS), TOPIC_PREFIX=copy).returncode == 0
    asyncio.run(copied(fleet, copy, last))
    found = compared(fleet, exit_code=1, TOPIC_PREFIX=copy)
    assert (found["equal"], found["unexplained"]) == (COUNT - 1, 1)
    (example,) = found["examples"]
    assert example["transaction_id"] == last
    assert set(json.loads(example["differences"])) >= {"card_count_30d"}


async def copied(fleet: Fleet, prefix: str, altered: str) -> None:
    """Copy the topics, and add one to a feature of the `altered` transaction's score."""
    producer = AIOKafkaProducer(bootstrap_servers=fleet.brokers, linger_ms=5)
    await producer.start()
    try:
        for topic in ("transactions", "labels", "scores", "outcomes"):
            for record in await asyncio.to_thread(fleet.read, topic):
                value = record.value
                if topic == "scores" and f'"{altered}"'.encode() in value:
                    score = msgspec.json.decode(value, type=Score)
                    features = score.features | {"card_count_30d": score.features["card_count_30d"] + 1}
                    value = msgspec.json.encode(msgspec.structs.replace(score, features=features))
                place = {"partition": record.partition, "timestamp_ms": record.timestamp}
                await producer.send(f"{prefix}{topic}", value, record.key, **place)
        await producer.flush()
    finally:
        await producer.stop()


@pytest.mark.acceptance
def test_after_an_outage_and_a_loss_only_degraded_decisions_differ_when_rescored(
    apart: Fleet, own_redis: OwnRedis, contents: dict[str, bytes]
) -> None:
    apart.go_live(1, REDIS_DOWN="degrade")
    apart.promote(Repository(apart.models).put(contents))
    feed = PaymentFeed(apart)
    feed.pay(1_000)
    own_redis.kill()
    feed.pay(400)
    own_redis.start()
    feed.pay_until_whole()
    feed.pay(500)
    asyncio.run(own_redis.empty())
    feed.pay(100)
    feed.pay_until_whole()
    feed.pay(500)
    valid = apart.scores()[0]
    degraded = {one.transaction_id for one in valid if "history_incomplete" in one.degraded}
    assert len(degraded) >= 400
    assert len({one.positions.history_epoch for one in valid if not one.degraded}) > 1
    found = compared(apart)
    assert (found["compared"], found["unexplained"], found["examples"]) == (feed.paid, 0, [])
    assert found["explained"] <= len(degraded)
    assert set(found["reasons"]) <= {"degraded"}


@pytest.mark.acceptance
def test_rescoring_by_positions_reproduces_features_that_depend_on_arrival_order(fleet: Fleet, tmp_path: Path) -> None:
    fleet.environment["FEATURES"] = "features.extended_set"
    digest = Repository(fleet.models).put(trained(tmp_path, "features.extended_set"))
    workers = [fleet.worker() for _ in range(2)]
    until(lambda: all(worker.has_joined for worker in workers), "the group is joined")
    fleet.promote(digest)
    for start in range(0, 3_000, 500):
        made = [payment(number, cards=200, merchants=5) for number in range(start, start + 500)]
        fleet.publish(one | {"device_id": f"phone-{number % 7}"} for number, one in enumerate(made))
    fleet.await_scores(3_000, seconds=90)
    found = compared(fleet)
    assert (found["compared"], found["equal"], found["examples"]) == (3_000, 3_000, [])


class PaymentFeed:
    """Publishes payments of a few cards at a few merchants, so that payments share histories."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.paid = 0

    def pay(self, count: int) -> list[Score]:
        """Publish payments, wait until all are decided, and return all decisions."""
        numbers = range(self.paid, self.paid + count)
        self.fleet.publish(payment(number, cards=80, merchants=20) for number in numbers)
        self.paid += count
        return self.fleet.await_scores(self.paid, seconds=90)

    def pay_until_whole(self) -> None:
        """Publish one payment after another until one is decided with whole histories."""
        until(lambda: not self._pay_one().degraded, "histories are whole again", 120)

    def _pay_one(self) -> Score:
        name = f"t-{self.paid}"
        (score,) = [one for one in self.pay(1) if one.transaction_id == name]
        return score
