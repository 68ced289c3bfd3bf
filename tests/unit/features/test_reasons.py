"""Reason codes: every feature of ours has one, sentences are right, and a customer's tells nothing to evade by."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import extended_set
from features.aggregates import AGGREGATES, Aggregate, aggregate_name
from features.errors import DeclarationError
from features.history.store import Entity
from features.own_fields import DeclaredFields, category, category_code, flag, number
from features.reason_codes import DECLINE_CAP, OTHER, REASON_CODES, RULE, RULES, VERSION, Phrase, ReasonCode
from features.reasons import NamedFeature, ReasonTable, load_reasons, parse_name
from support.paths import HOUSE

TABLE = ReasonTable()
OWN = ReasonCode("coffee", "This payment was selected for a check.", (Phrase("card_coffees", "count", "Coffees"),))


def test_the_codes_of_version_2_are_these() -> None:
    """A code is a promise: to remove or rename one breaks whoever counts by it."""
    assert VERSION == 2, "of version 1 were fewer features"
    assert [one.code for one in REASON_CODES] == [
        "card_velocity",
        "card_spending",
        "amount_unusual",
        "amount_repeated",
        "card_merchants",
        "merchant_new",
        "card_timing",
        "card_location",
        "card_devices",
        "card_habits",
        "time_of_payment",
        "card_risk",
        "merchant_risk",
        "merchant_activity",
        "device_risk",
        "device_activity",
        OTHER,
        RULES,
        RULE,
        DECLINE_CAP,
    ]


def test_every_aggregate_of_every_entity_has_a_code_and_each_name_has_only_one() -> None:
    names = {
        aggregate_name(aggregate, entity)
        if entity is Entity.NONE
        else f"{entity.value}_{aggregate_name(aggregate, entity)}"
        for aggregate in Aggregate
        for entity in AGGREGATES[aggregate].of
    }
    stems = [phrase.stem for code in REASON_CODES for phrase in code.phrases]
    assert len(stems) == len(set(stems))
    assert set(stems) == names
    assert all(TABLE.code_of(row.name) != OTHER for row in extended_set.FEATURES)


def test_a_customers_sentence_holds_no_number_no_window_and_nothing_of_a_feature() -> None:
    telling = re.compile(
        r"\d|minute|hour|day|week|month|night|window|count|threshold|limit|score|model|fraud|device|mcc"
    )
    for one in REASON_CODES:
        assert one.customer.endswith(".")
        assert telling.search(one.customer.lower()) is None, one.code
    risky = {
        "card_risk",
        "merchant_risk",
        "merchant_activity",
        "device_risk",
        "device_activity",
        OTHER,
        RULES,
        RULE,
        DECLINE_CAP,
    }
    assert len({one.customer for one in REASON_CODES if one.code in risky}) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("card_count_10m", NamedFeature("card_count", is_delayed=False, window="10 min")),
        ("merchant_fraud_share_delayed_30d", NamedFeature("merchant_fraud_share", is_delayed=True, window="30 d")),
        ("card_seconds_since_last", NamedFeature("card_seconds_since_last", is_delayed=False, window="")),
        ("is_night", NamedFeature("is_night", is_delayed=False, window="")),
    ],
)
def test_a_name_is_taken_apart(name: str, expected: NamedFeature) -> None:
    assert parse_name(name) == expected


@pytest.mark.parametrize(
    ("feature", "value", "sentence"),
    [
        ("card_count_10m", 7.0, "Payments with this card within 10 min, this one included: 7"),
        ("card_amount_sum_1d", 12345.5, "Sum of this card's payments within 1 d, this one included: 12,345.50 EUR"),
        ("card_amount_to_mean_30d", 12.345, "Amount compared with the mean of this card within 30 d: 12.35 times"),
        ("is_night", 1.0, "Paid at night by the local clock"),
        ("is_night", 0.0, "Paid by day by the local clock"),
        ("card_seconds_since_last", 90.0, "Time since this card's previous payment: 90 s"),
        ("card_seconds_since_last", 600.0, "Time since this card's previous payment: 10.0 min"),
        ("card_seconds_since_last", 7200.0, "Time since this card's previous payment: 2.0 h"),
        ("card_seconds_since_last", 864000.0, "Time since this card's previous payment: 10.0 d"),
        ("card_seconds_since_last", None, "Time since this card's previous payment: undefined"),
        (
            "merchant_fraud_share_delayed_30d",
            0.125,
            "Share of known frauds at this merchant, over 30 d up to the label delay: 12.5%",
        ),
        ("mine", 3.25, "mine: 3.25"),
        ("mine", None, "mine: undefined"),
    ],
)
def test_an_analysts_sentence_has_the_value(feature: str, value: float | None, sentence: str) -> None:
    assert TABLE.analyst_sentence(feature, value, "EUR") == sentence


@given(st.sampled_from([row.name for row in extended_set.FEATURES]), st.none() | st.floats(0, 1e12))
def test_every_value_of_every_feature_has_a_sentence(name: str, value: float | None) -> None:
    sentence = TABLE.analyst_sentence(name, value, "EUR")
    assert sentence
    assert "{" not in sentence


def test_own_codes_come_first_and_keep_those_of_the_product() -> None:
    table = ReasonTable([OWN])
    assert table.code_of("card_coffees_1d") == "coffee"
    assert table.code_of("card_count_1d") == "card_velocity"
    assert table.order("coffee") == 0


@pytest.mark.parametrize(
    ("own", "why"),
    [
        (OWN._replace(code="Coffee"), "'Coffee' must begin with a small letter"),
        (OWN._replace(code="card_velocity"), "'card_velocity' must begin .* and be no other code"),
        (OWN._replace(customer="More than 3."), "coffee: the customer's sentence must hold words and no number"),
        (OWN._replace(customer=""), "coffee: the customer's sentence must hold words and no number"),
        (OWN._replace(phrases=(Phrase("x", "eggs", "X"),)), "x has the unit 'eggs', not one of"),  # type: ignore[arg-type]
        (OWN._replace(phrases=(Phrase("x", "flag", "X"),)), "x must have `otherwise` if it is a flag"),
        (
            OWN._replace(phrases=(Phrase("x", "count", "{value}"),)),
            "the sentence for x may hold {window}, and no other",
        ),
        (
            OWN._replace(phrases=(Phrase("x", "flag", "X", "no {"),)),
            "the sentence for x may hold {window}, and no other",
        ),
        ("coffee", "expected entries made by ReasonCode, got 'coffee'"),
    ],
)
def test_own_codes_that_cannot_be_used_are_refused(own: object, why: str) -> None:
    with pytest.raises(DeclarationError, match=why):
        ReasonTable([own])


def test_the_codes_of_the_guide_can_be_used() -> None:
    guide = (HOUSE / "docs/how-to/explain-decisions.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(block, "the guide", "exec"), names)  # noqa: S102 - our own page
    table = ReasonTable(names["REASON_CODES"])
    assert table.code_of(names["FEATURES"][-1].name) == "largest_lately"
    assert (
        table.analyst_sentence("card_amount_max_2h", 80, "EUR")
        == "Largest payment with this card within 2 h: 80.00 EUR"
    )


def test_codes_are_read_from_the_module_of_the_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    rows = "from features.default_set import FEATURES\nfrom features.reason_codes import Phrase, ReasonCode\n"
    own = "ReasonCode('coffee', 'It was checked.', (Phrase('card_coffees', 'count', 'Coffees'),))"
    (tmp_path / "reasoned_rows.py").write_text(f"{rows}REASON_CODES = ({own},)\n")
    (tmp_path / "wrongly_reasoned_rows.py").write_text(f"{rows}REASON_CODES = 'coffee'\n")
    assert load_reasons("reasoned_rows, features.extended_set").code_of("card_coffees_1h") == "coffee"
    assert load_reasons("").codes == REASON_CODES
    with pytest.raises(DeclarationError, match=r"rows\.REASON_CODES must be a tuple of ReasonCode, not a str"):
        load_reasons("wrongly_reasoned_rows")


@pytest.mark.parametrize(
    ("feature", "value", "sentence"),
    [
        ("own_ip_country", float(category_code("ip_country", "NG")), "IP country: NG"),
        ("own_ip_country", None, "IP country: undefined"),
        ("own_browser", 7.0, "Browser: another"),
        ("own_three_ds", 0.0, "3-D Secure was passed: no"),
        ("own_account_age_days", 1_200.0, "Age of the account: 1,200 days"),
        ("own_ip_distance", 812.5, "Distance from home: 812.5 km"),
        ("own_amount", 12.5, "Own amount: 12.50"),
        ("own_mcc", float(category_code("mcc", "0742")), "Merchant category (MCC): 0742"),
        ("own_card_country", float(category_code("card_country", "FR")), "Card country: FR"),
        ("own_currency", float(category_code("currency", "EUR")), "Currency: EUR"),
        ("own_channel", float(category_code("channel", "moto")), "Channel: moto"),
    ],
)
def test_a_field_of_ones_own_is_told_with_its_meaning_and_its_text(
    feature: str, value: float | None, sentence: str
) -> None:
    fields = DeclaredFields(
        (
            category("ip_country", meaning="IP country"),
            category("browser"),
            flag("three_ds", meaning="3-D Secure was passed"),
            number("account_age_days", unit="days", meaning="age of the account"),
            number("ip_distance", decimals=1, unit="km", meaning="distance from home"),
        )
    )
    assert ReasonTable((), fields).analyst_sentence(feature, value, "EUR", {"ip_country": "NG"}) == sentence
