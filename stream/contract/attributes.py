"""`attributes` of a transaction: their form as a whole, and the values of the fields that a deployment declares.

They are no part of a payment's content, and nothing in them costs its decision: what is not of the contract's form is
dropped as `attributes`, a declared field of a wrong type or out of bounds as `attributes.NAME`.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import msgspec

from features.own_fields import CARRIED, NO_FIELDS, DeclaredFields, FieldsReader, FieldValue, OwnValues
from fraudstream_client.field_types import ATTRIBUTE_NAME, MOST_ATTRIBUTES, AttributeText
from stream.contract.codes import DeadLetterCode, Rejection
from stream.id_rules import NO_SHAPES, IdRules

MOST_BYTES = 16_384
MOST_TEXT_BYTES = 2_000
"""Of the names and texts of declared categories in a score."""
MOST_DIGITS = 12
"""A name with more digits could hold a card number: it is counted without being named."""
MOST_TOLD = 100
"""So many undeclared names are counted one by one."""
_MOST_BYTES_OF_LETTER, LONGEST_NAME = 4, 64
OTHER_NAME = "-other"
"""Stands for all others; no attribute has such a name."""
_NAME = re.compile(ATTRIBUTE_NAME)
_CACHED_NAMES = 4_096

Attributes = Annotated[dict[str, AttributeText | int | float | bool | None], msgspec.Meta(max_length=MOST_ATTRIBUTES)]
"""Those of the client but for the pattern of the names, which is looked at once for names that come together."""
_NOTHING: OwnValues = {}


def have_valid_names(attributes: Mapping[str, Any]) -> bool:
    """Tell whether the names of attributes are of the contract's form."""
    return _size_of_names(tuple(attributes)) is not None


def attributes_problem(attributes: Mapping[str, Any]) -> str:
    """Say why attributes of the right types are not of the contract's form all the same; empty if they are."""
    size = _size_of_names(tuple(attributes))
    if size is None:
        wrong = sum(_NAME.fullmatch(name) is None for name in attributes)
        return f"{wrong} names are not 1 to 64 lower-case letters, digits and underscores, a letter first"
    size += sum(len(one.encode("utf-8", "surrogatepass")) for one in attributes.values() if isinstance(one, str))
    return f"{size} bytes of names and texts, more than {MOST_BYTES}" if size > MOST_BYTES else ""


@lru_cache(maxsize=_CACHED_NAMES)
def _size_of_names(names: tuple[str, ...]) -> int | None:
    """Return how many bytes names have together; None if one is invalid. Few combinations of names occur."""
    return sum(map(len, names)) if all(map(_NAME.fullmatch, names)) else None


def well_formed_attributes(attributes: Attributes) -> Rejection | None:
    """Reject attributes that are not of the contract's form."""
    problem = attributes_problem(attributes)
    return Rejection(DeadLetterCode.INVALID_FIELD, problem) if problem else None


class OwnFields(NamedTuple):
    """The values of a payment's own fields, the names of those that were dropped, and those that nobody declares.

    A name that could hold a card number is empty.
    """

    values: OwnValues = _NOTHING
    dropped: tuple[str, ...] = ()
    undeclared: tuple[str, ...] = ()


class _Plan(NamedTuple):
    """What is read of attributes of certain names: the declared ones, and the others as they are told."""

    reader: FieldsReader
    undeclared: tuple[str, ...]


class FieldRules:
    """What a deployment reads: the declared fields, those of the contract that no column holds; the shapes of ids.

    Few combinations of names occur, so what is to be done with each is remembered.
    """

    def __init__(
        self, declared: DeclaredFields = NO_FIELDS, carried: Collection[str] = (), ids: IdRules = NO_SHAPES
    ) -> None:
        self.declared = declared
        self.ids = ids
        self._carried = tuple(name for name in CARRIED if name in carried)
        self.reads = bool(declared or carried)
        """Whether any field is read at all."""
        self._plans: dict[tuple[str, ...], _Plan] = {}

    def read(self, payment: Any) -> OwnFields:  # noqa: ANN401 - a transaction, whose module imports this one
        """Read the fields of a decoded transaction, each on its own."""
        values: dict[str, FieldValue] = {
            name: value for name in self._carried if (value := getattr(payment, name)) is not None
        }
        attributes = payment.attributes
        if not attributes:
            return OwnFields(values)
        names = tuple(attributes)
        plan = self._plans.get(names) or self._planned(names)
        reader = plan.reader
        sound = reader.read(attributes, values)
        for name in reader.texts:
            text = values.get(name)
            if text is not None and len(text) > MOST_DIGITS and self._is_card_number(name, text, payment):  # type: ignore[arg-type]
                del values[name]
                sound = False
        if sound:
            return OwnFields(values, (), plan.undeclared)
        dropped = (name for name in reader.names if name not in values and attributes[name] is not None)
        return OwnFields(values, tuple(f"attributes.{name}" for name in dropped), plan.undeclared)

    def _planned(self, names: tuple[str, ...]) -> _Plan:
        if len(self._plans) >= _CACHED_NAMES:
            self._plans.clear()
        undeclared = tuple(_tellable(name) for name in names if name not in self.declared.by_name)
        plan = self._plans[names] = _Plan(self.declared.reader(frozenset(names)), undeclared)
        return plan

    def _is_card_number(self, name: str, value: str, payment: Any) -> bool:  # noqa: ANN401 - as in `read`
        return self.ids.refuses_text(f"attributes.{name}", value, {"occurred_at": payment.occurred_at})


def category_texts(categories: Iterable[str], values: OwnValues) -> dict[str, str]:
    """Return categories among a payment's values as their texts, the first ones that take 2,000 bytes together."""
    found = {name: str(text) for name in categories if (text := values.get(name)) is not None}
    if _MOST_BYTES_OF_LETTER * sum(map(len, found.values())) <= MOST_TEXT_BYTES - LONGEST_NAME * len(found):
        return found
    left, kept = MOST_TEXT_BYTES, dict[str, str]()
    for name, text in found.items():
        left -= len(name) + len(text.encode("utf-8", "surrogatepass"))
        if left < 0:
            break
        kept[name] = text
    return kept


def _tellable(name: str) -> str:
    """Return a name; empty for one that could hold a card number."""
    return name if sum(map(str.isdigit, name)) <= MOST_DIGITS else ""
