"""The feed of labels: a share that is gone is missed within two days of it, and nothing else is."""

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.simulations.label_feed import LOSSES, WARM_DAYS, WORLDS, FeedLoss, lost_feeds, quiet_feeds, watch_feed
from fraudstream.ops.watch.drift.feed import FRAUDS, LABELS, LabelFeed, StoredFeed
from fraudstream.ops.watch.drift.telling import feed_record
from fraudstream.ops.watch.incidents.told import Told
from fraudstream_client.incidents import Incident, IncidentKind, IncidentRule
from models.training_reference import DAY_MS
from stream.settings import Settings
from support.acceptance import sized
from support.drift_cases import FIRST_DAY, DriftRecord
from support.outcome_cases import outcome_value

SETTINGS = Settings(worker_id="guard-1")
BY_CUSTOMERS = f"{FRAUDS} reported by customer"


def outcome(card: str, day: int, **changes: Any) -> DriftRecord:
    value = outcome_value(**{"card_id": card, "reported_by": "customer"} | changes)
    return DriftRecord(0, 0, day * DAY_MS + DAY_MS // 2, value)


def day_of(day: int, customers: int = 12, others: int = 12) -> list[DriftRecord]:
    by_customers = [outcome(f"a-{day}-{at}", day) for at in range(customers)]
    return [*by_customers, *(outcome(f"b-{day}-{at}", day, reported_by="chargeback") for at in range(others))]


def read(feed: LabelFeed, days: Iterable[int], **kinds: int) -> None:
    for day in days:
        feed.add(day_of(day, **kinds))  # type: ignore[arg-type] # it reads no other field
        feed.advance((day + 1) * DAY_MS)


def warm() -> LabelFeed:
    feed = LabelFeed("default")
    read(feed, range(FIRST_DAY, FIRST_DAY + 35))
    return feed


def test_a_reporter_that_stops_is_missed_after_two_days_by_name_and_the_total_is_not() -> None:
    feed, gone = warm(), FIRST_DAY + 35
    read(feed, [gone], customers=0)
    assert feed.alarm is None
    read(feed, [gone + 1], customers=0)
    assert feed.alarm is not None
    assert feed.alarm.since_day == gone
    assert BY_CUSTOMERS in feed.alarm.streams
    assert (feed.alarm.streams[BY_CUSTOMERS].observed, feed.alarm.streams[BY_CUSTOMERS].expected) == (0, 24)
    assert feed.ratios()[BY_CUSTOMERS] == 0
    assert feed.newest_ms[BY_CUSTOMERS] == (gone - 1) * DAY_MS + DAY_MS // 2


def test_a_feed_that_stops_whole_is_missed_though_no_record_comes_any_more() -> None:
    feed, gone = warm(), FIRST_DAY + 35
    feed.advance((gone + 2) * DAY_MS)
    assert feed.alarm is not None
    assert {LABELS, FRAUDS} <= feed.alarm.streams.keys()


def test_one_day_without_labels_is_a_holiday() -> None:
    feed, holiday = warm(), FIRST_DAY + 35
    read(feed, [holiday], customers=0, others=0)
    read(feed, range(holiday + 1, holiday + 20))
    assert feed.alarm is None


def test_what_comes_again_for_two_days_ends_the_alarm_and_the_gap_is_no_reference() -> None:
    feed, gone = warm(), FIRST_DAY + 35
    read(feed, range(gone, gone + 10), customers=0)
    read(feed, range(gone + 10, gone + 12))
    assert feed.alarm is None
    expected = feed.expected(BY_CUSTOMERS, gone + 12, gone + 12)
    assert expected is not None
    assert expected.labels == 12


def test_what_is_missing_for_four_weeks_is_what_later_days_are_compared_with() -> None:
    feed, gone = warm(), FIRST_DAY + 35
    read(feed, range(gone, gone + 28), customers=0)
    assert feed.alarm is not None
    read(feed, range(gone + 28, gone + 60), customers=0)
    assert feed.alarm is None


def test_a_card_counts_once_a_day_and_labels_that_came_before_not_at_all() -> None:
    feed = LabelFeed("default")
    feed.add(
        [
            outcome("a", FIRST_DAY),
            outcome("a", FIRST_DAY, fraud_type="stolen"),
            outcome("b", FIRST_DAY, status="repeated"),
            outcome("c", FIRST_DAY, deployment="other"),
            outcome("d", FIRST_DAY, fraud=False),
            DriftRecord(0, 0, FIRST_DAY * DAY_MS, b"{"),
        ]
    )  # type: ignore[list-item] # it reads no other field
    assert feed.stored().days[FIRST_DAY] == {
        LABELS: 3,
        "labels reported by customer": 3,
        FRAUDS: 1,
        BY_CUSTOMERS: 1,
        "cards with fraud of type stolen": 1,
    }


def test_a_record_of_1970_and_a_kind_that_is_long_gone_cost_nothing() -> None:
    feed = LabelFeed("default")
    feed.add([outcome("a", 0, fraud_type="stolen")])  # type: ignore[list-item] # it reads no other field
    read(feed, range(FIRST_DAY, FIRST_DAY + 3))
    assert min(feed.stored().days) == FIRST_DAY
    assert "cards with fraud of type stolen" not in feed.newest_ms


def test_a_feed_goes_on_from_what_is_stored() -> None:
    whole, half = warm(), LabelFeed("default")
    read(half, range(FIRST_DAY, FIRST_DAY + 20))
    decoded = msgspec.json.decode(msgspec.json.encode(half.stored()), type=StoredFeed)
    again = LabelFeed("default", decoded)
    read(again, range(FIRST_DAY + 20, FIRST_DAY + 35))
    assert again.stored() == whole.stored()


def tell(feed: LabelFeed, told: Told) -> Incident | None:
    found = feed_record(feed, told.incidents, SETTINGS)
    if found is not None:
        assert told.add(msgspec.convert(msgspec.to_builtins(found), Incident))
    return found


def test_an_incident_is_opened_once_and_closed_once_also_by_a_guard_that_read_all_again() -> None:
    told, feed, gone = Told(SETTINGS.deployment), warm(), FIRST_DAY + 35
    assert tell(feed, told) is None
    read(feed, range(gone, gone + 2), customers=0)
    opened = tell(feed, told)
    assert opened is not None
    assert (opened.rule, opened.kind, opened.events) == (IncidentRule.LABELS_MISSING, IncidentKind.OPENED, 24)
    assert f"{BY_CUSTOMERS}: 0 in place of some 24" in opened.text
    assert tell(feed, told) is None
    another = warm()
    read(another, range(gone, gone + 5), customers=0)
    assert tell(another, told) is None
    fresh = LabelFeed(SETTINGS.deployment)
    read(fresh, range(gone + 5, gone + 40))
    closed = tell(fresh, told)
    assert closed is not None
    assert (closed.kind, closed.incident_id, closed.sequence) == (IncidentKind.CLOSED, opened.incident_id, 1)
    assert tell(fresh, told) is None


@pytest.mark.parametrize("loss", ["all labels", "those of customers (45 % of frauds)"])
def test_a_simulated_loss_is_told_within_two_days_at_1500_cards_a_day(loss: str) -> None:
    begin = WARM_DAYS + 1
    world = WORLDS["paydays in a season"]
    seen = watch_feed(np.random.default_rng((32, 1)), world, begin + 4, FeedLoss(LOSSES[loss], begin))
    assert seen.opened == [begin + 1]


def test_a_season_with_paydays_is_quiet() -> None:
    assert watch_feed(np.random.default_rng(1), WORLDS["paydays in a season"], 70).opened == []


@pytest.mark.acceptance
def test_years_of_feeds_without_a_loss_raise_no_alarm_and_losses_are_told_within_days() -> None:
    assert sum(line.alarms for line in quiet_feeds(7, sized(6, 6, published=30))) == 0
    found = {line.loss: line for line in lost_feeds(5, sized(14, 14, published=42))}
    assert all(line.found == line.runs for line in found.values())
    assert (found["all labels"].slowest_days, found["those of customers (45 % of frauds)"].median_days) == (2, 2)
    assert max(line.median_days or 99 for line in found.values()) <= 4
