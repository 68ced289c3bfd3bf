"""Cards are erased while payments come, workers are killed and Redis loses everything: nothing is decided twice."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from features.history import records
from features.history.erasure import are_to_reduce, erased_until
from features.redis.cache import HEADER
from fraudstream.ops.repair.erasing import CardErasure
from models.signing import SealScope
from models.times import format_time, parse_time_ms
from stream.clock import now_ms
from stream.control.keys import Signer, signer_from
from support.acceptance import sized
from support.fleet.fleet import Fleet, until
from support.fleet.payments import partition_of, payment
from support.fleet.workers import Worker
from support.redis.own import OwnRedis

pytestmark = pytest.mark.integration

ESTATE = "here"
HOUR_MS = 3_600_000


class Office:
    """Somebody whose key erases cards, and the workers that trust it."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        self.key, keys = folder / "eve.pem", folder / "keys.toml"
        made = fleet.cli("keys", "new", str(self.key), "--person", "eve", "--role", "erase")
        assert made.returncode == 0, made.stderr
        other = fleet.cli("keys", "new", str(folder / "ann.pem"), "--person", "ann")
        keys.write_text(made.stdout + other.stdout)
        self.settings = {"COMMAND_KEYS": str(keys), "ESTATE": ESTATE, "COMMIT_INTERVAL": "0.5"}
        self.commands = {"SIGNING_KEY": str(folder / "ann.pem"), "ACTOR": "ann", "ESTATE": ESTATE}

    def go_live(self, workers: int = 1) -> list[Worker]:
        """Start workers that trust the key, and promote a model as the other person."""
        self.fleet.environment |= self.commands
        return self.fleet.go_live(workers, **self.settings)

    def erase(self, card: str, *arguments: str) -> dict[str, Any]:
        """Erase a card by the command line."""
        where = ("--partition", str(partition_of(card)), "--reason", "asked for", "--json")
        done = self.fleet.cli("erase", card, *where, *arguments, SIGNING_KEY=str(self.key))
        assert done.returncode in {0, 1}, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    @property
    def signer(self) -> Signer:
        """What signs erasures that are sent by other clients than the command line."""
        return signer_from("a test", str(self.key))


async def send(fleet: Fleet, signer: Signer, erasures: list[CardErasure]) -> None:
    """Send erasures, as the command does, with one producer."""
    producer = AIOKafkaProducer(bootstrap_servers=fleet.brokers)
    await producer.start()
    try:
        for one in erasures:
            value = one.value()
            headers = signer.headers(SealScope(ESTATE, fleet.prefix, ""), value)
            where = {"key": one.card_id.encode(), "partition": partition_of(one.card_id)}
            await producer.send_and_wait(f"{fleet.prefix}transactions", value, headers=list(headers), **where)
    finally:
        await producer.stop()


def features_of(fleet: Fleet, transaction_id: str) -> Mapping[str, float | None]:
    """Return the features of a decision."""
    found = next(one for one in fleet.scores()[0] if one.transaction_id == transaction_id)
    assert found.features is not None
    return found.features


def genuine(number: int, card: str) -> dict[str, Any]:
    return payment(number, card_id=card) | {"occurred_at": format_time(now_ms() - 500)}


def rows_in_redis(redis: OwnRedis, fleet: Fleet, card: str) -> np.ndarray:
    """Return a card's history as Redis has it."""
    entity = records.card_hash(card) & records.HASH_MASK
    value: bytes = redis.client.get(f"fraudstream:{fleet.environment['DEPLOYMENT']}:c:{entity:016x}")
    return np.frombuffer(value[HEADER.size :], records.STORED).reshape(-1, records.CARD_COLUMNS)


def test_the_command_erases_a_card_and_says_what_is_left(apart: Fleet, tmp_path: Path) -> None:
    office = Office(apart, tmp_path)
    (worker,) = office.go_live()
    first = [genuine(number, "card-1") for number in range(5)]
    apart.publish(first)
    apart.await_scores(5)
    said = office.erase("card-1")
    assert said["applied"], said
    left = {one["where"]: one for one in said["remains"]}
    kept_days = (parse_time_ms(left[f"topic {apart.prefix}scores"]["until"]).epoch_ms - now_ms()) / (24 * HOUR_MS)
    assert 399 < kept_days < 401
    assert "id hash, place and day" in left["Redis, the card's history"]["what"]
    apart.publish([*first, genuine(9, "card-1")])
    scores = apart.await_scores(6)
    assert Counter(one.transaction_id for one in scores) == Counter([*(f"t-{number}" for number in range(5)), "t-9"])
    assert features_of(apart, "t-9")["card_count_1d"] == 1.0
    assert not apart.dead_letters()
    replayed = json.loads(apart.cli("replay", "t-3", "--json").stdout)
    assert "erased" in json.dumps(replayed)
    found = at_the_end(apart)
    assert (found["diff"]["reasons"], found["audit"]["offsets"]["erasure"]) == ({"erased": 5}, 1)
    assert worker.metric("fraudstream_erasures_total") == 1


def test_an_erasure_that_the_wrong_key_signed_is_refused_and_erases_nothing(apart: Fleet, tmp_path: Path) -> None:
    office = Office(apart, tmp_path)
    office.go_live()
    apart.publish([genuine(0, "card-1")])
    apart.await_scores(1)
    wrong = apart.cli("erase", "card-1", "--partition", str(partition_of("card-1")), "--reason", "x", "--json")
    assert wrong.returncode == 1, wrong.stdout
    said = json.loads(wrong.stdout)
    assert said["refused"]["code"] == "unsigned_erasure"
    assert "role operator" in said["refused"]["detail"]
    apart.publish([genuine(1, "card-1")])
    apart.await_scores(2)
    assert features_of(apart, "t-1")["card_count_1d"] == 2.0


def at_the_end(fleet: Fleet) -> dict[str, Any]:
    """Return what the comparison with the logs and the audit say; nothing may be unexplained."""
    found: dict[str, Any] = {}
    for name, command in {"diff": ("score", "--topic", "--diff"), "audit": ("topics", "audit")}.items():
        done = fleet.cli(*command, "--json", seconds=300)
        assert done.returncode == 0, done.stdout + done.stderr
        found[name] = json.loads(done.stdout)
    return found


def labels_of(payments: list[dict[str, Any]], random: np.random.Generator) -> Iterator[dict[str, Any]]:
    for at in random.choice(len(payments), len(payments) // 4, replace=False).tolist():
        one = payments[at]
        fraud = bool(random.random() < 0.5)
        said = {"transaction_id": one["transaction_id"], "card_id": one["card_id"], "fraud": fraud}
        yield said | {"labelled_at": format_time(now_ms()), "reported_by": "analyst"}


def test_cards_are_erased_under_load_through_kills_and_the_loss_of_redis(
    apart: Fleet, own_redis: OwnRedis, tmp_path: Path
) -> None:
    """Every payment has one decision, nothing is unexplained, and of an erased card only what is later is seen."""
    office, random = Office(apart, tmp_path), np.random.default_rng(33)
    rounds, count = sized(4, 20), sized(5, 10)
    cards = [f"card-{number}" for number in range(rounds * count)]
    workers, sent, labels, erased_ms = office.go_live(2), list[dict[str, Any]](), 0, dict[str, int]()
    for step in range(rounds):
        some = [genuine(len(sent) + at, str(random.choice(cards))) for at in range(120)]
        apart.publish(some)
        sent += some
        told = list(labels_of(sent, random))
        apart.publish(told, "labels")
        labels += len(told)
        chosen = cards[step * count : (step + 1) * count]
        moment = now_ms()
        asyncio.run(send(apart, office.signer, [CardErasure(one, moment, f"r-{one}", "asked") for one in chosen]))
        erased_ms |= dict.fromkeys(chosen, moment)
        if step % 4 == 1:
            workers.pop(0).kill()
            workers.append(apart.worker(**office.settings))
        if step == rounds // 2:
            asyncio.run(own_redis.empty())
    apart.await_scores(len(sent), 180)
    for worker in workers:
        worker.await_ready(120)
    again = [*sent, *(genuine(len(sent) + at, card) for at, card in enumerate(cards))]
    apart.publish(again)
    scores = apart.await_scores(len(sent) + len(cards), 180)
    until(lambda: sum(worker.metric("fraudstream_lag") for worker in workers) == 0, "all is read", 120)
    assert Counter(one.transaction_id for one in scores) == Counter(f"t-{n}" for n in range(len(sent) + len(cards)))
    of_last = {one.card_id: one for one in scores if int(one.transaction_id[2:]) >= len(sent)}
    for card in cards:
        later = [
            one
            for one in sent
            if one["card_id"] == card and parse_time_ms(one["occurred_at"]).epoch_ms > erased_ms[card]
        ]
        features = of_last[card].features
        assert features is not None
        assert features["card_count_1d"] == 1 + len(later), card
    found = at_the_end(apart)
    assert found["diff"]["unexplained"] == 0
    assert found["audit"]["offsets"]["erasure"] == len(cards)
    assert set(found["diff"]["reasons"]) <= {"erased", "degraded", "history_epoch_changed", "order_unknown"}
    assert_reduced(own_redis, apart, cards)


def assert_reduced(redis: OwnRedis, fleet: Fleet, cards: list[str]) -> None:
    """Assert that Redis has of what is erased ids, places and days alone."""
    for card in cards:
        rows = rows_in_redis(redis, fleet, card)
        assert not are_to_reduce(rows, erased_until(rows)).any(), card
