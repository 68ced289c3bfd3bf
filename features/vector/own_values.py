"""The values of a payment's own fields, as columns of vectors."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from features.history.frames import Floats
from features.history.store import Transactions
from features.own_fields import FieldKind, FieldValue, OwnField, OwnValue, category_code
from features.own_payment import CONTRACT_NUMBERS, texts
from features.own_table import own_numbers

_ABSENT = float("nan")
_CACHED_TEXTS, _CACHED_FIELDS = 65_536, 512


class OwnColumns:
    """Computes the values of k fields, which are put together once for all batches."""

    def __init__(self, values: Sequence[OwnValue]) -> None:
        self._fields = [value.field for value in values if value.field is not None]  # each: `FeatureSet` resolves them
        decimals = [0 if field.name in CONTRACT_NUMBERS else field.decimals for field in self._fields]
        self._powers = 10.0 ** np.array(decimals, np.float64)[:, np.newaxis]

    def of(self, transactions: Transactions) -> Floats:
        """Return them, float64 of shape (k, n): NaN where a field is absent, a category is its code, a flag 0 or 1."""
        found = np.empty((len(self._fields), len(transactions)))
        for at, field in enumerate(self._fields):
            found[at] = _column(field, transactions)
        found /= self._powers
        return found


def _column(field: OwnField, transactions: Transactions) -> Sequence[float] | Floats:
    """Return a field's values times a power of ten."""
    name = field.name
    if name in CONTRACT_NUMBERS:
        return CONTRACT_NUMBERS[name](transactions)
    if field.kind is FieldKind.CATEGORY:
        return list(map(_codes_of(name).__getitem__, texts(name, transactions)))
    return own_numbers(name, transactions.own, len(transactions))


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
