"""`attributes` of a transaction: their form as a whole, and the values of the fields that a deployment declares.

They are no part of a payment's content, and nothing in them costs its decision: what is not of the contract's form is
dropped as `attributes`, a declared field of a wrong type or out of bounds as `attributes.NAME`.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import msgspec

from features.own_fields import CARRIED, NO_FIELDS, DeclaredFields, FieldValue, OwnValues
from stream.contract.codes import DeadLetterCode, Rejection
from stream.id_rules import NO_SHAPES, IdRules

MOST_NAMES, MOST_BYTES, LONGEST_TEXT = 200, 16_384, 256
MOST_TEXT_BYTES = 2_000
"""Of the names and texts of declared categories in a score."""
MOST_DIGITS = 12
"""A name with more digits could hold a card number: it is counted without being named."""
MOST_TOLD = 100
"""So many undeclared names are counted one by one."""
OTHER_NAME = "-other"
"""Stands for all others; no attribute has such a name."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MOST_BYTES_OF_LETTER = 4
_CACHED_NAMES = 4_096

Attributes = dict[str, str | int | float | bool | None]
AttributeObject = Annotated[Attributes, msgspec.Meta(max_length=MOST_NAMES)]
_NOTHING: OwnValues = {}


def attributes_problem(attributes: Mapping[str, Any]) -> str:
    """Say why decoded attributes are not of the contract's form; empty if they are."""
    if not attributes:
        return ""
    if len(attributes) > MOST_NAMES:
        return f"{len(attributes)} names, more than {MOST_NAMES}"
    names = tuple(attributes)
    size = _size_of_names(names)
    if size is None:
        wrong = sum(_NAME.fullmatch(name) is None for name in names)
        return f"{wrong} names are not 1 to 64 lower-case letters, digits and underscores, a letter first"
    texts = [value for value in attributes.values() if isinstance(value, str)]
    lengths = [len(text) for text in texts]
    if texts and not 1 <= min(lengths) <= max(lengths) <= LONGEST_TEXT:
        return f"a text is empty, or longer than {LONGEST_TEXT} characters"
    if size + _MOST_BYTES_OF_LETTER * sum(lengths) > MOST_BYTES:
        size += sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        if size > MOST_BYTES:
            return f"{size} bytes of names and texts, more than {MOST_BYTES}"
    return ""


@lru_cache(maxsize=_CACHED_NAMES)
def _size_of_names(names: tuple[str, ...]) -> int | None:
    """Return how many bytes names have together; None if one is invalid. Few combinations of names occur."""
    return sum(map(len, names)) if all(map(_NAME.fullmatch, names)) else None


def well_formed_attributes(attributes: Attributes) -> Rejection | None:
    """Reject attributes that are not of the contract's form."""
    problem = attributes_problem(attributes)
    return Rejection(DeadLetterCode.INVALID_FIELD, problem) if problem else None


class OwnFields(NamedTuple):
    """The values of a payment's own fields, and the names of those that were dropped."""

    values: OwnValues = _NOTHING
    dropped: tuple[str, ...] = ()


class FieldRules(NamedTuple):
    """What a deployment reads: the declared fields, those of the contract that no column holds; the shapes of ids."""

    declared: DeclaredFields = NO_FIELDS
    carried: frozenset[str] = frozenset()
    ids: IdRules = NO_SHAPES

    @property
    def reads(self) -> bool:
        """Whether any field is read at all."""
        return bool(self.declared or self.carried)

    def read(self, payment: Any) -> OwnFields:  # noqa: ANN401 - a transaction, whose module imports this one
        """Read the fields of a decoded transaction, each on its own."""
        values: dict[str, FieldValue] = {
            name: value for name in CARRIED if name in self.carried and (value := getattr(payment, name)) is not None
        }
        attributes = payment.attributes
        if not attributes:
            return OwnFields(values)
        dropped: list[str] = []
        for name, read in self.declared.readers:
            raw = attributes.get(name)
            if raw is None:
                continue
            value = read(raw)
            if value is None or (isinstance(value, str) and self._is_card_number(name, value, payment)):
                dropped.append(f"attributes.{name}")
            else:
                values[name] = value
        return OwnFields(values, tuple(dropped))

    def _is_card_number(self, name: str, value: str, payment: Any) -> bool:  # noqa: ANN401 - as in `read`
        return len(value) > MOST_DIGITS and self.ids.refuses(
            f"attributes.{name}", value, {"occurred_at": payment.occurred_at}
        )


def category_texts(categories: Iterable[str], values: OwnValues) -> dict[str, str]:
    """Return categories among a payment's values as their texts, the first ones that take 2,000 bytes together."""
    found, left = dict[str, str](), MOST_TEXT_BYTES
    for name in categories:
        text = values.get(name)
        if text is not None:
            left -= len(name) + len(str(text).encode("utf-8", "surrogatepass"))
            if left < 0:
                break
            found[name] = str(text)
    return found


def undeclared(names: Iterable[str], declared: DeclaredFields) -> list[str]:
    """Return the names that are not declared; empty for one that could hold a card number."""
    return [_tellable(name) for name in names if name not in declared.by_name]


@lru_cache(maxsize=_CACHED_NAMES)
def _tellable(name: str) -> str:
    return name if sum(map(str.isdigit, name)) <= MOST_DIGITS else ""
