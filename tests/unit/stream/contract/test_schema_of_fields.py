"""The fields that a deployment declares, in the JSON Schemas of payments and scores."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from features.own_fields import DeclaredFields, category, flag, number, token
from stream.contract.attributes import FieldRules
from stream.contract.schema import json_schema
from support.command_line import run_command

DECLARED = DeclaredFields(
    (
        number("account_age_days", unit="days", meaning="age of the account", least=0, most=40_000),
        number("ip_distance", decimals=1, unit="km", least=0),
        category("ip_country", meaning="IP country"),
        flag("three_ds", meaning="3-D Secure was passed"),
        token("ip"),
    )
)
PAYMENT = {
    "transaction_id": "t-1",
    "card_id": "card-1",
    "merchant_id": "shop-1",
    "occurred_at": "2026-01-31T12:00:00Z",
    "amount_minor": 1250,
    "currency": "EUR",
}
VALID = {"account_age_days": 12, "ip_country": "NG", "three_ds": True, "ip_distance": 812.5, "ip": "192.0.2.1"}
CHECK = Draft202012Validator(json_schema("transaction/1", DECLARED))


class Paid:
    """A decoded transaction with attributes."""

    card_country, occurred_at = None, 0

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes


def test_a_declared_record_is_valid_and_one_with_undeclared_names_too() -> None:
    CHECK.validate(PAYMENT)
    CHECK.validate(PAYMENT | {"attributes": None})
    CHECK.validate(PAYMENT | {"attributes": VALID})
    CHECK.validate(PAYMENT | {"attributes": dict.fromkeys(VALID)})
    CHECK.validate(PAYMENT | {"attributes": {"of_nobody": "x"}})


@given(
    st.sampled_from(sorted(VALID)),
    st.none() | st.booleans() | st.text(max_size=257) | st.integers() | st.integers(-1, 40_001) | st.just(0.5),
)
def test_a_value_is_valid_if_a_worker_keeps_it(name: str, value: Any) -> None:
    read = FieldRules(DECLARED).read(Paid({name: value}))
    is_text = isinstance(value, str)
    is_kept = not read.dropped and not (is_text and len(value) > 256)  # those cost `attributes` as a whole
    assert CHECK.is_valid(PAYMENT | {"attributes": {name: value}}) is is_kept


def test_types_bounds_units_and_meanings_are_there_and_tokens_are_marked() -> None:
    found = json_schema("transaction/1", DECLARED)["$defs"]["TransactionRecord"]["properties"]["attributes"]
    properties = found["anyOf"][0]["properties"]
    assert properties["account_age_days"] == {
        "type": ["number", "null"],
        "description": "age of the account, in days",
        "minimum": 0,
        "maximum": 40_000,
    }
    assert properties["ip_distance"]["maximum"] == 1e11
    assert properties["ip_distance"]["description"] == "ip distance, in km, kept with 1 decimals"
    assert properties["ip"]["writeOnly"] is True
    assert "on no output" in properties["ip"]["description"]
    assert [name for name, one in properties.items() if "writeOnly" in one] == ["ip"]


def test_a_score_has_the_categories_alone() -> None:
    attributes = json_schema("score/1", DECLARED)["$defs"]["Score"]["properties"]["attributes"]
    assert attributes["properties"] == {"ip_country": {"type": "string", "description": "IP country"}}


def test_without_fields_a_schema_is_as_it_is_for_everybody() -> None:
    assert "properties" not in json.dumps(json_schema("transaction/1")["$defs"]["TransactionRecord"]["properties"])


def test_the_command_prints_the_fields_of_the_module_that_the_setting_names() -> None:
    done = run_command("schema", "transaction/1", settings={"FRAUDSTREAM_FEATURES": "support.features.own_fields_set"})
    assert done.exit_code == 0
    assert '"account_age_days"' in done.stdout
    refused = run_command("schema", "transaction/1", settings={"FRAUDSTREAM_FEATURES": "no_such_module"})
    assert (refused.exit_code, "FRAUDSTREAM_FEATURES" in refused.output) == (2, True)
