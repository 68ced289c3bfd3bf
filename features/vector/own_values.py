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


def own_values(values: Sequence[OwnValue], transactions: Transactions) -> Floats:
    """Return the values of k fields, float64 of shape (k, n).

    NaN where a field is absent. A category is its code, a flag 0 or 1.
    """
    fields = tuple(value.field for value in values if value.field is not None)  # each: `FeatureSet` resolves them
    found = np.empty((len(fields), len(transactions)))
    for at, field in enumerate(fields):
        found[at] = _column(field, transactions)
    found /= _powers(fields)
    return found


def _column(field: OwnField, transactions: Transactions) -> Sequence[float] | Floats:
    """Return a field's values times a power of ten."""
    name = field.name
    if name in CONTRACT_NUMBERS:
        return CONTRACT_NUMBERS[name](transactions)
    if field.kind is FieldKind.CATEGORY:
        return list(map(_codes_of(name).__getitem__, texts(name, transactions)))
    return own_numbers(name, transactions.own, len(transactions))


@lru_cache(maxsize=_CACHED_FIELDS)
def _powers(fields: tuple[OwnField, ...]) -> Floats:
    decimals = [0 if field.name in CONTRACT_NUMBERS else field.decimals for field in fields]
    return 10.0 ** np.array(decimals, np.float64)[:, np.newaxis]


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
