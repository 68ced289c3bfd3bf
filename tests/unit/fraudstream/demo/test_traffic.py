"""What the demo publishes: the last days of the history, then the live days, each record once and in order."""

import json
from itertools import pairwise

import numpy as np
import pytest

from fraudstream.demo.plan import DemoPlan
from fraudstream.demo.traffic import Traffic, as_of, simulate_plan, until_transaction
from fraudstream.demo.world.rows import DAY_MS, Pattern
from fraudstream.demo.world.world import World
from fraudstream.lab.dataset.injector import ScheduledRecord
from stream.contract.codes import Rejection
from stream.contract.label import read_label
from stream.contract.transaction import read_transaction
from stream.settings import Settings

NOW_MS = 1_767_225_600_000
PLAN = DemoPlan(rate=20, seconds=30, cards=200, merchants=200, history_days=40, warm_days=10)


@pytest.fixture(scope="module")
def world() -> World:
    return simulate_plan(PLAN, NOW_MS)


def test_no_transaction_is_in_the_future_and_enough_are_live(world: World) -> None:
    assert world.rows.occurred_ms.max() < NOW_MS
    assert len(world.rows) - world.cut >= PLAN.live_count


def test_live_transactions_follow_the_warm_ones_without_a_gap(world: World) -> None:
    traffic = Traffic(world, PLAN, Settings())
    items = [*traffic.warm(), *until_transaction(traffic.live(), PLAN.live_count)]
    names = [item.name for item in items if item.name]
    first = world.cut - traffic.warm_count
    assert names == [f"tx-{number:08d}" for number in range(first, world.cut + PLAN.live_count)]
    assert world.rows.occurred_ms[first] - world.plan.live_start_ms >= -PLAN.warm_days * DAY_MS
    assert {item.topic for item in items if item.name} == {"transactions"}
    assert sum(pattern is not Pattern.GENUINE for pattern in traffic.patterns.values()) > 0


def test_every_record_is_valid_by_the_contract_and_keyed_by_its_card(world: World) -> None:
    traffic = Traffic(world, PLAN, Settings())
    for item in [*traffic.warm(), *traffic.warm_labels(), *until_transaction(traffic.live(), PLAN.live_count)]:
        read = read_transaction(item.value, item.key, NOW_MS) if item.name else read_label(item.value, item.key, (0, 0))
        assert not isinstance(read, Rejection), read


def test_labels_are_published_once_known_and_only_for_published_transactions(world: World) -> None:
    traffic = Traffic(world, PLAN, Settings(topic_prefix="x-"))
    warm = {item.name for item in traffic.warm()}
    warm_ids = [json.loads(item.value)["transaction_id"] for item in traffic.warm_labels()]
    assert set(warm_ids) <= warm
    seen, now = warm, ""
    reports = 0
    for item in traffic.live():
        record = json.loads(item.value)
        if item.shares_slot:
            assert item.topic == "x-labels"
            assert record["transaction_id"] in seen
            assert record["labelled_at"] <= now
            reports += 1
        else:
            seen, now = seen | {item.name}, record["occurred_at"]
    assert reports > 0
    assert traffic.labels == reports + len(warm_ids)


def test_as_of_an_earlier_day_the_history_is_shorter(world: World) -> None:
    earlier = as_of(world, 20)
    assert earlier.plan.live_start_ms == world.plan.live_start_ms - 20 * DAY_MS
    assert earlier.cut < world.cut
    assert np.all(earlier.rows.occurred_ms[: earlier.cut] < earlier.plan.live_start_ms)
    assert earlier.rows.occurred_ms[earlier.cut] >= earlier.plan.live_start_ms


def test_until_transaction_counts_transactions_but_not_the_labels_between_them() -> None:
    items = iter([ScheduledRecord("t", b"", b"", str(number), shares_slot=number % 2 == 1) for number in range(10)])
    first, second = list(until_transaction(items, 2)), list(until_transaction(items, 2))
    assert [item.name for item in first + second] == [str(number) for number in range(7)]
    assert all(int(a.name) + 1 == int(b.name) for a, b in pairwise(first + second))


@pytest.mark.parametrize("wrong", [{"rate": 0}, {"seconds": 0}, {"history_days": 15}, {"warm_days": 99}])
def test_a_plan_that_leaves_nothing_to_show_is_rejected(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"transactions a second|days of history"):
        DemoPlan(**wrong)  # type: ignore[arg-type]
