"""Types of the columns of input tables: SQL that reads a value by the same rule as the stream reads the field.

An expression is NULL if the value is invalid. `input_table` reads tables whose columns have these types. `PLACE` and
`TRAITS` pack optional columns as the records of histories do, so that every reader of the tables finds them packed.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from features.history import records
from features.history.records import Trait
from fraudstream_client.outputs import Decision
from stream.contract.iso import COUNTRIES, CURRENCY_DECIMALS

INTEGERS = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"}
)
TEXT = "VARCHAR"
ZONED = {"TIMESTAMP WITH TIME ZONE": "epoch_us({}) // 1000", "TIMESTAMPTZ_NS": "epoch_ns({}) // 1000000"}
"""Types with a time zone, and how to truncate them to milliseconds: epoch_ms rounds, and nanoseconds end in 2262."""
TOKEN = r"[A-Za-z0-9._:@-]{1,64}"  # noqa: S105 - the contract's word for an identifier
_RFC3339 = r"(?i)\d{4}-\d{2}-\d{2}[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
LARGEST_AMOUNT = 10**12
_LARGEST_OFFSET = 24 * 60 - 1
_FLOATS = ("DOUBLE", "FLOAT", "DECIMAL")
_COUNTRY = ", ".join(f"'{code}'" for code in sorted(COUNTRIES))
_CHANNEL = ", ".join(f"'{channel}'" for channel in records.CHANNELS)
_CURRENCY = ", ".join(f"'{code}'" for code in sorted(CURRENCY_DECIMALS))
_DECISION = ", ".join(f"'{decision.value}'" for decision in Decision)
_WRITE_TEXT = ": write identifiers as text"


class ColumnExpression(NamedTuple):
    """The expression that reads and normalises a column.

    Attributes:
        expression: the value; NULL if there is none, or an invalid one.
        problem: why a column of this type of DuckDB cannot be read, to follow "column NAME is KIND".
        absent: the condition that there is no value; None: it is NULL.
    """

    expression: str
    problem: str | None = None
    absent: str | None = None


Reader = Callable[[str, str], ColumnExpression]
"""From a column's quoted name, and its type of DuckDB, to the expression that reads it."""


class ColumnType(NamedTuple):
    """What a column holds: the type of its values in SQL, how they are read, and what is wrong with an invalid one."""

    sql: str
    read: Reader
    rule: str = ""


def token(column: str, kind: str) -> ColumnExpression:
    """Read an identifier; a whole number is read as its digits."""
    if kind not in INTEGERS | {TEXT}:
        return ColumnExpression("NULL", _WRITE_TEXT)
    text = f"CAST({column} AS VARCHAR)"
    return ColumnExpression(f"CASE WHEN regexp_full_match({text}, '{TOKEN}') THEN {text} END")


def transaction_id(column: str, kind: str) -> ColumnExpression:
    """Read a transaction's id: any text of 1 to 64 characters."""
    if kind not in INTEGERS | {TEXT}:
        return ColumnExpression("NULL", _WRITE_TEXT)
    text = f"CAST({column} AS VARCHAR)"
    return ColumnExpression(f"CASE WHEN length({text}) BETWEEN 1 AND 64 THEN {text} END")


def amount(column: str, kind: str) -> ColumnExpression:
    """Read whole minor units."""
    if kind in INTEGERS:
        whole = f"CAST({column} AS HUGEINT)"
    elif kind == TEXT:
        whole = rf"CASE WHEN regexp_full_match({column}, '\d{{1,13}}') THEN CAST({column} AS HUGEINT) END"
    else:
        return ColumnExpression("NULL", ": write whole minor units (12.34 EUR is 1234) in a column of integers")
    return ColumnExpression(f"CASE WHEN {whole} BETWEEN 0 AND {LARGEST_AMOUNT} THEN CAST({whole} AS BIGINT) END")


def finite(column: str, kind: str) -> ColumnExpression:
    """Read a finite number as a float64; NaN, as pandas writes what is absent, and an empty text are none."""
    if kind not in INTEGERS | {TEXT} and not kind.startswith(_FLOATS):
        return ColumnExpression("NULL", ": write numbers")
    value = f"TRY_CAST({column} AS DOUBLE)"
    absent = f"{column} IS NULL"
    if kind == TEXT:
        absent += f" OR trim({column}) = ''"
    elif kind in {"DOUBLE", "FLOAT"}:
        absent += f" OR isnan({column})"
    return ColumnExpression(f"CASE WHEN isfinite({value}) THEN {value} + 0.0 END", absent=f"({absent})")


def probability(column: str, _kind: str) -> ColumnExpression:
    """Read a number from 0 to 1; an empty text and NaN are none."""
    value = f"TRY_CAST({column} AS DOUBLE)"
    absent = f"({column} IS NULL OR CAST({column} AS VARCHAR) IN ('', 'nan', 'NaN'))"
    return ColumnExpression(f"CASE WHEN {value} BETWEEN 0 AND 1 THEN {value} END", absent=absent)


def computed(column: str, kind: str) -> ColumnExpression:
    """Read a number as it was computed, bit for bit."""
    return ColumnExpression(column, None if kind == "DOUBLE" else ", not DOUBLE: keep the values as they were computed")


def as_given(column: str, _kind: str) -> ColumnExpression:
    """Read whatever a column holds, for checks of their own."""
    return ColumnExpression(column)


def any_text(column: str, _kind: str) -> ColumnExpression:
    """Read any value as text."""
    return ColumnExpression(f"CAST({column} AS VARCHAR)")


def time_ms(column: str, kind: str) -> ColumnExpression:
    """Read a time as epoch milliseconds, truncated as the stream truncates them."""
    if kind in INTEGERS:
        moment = f"CAST({column} AS BIGINT)"
    elif kind in ZONED:
        moment = f"({ZONED[kind].format(column)})"
    elif kind == TEXT:
        moment = _time_of_text(column)
    else:
        advice = "write RFC 3339 text with a zone, a timestamp with time zone, or integer epoch milliseconds"
        in_pandas = "in pandas, .dt.tz_localize adds the zone"
        return ColumnExpression("NULL", f", which names no zone: {advice} ({in_pandas})")
    return ColumnExpression(f"CASE WHEN {moment} BETWEEN 0 AND 253402300799999 THEN {moment} END")


def minutes(column: str, kind: str) -> ColumnExpression:
    """Read an offset from UTC in whole minutes."""
    if kind not in INTEGERS | {TEXT, "DOUBLE", "FLOAT"}:  # pandas writes a column of integers with gaps as floats
        return ColumnExpression("NULL", ": write whole minutes (+01:00 is 60)")
    value = f"TRY_CAST({column} AS DOUBLE)"
    whole = f"{value} = floor({value}) AND abs({value}) <= {_LARGEST_OFFSET}"
    return ColumnExpression(f"CASE WHEN {whole} THEN CAST({value} AS BIGINT) END")


def clock_minutes(kinds: Mapping[str, str]) -> str:
    """Read the wall clock's offset from UTC at `occurred_at`; `kinds` has the types of the file's columns.

    It is that of the text; a timestamp, and epoch milliseconds, take it from the column `utc_offset_minutes`, else 0.
    """
    kind = kinds.get("utc_offset_minutes")
    beside = "0" if kind is None else f"coalesce({minutes('utc_offset_minutes', kind).expression}, 0)"
    if kinds["occurred_at"] != TEXT:
        return beside
    in_text = f"coalesce({_offset_of_text('occurred_at')}, 0)"
    return rf"CASE WHEN regexp_full_match(occurred_at, '\d+') THEN {beside} ELSE {in_text} END"


def flag(column: str, kind: str) -> ColumnExpression:
    """Read true or false, also written 1 or 0."""
    if kind == "BOOLEAN":
        return ColumnExpression(column)
    if kind in INTEGERS | {"DOUBLE", "FLOAT"}:  # pandas writes a column of integers with gaps as floats
        return ColumnExpression(f"CASE {column} WHEN 0 THEN false WHEN 1 THEN true END")
    if kind == TEXT:
        word = f"lower({column})"
        return ColumnExpression(
            f"CASE WHEN {word} IN ('true', '1') THEN true WHEN {word} IN ('false', '0') THEN false END"
        )
    return ColumnExpression("NULL", ": write true, false or nothing")


def currency(column: str, kind: str) -> ColumnExpression:
    """Read an ISO 4217 code."""
    if kind != TEXT:
        return ColumnExpression("NULL", ": write ISO 4217 codes such as EUR")
    return ColumnExpression(f"CASE WHEN {column} IN ({_CURRENCY}) THEN {column} END")


def decision(column: str, _kind: str) -> ColumnExpression:
    """Read a decision."""
    text = f"CAST({column} AS VARCHAR)"
    return ColumnExpression(f"CASE WHEN {text} IN ({_DECISION}) THEN {text} END")


def _time_of_text(column: str) -> str:
    seconds = f"epoch_ms(try_cast(replace(upper({column}[1:19]), 'T', ' ') AS TIMESTAMP))"
    fraction = rf"CAST(rpad(regexp_extract({column}, '\.(\d{{1,3}})', 1), 3, '0') AS BIGINT)"
    written = f"{seconds} + {fraction} - {_offset_of_text(column)} * 60000"
    return (
        rf"CASE WHEN regexp_full_match({column}, '\d{{1,15}}') THEN CAST({column} AS BIGINT) "
        f"WHEN regexp_full_match({column}, '{_RFC3339}') THEN {written} END"
    )


def _offset_of_text(column: str) -> str:
    hours, minutes = f"CAST({column}[-5:-4] AS BIGINT)", f"CAST({column}[-2:] AS BIGINT)"
    offset = f"({hours} * 60 + {minutes}) * CASE {column}[-6:-6] WHEN '-' THEN -1 ELSE 1 END"
    return rf"CASE WHEN regexp_matches({column}, '[+-]\d{{2}}:\d{{2}}$') THEN {offset} ELSE 0 END"


def device(column: str, _kind: str) -> ColumnExpression:
    """Read a device id, a token."""
    text = f"CAST({column} AS VARCHAR)"
    return ColumnExpression(f"CASE WHEN regexp_full_match({text}, '{TOKEN}') THEN {text} END")


def category(column: str, kind: str) -> ColumnExpression:
    """Read a merchant category code; the leading zeros that a numeric column lost are restored."""
    if kind in INTEGERS or kind.startswith(_FLOATS):
        whole = f"{column} BETWEEN 0 AND 9999 AND {column} = floor({column})"
        return ColumnExpression(f"CASE WHEN {whole} THEN lpad(CAST(CAST({column} AS BIGINT) AS VARCHAR), 4, '0') END")
    text = f"CAST({column} AS VARCHAR)"
    return ColumnExpression(rf"CASE WHEN regexp_full_match({text}, '\d{{1,4}}') THEN lpad({text}, 4, '0') END")


def channel(column: str, _kind: str) -> ColumnExpression:
    """Read a channel."""
    text = f"CAST({column} AS VARCHAR)"
    return ColumnExpression(f"CASE WHEN {text} IN ({_CHANNEL}) THEN {text} END")


def country(column: str, _kind: str) -> ColumnExpression:
    """Read an officially assigned ISO 3166 country code."""
    text = f"CAST({column} AS VARCHAR)"
    return ColumnExpression(f"CASE WHEN {text} IN ({_COUNTRY}) THEN {text} END")


def number(column: str, kind: str) -> str:
    """Return the expression of a number of any size."""
    readable = kind in INTEGERS or kind == TEXT or kind.startswith(_FLOATS)
    return f"TRY_CAST({column} AS DOUBLE)" if readable else "CAST(NULL AS DOUBLE)"


def _degrees(most: int) -> Reader:
    def read(column: str, kind: str) -> ColumnExpression:
        degrees = number(column, kind)
        return ColumnExpression(f"CASE WHEN {degrees} BETWEEN -{most} AND {most} THEN {degrees} END")

    return read


IDENTIFIER = ColumnType(TEXT, token, "is not a token of 1 to 64 of A-Z a-z 0-9 . _ : @ -")
TRANSACTION_ID = ColumnType(TEXT, transaction_id, "is not a text of 1 to 64 characters")
TIME = ColumnType("BIGINT", time_ms, "is not RFC 3339 with a zone (as 2026-01-31T12:00:00Z), nor epoch milliseconds")
AMOUNT = ColumnType("BIGINT", amount, "is not a whole number of minor units from 0 to 10^12 (12.34 EUR is 1234)")
CURRENCY = ColumnType(TEXT, currency, "is not an ISO 4217 code such as EUR")
FLAG = ColumnType("BOOLEAN", flag, "is not true, false or nothing")
UTC_OFFSET = ColumnType("BIGINT", minutes, "is not whole minutes from -1439 to 1439 (+01:00 is 60)")
NUMBER = ColumnType("DOUBLE", finite, "is not a finite number, or nothing")
PROBABILITY = ColumnType("DOUBLE", probability, "is not a number from 0 to 1, or nothing")
DECISION = ColumnType(TEXT, decision, f"is none of {', '.join(Decision)}")
FEATURE = ColumnType("DOUBLE", computed)
ANY = ColumnType(TEXT, as_given)
ANY_TEXT = ColumnType(TEXT, any_text)
OPTIONAL_TYPES: Mapping[str, ColumnType] = {
    "device_id": ColumnType(TEXT, device),
    "mcc": ColumnType(TEXT, category),
    "channel": ColumnType(TEXT, channel),
    "merchant_country": ColumnType(TEXT, country),
    "latitude": ColumnType("DOUBLE", _degrees(90)),
    "longitude": ColumnType("DOUBLE", _degrees(180)),
}
"""The columns of a transactions file whose invalid values are dropped, and their types."""


def _place_units(column: str) -> str:
    """Convert degrees to the units of records, rounding half to even as Python does."""
    return f"CAST(round_even({column} * {records.PLACE_UNITS}, 0) AS BIGINT)"


def _letters_number(column: str, count: int) -> str:
    """Encode a code of letters as a number in base ALPHABET."""
    value = "0"
    for at in range(1, count + 1):
        value = f"({value} * {records.ALPHABET} + ascii({column}[{at}]) - ascii('A'))"
    return value


def _shifted(trait: Trait, value: str) -> str:
    return f"(CAST({value} AS BIGINT) << {trait.shift})"


_PLACED = "(read_latitude IS NOT NULL AND read_longitude IS NOT NULL)"
PLACE = (
    f"CASE WHEN {_PLACED} THEN {_place_units('read_latitude')} * {1 << records.LOW_HALF} + "
    f"({_place_units('read_longitude')} & {records.LOW_MASK}) ELSE 0 END"
)
"""The location, packed as by `features.history.records.pack_place`."""
TRAITS = " | ".join(
    (
        _shifted(records.CATEGORY, "coalesce(CAST(read_mcc AS BIGINT) + 1, 0)"),
        _shifted(records.COUNTRY, f"coalesce(1 + {_letters_number('read_merchant_country', 2)}, 0)"),
        _shifted(records.CHANNEL, f"coalesce(list_position([{_CHANNEL}], read_channel), 0)"),
        _shifted(records.CLOCK, f"clock_minutes + {records.LATEST_CLOCK_MINUTES}"),
        _shifted(records.CURRENCY, _letters_number("read_currency", 3)),
        _shifted(records.HAS_PLACE, _PLACED),
    )
)
"""The traits, packed as by `features.history.records.pack_traits`, and whether there is a location."""


def _bits(trait: Trait) -> str:
    return f"((traits >> {trait.shift}) & {trait.mask >> trait.shift})"


def _letter(code: str) -> str:
    return f"chr(CAST({code} + ascii('A') AS INTEGER))"


_COUNTRY_CODE = f"({_bits(records.COUNTRY)} - 1)"
_LONGITUDE = f"(place & {records.LOW_MASK})"
_WHERE_PLACED = f"CASE WHEN {_bits(records.HAS_PLACE)} = 1 THEN {{}} / {records.PLACE_UNITS}::DOUBLE END"
UNPACKED: Mapping[str, str] = {
    "utc_offset_minutes": "CAST(utc_offset_minutes AS INTEGER)",
    "device_id": "device_id",
    "mcc": f"CASE WHEN {_bits(records.CATEGORY)} > 0 "
    f"THEN lpad(CAST({_bits(records.CATEGORY)} - 1 AS VARCHAR), 4, '0') END",
    "channel": f"CASE WHEN {_bits(records.CHANNEL)} > 0 THEN [{_CHANNEL}][{_bits(records.CHANNEL)}] END",
    "merchant_country": f"CASE WHEN {_COUNTRY_CODE} >= 0 "
    f"THEN {_letter(f'{_COUNTRY_CODE} // {records.ALPHABET}')} || {_letter(f'{_COUNTRY_CODE} % {records.ALPHABET}')} "
    "END",
    "latitude": _WHERE_PLACED.format(f"((place - {_LONGITUDE}) // {1 << records.LOW_HALF})"),
    "longitude": _WHERE_PLACED.format(
        f"({_LONGITUDE} - CASE WHEN {_LONGITUDE} >= {1 << (records.LOW_HALF - 1)} "
        f"THEN {1 << records.LOW_HALF} ELSE 0 END)"
    ),
}
"""The optional columns of a file, as expressions on the table of its transactions: the inverse of PLACE and TRAITS."""


def time_text(column: str, offset: str = "0") -> str:
    """Return an expression that formats a timestamp with time zone as RFC 3339, at an offset in minutes."""
    offset_us = f"CAST({offset} AS BIGINT) * 60000000"
    clock = f"strftime(make_timestamp(epoch_us({column}) + {offset_us}), '%Y-%m-%dT%H:%M:%S.%g')"
    sign = f"CASE WHEN {offset} < 0 THEN '-' ELSE '+' END"
    zone = f"{sign} || strftime(make_timestamp(abs({offset_us})), '%H:%M')"
    return f"{clock} || CASE WHEN {offset} = 0 THEN 'Z' ELSE {zone} END"
