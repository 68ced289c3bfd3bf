"""Which fields are told to have stopped or begun, and which never are: rare ones, quiet nights, rhythms of a day."""

from collections import Counter
from collections.abc import Callable

import pytest

from features.declaration import HOUR_MS, MINUTE_MS
from fraudstream.ops.watch.fields.judgement import (
    LOOK_BACK_MS,
    SLOT_MS,
    FieldFindings,
    SlotCounts,
    judge,
)

END_MS = 1_764_000_000_000 // SLOT_MS * SLOT_MS
Share = Callable[[int], float]
"""The share of the payments that have the field, by the begin of a slot before the end, in ms."""


def slots(share: Share, payments: Callable[[int], int] = lambda _: 50) -> list[SlotCounts]:
    found = []
    for before_ms in range(2 * LOOK_BACK_MS, 0, -SLOT_MS):
        count = payments(before_ms)
        having = Counter({"mcc": count, "ip_country": round(count * share(before_ms))})
        found.append(SlotCounts(END_MS - before_ms, count, having))
    return found


def judged(share: Share, payments: Callable[[int], int] = lambda _: 50) -> FieldFindings:
    return judge(slots(share, payments), END_MS)


def names(found: FieldFindings) -> tuple[list[str], list[str]]:
    return [one.name for one in found.stopped], [one.name for one in found.begun]


def stops(at_ms: int, share: float = 0.4) -> Share:
    return lambda before_ms: share if before_ms > at_ms else 0.0


def test_a_field_that_has_not_come_for_half_an_hour_has_stopped_and_for_less_it_has_not() -> None:
    found = judged(stops(30 * MINUTE_MS))
    assert names(found) == (["ip_country"], [])
    (change,) = found.stopped
    assert (change.share, change.since_ms, change.payments) == (0.4, END_MS - 30 * MINUTE_MS, 300)
    assert names(judged(stops(20 * MINUTE_MS))) == ([], [])


def test_nearly_none_is_stopped_too_and_a_share_that_falls_is_not() -> None:
    leftover = judged(lambda before_ms: 0.4 if before_ms > HOUR_MS else 0.02 if before_ms == SLOT_MS else 0.0)
    assert names(leftover) == (["ip_country"], [])
    assert names(judged(lambda before_ms: 0.4 if before_ms > HOUR_MS else 0.06)) == ([], [])


def test_a_field_of_few_payments_is_rare_by_nature() -> None:
    assert names(judged(stops(HOUR_MS, 0.04), lambda _: 500)) == ([], [])


def test_a_quiet_night_says_nothing_of_a_field_until_enough_payments_lack_it() -> None:
    def a_night(before_ms: int) -> int:
        return 50 if before_ms > 8 * HOUR_MS else 1

    assert names(judged(stops(HOUR_MS, 1.0), a_night)) == ([], [])  # 12 payments without it
    assert names(judged(stops(3 * HOUR_MS, 1.0), a_night)) == (["ip_country"], [])  # 36


def test_a_deployment_with_few_payments_is_told_within_some_hours() -> None:
    assert names(judged(stops(HOUR_MS, 0.5), lambda _: 2)) == ([], [])  # of 24 payments 12 should have had it
    assert names(judged(stops(3 * HOUR_MS, 0.5), lambda _: 2)) == (["ip_country"], [])


def test_no_payments_at_all_are_no_field_that_stopped() -> None:
    assert names(judged(stops(HOUR_MS), lambda before_ms: 50 if before_ms > HOUR_MS else 0)) == ([], [])


def test_a_field_that_comes_by_day_is_not_missed_at_night() -> None:
    def by_day(before_ms: int) -> float:
        return 0.4 if before_ms % (24 * HOUR_MS) > 8 * HOUR_MS else 0.0

    assert names(judged(by_day)) == ([], [])
    evening = [one for one in slots(by_day) if one.begin_ms < END_MS - 7 * HOUR_MS]
    assert names(judge(evening, END_MS - 7 * HOUR_MS)) == ([], [])


def test_a_field_that_began_today_and_stops_is_told_of() -> None:
    today = judged(lambda before_ms: 0.4 if 2 * HOUR_MS < before_ms <= 8 * HOUR_MS else 0.0)
    assert names(today) == (["ip_country"], [])


def test_a_field_that_no_payment_of_the_day_before_had_begins() -> None:
    found = judged(lambda before_ms: 0.4 if before_ms <= 20 * MINUTE_MS else 0.0)
    assert names(found) == ([], ["ip_country"])
    (change,) = found.begun
    assert (change.since_ms, change.payments) == (END_MS - 20 * MINUTE_MS, 80)
    assert "ip_country" in found.coming
    (change,) = judged(lambda before_ms: 0.4 if before_ms <= 50 * MINUTE_MS else 0.0, lambda _: 5).begun
    assert change.since_ms == END_MS - 50 * MINUTE_MS


@pytest.mark.parametrize(
    "share",
    [
        lambda before_ms: 0.03 if before_ms <= 30 * MINUTE_MS else 0.0,  # rare
        lambda before_ms: 0.4 if before_ms <= 30 * MINUTE_MS else 0.02,  # it came before
        lambda before_ms: 0.4 if before_ms <= 3 * HOUR_MS else 0.0,  # it has come for hours
    ],
)
def test_what_has_come_before_or_is_rare_does_not_begin(share: Share) -> None:
    assert names(judged(share)) == ([], [])


def test_the_first_payments_of_a_deployment_have_no_day_before() -> None:
    assert names(judged(lambda _: 0.4, lambda before_ms: 50 if before_ms <= HOUR_MS else 0)) == ([], [])


def test_shares_and_undeclared_names_are_those_of_the_last_half_hour() -> None:
    given = slots(stops(30 * MINUTE_MS))
    given[-1].undeclared["ip_land"] = 30
    given[0].undeclared["old"] = 30
    found = judge(given, END_MS)
    assert (found.payments, dict(found.undeclared)) == (300, {"ip_land": 0.1})
    assert [(one.name, one.before, one.now) for one in found.shares] == [("ip_country", 0.4, 0.0), ("mcc", 1.0, 1.0)]
    facts = found.facts()
    assert facts["stopped"][0]["field"] == "ip_country"
    assert facts["shares"]["mcc"] == {"before": 1.0, "now": 1.0}
