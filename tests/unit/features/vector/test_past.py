"""What is made of a card's past, at the edges: not told, none earlier, ties in a millisecond, late, a window's end."""

import math

import pytest

from features.declaration import DAY_MS, HOUR_MS, MINUTE_MS, Feature, FeatureSet
from features.memory_store import MemoryStore
from features.rows import card, device, merchant
from features.vector.vectorise import vectorise
from support.features.recount import Row, transaction, transactions

NOW = 1_700_000_000_000
"""22:13:20 in UTC."""
BERLIN, MUNICH, PARIS = (52.52, 13.405), (48.1372, 11.5755), (48.8566, 2.3522)


def last(row: Feature, *rows: Row) -> float:
    """Return one feature of the last of these transactions; they come 1 s after each other where nothing is said."""
    feature_set = FeatureSet((row,))
    batch = transactions(list(rows))
    return float(vectorise(feature_set, batch, MemoryStore(feature_set).observe_now(batch))[-1, 0])


def told(offset: int, ms: int = NOW, **changes: object) -> Row:
    return transaction(offset, ms=ms, **changes)


NOTHING = math.nan
JUMP, DISTANCE, SPEED = card("country_jump", "7d"), card("distance_from_last", "7d"), card("speed_from_last", "7d")


@pytest.mark.parametrize(
    ("before", "own", "expected"),
    [
        ([], "DE", NOTHING),
        (["DE"], "DE", 0.0),
        (["FR"], "DE", 1.0),
        ([None], "DE", NOTHING),
        (["FR", None], "DE", 1.0),  # what tells nothing is passed over
        (["FR", "DE"], "DE", 0.0),  # the latest alone is asked
        (["DE", "FR"], "DE", 1.0),
        (["FR"], None, NOTHING),
    ],
)
def test_a_country_jumps_from_the_latest_that_tells_one(before: list, own: str | None, expected: float) -> None:
    rows = [told(i, NOW + i, country=country) for i, country in enumerate([*before, own])]
    assert last(JUMP, *rows) == pytest.approx(expected, abs=0, nan_ok=True)


@pytest.mark.parametrize("order", [("DE", "FR"), ("FR", "DE")])
def test_one_jump_among_several_in_the_same_millisecond_suffices(order: tuple[str, str]) -> None:
    rows = [told(i, NOW, country=country) for i, country in enumerate(order)]
    assert last(JUMP, *rows, told(2, NOW, country="DE")) == 1.0
    assert last(JUMP, *rows, told(2, NOW, country="FR")) == 1.0


@pytest.mark.parametrize(("age_ms", "expected"), [(7 * DAY_MS - 1, 1.0), (7 * DAY_MS, NOTHING), (-1, NOTHING)])
def test_a_jump_ends_with_the_window_and_knows_no_future(age_ms: int, expected: float) -> None:
    rows = (told(1, NOW - age_ms, country="FR"), told(2, country="DE"))
    assert last(JUMP, *rows) == pytest.approx(expected, abs=0, nan_ok=True)


def test_a_late_transaction_looks_at_what_happened_before_it_not_at_what_came_before() -> None:
    rows = [told(1, NOW - HOUR_MS, country="DE"), told(2, NOW, country="FR")]
    assert last(JUMP, *rows, told(3, NOW - MINUTE_MS, country="DE")) == 0.0


def test_a_distance_is_that_of_maps_and_a_speed_takes_the_time_between() -> None:
    rows = (told(1, NOW - HOUR_MS, at=BERLIN), told(2, at=MUNICH))
    assert last(DISTANCE, *rows) == pytest.approx(504.2, abs=0.5)
    assert last(SPEED, *rows) == last(DISTANCE, *rows)


def test_the_farthest_of_several_places_in_one_millisecond_counts_whatever_their_order() -> None:
    near, far, own = told(1, at=BERLIN), told(2, at=PARIS), told(3, NOW + HOUR_MS, at=BERLIN)
    assert last(DISTANCE, near, far, own) == last(DISTANCE, far, near, own) == pytest.approx(877, abs=2)


def test_less_than_a_minute_counts_as_one() -> None:
    at_once = last(SPEED, told(1, at=BERLIN), told(2, at=MUNICH))
    after_a_minute = last(SPEED, told(1, at=BERLIN), told(2, NOW + MINUTE_MS, at=MUNICH))
    assert at_once == after_a_minute == pytest.approx(60 * last(DISTANCE, told(1, at=BERLIN), told(2, at=MUNICH)))
    assert last(SPEED, told(1, at=BERLIN), told(2, NOW + MINUTE_MS + 1, at=MUNICH)) < after_a_minute


@pytest.mark.parametrize("places", [(BERLIN,), (None, BERLIN), (BERLIN, None)])
def test_no_place_is_no_distance(places: tuple) -> None:
    rows = [told(i, NOW + i, at=at) for i, at in enumerate(places)]
    assert math.isnan(last(DISTANCE, *rows))
    assert math.isnan(last(SPEED, *rows))


def test_a_card_that_stays_has_not_moved() -> None:
    rows = (told(1, at=BERLIN), told(2, at=None), told(3, at=BERLIN))
    assert (last(DISTANCE, *rows), last(SPEED, *rows)) == (0.0, 0.0)


def test_latitude_and_longitude_0_is_a_place() -> None:
    assert last(DISTANCE, told(1, at=(0.0, 0.0)), told(2, at=(0.0, 1.0))) == pytest.approx(111.195, abs=0.001)


def test_countries_that_are_told_are_counted() -> None:
    rows = [told(i, NOW, country=country) for i, country in enumerate(["DE", None, "FR", "DE", None])]
    assert last(card("countries", "7d"), *rows) == 2.0
    assert last(card("countries", "7d"), rows[1]) == 0.0


def test_devices_that_are_told_are_counted_and_a_new_one_is_known() -> None:
    rows = [told(i, NOW + i, device=name) for i, name in enumerate(["a", None, "b", "a"])]
    first = card("device_first", "1d")
    assert last(card("devices", "1d"), *rows) == 2.0
    assert [last(first, *rows[: i + 1]) for i in range(4)] == pytest.approx([1.0, NOTHING, 1.0, 0.0], nan_ok=True)
    assert last(first, rows[0], told(9, NOW + DAY_MS, device="a")) == 1.0


def test_a_devices_features_are_undefined_where_none_is_told() -> None:
    rows = [told(i, NOW + i, card=f"card-{i}", device=name) for i, name in enumerate(["a", "a", None])]
    assert last(device("count", "1d"), *rows[:2]) == last(device("cards", "1d"), *rows[:2]) == 2.0
    assert math.isnan(last(device("count", "1d"), *rows))


def test_a_merchant_counts_its_cards() -> None:
    rows = [told(i, NOW + i, card=f"card-{i % 2}") for i in range(5)]
    assert last(merchant("cards", "1h"), *rows) == 2.0


def test_a_repeated_amount_has_the_same_currency_and_is_counted_without_own() -> None:
    row = card("amount_repeated", "1d")
    rows = [told(i, NOW + i, amount=amount) for i, amount in enumerate([100, 101, 100])]
    assert last(row, *rows, told(9, NOW + 9, amount=100)) == 2.0
    assert last(row, *rows, told(9, NOW + 9, amount=100, currency="CHF")) == 0.0
    assert last(row, told(1)) == 0.0
    assert last(row, told(1, NOW - DAY_MS), told(2)) == 0.0


@pytest.mark.parametrize(
    ("before", "own", "expected"),
    [
        ([100, 5_000], 20_000, 200.0),
        ([100], 50, 0.5),
        ([0], 20_000, 20_000.0),  # nothing counts as a cent
        ([1], 20_000, 20_000.0),
        ([], 20_000, NOTHING),
        ([100], 0, 0.0),
    ],
)
def test_an_amount_is_divided_by_the_smallest_of_the_others(before: list[int], own: int, expected: float) -> None:
    rows = [told(i, NOW + i, amount=amount) for i, amount in enumerate([*before, own])]
    assert last(card("amount_to_smallest", "1d"), *rows) == pytest.approx(expected, abs=0, nan_ok=True)


def test_the_smallest_amount_is_one_in_major_units() -> None:
    rows = [told(1, amount=3, exponent=0), told(2, amount=1_000, exponent=3), told(3, amount=900, exponent=2)]
    assert last(card("amount_to_smallest", "1d"), *rows) == 9.0


@pytest.mark.parametrize(
    ("before", "own", "expected"),
    [
        (["5411", "5411", "5999", None], "5411", 2 / 3),
        (["5411"], "5999", 0.0),
        (["0000"], "0000", 1.0),
        ([None], "5411", NOTHING),
        ([], "5411", NOTHING),
        (["5411"], None, NOTHING),
    ],
)
def test_a_category_is_usual_as_often_as_the_others_have_it(before: list, own: str | None, expected: float) -> None:
    rows = [told(i, NOW, mcc=mcc) for i, mcc in enumerate([*before, own])]
    assert last(card("category_share", "30d"), *rows) == pytest.approx(expected, abs=0, nan_ok=True)


def test_a_channel_is_usual_as_often_as_the_others_came_through_it() -> None:
    rows = [told(i, NOW, channel=channel) for i, channel in enumerate(["pos", "ecommerce", "pos", None, "pos"])]
    assert last(card("channel_share", "30d"), *rows) == 2 / 3


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
def test_the_time_of_day_is_near_within_two_hours_around_the_clock(apart_ms: int, near: float) -> None:
    assert last(card("time_of_day_share", "30d"), told(1, NOW - apart_ms), told(2)) == near


def test_each_transaction_goes_by_its_own_clock() -> None:
    row, six_hours = card("time_of_day_share", "30d"), 6 * 60
    assert last(row, told(1, NOW - DAY_MS + 6 * HOUR_MS, utc_offset=-six_hours), told(2)) == 1.0
    assert last(row, told(1, NOW - DAY_MS, utc_offset=six_hours), told(2)) == 0.0
    assert last(row, told(1, NOW - DAY_MS, utc_offset=-six_hours), told(2, utc_offset=-six_hours)) == 1.0


def test_a_time_of_day_has_nothing_to_compare_with_alone() -> None:
    assert math.isnan(last(card("time_of_day_share", "30d"), told(1)))


def test_in_a_delayed_window_own_transaction_is_compared_and_not_counted() -> None:
    rows = [
        told(1, NOW - 2 * DAY_MS, mcc="5411", amount=100, device="a", country="DE"),
        told(2, NOW, mcc="5411", amount=300, device="b", country="FR"),
    ]
    assert last(card("category_share", "7d", delay="1d"), *rows) == 1.0
    assert last(card("amount_to_smallest", "7d", delay="1d"), *rows) == 3.0
    assert last(card("devices", "7d", delay="1d"), *rows) == 1.0
    assert last(card("countries", "7d", delay="1d"), *rows) == 1.0
    assert last(card("device_first", "7d", delay="1d"), *rows) == 1.0
    assert last(card("amount_repeated", "7d", delay="1d"), *rows) == 0.0
