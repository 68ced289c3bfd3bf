"""The optional columns of a transactions file, read as the stream reads the fields of the same names.

What is invalid is dropped, as there, and counted. What is left is packed as cards' records keep it: by the database, so
that whoever reads its tables finds it. Nothing here talks to a database.
"""

from collections.abc import Callable, Mapping

from features.history import records
from features.history.records import Trait
from stream.contract.iso import COUNTRIES
from stream.transactions_file.sql import INTEGERS, TEXT, TOKEN

_FLOATS = ("DOUBLE", "FLOAT", "DECIMAL")
_COUNTRY = ", ".join(f"'{code}'" for code in sorted(COUNTRIES))
_CHANNEL = ", ".join(f"'{channel}'" for channel in records.CHANNELS)


def device(column: str, _kind: str) -> str:
    """Read a device: a token."""
    text = f"CAST({column} AS VARCHAR)"
    return f"CASE WHEN regexp_full_match({text}, '{TOKEN}') THEN {text} END"


def category(column: str, kind: str) -> str:
    """Read a merchant category code; one that became a number gets its leading zeros back."""
    if kind in INTEGERS or kind.startswith(_FLOATS):
        whole = f"{column} BETWEEN 0 AND 9999 AND {column} = floor({column})"
        return f"CASE WHEN {whole} THEN lpad(CAST(CAST({column} AS BIGINT) AS VARCHAR), 4, '0') END"
    text = f"CAST({column} AS VARCHAR)"
    return rf"CASE WHEN regexp_full_match({text}, '\d{{1,4}}') THEN lpad({text}, 4, '0') END"


def channel(column: str, _kind: str) -> str:
    """Read a channel."""
    text = f"CAST({column} AS VARCHAR)"
    return f"CASE WHEN {text} IN ({_CHANNEL}) THEN {text} END"


def country(column: str, _kind: str) -> str:
    """Read a country that is officially assigned."""
    text = f"CAST({column} AS VARCHAR)"
    return f"CASE WHEN {text} IN ({_COUNTRY}) THEN {text} END"


def number(column: str, kind: str) -> str:
    """Read a number, NULL where it is none."""
    readable = kind in INTEGERS or kind == TEXT or kind.startswith(_FLOATS)
    return f"TRY_CAST({column} AS DOUBLE)" if readable else "CAST(NULL AS DOUBLE)"


def _degrees(most: int) -> Callable[[str, str], str]:
    def read(column: str, kind: str) -> str:
        degrees = number(column, kind)
        return f"CASE WHEN {degrees} BETWEEN -{most} AND {most} THEN {degrees} END"

    return read


READERS: Mapping[str, Callable[[str, str], str]] = {
    "device_id": device,
    "mcc": category,
    "channel": channel,
    "merchant_country": country,
    "latitude": _degrees(90),
    "longitude": _degrees(180),
}
"""How each is read: an expression of its column and the column's type, NULL where the value is invalid."""
_KINDS = {"latitude": "DOUBLE", "longitude": "DOUBLE"}


def readings(kinds: Mapping[str, str]) -> dict[str, str]:
    """Return an expression for each optional column; `kinds` are the types of those that the file has."""
    return {
        name: read(name, kinds[name]) if name in kinds else f"CAST(NULL AS {_KINDS.get(name, TEXT)})"
        for name, read in READERS.items()
    }


def dropped(kinds: Mapping[str, str]) -> dict[str, str]:
    """Return for each optional column of a file the condition under which its value is there and invalid."""
    there = "CAST({0} AS VARCHAR) <> '' AND read_{0} IS NULL"
    return {name: there.format(name) for name in READERS if name in kinds}


def _units(column: str) -> str:
    """Round degrees as Python does, half to even."""
    return f"CAST(round_even({column} * {records.PLACE_UNITS}, 0) AS BIGINT)"


def _letters(column: str, count: int) -> str:
    """Number a code by its letters."""
    value = "0"
    for at in range(1, count + 1):
        value = f"({value} * {records.LETTERS} + ascii({column}[{at}]) - ascii('A'))"
    return value


def _shifted(trait: Trait, value: str) -> str:
    return f"(CAST({value} AS BIGINT) << {trait.shift})"


_PLACED = "(read_latitude IS NOT NULL AND read_longitude IS NOT NULL)"
PLACE = (
    f"CASE WHEN {_PLACED} THEN {_units('read_latitude')} * {1 << records.LOW_HALF} + "
    f"({_units('read_longitude')} & {records.LOW_MASK}) ELSE 0 END"
)
"""As `features.history.records.place` packs it."""
TRAITS = " | ".join(
    (
        _shifted(records.CATEGORY, "coalesce(CAST(read_mcc AS BIGINT) + 1, 0)"),
        _shifted(records.COUNTRY, f"coalesce(1 + {_letters('read_merchant_country', 2)}, 0)"),
        _shifted(records.CHANNEL, f"coalesce(list_position([{_CHANNEL}], read_channel), 0)"),
        _shifted(records.CLOCK, f"utc_offset_minutes + {records.LATEST_CLOCK_MINUTES}"),
        _shifted(records.CURRENCY, _letters("read_currency", 3)),
        _shifted(records.PLACED, _PLACED),
    )
)
"""As `features.history.records.pack` packs them, and whether there is a place."""
