"""The values of a payment's own fields, as columns of vectors."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from features.history import records
from features.history.frames import Floats
from features.history.store import Transactions
from features.own_fields import FieldKind, FieldValue, OwnField, OwnValue, OwnValues, category_code
from features.own_payment import CONTRACT_NUMBERS, texts
from features.own_table import OwnTable, own_numbers, own_texts

_ABSENT = float("nan")
_CACHED_TEXTS, _CACHED_FIELDS = 65_536, 512


class OwnColumns:
    """Computes the values of fields, each for its place among features; what is read is put together once."""

    def __init__(self, values: Sequence[tuple[OwnValue, int]]) -> None:
        self._of_contract = list[tuple[Callable[[Transactions], Sequence[float] | Floats], int]]()
        self._numbers = list[tuple[str, float, int]]()
        self._categories = list[tuple[str, Callable[[FieldValue | None], float], int]]()
        for value, place in values:
            if (field := value.field) is not None:  # `FeatureSet` resolves them
                self._add(field, place)
        self._places = [place for *_, place in (*self._numbers, *self._categories)]

    def _add(self, field: OwnField, place: int) -> None:
        name = field.name
        if name in CONTRACT_NUMBERS:
            self._of_contract.append((CONTRACT_NUMBERS[name], place))
        elif name in records.TEXT_TRAITS:
            self._of_contract.append((_codes_of_trait(name), place))
        elif field.kind is FieldKind.CATEGORY:
            self._categories.append((name, _codes_of(name).__getitem__, place))
        else:
            self._numbers.append((name, float(field.power), place))

    def fill(self, transactions: Transactions, found: Floats) -> None:
        """Fill in their rows of features, float64 of shape (at least so many, n).

        NaN where a field is absent; a category is its code, a flag 0 or 1.
        """
        for read, place in self._of_contract:
            found[place] = read(transactions)
        if not self._places:
            return
        own = transactions.own
        if own is None or type(own) is OwnTable:
            count = len(transactions)
            for name, power, place in self._numbers:
                np.divide(own_numbers(name, own, count), power, out=found[place])
            for name, codes, place in self._categories:
                found[place] = list(map(codes, own_texts(name, own, count)))
        else:
            found[self._places] = np.array([self._row(values) for values in own], np.float64).T

    def _row(self, values: OwnValues) -> list[float]:
        """Return those of one payment that are among its own values."""
        get = values.get
        numbers = [get(name, _ABSENT) / power for name, power, _ in self._numbers]  # type: ignore[operator] # no text
        return numbers + [codes(get(name)) for name, codes, _ in self._categories]


def _codes_of_trait(name: str) -> Callable[[Transactions], Sequence[float]]:
    """Return what computes the codes of a category of the contract."""
    codes = _codes_of(name).__getitem__
    return lambda transactions: list(map(codes, texts(name, transactions)))


class _Codes(dict[FieldValue | None, float]):
    """The codes of a category's texts as float64, worked out when first asked for; NaN for None."""

    def __init__(self, name: str) -> None:
        super().__init__({None: _ABSENT})
        self._name = name

    def __missing__(self, text: FieldValue) -> float:
        if len(self) >= _CACHED_TEXTS:
            self.clear()
            self[None] = _ABSENT
        found = self[text] = float(category_code(self._name, str(text)))
        return found


@lru_cache(maxsize=_CACHED_FIELDS)
def _codes_of(name: str) -> _Codes:
    return _Codes(name)
