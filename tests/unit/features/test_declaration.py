"""The feature table: invalid declarations, the contents of a fingerprint, the horizons of histories."""

from dataclasses import replace

import pytest

from features.aggregates import Aggregate
from features.declaration import DAY_MS, HOUR_MS, MINUTE_MS, Feature, FeatureSet, load
from features.default_set import FEATURES
from features.errors import DeclarationError
from features.history.store import Entity
from features.rows import card, device, merchant, paned

CONTRACT = [
    *(
        f"card_{what}_{w}"
        for what in ("count", "amount_sum", "amount_mean", "amount_max")
        for w in ["10m", "1h", "1d", "7d", "30d"]
    ),
    "card_merchants_30d",
    "card_seconds_since_last",
    "card_merchant_first_30d",
    "card_amount_to_mean_30d",
    "card_amount_deviation_30d",
    *(f"merchant_{what}_delayed_{w}" for what in ("count", "fraud_share") for w in ["1d", "7d", "30d"]),
    "is_night",
    "is_weekend",
]
BEYOND = [
    "card_merchants_1h",
    "card_amount_repeated_1d",
    "card_amount_to_smallest_1d",
    "card_country_jump_7d",
    "card_countries_7d",
    "card_distance_from_last_7d",
    "card_speed_from_last_7d",
    "card_devices_30d",
    "card_device_first_30d",
    "card_category_share_30d",
    "card_channel_share_30d",
    "card_time_of_day_share_30d",
]
COUNT = card("count", "1d")


def test_the_default_set_begins_with_the_features_of_the_contract() -> None:
    assert list(load(None).names) == CONTRACT + BEYOND


def test_the_default_fingerprint_changes_only_on_purpose() -> None:
    assert load(None).fingerprint == "c0a1c498a4048f4719dd804e4bc6caaa619aa8422d4457279f5c3801ee97656f"
    first = FeatureSet(load(None).rows[: len(CONTRACT)])
    assert first.fingerprint == "c7eaa01c8bc3c76f90aa5c865d963e4cb37750b241c9cbaaa402689a35de4f63"


def test_the_second_default_set_is_the_first_with_eight_rows_and_the_same_histories() -> None:
    first, second = load(None), load("features.default_set_2")
    assert second.names[: len(first)] == first.names
    assert second.names[len(first) :] == (
        "merchant_fraud_run_delayed_30d",
        "merchant_fraud_latest_delayed_30d",
        "merchant_fraud_share_of_last_5_delayed_30d",
        "merchant_days_since_first_fraud_delayed_30d",
        "card_amount_to_earlier_median_30d",
        "card_amount_to_earlier_mean_30d",
        "card_large_amounts_7d",
        "card_largest_to_median_14d",
    )
    assert second.fingerprint == "f1364192efcbf11175d0d02dc34bea69bbadd4122288a3f6a70a5266b7eb5b04"
    assert second.retentions == first.retentions
    assert not any(row.depends_on_arrival for row in second.rows)


def test_a_label_is_looked_for_as_far_back_as_any_feature_of_labels_looks() -> None:
    sequence = merchant("days_since_first_fraud", "60d", delay="7d")
    assert FeatureSet((COUNT, sequence)).horizons_ms[Entity.CARD] == 67 * DAY_MS


def test_a_horizon_is_the_longest_window_plus_its_delay_plus_the_slack() -> None:
    assert load(None).horizons_ms[Entity.CARD] == 37 * DAY_MS
    assert load(None).horizons_ms[Entity.MERCHANT] == 44 * DAY_MS
    assert FeatureSet((COUNT,)).horizons_ms[Entity.CARD] == 8 * DAY_MS
    assert FeatureSet((COUNT,)).horizons_ms[Entity.MERCHANT] == 7 * DAY_MS


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"window_ms": 0}, "must be longer than 0 ms"),
        ({"window_ms": -DAY_MS}, "must be longer than 0 ms"),
        ({"window_ms": None}, "feature 'card_count': count needs a window"),
        ({"window_ms": 1500}, "not a whole number of seconds"),
        ({"delay_ms": -1}, "a delay of -1 ms is invalid"),
        ({"delay_ms": 1500}, "a delay of 1500 ms is not a whole number of seconds"),
        (
            {"entity": Entity.NONE},
            "count is a feature of a card or a merchant or a device, not of the transaction alone",
        ),
        ({"aggregate": Aggregate.NIGHT}, "is_night is a feature of the transaction alone, not of a card"),
        ({"aggregate": Aggregate.COUNTRIES, "entity": Entity.DEVICE}, "is a feature of a card, not of a device"),
        ({"aggregate": Aggregate.SECONDS_SINCE_LAST}, "seconds_since_last has no window"),
        ({"aggregate": Aggregate.SECONDS_SINCE_LAST, "window_ms": None, "delay_ms": 1}, "a delay of 1 ms"),
    ],
)
def test_an_invalid_feature_row_cannot_be_built(changes: dict, problem: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        replace(COUNT, **changes)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("row", "depends"),
    [
        (card("count", "1d"), False),
        (merchant("count", "1d"), True),
        (merchant("seconds_since_last"), True),
        (merchant("count", "1d", delay="23h"), True),
        (merchant("count", "1d", delay="1d"), False),
        (device("cards", "1d"), True),
        (device("fraud_share", "1d", delay="7d"), False),
    ],
)
def test_merchant_and_device_features_depend_on_arrival_unless_delayed_by_a_day(row: Feature, depends: bool) -> None:  # noqa: FBT001 - what is expected
    assert row.depends_on_arrival is depends


def test_no_feature_of_the_default_set_depends_on_the_arrival_of_other_partitions() -> None:
    assert [row.name for row in FEATURES if row.depends_on_arrival] == []


def test_a_feature_set_without_rows_or_with_duplicate_names_is_refused() -> None:
    with pytest.raises(DeclarationError, match="at least one row"):
        FeatureSet(())
    with pytest.raises(DeclarationError, match="more than once: card_count_1d"):
        FeatureSet((COUNT, COUNT))


def test_a_fingerprint_covers_the_rows_their_order_and_units_but_not_the_meanings() -> None:
    own = FeatureSet(FEATURES[:2]).fingerprint
    reworded = tuple(replace(row, meaning="said otherwise") for row in FEATURES[:2])
    assert FeatureSet(reworded).fingerprint == own
    others = [FEATURES[1::-1], FEATURES[:1], FEATURES[:3], tuple(replace(row, unit="other") for row in FEATURES[:2])]
    assert len({own, *(FeatureSet(rows).fingerprint for rows in others)}) == 5


def test_the_card_horizon_covers_labels_of_merchants_and_is_part_of_the_fingerprint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = (COUNT, merchant("fraud_share", "30d", delay="60d"))
    slow = FeatureSet(rows)
    fingerprint_before = slow.fingerprint
    assert slow.horizons_ms == {Entity.CARD: 90 * DAY_MS, Entity.MERCHANT: 97 * DAY_MS}
    assert load(None).horizons_ms[Entity.CARD] == 37 * DAY_MS
    monkeypatch.setattr(FeatureSet, "_labelled_ms", 0)
    short = FeatureSet(rows)
    assert short.horizons_ms[Entity.CARD] == 8 * DAY_MS
    assert short.fingerprint != fingerprint_before


SHOP = merchant("count", "7d")


@pytest.mark.parametrize(
    ("row", "panes", "problem"),
    [
        (
            COUNT,
            "1h",
            "card histories are not compacted, since transactions are judged by them: leave card features exact",
        ),
        (merchant("cards", "7d"), "1h", "cards cannot be computed from panes; these can: amount_deviation"),
        (merchant("seconds_since_last"), "1h", "seconds_since_last cannot be computed from panes"),
        (SHOP, "5h", "panes of 18000000 ms do not divide its window of 604800000 ms"),
        (SHOP, "8d", "do not divide its window"),
        (SHOP, "1 h", "the pane '1 h' is not a whole number and s, m, h or d"),
    ],
)
def test_an_invalid_paned_feature_is_refused(row: Feature, panes: str, problem: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        paned(row, panes)
    assert problem in str(refused.value)


def test_features_that_cannot_share_the_panes_of_one_entity_are_refused() -> None:
    with pytest.raises(DeclarationError, match="panes of 86400000 ms are no multiple of the panes of 25200000 ms"):
        FeatureSet((paned(SHOP, "7h"), paned(merchant("count", "8d"), "1d")))
    with pytest.raises(DeclarationError, match="merchant_seconds_since_last cannot share merchant histories"):
        FeatureSet((merchant("seconds_since_last"), paned(SHOP, "1h")))


def test_the_resolution_is_part_of_the_fingerprint_and_not_of_the_name() -> None:
    rows = [SHOP, paned(SHOP, "1h"), paned(SHOP, "1d")]
    assert {row.name for row in rows} == {"merchant_count_7d"}
    assert len({FeatureSet((row,)).fingerprint for row in rows}) == 3


def test_the_tails_of_a_paned_history_cover_the_windows_of_each_resolution_and_a_slack() -> None:
    def tails_ms(*rows: Feature) -> dict[int, int]:
        schedule = FeatureSet(rows).schedules[Entity.MERCHANT]
        return dict(zip(schedule.resolutions_ms, schedule.tails_ms, strict=True))

    near, two_days, far = merchant("count", "1h"), merchant("count", "2d"), paned(SHOP, "1d")
    horizon_ms = 15 * DAY_MS
    assert tails_ms(far) == {1: HOUR_MS, DAY_MS: horizon_ms}
    assert tails_ms(near, far) == {1: HOUR_MS + DAY_MS, DAY_MS: horizon_ms}
    assert tails_ms(near, two_days, far) == {1: 4 * DAY_MS, DAY_MS: horizon_ms}
    steps = {1: HOUR_MS, MINUTE_MS: HOUR_MS + MINUTE_MS + DAY_MS, DAY_MS: horizon_ms}
    assert tails_ms(paned(near, "1m"), far) == steps


def test_the_hot_merchants_set_is_the_default_set_with_paned_merchant_windows() -> None:
    hot, default = load("features.hot_merchants_set"), load(None)
    assert hot.names == default.names
    assert hot.fingerprint != default.fingerprint
    ours, theirs = ([row for row in one.rows if row.entity is not Entity.MERCHANT] for one in (hot, default))
    assert ours == theirs
    assert all(row.is_paned for row in hot.rows if row.entity is Entity.MERCHANT)
    assert hot.schedules[Entity.MERCHANT].resolutions_ms == (1, HOUR_MS, 6 * HOUR_MS, DAY_MS)
