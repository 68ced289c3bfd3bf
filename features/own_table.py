"""The values of the own fields of a batch as columns, which is how nearly all that reads them wants them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from types import MappingProxyType, NoneType
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from features.own_fields import ROUNDED, FieldKind, FieldValue, OwnField, OwnValues

_ABSENT = math.nan
_TYPES: Mapping[FieldKind, frozenset[type]] = MappingProxyType(
    {
        FieldKind.NUMBER: frozenset({int, float, NoneType}),
        FieldKind.FLAG: frozenset({bool, NoneType}),
    }
)
_TEXT_TYPES = frozenset({str, NoneType})
_ROUNDS = 1.5 * 2.0**52
"""Added to a float below 2^51 and taken away again, it leaves the nearest whole number."""
FEW = 4
"""Up to so many payments are read faster one by one than as columns."""
Floats = NDArray[np.float64]
Texts = Sequence[str | None]


class OwnTable(Sequence[OwnValues]):
    """The own values of n payments as columns: of each the values as a mapping, made when it is asked for.

    `numbers` has the names of the rows of `matrix`, float64 of shape (k, n): kept integers, which are exact, NaN where
    one is absent. `texts` are None where one is absent.
    """

    def __init__(self, numbers: Mapping[str, int], matrix: Floats, texts: Mapping[str, Texts]) -> None:
        self._numbers = numbers
        self._matrix = matrix
        self._texts = texts
        self._distinct = dict[str, frozenset[str | None]]()

    def __len__(self) -> int:
        """Return n."""
        count: int = self._matrix.shape[1]
        return count

    @overload
    def __getitem__(self, which: int) -> OwnValues: ...
    @overload
    def __getitem__(self, which: slice | NDArray[np.int64]) -> "OwnTable": ...
    def __getitem__(self, which: int | slice | NDArray[np.int64]) -> "OwnValues | OwnTable":
        """Return the values of one payment, or the table of some."""
        if isinstance(which, int):
            numbers = self._matrix[:, which].tolist()
            found: dict[str, FieldValue] = {
                name: int(numbers[row]) for name, row in self._numbers.items() if not math.isnan(numbers[row])
            }
            of_texts = ((name, column[which]) for name, column in self._texts.items())
            return found | {name: text for name, text in of_texts if text is not None}
        if isinstance(which, slice):
            texts = {name: column[which] for name, column in self._texts.items()}
        else:
            places = which.tolist()
            texts = {name: [column[at] for at in places] for name, column in self._texts.items()}
        return OwnTable(self._numbers, self._matrix[:, which], texts)

    def number(self, name: str) -> Floats | None:
        """Return a column of numbers or flags; None if there is none of that name."""
        row = self._numbers.get(name)
        return None if row is None else self._matrix[row]

    def text(self, name: str) -> Texts | None:
        """Return a column of categories or tokens; None if there is none of that name."""
        return self._texts.get(name)

    def distinct(self, name: str) -> frozenset[str | None]:
        """Return what the texts of a column are, each once; nothing if there is none of that name."""
        found = self._distinct.get(name)
        if found is None:
            found = self._distinct[name] = frozenset(self._texts.get(name, ()))
        return found

    def distinct_texts(self) -> Iterator[str | None]:
        """Yield what its texts are, each once a column."""
        return chain.from_iterable(map(self.distinct, self._texts))

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How many payments have a value of each field that some have."""
        there = np.count_nonzero(~np.isnan(self._matrix), axis=1).tolist()
        found = {name: there[row] for name, row in self._numbers.items()}
        for name, column in self._texts.items():
            absent = list(column).count(None) if None in self.distinct(name) else 0
            found[name] = len(column) - absent
        return {name: count for name, count in found.items() if count}


def own_numbers(name: str, own: Sequence[OwnValues] | None, count: int) -> Floats | Sequence[float]:
    """Return a number's or flag's kept values in n payments; NaN where it is absent."""
    if type(own) is OwnTable:
        found = own.number(name)
        return [_ABSENT] * count if found is None else found
    return [_ABSENT] * count if own is None else [one.get(name, _ABSENT) for one in own]  # type: ignore[misc] # no text


def own_texts(name: str, own: Sequence[OwnValues] | None, count: int) -> Texts:
    """Return a category's or token's values in n payments; None where it is absent."""
    if type(own) is OwnTable:
        return own.text(name) or [None] * count
    return [None] * count if own is None else [one.get(name) for one in own]  # type: ignore[misc] # no number


class ColumnsReader:
    """Reads fields of many objects at once, if nothing is wrong with any of them; else `OwnField.read` does."""

    def __init__(self, fields: Sequence[OwnField]) -> None:
        self._numbers = [one for one in fields if one.kind in {FieldKind.NUMBER, FieldKind.FLAG}]
        self._texts = [one for one in fields if one.kind not in {FieldKind.NUMBER, FieldKind.FLAG}]
        self._rows = {one.name: row for row, one in enumerate(self._numbers)}
        self._readers = [one.reader for one in self._numbers]
        limits = [(one.power, *one.bounds) for one in self._numbers]
        self._factors, self._least, self._most = np.array(limits, np.float64).reshape(-1, 3, 1).transpose(1, 0, 2)

    def read(self, objects: Sequence[Mapping[str, Any]], more_texts: Mapping[str, Texts]) -> OwnTable | None:
        """Return the values of objects of JSON, with texts that are read already; None if one is not valid."""
        try:
            columns = [_column(field, objects) for field in self._numbers]
            texts = {field.name: [one.get(field.name) for one in objects] for field in self._texts}
            given = np.array(columns, np.float64).reshape(len(columns), len(objects))
        except (TypeError, OverflowError):
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            product = given * self._factors
            kept = product + _ROUNDS - _ROUNDS
            absent = np.isnan(given)
            near = absent | (np.abs(product - kept) <= ROUNDED)
            for row, at in zip(*(~near).nonzero(), strict=True):
                value = self._readers[row](columns[row][at])
                kept[row, at] = np.inf if value is None else value
            valid = absent | ((self._least <= kept) & (kept <= self._most))
        table = OwnTable(self._rows, kept, {**more_texts, **texts})
        are_texts = all(_are_texts(table.distinct(name)) for name in texts)
        return table if are_texts and valid.all() else None


def _are_texts(distinct: frozenset[Any]) -> bool:
    return _TEXT_TYPES.issuperset(map(type, distinct)) and "" not in distinct


def _column(field: OwnField, objects: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return a number or a flag of all objects.

    Raises:
        TypeError: one has another type.
    """
    name = field.name
    column = [one.get(name) for one in objects]
    if not _TYPES[field.kind].issuperset(map(type, column)):
        raise TypeError(name)
    return column
