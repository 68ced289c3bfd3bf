"""The values of a payment's own fields, as columns of vectors."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from features.declaration import HOUR_MS, MINUTE_MS
from features.history import records
from features.history.frames import FINEST, PER_MAJOR, POWERS, Floats
from features.history.store import Transactions
from features.own_fields import CARRIED, CONTRACT_FIELDS, FieldKind, OwnValue, category_code

HOURS_OF_DAY = 24
_ABSENT = float("nan")
_CACHED_TEXTS, _CACHED_FIELDS = 65_536, 512


def own_value(value: OwnValue, transactions: Transactions) -> Floats:
    """Return a field's values, float64 of shape (n,); NaN where it is absent. A category is its code, a flag 0 or 1."""
    field = value.field
    assert field is not None  # noqa: S101 - `FeatureSet` resolves it
    if field.name in CONTRACT_FIELDS and field.name not in CARRIED:
        return _OF_COLUMNS[field.name](transactions)
    if transactions.own is None:
        return np.full(len(transactions), np.nan)
    name = field.name
    if field.kind is FieldKind.CATEGORY:
        codes = _codes_of(name)
        return np.array([codes[own.get(name)] for own in transactions.own], np.float64)
    kept = np.array([own.get(name, _ABSENT) for own in transactions.own], np.float64)
    return kept / 10**field.decimals if field.decimals else kept


class _Codes(dict[object, float]):
    """The codes of a category's texts as float64, worked out when first asked for; NaN for None."""

    def __init__(self, name: str) -> None:
        super().__init__({None: _ABSENT})
        self._name = name

    def __missing__(self, text: object) -> float:
        if len(self) >= _CACHED_TEXTS:
            self.clear()
            self[None] = _ABSENT
        found = self[text] = float(category_code(self._name, str(text)))
        return found


@lru_cache(maxsize=_CACHED_FIELDS)
def _codes_of(name: str) -> _Codes:
    return _Codes(name)


def _amount(transactions: Transactions) -> Floats:
    major: Floats = transactions.amount_minor * POWERS[FINEST - transactions.exponent] / PER_MAJOR
    return major


def _hour(transactions: Transactions) -> Floats:
    clock_ms = transactions.occurred_ms + transactions.utc_offset_minutes * MINUTE_MS
    return (clock_ms // HOUR_MS % HOURS_OF_DAY).astype(np.float64)


def _degrees(name: str) -> Callable[[Transactions], Floats]:
    def read(transactions: Transactions) -> Floats:
        packed = records.unpack_places(transactions.place)[name == "longitude"]
        known = (transactions.traits & records.HAS_PLACE.mask) != 0
        return np.where(known, packed / records.PLACE_UNITS, np.nan)

    return read


def _trait(name: str) -> Callable[[Transactions], Floats]:
    def read(transactions: Transactions) -> Floats:
        codes = _codes_of(name)
        return np.array(
            [codes[records.trait_text(name, traits)] for traits in transactions.traits.tolist()], np.float64
        )

    return read


_OF_COLUMNS: Mapping[str, Callable[[Transactions], Floats]] = MappingProxyType(
    {
        "amount": _amount,
        "hour": _hour,
        **{name: _degrees(name) for name in ("latitude", "longitude")},
        **{name: _trait(name) for name in ("currency", "mcc", "channel", "merchant_country")},
    }
)
