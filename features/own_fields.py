"""The fields of a payment whose values are features: those that a deployment declares, and those of every payment.

    number("account_age_days", unit="days", meaning="age of the account", least=0, most=40_000)
    number("ip_distance", decimals=1, unit="km")
    category("ip_country", meaning="IP country")
    flag("three_ds", meaning="3-D Secure was passed")
    token("ip")

They come in `attributes` of `transaction/1`; a module of `FRAUDSTREAM_FEATURES` declares them in a tuple `FIELDS`. A
number is kept as an integer, the shortest decimal text times 10^decimals, half to even, so that it is the same in every
process and file. A category is a text; in a vector it is a code of 48 bits, the same everywhere and for every model.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import Any

from features.errors import DeclarationError
from fraudstream_client.field_types import ATTRIBUTE_NAME, MOST_ATTRIBUTES
from fraudstream_client.inputs import TransactionRecord

LARGEST = 10**12
"""The largest magnitude of a number times 10^decimals."""
MOST_DECIMALS = 9
_NAME = re.compile(ATTRIBUTE_NAME)
_POWERS: Sequence[int] = tuple(10**decimals for decimals in range(MOST_DECIMALS + 1))
ROUNDED = 0.499
"""A product this near to a whole number is rounded to it whatever its own error, which is below 0.0003."""
_CODE_BYTES = 6


class FieldKind(Enum):
    """What the values of a field are."""

    NUMBER = "number"
    CATEGORY = "category"
    FLAG = "flag"
    TOKEN = "token"  # noqa: S105 - the contract's word for an identifier


FieldValue = int | str
"""A value as it is kept: a number times 10^decimals, a flag as 0 or 1, a category or a token as its text."""
OwnValues = Mapping[str, FieldValue]
"""The values of one payment by field; absent ones are left out."""


@dataclass(frozen=True, slots=True)
class OwnField:
    """A field of a payment; `number`, `category`, `flag` and `token` declare one.

    `least` and `most` are bounds of the kept integer; None: no other than `LARGEST`. `unit` and `meaning` are for
    readers.

    Raises:
        DeclarationError: the field is invalid; the message says what is expected.
    """

    name: str
    kind: FieldKind
    decimals: int = 0
    unit: str = ""
    meaning: str = ""
    least: int | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise DeclarationError(
                f"field {self.name!r}: a name consists of 1 to 64 lower-case letters, digits and underscores, "
                "a letter first"
            )
        if self.least is not None and self.most is not None and self.least > self.most:
            raise DeclarationError(f"field {self.name!r}: its least value is above its most")

    @property
    def identity(self) -> list[str | int | None]:
        """What determines its values, as part of a fingerprint."""
        return [self.name, self.kind.value, self.decimals, self.least, self.most]

    @property
    def power(self) -> int:
        """What a number is multiplied by as it is kept."""
        return _POWERS[self.decimals]

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the largest integer that it keeps."""
        return -LARGEST if self.least is None else self.least, LARGEST if self.most is None else self.most

    def read(self, raw: Any) -> FieldValue | None:  # noqa: ANN401 - a value of JSON
        """Return a value as it is kept; None if it is of another type, or out of bounds."""
        return self.reader(raw)

    @property
    def reader(self) -> "Reader":
        """A function that does what `read` does, for many values."""
        match self.kind:
            case FieldKind.NUMBER:
                return _number_reader(self)
            case FieldKind.FLAG:
                return _read_flag
            case _:
                return _read_text

    def shown(self, value: FieldValue) -> int | float | bool | str:
        """Return a kept value as a record had it, but for digits beyond its decimals."""
        if isinstance(value, str):
            return value
        if self.kind is FieldKind.FLAG:
            return bool(value)
        return value / _POWERS[self.decimals] if self.decimals else value


Reader = Callable[[Any], FieldValue | None]


def _number_reader(field: OwnField) -> Reader:
    decimals, power = field.decimals, _POWERS[field.decimals]
    least, most = field.bounds

    def read(raw: Any) -> FieldValue | None:  # noqa: ANN401 - a value of JSON
        kind = type(raw)
        if kind is int:
            found = raw * power
        elif kind is not float or (found := scaled(raw, decimals)) is None:
            return None
        return found if least <= found <= most else None

    return read


def _read_flag(raw: Any) -> FieldValue | None:  # noqa: ANN401 - a value of JSON
    return int(raw) if type(raw) is bool else None


def _read_text(raw: Any) -> FieldValue | None:  # noqa: ANN401 - a value of JSON
    return raw if type(raw) is str and raw else None


def scaled(number: int | float, decimals: int) -> int | None:  # noqa: PYI041 - booleans are told apart before
    """Return the shortest decimal text of a number times 10^decimals, half to even; None beyond `LARGEST`."""
    power = _POWERS[decimals]
    if isinstance(number, int):
        return number * power if abs(number) * power <= LARGEST else None
    product = number * power
    if not abs(product) <= LARGEST + 1:  # NaN and infinities as well
        return None
    found = round(product)
    if abs(product - found) > ROUNDED:
        found = int(Decimal(repr(number)).scaleb(decimals).to_integral_value(ROUND_HALF_EVEN))
    return found if abs(found) <= LARGEST else None


def category_code(name: str, value: str) -> int:
    """Return a category's number in vectors, below 2^48: the same in every process, of every model."""
    digest = hashlib.blake2b(f"{name}\0{value}".encode("utf-8", "surrogatepass"), digest_size=_CODE_BYTES).digest()
    return int.from_bytes(digest, "big")


Bound = int | float | str | None


def number(
    name: str,
    *,
    decimals: int = 0,
    unit: str = "",
    meaning: str = "",
    least: Bound = None,
    most: Bound = None,
) -> OwnField:
    """Declare a number.

    Args:
        name: the name in `attributes`.
        decimals: how many digits behind the point are kept, 0 to 9: others are rounded, half to even.
        unit: such as `days` or `km`, for lists of features and explanations.
        meaning: what it is, likewise; by default the name.
        least: a number below it is dropped from its payment.
        most: a number above it, likewise.

    Raises:
        DeclarationError: the name, the decimals or a bound is invalid.
    """
    if isinstance(decimals, bool) or not isinstance(decimals, int) or not 0 <= decimals <= MOST_DECIMALS:
        raise DeclarationError(f"field {name!r}: decimals are an integer from 0 to {MOST_DECIMALS}, not {decimals!r}")
    bounds = (_bound(name, "least", least, decimals), _bound(name, "most", most, decimals))
    return OwnField(name, FieldKind.NUMBER, decimals, unit or "number", meaning or _words(name), *bounds)


def category(name: str, *, meaning: str = "") -> OwnField:
    """Declare a text of few values, up to some thousands, such as a country or a result; arguments as for `number`."""
    return OwnField(name, FieldKind.CATEGORY, unit="category", meaning=meaning or _words(name))


def flag(name: str, *, meaning: str = "") -> OwnField:
    """Declare true or false; arguments as for `number`."""
    return OwnField(name, FieldKind.FLAG, unit="0 or 1", meaning=meaning or _words(name))


def token(name: str, *, meaning: str = "") -> OwnField:
    """Declare an identifier, such as an IP address: formulas see it, and nothing writes it out; as for `number`."""
    return OwnField(name, FieldKind.TOKEN, unit="token", meaning=meaning or _words(name))


def _words(name: object) -> str:
    return str(name).replace("_", " ")


def _bound(name: object, what: str, given: Bound, decimals: int) -> int | None:
    if given is None:
        return None
    try:
        exact = Decimal(str(given)).scaleb(decimals)
    except InvalidOperation:
        raise DeclarationError(f"field {name!r}: its {what} value {given!r} is not a number") from None
    if not exact.is_finite() or exact != exact.to_integral_value() or abs(exact) > LARGEST:
        raise DeclarationError(
            f"field {name!r}: its {what} value {given!r} has more than {decimals} decimals, or is beyond "
            f"10^12 / 10^decimals"
        )
    return int(exact)


CONTRACT_FIELDS: Mapping[str, OwnField] = MappingProxyType(
    {
        one.name: one
        for one in (
            OwnField("amount", FieldKind.NUMBER, unit="major units", meaning="own amount"),
            OwnField("hour", FieldKind.NUMBER, unit="hour", meaning="hour of the day by the local clock"),
            OwnField("latitude", FieldKind.NUMBER, 5, "degrees", "latitude of the terminal"),
            OwnField("longitude", FieldKind.NUMBER, 5, "degrees", "longitude of the terminal"),
            OwnField("currency", FieldKind.CATEGORY, unit="category", meaning="currency"),
            OwnField("mcc", FieldKind.CATEGORY, unit="category", meaning="merchant category (MCC)"),
            OwnField("channel", FieldKind.CATEGORY, unit="category", meaning="channel"),
            OwnField("merchant_country", FieldKind.CATEGORY, unit="category", meaning="merchant country"),
            OwnField("card_country", FieldKind.CATEGORY, unit="category", meaning="card country"),
        )
    }
)
"""What every payment has, or may have, beside ids and times; nobody declares it."""
CARRIED = ("card_country",)
"""Those of them that no column of `Transactions` holds: they are among its own values, if something reads them."""
OTHER_COLUMNS = frozenset(
    {*TransactionRecord.__struct_fields__, "reporting_amount_minor", "fraud", "labelled_at", "utc_offset_minutes"}
) - frozenset(CONTRACT_FIELDS)
"""All other columns of a transactions file: a field of such a name would be read from a column that means another."""
_OF_READERS, _READ_AS = frozenset({"row", "clock_minutes"}), "read_"
"""Columns that readers of files add, and how they name the values of others."""


def field_problems(fields: Sequence[OwnField]) -> Iterator[str]:
    """Yield all reasons why some fields cannot be declared together."""
    names = [one.name for one in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield f"fields declared more than once: {', '.join(twice)}"
    taken = sorted(CONTRACT_FIELDS.keys() & set(names))
    if taken:
        yield (
            f"{', '.join(taken)}: every payment has this field without a declaration, as in own({taken[0]!r}): "
            "leave it out, or send another one under another name"
        )
    reserved = sorted(OTHER_COLUMNS & set(names))
    if reserved:
        yield f"{', '.join(reserved)}: a column of a transactions file has this name: give the field another one"
    of_readers = sorted(name for name in set(names) if name in _OF_READERS or name.startswith(_READ_AS))
    if of_readers:
        yield f"{', '.join(of_readers)}: readers of files use such names: give the field another one"
    if len(names) > MOST_ATTRIBUTES:
        yield f"{len(names)} fields are declared, more than {MOST_ATTRIBUTES}"


@dataclass(frozen=True)
class DeclaredFields:
    """The fields of one module, or of several together.

    Raises:
        DeclarationError: a name occurs twice, or is one of the contract or of a file's columns; or there are too many.
    """

    fields: tuple[OwnField, ...] = ()

    def __post_init__(self) -> None:
        problems = "; ".join(field_problems(self.fields))
        if problems:
            raise DeclarationError(problems)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.fields)

    def __hash__(self) -> int:
        """Return the hash of the fields, worked out once: what is made of them is looked up for each batch."""
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.fields)

    @cached_property
    def by_name(self) -> Mapping[str, OwnField]:
        """The fields by name."""
        return MappingProxyType({one.name: one for one in self.fields})

    @cached_property
    def readers(self) -> Mapping[str, Reader]:
        """What reads the values of each field, by name in the order of declaration."""
        return MappingProxyType({one.name: one.reader for one in self.fields})

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The names of those that are categories, in order."""
        return tuple(one.name for one in self.fields if one.kind is FieldKind.CATEGORY)

    def kept(self, raw: Mapping[str, Any]) -> dict[str, FieldValue]:
        """Return the values of a JSON object as they are kept; what is absent, wrong or undeclared is left out."""
        found = ((name, read(raw.get(name))) for name, read in self.readers.items())
        return {name: value for name, value in found if value is not None}

    def found(self, name: str) -> OwnField | None:
        """Return a declared field, or one of the contract; None if there is none of that name."""
        return self.by_name.get(name) or CONTRACT_FIELDS.get(name)

    def joined(self, other: "DeclaredFields") -> "DeclaredFields":
        """Return the fields of both.

        Raises:
            DeclarationError: a field of one name is declared differently.
        """
        for one in other.fields:
            mine = self.by_name.get(one.name)
            if mine is not None and mine.identity != one.identity:
                raise DeclarationError(
                    f"field {one.name!r} is declared differently in two of the modules: {mine.identity[1:]} and "
                    f"{one.identity[1:]}; give the new one another name"
                )
        new = tuple(one for one in other.fields if one.name not in self.by_name)
        return DeclaredFields(self.fields + new) if new else self


NO_FIELDS = DeclaredFields()


@dataclass(frozen=True, slots=True)
class OwnValue:
    """A field's value as a feature, in place of an aggregate: `own("account_age_days")`."""

    name: str
    field: OwnField | None = None
    """None: of a module whose fields are not read yet."""

    @property
    def column(self) -> str:
        """The feature's name."""
        return f"own_{self.name}"
