"""The values of a payment's own fields, as columns of vectors."""

from functools import lru_cache

import numpy as np

from features.history.frames import Floats
from features.history.store import Transactions
from features.own_fields import FieldKind, OwnValue, category_code
from features.own_payment import CONTRACT_NUMBERS, texts

_ABSENT = float("nan")
_CACHED_TEXTS, _CACHED_FIELDS = 65_536, 512


def own_value(value: OwnValue, transactions: Transactions) -> Floats:
    """Return a field's values, float64 of shape (n,); NaN where it is absent. A category is its code, a flag 0 or 1."""
    field = value.field
    assert field is not None  # noqa: S101 - `FeatureSet` resolves it
    name = field.name
    if name in CONTRACT_NUMBERS:
        return CONTRACT_NUMBERS[name](transactions)
    if field.kind is FieldKind.CATEGORY:
        codes = _codes_of(name)
        return np.array([codes[text] for text in texts(name, transactions)], np.float64)
    if transactions.own is None:
        return np.full(len(transactions), _ABSENT)
    kept = np.array([own.get(name, _ABSENT) for own in transactions.own], np.float64)
    return kept / 10**field.decimals if field.decimals else kept


class _Codes(dict[str | None, float]):
    """The codes of a category's texts as float64, worked out when first asked for; NaN for None."""

    def __init__(self, name: str) -> None:
        super().__init__({None: _ABSENT})
        self._name = name

    def __missing__(self, text: str) -> float:
        if len(self) >= _CACHED_TEXTS:
            self.clear()
            self[None] = _ABSENT
        found = self[text] = float(category_code(self._name, text))
        return found


@lru_cache(maxsize=_CACHED_FIELDS)
def _codes_of(name: str) -> _Codes:
    return _Codes(name)
