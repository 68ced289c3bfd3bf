"""Another client overwrites a card's and a merchant's history: only these are affected, until they are rebuilt."""

import json
import re

import pytest

from features.history.records import HASH_MASK, merchant_hash
from fraudstream_client.outputs import Score
from support.fleet.fleet import Fleet, until
from support.fleet.repair_scenario import A_WEEK, Rows, Scenario, same
from support.fleet.workers import Worker
from support.handbook import Recount, label
from support.redis.own import OwnRedis

CARD, MERCHANT = "card-1", "merchant-3"


@pytest.fixture
def scenario(apart: Fleet, own_redis: OwnRedis) -> Scenario:
    return Scenario(apart, own_redis)


def gauge(workers: list[Worker], name: str) -> int:
    """Return the sum of a gauge over workers."""
    texts = [worker.get("/metrics")[1] for worker in workers]
    return sum(round(float(value)) for text in texts for value in re.findall(rf"^{name} (\S+)$", text, re.MULTILINE))


def overwrite(scenario: Scenario) -> tuple[str, str]:
    """Overwrite two histories, and return their keys."""
    card = scenario.key_of(CARD)
    merchant = f"{card.rpartition(':c:')[0]}:m:{merchant_hash(MERCHANT) & HASH_MASK:016x}"
    scenario.redis.client.rpush("another", "a list")
    scenario.redis.client.rename("another", card)  # a deletion would be a loss
    assert scenario.redis.client.set(merchant, "a text", xx=True)
    return card, merchant


def differing(scenario: Scenario, valid: list[Score]) -> list[tuple[str, str]]:
    """Return the features of unmarked decisions that differ from a recount."""
    by_id, recount, wrong = {score.transaction_id: score for score in valid}, Recount(), []
    for row in scenario.rows():
        expected, score = recount.features(row), by_id.get(row["transaction_id"])
        if score is not None and not score.degraded:
            assert score.features is not None
            pairs = ((name, score.features[name], value) for name, value in expected.items())
            wrong += [(score.transaction_id, name) for name, computed, value in pairs if not same(computed, value)]
    return wrong


def harmed(rows: Rows) -> set[str]:
    """Return the payments of both."""
    return {row["transaction_id"] for row in rows if row["card_id"] == CARD or row["merchant_id"] == MERCHANT}


def label_most(scenario: Scenario, week: int) -> tuple[Rows, Rows]:
    """Publish a week and most of its labels; return the payments of the card, and some others, that are left.

    All of them are genuine: no feature changes with their labels.
    """
    scenario.publish(week)
    scenario.fleet.await_scores(scenario.decided)
    rows = scenario.weeks[week]
    late = [row for row in rows if row["card_id"] == CARD]
    assert late
    assert not any(row["fraud"] for row in late)
    others = [row for row in rows if row["card_id"] != CARD and not row["fraud"]][:20]
    scenario.fleet.publish((label(row) for row in rows if row not in (*late, *others)), topic="labels")
    scenario.labelled += len(rows) - len(late) - len(others)
    scenario.fleet.await_outcomes(scenario.labelled)
    return late, others


def undecidable(fleet: Fleet) -> set[str]:
    """Return the payments that were answered without a model's decision."""
    letters = [record for record in fleet.read("dead-letters") if dict(record.headers)["error.code"] == b"undecidable"]
    marked = {score.transaction_id for score in fleet.scores()[0] if "undecidable" in score.degraded}
    return marked | {json.loads(record.value)["transaction_id"] for record in letters}


def await_rebuilt(scenario: Scenario, workers: list[Worker], labelled: int) -> None:
    """Wait until the histories are whole, and the labels that waited have outcomes."""
    until(lambda: gauge(workers, "fraudstream_history_damaged") == 0, "all histories are whole")
    scenario.fleet.await_outcomes(labelled)
    for worker in workers:
        worker.await_ready()
    assert gauge(workers, "fraudstream_labels_waiting") == 0


@pytest.mark.acceptance
def test_only_payments_and_labels_of_damaged_histories_are_affected_until_these_are_rebuilt(
    scenario: Scenario,
) -> None:
    fleet = scenario.fleet
    workers = fleet.go_live(workers=2)
    scenario.run_weeks(0, 1, 2)
    late, others = label_most(scenario, 3)
    epoch, keys = scenario.epoch, overwrite(scenario)
    scenario.publish(4)
    fleet.publish((label(row) for row in (*late, *others)), topic="labels")
    until(lambda: gauge(workers, "fraudstream_labels_waiting") == len(late), "labels wait")
    assert any("labels wait" in reason for worker in workers for reason in worker.readiness()[1])
    fleet.await_outcomes(scenario.labelled + len(others))  # beside those that wait
    await_rebuilt(scenario, workers, scenario.labelled + len(others) + len(late))
    assert {scenario.redis.client.type(key) for key in keys} == {b"string"}
    fleet.publish((label(row) for row in scenario.weeks[4]), topic="labels")
    fleet.await_outcomes(scenario.labelled + len(others) + len(late) + A_WEEK)
    before = len(fleet.scores()[0])
    scenario.publish(5)
    valid = fleet.await_scores(before + A_WEEK)
    without = undecidable(fleet)
    assert without
    assert without <= harmed(scenario.weeks[4])
    assert {one.transaction_id for one in valid} | without == {row["transaction_id"] for row in scenario.rows()}
    assert differing(scenario, valid) == []
    assert {one.positions.history_epoch for one in valid if not one.degraded} == {epoch}
    assert {json.loads(record.value)["status"] for record in fleet.read("outcomes")} == {"applied"}
