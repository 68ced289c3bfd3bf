"""An offset gets its verdict once: no clock, no setting and no rule that reads the record again changes it."""

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from models.times import format_time
from stream.clock import now_ms
from stream.contract.transaction import BackfillMark
from stream.positions.dead_letters import MAX_RUN
from support.acceptance import sized
from support.fleet import hampered_worker, sleeping_worker
from support.fleet.fleet import Fleet, until
from support.fleet.payments import PARTITIONS, partition_of, payment, put_model
from support.fleet.shipments import librdkafka_producer
from support.fleet.workers import Worker
from support.kafka.admin import make_anew, set_on_topic
from support.redis.own import OwnRedis

pytestmark = pytest.mark.usefixtures("apache_kafka")

HOUR_MS = 3_600_000
BEHIND_MS = -67 * 60_000
"""More than the hour and the skew by which a payment may be ahead of a worker's clock."""
NO_BOUND = str(2**63 - 1)
CARD = "card-1"
OTHER_CARD = next(card for card in map("card-{}".format, range(99)) if partition_of(card) != partition_of(CARD))
"""A card on another partition."""


def genuine(number: int, card: str = CARD) -> dict[str, Any]:
    return payment(number, card_id=card) | {"occurred_at": format_time(now_ms() - 1_000)}


def at_the_end(fleet: Fleet) -> dict[str, Any]:
    """Return what the comparison with the logs says, and the audit of the verdicts: nothing may be unexplained."""
    compared = fleet.cli("score", "--topic", "--diff", "--json")
    assert compared.returncode == 0, compared.stdout + compared.stderr
    audited = fleet.cli("topics", "audit", "--json")
    assert audited.returncode == 0, audited.stdout + audited.stderr
    found: dict[str, Any] = json.loads(audited.stdout)
    return found


def go_live(fleet: Fleet, clock: Path, **settings: str) -> Worker:
    worker = fleet.worker(hampered_worker.COMMAND, **{hampered_worker.CLOCK: str(clock)} | settings)
    until(lambda: worker.has_joined, "the group is joined")
    fleet.promote(put_model(fleet.models))
    worker.await_ready()
    return worker


def decided(fleet: Fleet) -> Counter[str]:
    return Counter(score.transaction_id for score in fleet.scores()[0])


def test_where_brokers_refuse_what_is_ahead_a_wrong_clock_refuses_nothing(apart: Fleet, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    worker = go_live(apart, clock)
    clock.write_text(str(BEHIND_MS))
    apart.publish([genuine(number) for number in range(20)])
    reasons = worker.await_not_ready()
    until(lambda: any("clock is behind" in one for one in worker.readiness()[1]), f"the clock is named: {reasons}")
    until(lambda: worker.metric("fraudstream_clock_behind") == 1, "one partition is set aside")
    assert sum(apart.ends("dead-letters").values()) == 0
    clock.write_text("0")
    apart.await_scores(20)
    worker.await_ready()
    assert worker.metric("fraudstream_clock_behind") == 0
    assert decided(apart) == Counter(f"t-{number}" for number in range(20))
    assert sum(apart.ends("dead-letters").values()) == 0


def test_what_a_wrong_clock_refused_stays_refused_and_is_decided_once_when_it_is_sent_again(
    apart: Fleet, own_redis: OwnRedis, tmp_path: Path
) -> None:
    set_on_topic(apart.brokers, f"{apart.prefix}transactions", message_timestamp_after_max_ms=NO_BOUND)
    clock, count = tmp_path / "clock", MAX_RUN + 200
    clock.write_text(str(BEHIND_MS))
    worker = go_live(apart, clock)
    refused = [genuine(number) for number in range(count)]
    apart.publish(refused)
    until(lambda: any("halted" in one for one in worker.readiness()[1]), "the partition is halted")
    time.sleep(1.5)  # for a commit
    assert worker.terminate() == 0
    clock.write_text("0")
    letters = len(apart.dead_letters())
    assert letters >= MAX_RUN
    worker = apart.worker(hampered_worker.COMMAND, **{hampered_worker.CLOCK: str(clock)})
    apart.await_scores(count - letters)
    worker.await_ready()
    assert decided(apart) == Counter(f"t-{number}" for number in range(letters, count)), "no letter has a decision"
    asyncio.run(own_redis.empty())
    until(lambda: any("lost histories" in one for one in worker.readiness()[1]), "the loss is noticed")
    worker.await_ready()
    apart.publish(refused)
    apart.await_scores(count)
    until(lambda: worker.metric("fraudstream_repeated_total") == count - letters, "the others are repeated")
    assert decided(apart) == Counter(f"t-{number}" for number in range(count))
    found = at_the_end(apart)["offsets"]
    assert (found["decided"], found["refused"], found["repeated"]) == (count, letters, count - letters)


@pytest.mark.acceptance
def test_what_was_refused_is_not_applied_by_a_next_owner_whose_setting_would_accept_it(apart: Fleet) -> None:
    """The refused one stands before a decided one, and the worker is killed before it commits either."""
    (worker,) = apart.go_live(COMMIT_INTERVAL="60")
    ahead = payment(1, card_id=CARD, occurred_at=format_time(now_ms() + 30 * 60_000))
    apart.publish([ahead, genuine(2)])
    apart.await_scores(1)
    apart.await_dead_letters(1)
    worker.kill()
    later = apart.worker(FUTURE_SKEW="1 h")
    later.await_ready()
    until(lambda: later.metric("fraudstream_already_refused_total") == 1, "it is passed over")
    redriven = apart.cli("dead-letters", "redrive", "--id", "t-1", "--yes", "--json", FUTURE_SKEW="1 h")
    assert [one["id"] for one in json.loads(redriven.stdout)["sent"]] == ["t-1"], redriven.stdout + redriven.stderr
    apart.await_scores(2)
    assert decided(apart) == Counter(["t-1", "t-2"])
    compared = apart.cli("score", "--topic", "--diff", "--json", FUTURE_SKEW="1 h")
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert at_the_end(apart)["offsets"]["refused"] == 1


@pytest.mark.acceptance
def test_a_refused_offset_of_an_old_log_hides_no_payment_of_the_topic_that_was_made_anew(
    apart: Fleet, own_redis: OwnRedis
) -> None:
    (worker,) = apart.go_live()
    apart.publish([(CARD, b"no payment"), genuine(1)])
    apart.await_scores(1)
    time.sleep(1.5)  # for a commit
    make_anew(apart.brokers, f"{apart.prefix}transactions", PARTITIONS)
    until(lambda: any("accept-loss" in one for one in worker.readiness()[1]), "the loss is noticed", 90)
    accepted = apart.cli("topics", "accept-loss", "--reason", "test", seconds=180)
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    worker.await_ready()
    at_the_refused_offset = genuine(2)
    apart.publish([at_the_refused_offset, genuine(3)])
    apart.await_scores(3)
    asyncio.run(own_redis.empty())
    until(lambda: any("lost histories" in one for one in worker.readiness()[1]), "the loss is noticed")
    worker.await_ready()
    apart.publish([at_the_refused_offset])
    until(lambda: worker.metric("fraudstream_repeated_total") == 1, "the one at the refused offset is known")
    assert decided(apart) == Counter(["t-1", "t-2", "t-3"])
    assert dict(apart.dead_letters()[0].headers)["source.log"] == b"0"


@pytest.mark.acceptance
def test_a_record_from_before_the_bound_was_set_is_passed_over_on_the_record(apart: Fleet) -> None:
    topic = f"{apart.prefix}transactions"
    set_on_topic(apart.brokers, topic, message_timestamp_type="CreateTime", message_timestamp_after_max_ms=NO_BOUND)
    far = payment(1, card_id=CARD, occurred_at=format_time(now_ms() + 48 * HOUR_MS))
    with librdkafka_producer(apart.brokers) as producer:
        stamped = {"partition": partition_of(CARD), "timestamp": now_ms() + 48 * HOUR_MS}
        producer.produce(topic, json.dumps(far).encode(), CARD.encode(), **stamped)
        assert producer.flush(30) == 0
    set_on_topic(apart.brokers, topic, message_timestamp_after_max_ms=str(HOUR_MS))
    apart.publish([genuine(2), genuine(3, OTHER_CARD)])
    worker = apart.worker()
    until(lambda: worker.has_joined, "the group is joined")
    apart.promote(put_model(apart.models))
    until(lambda: any("clock is behind" in one for one in worker.readiness()[1]), "the partition is set aside")
    until(lambda: decided(apart) == Counter(["t-3"]), "the other partitions go on")
    where = ("--topic", topic, "--partition", str(partition_of(CARD)), "--offset", "0")
    skipped = apart.cli("dead-letters", "skip", *where, "--reason", "from before the bound")
    assert skipped.returncode == 0, skipped.stdout + skipped.stderr
    apart.await_scores(2)
    worker.await_ready()
    assert decided(apart) == Counter(["t-2", "t-3"])
    assert at_the_end(apart)["offsets"]["skipped"] == 1


def test_a_decision_stands_though_an_operator_lets_workers_pass_over_its_offset(
    apart: Fleet, own_redis: OwnRedis
) -> None:
    (worker,) = apart.go_live()
    payments = [genuine(number) for number in (1, 2, 3)]
    apart.publish(payments)
    apart.await_scores(3)
    where = ("--topic", f"{apart.prefix}transactions", "--partition", str(partition_of(CARD)), "--offset", "1")
    skipped = apart.cli("dead-letters", "skip", *where, "--reason", "the wrong offset")
    assert skipped.returncode == 0, skipped.stdout + skipped.stderr
    asyncio.run(own_redis.empty())
    until(lambda: any("lost histories" in one for one in worker.readiness()[1]), "the loss is noticed")
    worker.await_ready()
    apart.publish([payments[1], genuine(4)])
    until(lambda: decided(apart)["t-4"] == 1, "what comes behind it is decided")
    assert decided(apart) == Counter(["t-1", "t-2", "t-3", "t-4"])
    assert worker.terminate() == 0
    apart.worker().await_ready()
    apart.publish([payments[1], genuine(5)])
    until(lambda: decided(apart)["t-5"] == 1, "so it is by the next owner")
    assert decided(apart) == Counter(["t-1", "t-2", "t-3", "t-4", "t-5"])
    found = at_the_end(apart)["offsets"]
    assert (found["skipped"], found["repeated"]) == (0, 2)


def marked(payments: Sequence[dict[str, Any]]) -> list[tuple[str, bytes, list[tuple[str, bytes]]]]:
    """Return payments with the mark of a backfill."""
    return [
        (one["card_id"], json.dumps(one).encode(), [BackfillMark("0" * 16, at).header()])
        for at, one in enumerate(payments)
    ]


@pytest.mark.acceptance
def test_a_rule_that_comes_into_force_later_undoes_no_verdict(apart: Fleet, own_redis: OwnRedis) -> None:
    count = sized(60, 1_000)
    (worker,) = apart.go_live()
    cards = [f"ruled-{number % 40}" for number in range(2 * count)]
    first = [genuine(number, cards[number]) for number in range(count)]
    filled = [genuine(count + number, cards[count + number]) for number in range(count)]
    apart.publish(first)
    apart.await_scores(count)
    apart.publish(marked(filled))
    until(lambda: worker.metric("fraudstream_backfilled_total") == count, "the backfill is applied")
    apart.publish(first)
    until(lambda: worker.metric("fraudstream_repeated_total") == count, "what is sent again is repeated")
    time.sleep(1.5)  # for a commit
    assert worker.terminate() == 0
    asyncio.run(own_redis.empty())
    ruled = apart.worker(hampered_worker.COMMAND, **{hampered_worker.RULE: "ruled-"})
    ruled.await_ready(120)
    for one in [*first, *filled]:  # the new rule would halt each partition after a thousand
        apart.publish([one, genuine(10_000 + int(one["transaction_id"][2:]), "card-of-another")])
    until(lambda: len(decided(apart)) == 3 * count, "all that the rule lets in is decided", 240)
    assert ruled.terminate() == 0
    compared = apart.cli("score", "--topic", "--diff", "--json")
    assert compared.returncode == 0, compared.stdout + compared.stderr
    worker = apart.worker()
    worker.await_ready()
    apart.publish([*first, *filled])
    until(lambda: worker.metric("fraudstream_repeated_total") == 2 * count, "the rule is gone, and all is repeated")
    assert set(decided(apart).values()) == {1}
    found = at_the_end(apart)["offsets"]
    assert (found["decided"], found["backfilled"], found["refused"]) == (3 * count, count, 2 * count)
    assert found["repeated"] == 3 * count


@pytest.mark.acceptance
def test_a_letter_of_a_worker_that_had_lost_the_partition_is_late_and_void(apart: Fleet, tmp_path: Path) -> None:
    """It is stopped between judging and writing its letter; the next owner's setting accepts the record."""
    flag = tmp_path / "sleep"
    settings = {sleeping_worker.VARIABLE: str(flag)}
    sleeper = apart.worker(sleeping_worker.COMMAND, **settings)
    until(lambda: sleeper.has_joined, "the group is joined")
    apart.promote(put_model(apart.models))
    sleeper.await_ready()
    apart.publish([genuine(0)])
    apart.await_scores(1)
    flag.touch()
    apart.publish([payment(1, card_id=CARD, occurred_at=format_time(now_ms() + 30 * 60_000))])
    until(lambda: not flag.exists(), "the worker has stopped itself")
    later = apart.worker(FUTURE_SKEW="1 h")
    apart.await_scores(2, 90)
    sleeper.signal(signal.SIGCONT)
    apart.await_dead_letters(1, 90)
    apart.publish([genuine(2)])
    apart.await_scores(3)
    assert decided(apart) == Counter(["t-0", "t-1", "t-2"])
    found = at_the_end(apart)
    assert (found["late_letters"], found["offsets"]["refused"], found["offsets"]["decided"]) == (1, 0, 3)
    refused = apart.cli("dead-letters", "redrive", "--id", "t-1", "--yes", "--json")
    assert refused.returncode == 1
    assert "late" in refused.stdout
    later.kill()
    sleeper.kill()
