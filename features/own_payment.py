"""The fields of one's own payment: those of the contract as columns of a batch, and one payment as formulas see it."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from math import isnan
from types import MappingProxyType

import msgspec
import numpy as np

from features.history import records
from features.history.frames import Floats, major_units
from features.history.store import Transactions
from features.own_fields import DeclaredFields, FieldKind
from features.own_table import own_numbers, own_texts

HOUR_MS = 3_600_000
HOURS_OF_DAY = 24
FieldText = float | bool | str | None
"""A field's value as formulas see it; None: absent."""
FieldReader = Callable[[Transactions], Sequence[FieldText]]
_CACHED_READERS = 4_096


def hours(transactions: Transactions) -> Floats:
    """Return the hour of the day by the local clock, 0 to 23, of shape (n,)."""
    return (transactions.wall_clock_ms // HOUR_MS % HOURS_OF_DAY).astype(np.float64)


def _amounts(transactions: Transactions) -> Floats:
    return major_units(transactions.amount_minor, transactions.exponent)


def _degrees(name: str) -> Callable[[Transactions], Floats]:
    def read(transactions: Transactions) -> Floats:
        packed = records.unpack_places(transactions.place)[name == "longitude"]
        known = (transactions.traits & records.HAS_PLACE.mask) != 0
        return np.where(known, packed / records.PLACE_UNITS, np.nan)

    return read


CONTRACT_NUMBERS: Mapping[str, Callable[[Transactions], Floats]] = MappingProxyType(
    {"amount": _amounts, "hour": hours, **{name: _degrees(name) for name in ("latitude", "longitude")}}
)
"""The contract's fields that are numbers: functions of n transactions, of shape (n,); NaN where one is absent."""


def texts(name: str, transactions: Transactions) -> Sequence[str | None]:
    """Return the texts of a field of n transactions, of the contract or a declared one; None where it is absent."""
    if name in records.TEXT_TRAITS:
        return [records.trait_text(name, traits) for traits in transactions.traits.tolist()]
    return own_texts(name, transactions.own, len(transactions))


class OwnPayments:
    """The transactions of a batch with their fields, each of which is worked out when a formula first asks for it."""

    def __init__(self, transactions: Transactions, declared: DeclaredFields) -> None:
        self.transactions = transactions
        self._columns = _Columns(transactions, declared)

    def payment(self, number: int) -> "OwnPayment":
        """Return one of them."""
        return OwnPayment(self.transactions, self._columns, number)

    @cached_property
    def each(self) -> Sequence["OwnPayment"]:
        """All of them, which the formulas of a batch share."""
        return [self.payment(at) for at in range(len(self.transactions))]


class _Columns(dict[str, Sequence[FieldText]]):
    """The fields of a batch by name, worked out when first asked for; a dictionary looks up the others in C."""

    def __init__(self, transactions: Transactions, declared: DeclaredFields) -> None:
        super().__init__()
        self._transactions = transactions
        self._declared = declared

    def __missing__(self, name: str) -> Sequence[FieldText]:
        column = self[name] = _reader(self._declared, name)(self._transactions)
        return column


@lru_cache(maxsize=_CACHED_READERS)
def _reader(declared: DeclaredFields, name: str) -> FieldReader:
    """Return what reads a field of a batch, of the contract or of a module.

    Raises:
        LookupError: there is no such field.
    """
    field = declared.found(name)
    if field is None:
        raise LookupError(f"{name!r} is no field of the contract, and is not declared in FIELDS")
    power = float(field.power)
    if name in CONTRACT_NUMBERS:
        of_contract = CONTRACT_NUMBERS[name]
        return lambda transactions: _absent_as_none(of_contract(transactions).tolist())
    if field.kind is FieldKind.CATEGORY or field.kind is FieldKind.TOKEN:
        return partial(texts, name)

    def read(transactions: Transactions) -> Sequence[float | None]:
        kept = own_numbers(name, transactions.own, len(transactions))
        return _absent_as_none((kept / power).tolist() if type(kept) is np.ndarray else [one / power for one in kept])

    if field.kind is FieldKind.NUMBER:
        return read
    return lambda transactions: [None if one is None else bool(one) for one in read(transactions)]


def _absent_as_none(numbers: Sequence[float]) -> Sequence[float | None]:
    """Return numbers with None for NaN; the sum tells whether there can be one."""
    return [None if isnan(one) else one for one in numbers] if isnan(sum(numbers)) else numbers


class OwnPayment(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One's own transaction with its fields: `payment["account_age_days"]`, `payment["amount"]`, `payment["mcc"]`.

    A formula of the transaction alone, `own(formula)`, takes one. Fields are those that the module declares and those
    of the contract: numbers are floats, flags booleans, categories and tokens texts, what is absent is None.
    """  # a struct, since one is made for each payment and takes a third of the time of a class

    _transactions: Transactions
    _columns: Mapping[str, Sequence[FieldText]]
    _number: int

    def __getitem__(self, name: str) -> FieldText:
        """Return a field's value.

        Raises:
            LookupError: there is no such field.
        """
        return self._columns[name][self._number]

    @property
    def time_ms(self) -> int:
        """When it occurred, in milliseconds of the Unix epoch."""
        return int(self._transactions.occurred_ms[self._number])
