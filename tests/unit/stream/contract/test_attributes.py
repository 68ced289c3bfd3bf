"""`attributes` of a transaction: what is dropped as a whole, what by name, and what a deployment reads of them."""

from itertools import chain
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.own_fields import DeclaredFields, category, flag, number, token
from features.own_table import OwnTable
from stream.contract.attributes import (
    FEW,
    MOST_BYTES,
    MOST_TEXT_BYTES,
    FieldRules,
    OwnFields,
    attributes_problem,
    category_texts,
    category_texts_of,
)
from stream.contract.transaction import ParsedTransaction, read_accepted_transaction, read_transaction
from stream.id_rules import read_shapes
from support.stream_records import CARD_NUMBER, KEY, LATEST_MS, text

FIELDS = DeclaredFields(
    (
        number("age", least=0, most=100),
        number("risk", decimals=3),
        category("ip_country"),
        flag("three_ds"),
        token("ip"),
    )
)
RULES = FieldRules(FIELDS, frozenset({"card_country"}))


def parsed(value: bytes) -> ParsedTransaction:
    found = read_transaction(value, KEY, LATEST_MS)
    assert isinstance(found, ParsedTransaction), found
    assert read_accepted_transaction(value) == found
    return found


def own(rules: FieldRules = RULES, **attributes: Any) -> OwnFields:
    return rules.read(parsed(text(attributes=attributes)).transaction)


@pytest.mark.parametrize(
    "attributes",
    [
        *([], "x", 7, True, [{"a": 1}]),
        *({"Age": 1}, {"": 1}, {"a-b": 1}, {"1a": 1}, {"x" * 65: 1}, {"ä": 1}, {"a/b": 1}, {"a\n": 1}),
        *({"a": []}, {"a": {}}, {"a": ""}, {"a": "x" * 257}),
        {f"x{at}": 1 for at in range(201)},
        {f"{at:03}".translate(str.maketrans("0123456789", "abcdefghij")) * 21: "x" * 256 for at in range(60)},
        {f"x{at}": "\N{EURO SIGN}" * 256 for at in range(25)},
    ],
)
def test_what_is_no_flat_object_of_bounded_size_is_dropped_as_a_whole(attributes: Any) -> None:
    found = parsed(text(attributes=attributes))
    assert (found.dropped, found.transaction.attributes) == (("attributes",), None)
    assert found._replace(dropped=()) == parsed(text())


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"a": None},
        {"a": 1, "b": 1.5, "c": "x" * 256, "d": False},
        {f"x{at}": at for at in range(200)},
        {f"x{at}": "\N{EURO SIGN}" * 256 for at in range(21)},
        {"x" * 64: "4" * 256, "y": 10**30, "z": -1e300},
    ],
)
def test_what_is_of_the_form_is_kept_whatever_it_says(attributes: Any) -> None:
    found = parsed(text(attributes=attributes))
    assert (found.dropped, found.transaction.attributes) == ((), attributes)


def test_a_value_of_more_than_16_kb_is_read_in_the_same_way() -> None:
    attributes = {f"x{at}": "x" * 256 for at in range(60)}
    for more in ({}, {"note": "x" * 20_000}, {"note": [[]] * 20_000}):
        assert parsed(text(attributes=attributes, **more)).transaction.attributes == attributes
        assert parsed(text(attributes=attributes | {"a": [1]}, **more)).dropped == ("attributes",)
    escaped = text().replace(b"{", b'{"attributes": {"a": "' + b"\\u0041" * 256 + b'"},', 1)
    assert parsed(escaped + b" " * 20_000).transaction.attributes == {"a": "A" * 256}
    many = b", ".join(b'"x%d": %s' % (at, b"1" * 4_000) for at in range(60))
    assert parsed(text().replace(b"{", b'{"attributes": {' + many + b"},", 1)).dropped == ("attributes",)


@pytest.mark.parametrize("size", [MOST_BYTES, MOST_BYTES + 1])
def test_names_and_texts_take_16_384_bytes_at_most(size: int) -> None:
    attributes = {f"x{at:02}": "x" * 253 for at in range(64)}
    attributes["x63"] += "x" * (size - MOST_BYTES)
    assert sum(len(name) + len(value) for name, value in attributes.items()) == size
    assert bool(attributes_problem(attributes)) is (size > MOST_BYTES)


def test_declared_fields_are_read_each_on_its_own() -> None:
    found = own(age=30, risk=0.1235, ip_country="NG", three_ds=True, ip="10.0.0.1", other=3)
    values = {"age": 30, "risk": 124, "ip_country": "NG", "three_ds": 1, "ip": "10.0.0.1"}
    assert found == OwnFields(values, (), ("other",))
    wrong = own(age=101, risk="high", ip_country=7, three_ds=0, ip=True)
    assert wrong.values == {}
    assert wrong.dropped == tuple(f"attributes.{name}" for name in FIELDS.by_name)
    assert own(age=None, risk=None) == OwnFields({})
    assert own() == OwnFields({})


def test_what_the_contract_has_is_read_where_something_reads_it() -> None:
    payment = parsed(text(card_country="FR", attributes={"age": 1})).transaction
    assert RULES.read(payment).values == {"card_country": "FR", "age": 1}
    assert FieldRules(FIELDS).read(payment).values == {"age": 1}
    assert not FieldRules().reads


@pytest.mark.parametrize("dress", ["{}", "{}:1229", "{}:123"])
def test_a_card_number_is_no_category_and_no_token_unless_its_shape_is_declared(dress: str) -> None:
    card_number = dress.format(CARD_NUMBER)
    found = own(ip_country=card_number, ip=card_number)
    assert found == OwnFields({}, ("attributes.ip_country", "attributes.ip"))
    shapes = FieldRules(FIELDS, (), read_shapes(f"attributes.ip=prefixed:{card_number[:4]}"))
    assert own(shapes, ip_country=card_number, ip=card_number) == OwnFields(
        {"ip": card_number}, ("attributes.ip_country",)
    )


@pytest.mark.parametrize("dress", ["card {}, thanks", "{}/12/2028", "{}:123", "{}x", "n{}", " {} "])
def test_a_card_number_stands_in_no_category(dress: str) -> None:
    assert own(ip_country=dress.format(CARD_NUMBER)) == OwnFields({}, ("attributes.ip_country",))


@pytest.mark.parametrize("between", ["\u00a0", "\t", "/", " - ", ", "])
def test_whatever_divides_the_digits_of_a_card_number_but_letters(between: str) -> None:
    parted = between.join(CARD_NUMBER[at : at + 4] for at in range(0, 16, 4))
    wide = "".join(chr(0xFF10 + int(digit)) for digit in CARD_NUMBER)
    for one in (parted, f"no {parted}.", wide):
        assert own(ip_country=one) == OwnFields({}, ("attributes.ip_country",)), one
    assert own(ip_country=f"99{CARD_NUMBER}99999").dropped == (), "in the midst of more digits"


def test_undeclared_names_are_told_unless_a_card_number_may_be_in_them() -> None:
    found = own(age=1, ip_city="x", **{"x" + "4" * 12: 1, "x" + "4" * 13: 1})
    assert found.undeclared == ("ip_city", "x" + "4" * 12, "")


def test_categories_take_two_thousand_bytes_of_a_score() -> None:
    names = [f"c{at}" for at in range(20)]
    values = dict.fromkeys(names, "€" * 100)
    found = category_texts(names, values | {"c1": "x"})
    assert list(found) == names[: len(found)]
    taken = sum(len(name) + len(value.encode()) for name, value in found.items())
    assert taken <= MOST_TEXT_BYTES < taken + 303
    assert category_texts(["a", "b"], {"b": "x"}) == {"b": "x"}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from([*FIELDS.by_name, "other", "x1"]) | st.text(max_size=70)


@given(st.dictionaries(NAMES, JSON, max_size=8) | JSON)
def test_no_attributes_cost_a_decision_or_change_the_content(attributes: Any) -> None:
    found = parsed(text(attributes=attributes))
    assert found.content == parsed(text()).content
    fields = RULES.read(found.transaction)
    assert all(name.startswith("attributes.") for name in fields.dropped)
    assert set(fields.values) <= set(FIELDS.by_name)
    assert msgspec.json.encode(fields.values)


VALID = {
    "age": st.integers(0, 100) | st.floats(0, 100),
    "risk": st.integers(-5, 5) | st.floats(-5, 5) | st.sampled_from([0.0005, 1.2345, -0.0015, 2.5]),
    "ip_country": st.sampled_from(["NG", "US", "a country with a long name", "4" * 13, CARD_NUMBER]),
    "three_ds": st.booleans(),
    "ip": st.text(min_size=1, max_size=40),
    "other": st.integers(),
}
WRONG = st.sampled_from([101, -0.6, 1e308, -1e308, 10**30, 10**400, 1e13, "x", "", True, 0, 1.0, CARD_NUMBER])
PAYMENTS = st.fixed_dictionaries({}, optional={name: st.none() | one for name, one in VALID.items()})


@given(
    st.lists(PAYMENTS | st.none(), max_size=3 * FEW),
    st.lists(st.tuples(st.integers(0, 3 * FEW), st.sampled_from(list(VALID)), WRONG), max_size=2),
)
@example([{"risk": 1.2345}, {"risk": 0.0005}, {"risk": None}, {}, None] * FEW, [])
@example([{"age": 1}] * 3 * FEW, [(2, "age", 10**400)])
def test_a_batch_is_read_as_each_of_its_payments_is(
    each: list[dict[str, Any] | None], planted: list[tuple[int, str, Any]]
) -> None:
    for at, name, value in planted:
        if at < len(each):
            each[at] = {**(each[at] or {}), name: value}
    payments = [SimpleNamespace(attributes=one, card_country="AT", occurred_at="2026-01-01T00:00:00Z") for one in each]
    one_by_one, batch = [RULES.read(one) for one in payments], RULES.read_all(payments)
    assert list(batch.values) == [one.values for one in one_by_one]
    assert [batch.dropped.get(at, ()) for at in range(len(payments))] == [one.dropped for one in one_by_one]
    assert list(batch.undeclared) == [*chain.from_iterable(one.undeclared for one in one_by_one)]
    names = FIELDS.categories
    assert as_json(category_texts_of(names, batch.values)) == [category_texts(names, one.values) for one in one_by_one]


def as_json(values: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(values))


def test_a_usual_batch_is_read_as_columns_and_parts_of_it_are_views() -> None:
    rows: list[dict[str, Any]] = [{"age": at, "risk": at / 7, "ip": f"i{at}"} if at % 3 else {} for at in range(20)]
    table = RULES.read_all([SimpleNamespace(attributes=one, card_country=None) for one in rows]).values
    assert isinstance(table, OwnTable)
    expected = [FIELDS.kept(one) for one in rows]
    assert list(table) == expected
    assert list(table[3:9]) == expected[3:9]
    assert list(table[np.array([7, 2])]) == [expected[7], expected[2]]
    assert table.counts == {"age": 13, "risk": 13, "ip": 13}


def test_texts_that_may_be_too_long_together_are_measured_one_by_one() -> None:
    names = tuple(f"c{at}" for at in range(10))
    rules = FieldRules(DeclaredFields(tuple(map(category, names))))
    long = dict.fromkeys(names, "€" * 100)
    payments = [SimpleNamespace(attributes=long if at % 2 else {"c1": "x"}) for at in range(2 * FEW)]
    own_values = rules.read_all(payments).values
    assert isinstance(own_values, OwnTable)
    found = as_json(category_texts_of(names, own_values))
    assert found == [category_texts(names, one) for one in own_values]
    assert [len(one) for one in found[:2]] == [1, 6]
