"""`features list --cost`: bytes that can be counted, and times of which the order holds."""

import json

import msgspec
import numpy as np
import pytest

from features.declaration import FeatureSet
from features.formulas import Formula
from features.own_fields import DeclaredFields, category, flag, number
from features.own_payment import OwnPayment
from features.rows import card, device, merchant, own, prediction
from fraudstream.lab.declarations.cost import SetCost, measure_cost


def slow(_payment: OwnPayment) -> float:
    """Take some ten microseconds."""
    return float(sum(range(2_000)))


FIELDS = DeclaredFields((number("age", unit="days", least=0, most=9), category("ip_country"), flag("three_ds")))
SET = FeatureSet(
    (
        card("count", "1d"),
        card("count", "60d"),
        merchant("fraud_share", "30d", delay="7d"),
        device("cards", "1d"),
        prediction("teacher", "6h", "2d"),
        own("age"),
        own("ip_country"),
        own("three_ds"),
        own(Formula("slow", 1, slow, "", "")),
        own(Formula("slow_too", 1, slow, "", "")),
    ),
    FIELDS,
)


@pytest.fixture(scope="module")
def cost() -> SetCost:
    return measure_cost(SET, rounds=3)


def test_each_row_has_the_bytes_of_its_history_and_what_it_alone_keeps(cost: SetCost) -> None:
    rows = {row.name: row for row in cost.rows}
    assert [row.name for row in cost.rows] == list(SET.names)
    assert rows["card_count_1d"].record_bytes == rows["card_count_60d"].record_bytes == 72
    assert (rows["card_count_1d"].adds_days, rows["card_count_60d"].adds_days) == (
        0.0,
        30.0,
    )  # a label of 37 days ago needs its card, too
    assert (rows["device_cards_1d"].record_bytes, rows["device_cards_1d"].adds_days) == (48, 8.0)
    assert rows["own_age"].record_bytes == rows["own_age"].adds_days == 0
    assert cost.event_bytes == 72 + 48 + 48


def test_bytes_of_a_score_are_those_of_the_name_and_the_value(cost: SetCost) -> None:
    rows = {row.name: row for row in cost.rows}
    low, high = (len(f'"own_three_ds":{text},') for text in ("1", "null"))
    assert low < rows["own_three_ds"].score_bytes < high
    assert cost.score_bytes == pytest.approx(sum(row.score_bytes for row in cost.rows), abs=0.1)


def test_a_slow_formula_costs_more_than_all_fields_and_the_whole_set_more_than_any_row(cost: SetCost) -> None:
    rows = {row.name: row.microseconds for row in cost.rows}
    fields = [rows[name] for name in ("own_age", "own_ip_country", "own_three_ds")]
    assert rows["slow"].of_256 > 3 * sum(one.of_256 for one in fields)
    assert rows["slow"].of_one > 3 * sum(one.of_one for one in fields)
    assert cost.whole.of_256 > max(row.of_256 for row in rows.values())
    assert cost.whole.of_one > cost.whole.of_256
    assert set(cost.fixed) == {"card", "merchant", "device", "prediction", "none"}
    assert all(one.of_one > one.of_256 > 0 for one in cost.fixed.values())
    assert cost.reading > 0


def test_the_figures_are_plain_json(cost: SetCost) -> None:
    text = msgspec.json.encode(cost)
    assert np.isfinite([row["microseconds"]["of_one"] for row in json.loads(text)["rows"]]).all()
