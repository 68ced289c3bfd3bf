"""Windows and alarms by hand-made payments: against a recount, in any order and division, quiet and not."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream.ops.watch.drift.alarm import AlarmKind
from fraudstream.ops.watch.drift.counts import DriftCounts, DriftRows, card_hashes, read_counts
from fraudstream.ops.watch.drift.fold import LATENESS_MS, WatchedPair
from fraudstream.ops.watch.drift.judge import JudgedWindow
from fraudstream.ops.watch.drift.layout import ALERTS, DECLINES, SCORE
from fraudstream.ops.watch.drift.scores import ScoreFilter
from metrics.drift import LEAST_SHARE, stability_index
from models.training_reference import DAY_MS
from stream.readers import read_scores
from support.drift_cases import DIGEST, FIRST_DAY, NAMES, POLICY, new_fold, payments, record, records, watched
from support.drift_cases import reference as reference_of
from support.examples import examples

BEFORE = payments(range(FIRST_DAY - 28, FIRST_DAY), seed=7)
REFERENCE = reference_of(BEFORE)
PAIR = WatchedPair(DIGEST, "live")


def windows(news: Any) -> list[JudgedWindow]:
    return [one.window for one in news if one.window is not None]


def alarms(news: Any) -> list[tuple[str, int]]:
    return [(one.alarm[0], one.alarm[1].since_day) for one in news if one.alarm is not None]


def test_a_window_says_what_a_recount_in_plain_python_says() -> None:
    drawn = payments([FIRST_DAY], seed=8, moved=0.5)
    (window,) = windows(watched(new_fold(REFERENCE), records(drawn, 3), FIRST_DAY + 1))
    assert (window.first_day, window.end_day, window.payments) == (FIRST_DAY, FIRST_DAY + 1, 200)
    assert window.cards == pytest.approx(200, rel=0.02)
    known = REFERENCE.features[0]
    bins = [0] * (len(known.edges) + 2)
    for one in drawn:
        bins[sum(edge < one.vector[0] for edge in known.edges)] += 1
    expected = [count / sum(known.workdays) for count in known.workdays]
    shares = [max(count / 200, LEAST_SHARE) for count in bins]
    by_hand = stability_index([max(one, LEAST_SHARE) for one in expected], shares)
    found = window.quantity(NAMES[0])
    assert found is not None
    assert found.index == pytest.approx(by_hand)
    alerts = [one for one in drawn if one.score >= POLICY.review_at]
    assert window.alerts == len(alerts)
    assert window.estimated_precision == pytest.approx(sum(one.score for one in alerts) / len(alerts), abs=1e-9)
    share = window.quantity(ALERTS)
    assert share is not None
    assert share.actual == pytest.approx(len(alerts) / 200)


def test_undefined_values_have_a_bin_of_their_own() -> None:
    drawn = payments([FIRST_DAY], seed=8)
    gone = [one._replace(vector=(one.vector[0], one.vector[1], float("nan"))) for one in drawn]
    (window,) = windows(watched(new_fold(REFERENCE), records(gone), FIRST_DAY + 1))
    found = window.quantity("gap")
    assert found is not None
    assert found.index > 1
    assert found.is_over
    assert window.worst_features[0] == found


@settings(max_examples=examples(100, in_ci=5))
@given(st.integers(1, 4), st.randoms(use_true_random=False))
def test_partitions_divisions_and_orders_change_nothing(partitions: int, random: Any) -> None:
    drawn = payments(range(FIRST_DAY, FIRST_DAY + 3), seed=9, cards=160)
    whole = watched(new_fold(REFERENCE), records(drawn), FIRST_DAY + 3)
    fold, read = new_fold(REFERENCE), ScoreFilter("default")
    by_partition: dict[int, list[Any]] = {}
    for one in records(drawn, partitions):
        by_partition.setdefault(one.partition, []).append(one)
    while by_partition:
        partition = random.choice(sorted(by_partition))
        part, rest = by_partition[partition][:97], by_partition[partition][97:]
        fold.add(read.of(read_scores(part)))
        by_partition[partition] = rest
        if not rest:
            del by_partition[partition]
    assert fold.advance((FIRST_DAY + 3) * DAY_MS + LATENESS_MS) == whole


def counts(cards: list[int], day: int) -> DriftCounts:
    layout = new_fold(REFERENCE).layout(DIGEST)
    drawn = payments([day], seed=day, cards=40)
    rows = DriftRows(
        card_hashes([f"card-{one}" for one in cards]),
        np.array([drawn[one].score for one in cards], float),
        np.array([one % 3 for one in cards], np.int64),
        np.array([drawn[one].vector for one in cards if one % 2], float).reshape(-1, 3),
        np.array([bool(one % 2) for one in cards], np.bool_),
    )
    return DriftCounts.of(layout, rows, weekend=day % 2 == 0)


CARDS = st.lists(st.integers(0, 39), max_size=30)


@given(CARDS, CARDS, CARDS)
def test_counts_add_up_in_any_order_and_survive_storage(one: Any, other: Any, third: Any) -> None:
    a, b, c = counts(one, 1), counts(other, 2), counts(third, 3)
    width = a.by_group.shape[1]
    whole = a.merge(b).merge(c).stored()
    assert a.merge(b.merge(c)).stored() == whole
    assert c.merge(a).merge(b).stored() == whole
    assert DriftCounts.zero(width).merge(a).stored() == a.stored()
    assert read_counts(whole).stored() == whole
    assert a.merge(b).payments == len(one) + len(other)
    assert counts(one + one, 1).cards.tolist() == a.cards.tolist()


def test_without_a_drift_there_is_no_alarm_and_a_planted_one_opens_once_and_closes_once() -> None:
    quiet = payments(range(FIRST_DAY, FIRST_DAY + 10), seed=11)
    moved = payments(range(FIRST_DAY + 10, FIRST_DAY + 16), seed=11, moved=2.0)
    after = payments(range(FIRST_DAY + 16, FIRST_DAY + 22), seed=11)
    fold = new_fold(REFERENCE)
    assert alarms(watched(fold, records(quiet), FIRST_DAY + 10)) == []
    news = watched(fold, [record(one, 10_000 + at) for at, one in enumerate([*moved, *after])], FIRST_DAY + 22)
    assert alarms(news) == [(AlarmKind.OPENED, FIRST_DAY + 10), (AlarmKind.CLOSED, FIRST_DAY + 10)]
    opened = next(one for one in news if one.alarm is not None)
    assert opened.window is not None
    assert opened.window.end_day == FIRST_DAY + 12  # the second window in a row
    assert opened.alarm is not None
    assert set(opened.alarm[1].quantities) == {"amount"}


def test_one_odd_day_is_no_alarm() -> None:
    days = [one for at in range(8) for one in payments([FIRST_DAY + at], seed=30 + at, moved=3.0 if at == 4 else 0.0)]
    news = watched(new_fold(REFERENCE), records(days), FIRST_DAY + 8)
    assert sum(bool(one.over) for one in windows(news)) == 1
    assert alarms(news) == []


def test_the_alarm_of_a_model_that_decides_no_more_ends_whether_looked_at_daily_or_at_last() -> None:
    moved = payments(range(FIRST_DAY, FIRST_DAY + 4), seed=12, moved=2.0)
    again = payments(range(FIRST_DAY + 12, FIRST_DAY + 14), seed=12)
    found = records([*moved, *again])
    at_last = watched(new_fold(REFERENCE), found, FIRST_DAY + 14)
    fold, daily = new_fold(REFERENCE), []
    read = ScoreFilter("default")
    for day in range(FIRST_DAY, FIRST_DAY + 14):
        fold.add(read.of(read_scores([one for one in found if one.timestamp // DAY_MS == day])))  # type: ignore[arg-type,unused-ignore]
        daily += fold.advance((day + 1) * DAY_MS + LATENESS_MS)
    assert daily == at_last
    assert [kind for kind, _ in alarms(daily)] == [AlarmKind.OPENED, AlarmKind.CLOSED]


def test_a_model_without_a_reference_is_compared_with_its_first_days() -> None:
    first = payments(range(FIRST_DAY, FIRST_DAY + 7), seed=13, cards=300)
    later = payments(range(FIRST_DAY + 7, FIRST_DAY + 9), seed=13, cards=300, moved=3.0)
    fold = new_fold(None)
    news = watched(fold, records([*first, *later]), FIRST_DAY + 9)
    assert [one.first_day for one in windows(news)] == [FIRST_DAY + 7, FIRST_DAY + 8]
    own = fold.pairs[PAIR].own_reference
    assert own is not None
    assert own.rows == 2_100
    assert own.since.startswith("2026-01-05")
    assert alarms(news) == [(AlarmKind.OPENED, FIRST_DAY + 7)]


def test_first_days_in_which_only_alerts_carry_features_give_a_reference_without_features() -> None:
    first = payments(range(FIRST_DAY, FIRST_DAY + 7), seed=13, cards=300)
    later = payments(range(FIRST_DAY + 7, FIRST_DAY + 9), seed=13, cards=300)
    of_alerts = [record(one, at, **({} if one.score > 0.3 else {"features": None})) for at, one in enumerate(first)]
    fold = new_fold(None)
    found = windows(
        watched(fold, [*of_alerts, *(record(one, 9_000 + at) for at, one in enumerate(later))], FIRST_DAY + 9)
    )
    own = fold.pairs[PAIR].own_reference
    assert own is not None
    assert own.features == ()
    assert [(one.watches_features, one.over) for one in found] == [(False, ()), (False, ())]


def test_scores_without_features_leave_score_and_decisions_to_be_watched() -> None:
    drawn = payments([FIRST_DAY], seed=14)
    bare = [record(one, at, features=None) for at, one in enumerate(drawn)]
    (window,) = windows(watched(new_fold(REFERENCE), bare, FIRST_DAY + 1))
    assert not window.watches_features
    assert window.featured == 0
    assert window.quantity(SCORE) is not None
    with_alerts = [record(one, at, **({} if one.score > 0.3 else {"features": None})) for at, one in enumerate(drawn)]
    (window,) = windows(watched(new_fold(REFERENCE), with_alerts, FIRST_DAY + 1))
    assert not window.watches_features


def test_shares_of_decisions_that_nobody_has_measured_are_not_compared() -> None:
    unmeasured = msgspec.structs.replace(REFERENCE, decisions=None)
    (window,) = windows(watched(new_fold(unmeasured), records(payments([FIRST_DAY], seed=14)), FIRST_DAY + 1))
    assert window.quantity(SCORE) is not None
    assert (window.quantity(ALERTS), window.quantity(DECLINES)) == (None, None)
    assert window.alerts > 0


def test_what_does_not_count_is_left_out() -> None:
    (one, *_) = payments([FIRST_DAY])
    read = ScoreFilter("default")
    found = [
        record(one, 0),
        record(one, 0),  # void: the place is not above the last
        record(one, 1, decided_by="rules", model=None, score=None),
        record(one, 2, deployment="other"),
        record(one, 3, degraded=["history_incomplete"]),
        record(one, 4, decided_by="fallback"),
        record(one, 5, timestamp=(FIRST_DAY + 1) * DAY_MS + LATENESS_MS),
        record(one, 6)._replace(value=b"{}"),
    ]
    fold = new_fold(REFERENCE)
    fold.add(read.of(read_scores(found)))  # type: ignore[arg-type]
    assert (read.valid.all_void, read.valid.unreadable, read.left_out, fold.late) == (1, 1, 3, 1)
    assert {day: counts.payments for day, counts in fold.pairs[PAIR].days.items()} == {FIRST_DAY: 1}


def test_a_window_with_few_cards_goes_on_for_some_days() -> None:
    few = payments(range(FIRST_DAY, FIRST_DAY + 6), seed=15, cards=60)
    found = windows(watched(new_fold(REFERENCE), records(few), FIRST_DAY + 6))
    assert [(one.first_day - FIRST_DAY, one.end_day - FIRST_DAY) for one in found] == [(0, 3), (3, 6)]


def test_after_a_gap_neither_an_unfinished_window_nor_a_run_goes_on() -> None:
    few = payments([FIRST_DAY], seed=15, cards=60)
    later = payments(range(FIRST_DAY + 10, FIRST_DAY + 13), seed=15, cards=60)
    (window,) = windows(watched(new_fold(REFERENCE), records([*few, *later]), FIRST_DAY + 13))
    assert (window.first_day - FIRST_DAY, window.end_day - FIRST_DAY, window.payments) == (10, 13, 180)
    moved = [one for at in (0, 10) for one in payments([FIRST_DAY + at], seed=12 + at, moved=2.0)]
    fold = new_fold(REFERENCE)
    news = watched(fold, records(moved), FIRST_DAY + 11)
    assert [bool(one.over) for one in windows(news)] == [True, True]
    assert alarms(news) == [], "two windows in a row would be one"
    assert fold.pairs[PAIR].alarms.runs["amount"].windows == 1
