"""Features of a card's past at the edges: absent values, none earlier, ties in a millisecond, late, a window's end."""

import math

import pytest

from features.declaration import DAY_MS, HOUR_MS, MINUTE_MS
from features.rows import card
from support.features.recount import Row, transaction
from support.features.streams import last

NOW = 1_700_000_000_000
"""22:13:20 in UTC."""
BERLIN, MUNICH, PARIS = (52.52, 13.405), (48.1372, 11.5755), (48.8566, 2.3522)


def payment(offset: int, ms: int = NOW, **changes: object) -> Row:
    return transaction(offset, ms=ms, **changes)


UNDEFINED = math.nan
JUMP, DISTANCE, SPEED = card("country_jump", "7d"), card("distance_from_last", "7d"), card("speed_from_last", "7d")


@pytest.mark.parametrize(
    ("before", "own", "expected"),
    [
        ([], "DE", UNDEFINED),
        (["DE"], "DE", 0.0),
        (["FR"], "DE", 1.0),
        ([None], "DE", UNDEFINED),
        (["FR", None], "DE", 1.0),  # a transaction without a country is skipped
        (["FR", "DE"], "DE", 0.0),  # only the latest one is compared
        (["DE", "FR"], "DE", 1.0),
        (["FR"], None, UNDEFINED),
    ],
)
def test_a_country_jump_compares_with_the_latest_transaction_that_has_a_country(
    before: list, own: str | None, expected: float
) -> None:
    rows = [payment(i, NOW + i, country=country) for i, country in enumerate([*before, own])]
    assert last(JUMP, *rows) == pytest.approx(expected, abs=0, nan_ok=True)


@pytest.mark.parametrize("order", [("DE", "FR"), ("FR", "DE")])
def test_one_other_country_among_several_in_the_same_millisecond_is_a_jump(order: tuple[str, str]) -> None:
    rows = [payment(i, NOW, country=country) for i, country in enumerate(order)]
    assert last(JUMP, *rows, payment(2, NOW, country="DE")) == 1.0
    assert last(JUMP, *rows, payment(2, NOW, country="FR")) == 1.0


@pytest.mark.parametrize(("age_ms", "expected"), [(7 * DAY_MS - 1, 1.0), (7 * DAY_MS, UNDEFINED), (-1, UNDEFINED)])
def test_a_country_jump_ignores_transactions_outside_the_window_and_later_ones(age_ms: int, expected: float) -> None:
    rows = (payment(1, NOW - age_ms, country="FR"), payment(2, country="DE"))
    assert last(JUMP, *rows) == pytest.approx(expected, abs=0, nan_ok=True)


def test_a_distance_matches_a_known_one_and_a_speed_divides_it_by_the_time_between() -> None:
    rows = (payment(1, NOW - HOUR_MS, at=BERLIN), payment(2, at=MUNICH))
    assert last(DISTANCE, *rows) == pytest.approx(504.2, abs=0.5)
    assert last(SPEED, *rows) == last(DISTANCE, *rows)


def test_a_time_of_less_than_a_minute_counts_as_one_minute_in_a_speed() -> None:
    at_once = last(SPEED, payment(1, at=BERLIN), payment(2, at=MUNICH))
    after_a_minute = last(SPEED, payment(1, at=BERLIN), payment(2, NOW + MINUTE_MS, at=MUNICH))
    assert at_once == after_a_minute == pytest.approx(60 * last(DISTANCE, payment(1, at=BERLIN), payment(2, at=MUNICH)))
    assert last(SPEED, payment(1, at=BERLIN), payment(2, NOW + MINUTE_MS + 1, at=MUNICH)) < after_a_minute


def test_latitude_and_longitude_0_is_a_place() -> None:
    assert last(DISTANCE, payment(1, at=(0.0, 0.0)), payment(2, at=(0.0, 1.0))) == pytest.approx(111.195, abs=0.001)


@pytest.mark.parametrize(
    ("before", "own", "expected"),
    [
        ([100, 5_000], 20_000, 200.0),
        ([100], 50, 0.5),
        ([0], 20_000, 20_000.0),  # a zero amount counts as 0.01
        ([1], 20_000, 20_000.0),
        ([], 20_000, UNDEFINED),
        ([100], 0, 0.0),
    ],
)
def test_an_amount_is_divided_by_the_smallest_of_the_others(before: list[int], own: int, expected: float) -> None:
    rows = [payment(i, NOW + i, amount=amount) for i, amount in enumerate([*before, own])]
    assert last(card("amount_to_smallest", "1d"), *rows) == pytest.approx(expected, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    ("before", "own", "expected"),
    [
        (["5411", "5411", "5999", None], "5411", 2 / 3),
        (["5411"], "5999", 0.0),
        (["0000"], "0000", 1.0),
        ([None], "5411", UNDEFINED),
        ([], "5411", UNDEFINED),
        (["5411"], None, UNDEFINED),
    ],
)
def test_category_share_is_the_share_of_others_with_the_same_category(
    before: list, own: str | None, expected: float
) -> None:
    rows = [payment(i, NOW, mcc=mcc) for i, mcc in enumerate([*before, own])]
    assert last(card("category_share", "30d"), *rows) == pytest.approx(expected, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    ("apart_ms", "near"),
    [
        (0, 1.0),
        (2 * HOUR_MS, 1.0),
        (2 * HOUR_MS + 1, 0.0),
        (22 * HOUR_MS - 1, 0.0),
        (22 * HOUR_MS, 1.0),  # over midnight
        (3 * DAY_MS - HOUR_MS, 1.0),
        (3 * DAY_MS + 12 * HOUR_MS, 0.0),
    ],
)
def test_times_of_day_within_two_hours_are_near_across_midnight_too(apart_ms: int, near: float) -> None:
    assert last(card("time_of_day_share", "30d"), payment(1, NOW - apart_ms), payment(2)) == near


def test_the_time_of_day_uses_the_utc_offset_of_each_transaction() -> None:
    row, six_hours = card("time_of_day_share", "30d"), 6 * 60
    assert last(row, payment(1, NOW - DAY_MS + 6 * HOUR_MS, utc_offset=-six_hours), payment(2)) == 1.0
    assert last(row, payment(1, NOW - DAY_MS, utc_offset=six_hours), payment(2)) == 0.0
    assert last(row, payment(1, NOW - DAY_MS, utc_offset=-six_hours), payment(2, utc_offset=-six_hours)) == 1.0


def test_in_a_delayed_window_the_own_transaction_is_compared_and_not_counted() -> None:
    rows = [
        payment(1, NOW - 2 * DAY_MS, mcc="5411", amount=100, device="a", country="DE"),
        payment(2, NOW, mcc="5411", amount=300, device="b", country="FR"),
    ]
    assert last(card("category_share", "7d", delay="1d"), *rows) == 1.0
    assert last(card("amount_to_smallest", "7d", delay="1d"), *rows) == 3.0
    assert last(card("devices", "7d", delay="1d"), *rows) == 1.0
    assert last(card("countries", "7d", delay="1d"), *rows) == 1.0
    assert last(card("device_first", "7d", delay="1d"), *rows) == 1.0
    assert last(card("amount_repeated", "7d", delay="1d"), *rows) == 0.0
