"""Fields of one's own: declarations, values as they are kept, codes of categories, and rows that read them."""

import pickle
import sys
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from hashlib import blake2b
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.declaration import FeatureSet, built_from, load
from features.errors import DeclarationError, FormulaError
from features.formulas import Formula, Payments
from features.history.store import Entity, Transactions
from features.memory_store import MemoryStore
from features.own_fields import (
    CONTRACT_FIELDS,
    LARGEST,
    MOST_DECIMALS,
    DeclaredFields,
    category,
    category_code,
    flag,
    number,
    scaled,
    token,
)
from features.own_payment import OwnPayment
from features.rows import card, own
from features.vector.sets import FeatureSets
from features.vector.vectorise import vectorise
from support.features.recount import transactions

AGE = number("account_age_days", unit="days", meaning="age of the account", least=0, most=40_000)
FIELDS = DeclaredFields(
    (
        AGE,
        number("ip_distance", decimals=1, unit="km"),
        category("ip_country", meaning="IP country"),
        flag("three_ds"),
        token("ip"),
    )
)
ROW = (
    {"id": "t-1", "card": "card-1", "merchant": "shop-1", "ms": 1_770_000_000_000, "utc_offset": 60, "amount": 12_34}
    | {"exponent": 2, "content": 1, "partition": 0, "offset": 0, "device": None, "at": (48.2, -16.4), "mcc": "0742"}
    | {"country": "AT", "channel": "ecommerce", "currency": "EUR"}
)


def batch(*own_values: dict[str, Any], **changes: Any) -> Transactions:
    rows = [ROW | {"id": f"t-{at}", "offset": at} | changes for at in range(len(own_values))]
    return replace(transactions(rows), own=list(own_values))


def computed(feature_set: FeatureSet, payments: Transactions) -> np.ndarray:
    return vectorise(feature_set, payments, MemoryStore(feature_set).observe_now(payments))


@given(
    st.one_of(
        st.integers(-(10**15), 10**15),
        st.floats(allow_nan=True, allow_infinity=True),
        st.decimals(-1000, 1000, places=3).map(float),
    ),
    st.integers(0, MOST_DECIMALS),
)
@example(0.5, 0)
@example(1.5, 0)
@example(2.675, 2)
@example(1.005, 2)
@example(-0.0, 3)
@example(999_999_999_999.5, 0)
@example(1e12, 0)
def test_a_number_is_its_shortest_text_times_a_power_of_ten_half_to_even(value: float, decimals: int) -> None:
    exact = Decimal(repr(value))
    expected = None
    if exact.is_finite():
        whole = exact.scaleb(decimals).to_integral_value(ROUND_HALF_EVEN)
        expected = int(whole) if abs(whole) <= LARGEST else None
    assert scaled(value, decimals) == expected


def test_a_category_is_48_bits_of_its_name_and_its_text() -> None:
    digest = blake2b(b"ip_country\0NG", digest_size=6).digest()
    assert category_code("ip_country", "NG") == int.from_bytes(digest, "big") < 2**48
    assert category_code("ip_country", "NG") != category_code("card_country", "NG")
    assert float(category_code("ip_country", "NG")) == category_code("ip_country", "NG")


@pytest.mark.parametrize(
    ("field", "raw", "kept"),
    [
        (AGE, 12, 12),
        (AGE, 12.0, 12),
        (AGE, 40_001, None),
        (AGE, -1, None),
        (AGE, "12", None),
        (AGE, True, None),
        (AGE, float("inf"), None),
        (AGE, 10**400, None),
        (number("x", decimals=2), 0.125, 12),
        (number("x", decimals=2, least=0.5, most="1.25"), 1.25, 125),
        (number("x", decimals=2, least=0.5, most="1.25"), 1.26, None),
        (flag("f"), True, 1),
        (flag("f"), False, 0),
        (flag("f"), 1, None),
        (category("c"), "x", "x"),
        (category("c"), "", None),
        (category("c"), 7, None),
        (token("t"), "10.0.0.1", "10.0.0.1"),
    ],
)
def test_a_value_of_another_type_or_out_of_bounds_is_none(field: Any, raw: Any, kept: Any) -> None:
    assert field.read(raw) == kept


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: number("Age"), "field 'Age': a name consists of 1 to 64 lower-case letters"),
        (lambda: number("x", decimals=10), "decimals are an integer from 0 to 9, not 10"),
        (lambda: number("x", decimals=True), "decimals are an integer"),
        (lambda: number("x", least=0.5), "its least value 0.5 has more than 0 decimals"),
        (lambda: number("x", least="low"), "its least value 'low' is not a number"),
        (lambda: number("x", least=3, most=2), "its least value is above its most"),
        (lambda: DeclaredFields((flag("x"), flag("x"))), "fields declared more than once: x"),
        (lambda: DeclaredFields((category("mcc"),)), r"every payment has this field .* own\('mcc'\)"),
        (lambda: DeclaredFields(tuple(flag(f"x{at}") for at in range(201))), "201 fields are declared"),
        (
            lambda: DeclaredFields((flag("fraud"), token("device_id"))),
            "device_id, fraud: a column of a transactions file",
        ),
        (lambda: DeclaredFields((token("reporting_amount_minor"),)), "a column of a transactions file has this name"),
        (lambda: DeclaredFields((number("row"),)), "row: readers of files use such names"),
        (lambda: DeclaredFields((number("read_x"),)), "read_x: readers of files use such names"),
        (lambda: DeclaredFields((flag("x"), flag("x"), flag("mcc"))), "more than once: x; mcc: every payment has this"),
        (
            lambda: FeatureSet((own("a"), own("hour"), own("hour"))),
            r"own\('a'\): .*; declared more than once: own_hour",
        ),
        (lambda: FeatureSet((own("is_night"),), DeclaredFields((flag("is_night"),))), "has the name of an aggregate"),
        (lambda: FeatureSet((own("acount_age_days"),), FIELDS), "did you mean 'account_age_days'?"),
        (lambda: FeatureSet((own("noon"),)), "declare it in the module's FIELDS"),
        (lambda: FeatureSet((own("ip"),), FIELDS), "a token has no number"),
        (
            lambda: FeatureSets(
                (
                    FeatureSet((own("hour"),), DeclaredFields((flag("x"),))),
                    FeatureSet((own("x"),), DeclaredFields((number("x"),))),
                )
            ),
            "field 'x' is declared differently in two of the modules",
        ),
    ],
)
def test_what_cannot_be_declared_is_refused_with_what_is_expected(declare: Any, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        declare()


def test_a_module_declares_fields_beside_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("own_fields_module")
    module.FIELDS = (AGE,)
    module.FEATURES = (own("account_age_days"), card("count", "1d"))
    monkeypatch.setitem(sys.modules, "own_fields_module", module)
    found = built_from("own_fields_module")
    assert found.fields.fields == (AGE,)
    assert found.names == ("own_account_age_days", "card_count_1d")
    assert (found.rows[0].unit, found.rows[0].meaning) == ("days", "age of the account")
    module.FIELDS = ("account_age_days",)
    with pytest.raises(DeclarationError, match=r"FIELDS\[0\] must be a field, made by number, category, flag or token"):
        built_from("own_fields_module")


def test_what_determines_a_value_is_part_of_the_fingerprint() -> None:
    def fingerprint(field: Any) -> str:
        return FeatureSet((own("x"),), DeclaredFields((field,))).fingerprint

    fields = [number("x"), number("x", decimals=1), number("x", least=0), number("x", most=9), flag("x"), category("x")]
    assert len({fingerprint(one) for one in fields}) == len(fields)
    assert fingerprint(number("x", unit="days")) != fingerprint(number("x")), "the unit is, as of every row"
    unread = FeatureSet((own("x"),), DeclaredFields((flag("x"), flag("y"))))
    assert unread.fingerprint == fingerprint(flag("x"))
    distance = Formula("difference", 1, lambda one: one["x"], "days", "")
    formulas = [
        FeatureSet((own(distance),), DeclaredFields(fields)) for fields in ((number("x"),), (number("x", decimals=1),))
    ]
    assert formulas[0].fingerprint != formulas[1].fingerprint, "a formula can read every declared field"


def test_fields_of_several_sets_are_joined_and_pickled() -> None:
    sets = FeatureSets(
        (
            load(None),
            FeatureSet((own("account_age_days"),), FIELDS),
            FeatureSet((own("x"),), DeclaredFields((flag("x"), AGE))),
        )
    )
    assert [one.name for one in sets.fields.fields] == [*FIELDS.by_name, "x"]
    copy = pickle.loads(pickle.dumps(sets))  # noqa: S301 - our own
    assert [one.fingerprint for one in copy.sets] == [one.fingerprint for one in sets.sets]
    assert copy.fields == sets.fields


def test_own_values_are_columns() -> None:
    names = ("account_age_days", "ip_distance", "ip_country", "three_ds", *CONTRACT_FIELDS)
    feature_set = FeatureSet(tuple(map(own, names)), FIELDS)
    values = computed(
        feature_set,
        batch({"account_age_days": 12, "ip_distance": 15, "ip_country": "NG", "three_ds": 0, "card_country": "DE"}, {}),
    )
    first, second = (dict(zip(feature_set.names, row, strict=True)) for row in values.tolist())
    texts = {"currency": "EUR", "mcc": "0742", "channel": "ecommerce", "merchant_country": "AT"}
    contract = {"own_amount": 12.34, "own_hour": 3.0, "own_latitude": 48.2, "own_longitude": -16.4} | {
        f"own_{name}": float(category_code(name, text)) for name, text in texts.items()
    }
    declared = {"own_account_age_days": 12.0, "own_ip_distance": 1.5, "own_three_ds": 0.0}
    codes = {"own_ip_country": ("ip_country", "NG"), "own_card_country": ("card_country", "DE")}
    assert first == contract | declared | {name: float(category_code(*code)) for name, code in codes.items()}
    assert all(np.isnan(second[name]) for name in (*declared, *codes))
    assert {name: second[name] for name in contract} == contract
    assert feature_set.carried == {"card_country"}
    assert set(feature_set.categories.values()) == {
        "ip_country",
        "currency",
        "mcc",
        "channel",
        "merchant_country",
        "card_country",
    }


def test_what_a_payment_has_not_is_undefined() -> None:
    feature_set = FeatureSet(
        tuple(own(name) for name in ("latitude", "mcc", "channel", "merchant_country", "card_country"))
    )
    payments = replace(batch({}, at=None, mcc=None, channel=None, country=None), own=None)
    assert np.isnan(computed(feature_set, payments)).all()


def test_a_formula_reads_every_declared_field() -> None:
    seen: list[Any] = []

    def alone(one: OwnPayment) -> float:
        names = (*FIELDS.by_name, *CONTRACT_FIELDS)
        seen.append({name: one[name] for name in names} | {"time_ms": one.time_ms})
        return 1.0

    def of_card(one: Payments, others: Payments) -> float:
        return float(len(others)) if one["three_ds"] else -1.0

    rows = (own(Formula("alone", 1, alone, "", "")), card(Formula("of_card", 1, of_card, "", ""), "30d"))
    feature_set = FeatureSet(rows, FIELDS)
    given_values = {
        "account_age_days": 12,
        "ip_distance": 15,
        "ip_country": "NG",
        "three_ds": 1,
        "ip": "10.0.0.1",
        "card_country": "DE",
    }
    assert computed(feature_set, batch(given_values, {})).tolist() == [[1.0, 0.0], [1.0, -1.0]]
    shown = {"account_age_days": 12.0, "ip_distance": 1.5, "ip_country": "NG", "three_ds": True, "ip": "10.0.0.1"}
    contract = {"amount": 12.34, "hour": 3.0, "latitude": 48.2, "longitude": -16.4, "currency": "EUR", "mcc": "0742"}
    contract |= {"channel": "ecommerce", "merchant_country": "AT", "time_ms": ROW["ms"]}
    assert seen == [shown | contract | {"card_country": "DE"}, dict.fromkeys(shown) | contract | {"card_country": None}]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda one, _others: one["speed"], "'speed' is no field of the contract, and is not declared in FIELDS"),
        (lambda _one, others: others["three_ds"], "only one's own transaction has fields; histories hold none"),
    ],
)
def test_a_formula_that_asks_for_another_field_fails_as_formulas_fail(function: Any, said: str) -> None:
    feature_set = FeatureSet((card(Formula("wrong", 1, function, "", ""), "30d"), own("hour")), FIELDS)
    with pytest.raises(FormulaError, match=said):
        computed(feature_set, batch({}))
    store = MemoryStore(feature_set)
    payments = batch({})
    assert vectorise(feature_set, payments, store.observe_now(payments), formulas=False)[0, 1] == 3.0


def test_own_values_stay_with_their_payments() -> None:
    payments = batch(*({"account_age_days": at} for at in range(5)))
    assert payments.own is not None
    for part, ages in ((payments.after(2), [2, 3, 4]), (payments.first(2), [0, 1]), (payments.at([3, 0]), [3, 0])):
        assert part.own is not None
        assert [one["account_age_days"] for one in part.own] == ages


def test_a_row_of_no_field_belongs_to_no_entity() -> None:
    assert own("account_age_days").entity is Entity.NONE
