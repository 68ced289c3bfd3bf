"""The SQL by which columns of a transactions file become what the stream would read in the same values.

An expression is NULL where the value is invalid. Nothing here talks to a database.
"""

from typing import NamedTuple

INTEGERS = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"}
)
TEXT = "VARCHAR"
ZONED = {"TIMESTAMP WITH TIME ZONE": "epoch_us({}) // 1000", "TIMESTAMPTZ_NS": "epoch_ns({}) // 1000000"}
"""Moments with a zone, and how to cut them to milliseconds: epoch_ms rounds, and nanoseconds end in 2262."""
TOKEN = r"[A-Za-z0-9._:@-]{1,64}"  # noqa: S105 - the contract's word for an identifier
_RFC3339 = r"(?i)\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
LARGEST_AMOUNT = 10**12


class Reading(NamedTuple):
    """How a column is read: its normalised expression, or why it cannot be read at all."""

    expression: str
    problem: str | None = None


def token(column: str, kind: str) -> Reading:
    """Read an identifier; whole numbers are taken as their digits."""
    if kind not in INTEGERS | {TEXT}:
        return Reading("NULL", f"column {column} is {kind}: write identifiers as text")
    text = f"CAST({column} AS VARCHAR)"
    return Reading(f"CASE WHEN regexp_full_match({text}, '{TOKEN}') THEN {text} END")


def transaction_id(column: str, kind: str) -> Reading:
    """Read a transaction's id: any text of 1 to 64 characters."""
    if kind not in INTEGERS | {TEXT}:
        return Reading("NULL", f"column {column} is {kind}: write identifiers as text")
    text = f"CAST({column} AS VARCHAR)"
    return Reading(f"CASE WHEN length({text}) BETWEEN 1 AND 64 THEN {text} END")


def amount(column: str, kind: str) -> Reading:
    """Read whole minor units."""
    if kind in INTEGERS:
        whole = f"CAST({column} AS HUGEINT)"
    elif kind == TEXT:
        whole = rf"CASE WHEN regexp_full_match({column}, '\d{{1,13}}') THEN CAST({column} AS HUGEINT) END"
    else:
        advice = "write whole minor units (12.34 EUR is 1234) in a column of integers"
        return Reading("NULL", f"column {column} is {kind}: {advice}")
    return Reading(f"CASE WHEN {whole} BETWEEN 0 AND {LARGEST_AMOUNT} THEN CAST({whole} AS BIGINT) END")


def time_ms(column: str, kind: str) -> Reading:
    """Read a moment as epoch milliseconds, cut as the stream cuts them."""
    if kind in INTEGERS:
        moment = f"CAST({column} AS BIGINT)"
    elif kind in ZONED:
        moment = f"({ZONED[kind].format(column)})"
    elif kind == TEXT:
        moment = _time_of_text(column)
    else:
        advice = "write RFC 3339 text with a zone, a timestamp with time zone, or integer epoch milliseconds"
        return Reading("NULL", f"column {column} is {kind}, which names no zone: {advice}")
    return Reading(f"CASE WHEN {moment} BETWEEN 0 AND 253402300799999 THEN {moment} END")


def offset_minutes(column: str, kind: str) -> str:
    """Read the offset of the wall clock; only text has one of its own."""
    return f"coalesce({_offset_of_text(column)}, 0)" if kind == TEXT else "0"


def flag(column: str, kind: str) -> Reading:
    """Read true or false, also written 1 or 0."""
    if kind == "BOOLEAN":
        return Reading(column)
    if kind in INTEGERS | {"DOUBLE", "FLOAT"}:  # a column of integers with gaps comes as floats from pandas
        return Reading(f"CASE {column} WHEN 0 THEN false WHEN 1 THEN true END")
    if kind == TEXT:
        word = f"lower({column})"
        return Reading(f"CASE WHEN {word} IN ('true', '1') THEN true WHEN {word} IN ('false', '0') THEN false END")
    return Reading("NULL", f"column {column} is {kind}: write true, false or nothing")


def currency(column: str, kind: str) -> Reading:
    """Read a currency's code; whether it is one is for the table of currencies to say."""
    if kind != TEXT:
        return Reading("NULL", f"column {column} is {kind}: write ISO 4217 codes such as EUR")
    return Reading(f"CASE WHEN {column} IN (SELECT code FROM currencies) THEN {column} END")  # noqa: S608 - columns are the contract's names


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
