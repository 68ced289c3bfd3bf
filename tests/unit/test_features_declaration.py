"""The table of features: what cannot be declared, what a fingerprint covers, how far histories reach."""

import sys
import types
from dataclasses import replace

import pytest

from features.declaration import DAY_MS, Aggregate, Feature, FeatureSet, load, window_text
from features.default_set import FEATURES
from features.entities import Entity
from features.errors import DeclarationError, FeatureError, StoreError, StoreRefusedError, StoreUnavailableError

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
COUNT = Feature("card_count_1d", Entity.CARD, Aggregate.COUNT, DAY_MS, 0, "transactions", "how many")


def test_the_default_set_is_the_contracts() -> None:
    assert list(load(None).names) == CONTRACT


def test_the_default_fingerprint_changes_only_on_purpose() -> None:
    assert load(None).fingerprint == "c7eaa01c8bc3c76f90aa5c865d963e4cb37750b241c9cbaaa402689a35de4f63"


def test_histories_reach_as_far_as_the_longest_window_its_delay_and_the_slack() -> None:
    assert load(None).horizons_ms[Entity.CARD] == 37 * DAY_MS
    assert load(None).horizons_ms[Entity.MERCHANT] == 44 * DAY_MS
    assert FeatureSet((COUNT,)).horizons_ms[Entity.CARD] == 8 * DAY_MS
    assert FeatureSet((COUNT,)).horizons_ms[Entity.MERCHANT] == 7 * DAY_MS


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "card_count_24h"}, "what is declared is called 'card_count_1d'"),
        ({"window_ms": 0}, "must be longer than 0 ms"),
        ({"window_ms": -DAY_MS}, "must be longer than 0 ms"),
        ({"window_ms": None}, "count needs a window"),
        ({"window_ms": 1500}, "not a whole number of seconds"),
        ({"delay_ms": -1}, "a delay of -1 ms cannot be meant"),
        ({"delay_ms": DAY_MS}, "called 'card_count_delayed_1d'"),
        ({"entity": Entity.NONE}, "count cannot be asked of entity 'none'"),
        ({"aggregate": Aggregate.NIGHT}, "is_night cannot be asked of entity 'card'"),
        ({"aggregate": Aggregate.SECONDS_SINCE_LAST}, "seconds_since_last has no window"),
        ({"aggregate": Aggregate.SECONDS_SINCE_LAST, "window_ms": None, "delay_ms": 1}, "a delay of 1 ms"),
        ({"aggregate": Aggregate.OTHERS}, "called 'card_merchants_1d'"),
        ({"aggregate": Aggregate.OTHER_FIRST, "entity": Entity.MERCHANT}, "called 'merchant_card_first_1d'"),
    ],
)
def test_a_row_that_means_nothing_cannot_be_built(changes: dict, problem: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        replace(COUNT, **changes)
    assert problem in str(refused.value)


def test_a_set_needs_rows_with_names_of_their_own() -> None:
    with pytest.raises(DeclarationError, match="at least one row"):
        FeatureSet(())
    with pytest.raises(DeclarationError, match="more than once: card_count_1d"):
        FeatureSet((COUNT, COUNT))


def test_a_fingerprint_covers_all_that_decides_a_number_and_nothing_else() -> None:
    own = FeatureSet(FEATURES[:2]).fingerprint
    reworded = tuple(replace(row, meaning="said otherwise") for row in FEATURES[:2])
    assert FeatureSet(reworded).fingerprint == own
    others = [FEATURES[1::-1], FEATURES[:1], FEATURES[:3], tuple(replace(row, unit="other") for row in FEATURES[:2])]
    assert len({own, *(FeatureSet(rows).fingerprint for rows in others)}) == 5


@pytest.mark.parametrize(
    ("length_ms", "text"), [(1000, "1s"), (600_000, "10m"), (3_600_000, "1h"), (90 * 60_000, "90m")]
)
def test_a_length_is_written_in_the_largest_unit_that_divides_it(length_ms: int, text: str) -> None:
    assert window_text(length_ms) == text


def test_a_deployment_names_a_module_with_rows_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("own_features")
    module.FEATURES = [COUNT]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_features", module)
    assert load("own_features").names == ("card_count_1d",)
    module.FEATURES = [COUNT, "card_count_1h"]  # type: ignore[attr-defined]
    with pytest.raises(DeclarationError, match=r"own_features\.FEATURES must be a sequence"):
        load("own_features")
    with pytest.raises(DeclarationError, match="'no_such_features' cannot be imported"):
        load("no_such_features")


def test_every_error_is_a_feature_error_and_store_errors_are_of_one_kind() -> None:
    assert issubclass(DeclarationError, FeatureError)
    assert all(issubclass(kind, StoreError) for kind in (StoreUnavailableError, StoreRefusedError))
    assert issubclass(StoreError, FeatureError)
