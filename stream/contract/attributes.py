"""`attributes` of a transaction: their form as a whole, and the values of the fields that a deployment declares.

They are no part of a payment's content, and nothing in them costs its decision: what is not of the contract's form is
dropped as `attributes`, a declared field of a wrong type or out of bounds as `attributes.NAME`.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET

from features.own_fields import CARRIED, NO_FIELDS, DeclaredFields, FieldValue, OwnValues
from features.own_table import FEW, ColumnsReader, OwnTable, own_texts
from fraudstream_client.field_types import ATTRIBUTE_NAME, MOST_ATTRIBUTES, AttributeText
from stream.contract.codes import DeadLetterCode, Rejection
from stream.id_rules import NO_SHAPES, IdRules, long_runs

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
_CACHED_NAMES, _CACHED_SETS = 4_096, 64

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


class OwnOfBatch(NamedTuple):
    """The same of a batch: the values of each payment, what was dropped by number, and all undeclared names."""

    values: Sequence[OwnValues] = ()
    dropped: Mapping[int, tuple[str, ...]] = MappingProxyType({})
    undeclared: Sequence[str] = ()


class FieldRules:
    """What a deployment reads: the declared fields, those of the contract that no column holds; the shapes of ids."""

    def __init__(
        self, declared: DeclaredFields = NO_FIELDS, carried: Collection[str] = (), ids: IdRules = NO_SHAPES
    ) -> None:
        self.declared = declared
        self.ids = ids
        self._carried = tuple(name for name in CARRIED if name in carried)
        self.reads = bool(declared or carried)
        """Whether any field is read at all."""
        self._columns = ColumnsReader(declared.fields)
        self._readers = tuple((name, f"attributes.{name}", read) for name, read in declared.readers.items())
        self._told = lru_cache(maxsize=_CACHED_NAMES)(self._undeclared)

    def read(self, payment: Any) -> OwnFields:  # noqa: ANN401 - a transaction, whose module imports this one
        """Read the fields of a decoded transaction, each on its own."""
        values: dict[str, FieldValue] = {
            name: value for name in self._carried if (value := getattr(payment, name)) is not None
        }
        attributes = payment.attributes or {}
        dropped = list[str]()
        for name, place, read in self._readers:
            given = attributes.get(name)
            if given is None:
                continue
            value = read(given)
            if value is None or (type(value) is str and self._is_card_number(place, value, payment)):
                dropped.append(place)
            else:
                values[name] = value
        return OwnFields(values, tuple(dropped), self._told(tuple(attributes)))

    def read_all(self, payments: Sequence[Any]) -> OwnOfBatch:
        """Read the fields of a batch of transactions, with the same result as `read` of each."""
        if len(payments) > FEW:
            given = [payment.attributes or {} for payment in payments]
            table = self._table(payments, given)
            if table is not None:
                return OwnOfBatch(table, {}, self._undeclared_beside(table, given))
        values, wrong, undeclared = list[OwnValues](), dict[int, tuple[str, ...]](), list[str]()
        for at, one in enumerate(payments):
            own = self.read(one)
            values.append(own.values)
            undeclared += own.undeclared
            if own.dropped:
                wrong[at] = own.dropped
        return OwnOfBatch(values, wrong, undeclared)

    def _table(self, payments: Sequence[Any], given: Sequence[Mapping[str, Any]]) -> OwnTable | None:
        """Read a batch, with the attributes of each, as columns; None if something is wrong with a value, or may be."""
        carried = {name: [getattr(one, name) for one in payments] for name in self._carried}
        table = self._columns.read(given, carried)
        if table is None or any(map(_may_be_card_number, table.distinct_texts())):
            return None
        return table

    def _undeclared(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return those names of a payment's attributes that nobody declares; few combinations of names occur."""
        return tuple(_tellable(name) for name in names if name not in self.declared.by_name)

    def _undeclared_beside(self, table: OwnTable, given: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Return the undeclared names of a batch: none, without a look, if as many values came as there are."""
        declared = sum(count for name, count in table.counts.items() if name not in self._carried)
        if declared == sum(map(len, given)):
            return ()
        return [*chain.from_iterable(map(self._told, map(tuple, given)))]

    def _is_card_number(self, place: str, value: str, payment: Any) -> bool:  # noqa: ANN401 - as in `read`
        return _may_be_card_number(value) and self.ids.refuses_text(place, value, {"occurred_at": payment.occurred_at})


def _may_be_card_number(text: str | None) -> bool:
    return text is not None and len(text) > MOST_DIGITS and bool(long_runs(text))


def category_texts(categories: Iterable[str], values: OwnValues) -> dict[str, str]:
    """Return categories among a payment's values as their texts, the first ones that take 2,000 bytes together."""
    found = {name: str(text) for name in categories if (text := values.get(name)) is not None}
    if _fit(sum(map(len, found.values())), len(found)):
        return found
    left, kept = MOST_TEXT_BYTES, dict[str, str]()
    for name, text in found.items():
        left -= len(name) + len(text.encode("utf-8", "surrogatepass"))
        if left < 0:
            break
        kept[name] = text
    return kept


def category_texts_of(categories: Sequence[str], own: Sequence[OwnValues]) -> Sequence[Any]:
    """Return what `category_texts` does for each payment of a batch, as objects of the same JSON.

    A struct's names need not be looked up for each payment; msgspec leaves out what is UNSET.
    """
    if type(own) is OwnTable:
        columns = [own_texts(name, own, len(own)) for name in categories]
        longest = sum(max(map(len, filter(None, own.distinct(name))), default=0) for name in categories)
        if _fit(longest, len(columns)):
            given = [
                [UNSET if text is None else text for text in column] if None in column else column for column in columns
            ]
            return list(map(json_type(tuple(categories), UNSET), *given))
    return [category_texts(categories, one) for one in own]


@lru_cache(maxsize=_CACHED_SETS)
def json_type(names: tuple[str, ...], *default: Any) -> type[msgspec.Struct]:  # noqa: ANN401 - of any type
    """Return a type with a field for each name of an object of JSON; names need not be Python's."""
    fields = {f"f{at}": name for at, name in enumerate(names)}
    return msgspec.defstruct("JsonObject", [(field, Any, *default) for field in fields], rename=fields, gc=False)


def _fit(letters: int, names: int) -> bool:
    return _MOST_BYTES_OF_LETTER * letters + LONGEST_NAME * names <= MOST_TEXT_BYTES


def _tellable(name: str) -> str:
    """Return a name; empty for one that could hold a card number."""
    return name if sum(map(str.isdigit, name)) <= MOST_DIGITS else ""
