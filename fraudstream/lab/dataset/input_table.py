"""Reads a table that a user gives (parquet, CSV) by a declaration of its columns: values, or all that is wrong with it.

A file must have the declared columns, in types that can be read, with valid values and without card numbers. What is
wrong with columns is reported at once, else what is wrong with values: card numbers first, then each problem with its
column, how many rows have it, the first of these, and its value.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from fraudstream.lab.dataset.columns import TIME, ColumnExpression, ColumnType
from fraudstream.lab.dataset.database import import_duckdb, quoted
from fraudstream.lab.dataset.errors import InputFileError
from fraudstream.lab.dataset.output import is_parquet, without_apostrophe
from models.errors import InvalidTimeError
from models.times import parse_time_ms
from stream.redaction import holds_card_number, shown

_CSV = frozenset({".csv", ".gz", ".tsv"})
_MOST_NAMED = 30
"""More columns of a file are not listed."""
_NO_PARQUET = "if it is no parquet file, name it .csv"
_NO_CSV = "check that all lines end alike (LF or CRLF) and have as many columns as the first, and that it is UTF-8"
_NO_VALUES = '"NULL"'
"""The type of a column of a parquet file that has no value at all."""


class Need(Enum):
    """What a file must have of a column."""

    VALUE = "value"
    """The column, and a valid value in each row."""
    COLUMN = "column"
    """The column, and no invalid value; a row may have none."""
    NOTHING = "nothing"
    """No invalid value; the file may lack the column."""
    DROPPED = "dropped"
    """Nothing: an invalid value counts as none, and is counted."""


class Column(NamedTuple):
    """A column that a table must or may have; card numbers are refused in one that may hold them."""

    name: str
    type: ColumnType
    need: Need = Need.VALUE
    may_hold_card_numbers: bool = False

    @property
    def quoted(self) -> str:
        """The name as SQL."""
        return f'"{self.name}"'

    def reading(self, kinds: Mapping[str, str]) -> ColumnExpression:
        """Return how the column is read, given the types of the file's columns."""
        kind = kinds.get(self.name, _NO_VALUES)
        if kind == _NO_VALUES:
            return ColumnExpression(f"CAST(NULL AS {self.type.sql})", absent=f"{self.quoted} IS NULL")
        found = self.type.read(self.quoted, kind)
        return found._replace(absent=found.absent or f"{self.quoted} IS NULL")


class ColumnCheck(NamedTuple):
    """A condition that is true of the rows whose value in a column cannot be used, and what is wrong with it.

    It reads the columns as they are by their names, and their values as `read_NAME`. Without the column it does not
    apply.
    """

    column: str
    rule: str
    condition: str

    @property
    def columns(self) -> str:
        """Three columns of a query: how many rows there are, the number of the first, and its value."""
        chosen = f"FILTER ({self.condition})"
        return f'count(*) {chosen}, min(row) {chosen}, arg_min(CAST("{self.column}" AS VARCHAR), row) {chosen}'

    def problem(self, count: int, row: int, value: str | None) -> str:
        """Return the problem, with the first row and its value."""
        text = f"{self.column} {self.rule} in {_rows(count, row)}"
        if value is None:
            return text
        return f"{text}: {shown(value)}{_zone_advice(value) if self.rule == TIME.rule else ''}"


def _rows(count: int, first: int) -> str:
    return f"row {first}" if count == 1 else f"{count} rows, first in row {first}"


def _zone_advice(value: str) -> str:
    """Return what to do about a time that only lacks its zone."""
    try:
        parse_time_ms(f"{value}Z")
    except InvalidTimeError:
        return ""
    return ", which names no zone: add +00:00 or another (in pandas, .dt.tz_localize)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLayout:
    """The declaration of a table.

    Attributes:
        item: what a row is, such as "transaction".
        columns: that it must or may have; others are not read.
        checks: beside those of each column's type.
        unique: columns that together are equal in no two rows, as far as the file has them.
        only_with: the column without whose value a row is left out.
        from_output: whether the product writes such files, so that in CSV the apostrophe before a formula is none of
            the text.
    """

    item: str
    columns: tuple[Column, ...]
    checks: tuple[ColumnCheck, ...] = ()
    unique: tuple[str, ...] = ()
    only_with: str | None = None
    from_output: bool = False


class InputTable(NamedTuple):
    """A file that passed all checks; the view `read` has its rows.

    The columns of the view are `row`, its number from 1; the declared columns that the file has, as they are; and
    `read_NAME` for each declared column: the value, NULL where there is none.

    Attributes:
        kinds: DuckDB's types of the columns of the file.
        dropped: how many values were invalid, by column, of columns whose invalid values are dropped.
    """

    kinds: Mapping[str, str]
    dropped: dict[str, int]


@contextmanager
def read_table(
    connection: Any,  # noqa: ANN401 - of a module without types
    path: Path,
    layout: TableLayout,
    failure: type[InputFileError] = InputFileError,
) -> Iterator[InputTable]:
    """Check a whole file, and create the view `read` of its rows, from which the context fills tables.

    Raises:
        InputFileError: `failure`, with all that is wrong: with columns, else with their types, else with values, the
            columns with card numbers first; or the file cannot be read, also later in the context.
    """
    duckdb = import_duckdb()
    try:
        yield _CheckedFile(connection, path, layout, failure).check()
    except duckdb.Error as error:
        advice = _NO_PARQUET if is_parquet(path) else _NO_CSV
        problem = f"cannot be read: {str(error).splitlines()[0].rstrip('.')}; {advice}"
        raise failure(str(path), (problem,)) from error


def source_of(path: Path, failure: type[InputFileError] = InputFileError, *, from_output: bool = False) -> str:
    """Return what SQL selects from to read a file; `from_output` is as in `TableLayout`.

    Raises:
        InputFileError: `failure`, if its name has another ending.
    """
    if is_parquet(path):
        return f"read_parquet({quoted(path)})"
    if (ending := path.suffix.lower()) not in _CSV:
        raise failure(str(path), (f"ends in {ending!r}: use .parquet or .csv (.csv.gz and .tsv are read, too)",))
    source = f"read_csv({quoted(path)}, all_varchar = true, header = true)"
    if from_output:
        return f"(SELECT {without_apostrophe('COLUMNS(*)')} FROM {source})"  # noqa: S608 - quoted
    return source


class _CheckedFile:
    """The steps in which a file is checked."""

    def __init__(self, connection: Any, path: Path, layout: TableLayout, failure: type[InputFileError]) -> None:  # noqa: ANN401 - of a module without types
        self._connection = connection
        self._path = path
        self._layout = layout
        self._failure = failure

    def check(self) -> InputTable:
        source = source_of(self._path, self._failure, from_output=self._layout.from_output)
        described = self._connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608 - quoted
        kinds = {str(name): str(kind) for name, kind, *_ in described}
        self._refuse(missing_columns(self._layout.columns, tuple(kinds)))
        readings = {column: column.reading(kinds) for column in self._layout.columns}
        self._refuse(
            [
                f"column {column.name} is {kinds[column.name]}{reading.problem}"
                for column, reading in readings.items()
                if reading.problem is not None and column.need is not Need.DROPPED
            ]
        )
        self._create_view(source, readings, kinds)
        present = {column: reading for column, reading in readings.items() if column.name in kinds}
        problems, dropped = self._examine(present)
        repeated = self._find_repeated(kinds, is_whole=not problems)
        self._refuse([*self._find_card_numbers(present), *problems, *repeated])
        return InputTable(kinds, dropped)

    def _create_view(self, source: str, readings: Mapping[Column, ColumnExpression], kinds: Mapping[str, str]) -> None:
        given = ", ".join(column.quoted for column in readings if column.name in kinds)
        values = ", ".join(f'{reading.expression} AS "read_{column.name}"' for column, reading in readings.items())
        without = (reading.absent for column, reading in readings.items() if column.name == self._layout.only_with)
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW read AS SELECT row, {given}, {values} "  # noqa: S608 - quoted
            f"FROM (SELECT row_number() OVER () AS row, {given} FROM {source}) WHERE NOT {next(without, 'false')}"
        )

    def _examine(self, present: Mapping[Column, ColumnExpression]) -> tuple[list[str], dict[str, int]]:
        """Return what is wrong with values, and how many were dropped, by column."""
        names = {column.name for column in present}
        checks = [*_value_checks(present), *(check for check in self._layout.checks if check.column in names)]
        lenient = [column for column in present if column.need is Need.DROPPED]
        counts = [check.columns for check in checks]
        counts += [
            f"""count(*) FILTER (CAST({column.quoted} AS VARCHAR) <> '' AND "read_{column.name}" IS NULL)"""
            for column in lenient
        ]
        rows, *found = self._connection.execute(f"SELECT count(*), {', '.join(counts)} FROM read").fetchall()[0]  # noqa: S608 - our own
        if not rows:
            return [f"holds no {self._layout.item}"], {}
        problems = [check.problem(*found[3 * at : 3 * at + 3]) for at, check in enumerate(checks) if found[3 * at]]
        dropped = zip(lenient, found[3 * len(checks) :], strict=True)
        return problems, {column.name: count for column, count in dropped if count}

    def _find_repeated(self, kinds: Collection[str], *, is_whole: bool) -> list[str]:
        """Return a problem if rows have the key of an earlier one; unless the file `is_whole`, of rows with a key."""
        key = [name for name in self._layout.unique if name in kinds]
        if not key:
            return []
        columns = [f'"read_{name}"' for name in key]
        values = ", ".join(columns)
        incomplete = "false" if is_whole else " OR ".join(f"{column} IS NULL" for column in columns)
        rows = f"(SELECT * FROM read WHERE NOT ({incomplete}))"  # noqa: S608 - our own
        (count,) = self._connection.execute(f"SELECT count(*) - count(DISTINCT ({values})) FROM {rows}").fetchall()[0]  # noqa: S608 - our own
        if not count:  # the window that tells which rows they are keeps all of them
            return []
        (row,) = self._connection.execute(
            "SELECT min(row) FROM "  # noqa: S608 - our own
            f"(SELECT row FROM {rows} QUALIFY row_number() OVER (PARTITION BY {values} ORDER BY row) > 1)"
        ).fetchall()[0]
        which = "is that" if len(key) == 1 else "are those"
        return [f"{' and '.join(key)} {which} of an earlier row in {_rows(count, row)}: keep one of each"]

    def _find_card_numbers(self, columns: Collection[Column]) -> list[str]:
        """Return problems that name columns with card numbers, never the numbers."""
        problems = []
        for column in columns:
            if not column.may_hold_card_numbers:
                continue
            text = f"CAST({column.quoted} AS VARCHAR)"
            digits = f"regexp_replace({text}, '[^0-9]', '', 'g')"
            found = self._connection.execute(
                f"SELECT {text}, min(row) FROM read WHERE length({digits}) >= 14 GROUP BY 1 ORDER BY 2"  # noqa: S608 - our own
            ).fetchall()
            row = next((row for value, row in found if holds_card_number(value)), None)
            if row is not None:
                problems.append(f"{column.name} holds a card number in row {row}: replace card numbers by tokens first")
        return problems

    def _refuse(self, problems: Sequence[str]) -> None:
        if problems:
            raise self._failure(str(self._path), tuple(problems))


def missing_columns(columns: Sequence[Column], found: Collection[str]) -> list[str]:
    """Return a problem for each needed column that a file lacks, with the nearest it has; then all that it has."""
    declared = {column.name for column in columns}
    others = {_letters(name): name for name in found if name not in declared}
    problems = []
    for column in columns:
        if column.need in {Need.VALUE, Need.COLUMN} and column.name not in found:
            near = [shown(others[match]) for match in get_close_matches(_letters(column.name), others, n=2)]
            nearest = f", the nearest is {' or '.join(near)}" if near else ""
            problems.append(f"column {column.name} is missing{nearest}")
    if not problems:
        return []
    named = ", ".join(shown(name) for name in list(found)[:_MOST_NAMED])
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return [*problems, f"the columns found are {named}{more}: rename or add what is missing"]


def _letters(name: str) -> str:
    """Return a column's name without what its writers differ in."""
    return "".join(filter(str.isalnum, name.lower()))


def _value_checks(present: Mapping[Column, ColumnExpression]) -> Iterator[ColumnCheck]:
    """Yield the checks of the columns' own types: first for missing values, then for invalid ones."""
    for column, reading in present.items():
        if column.need is Need.VALUE:
            yield ColumnCheck(column.name, "is missing", str(reading.absent))
    for column, reading in present.items():
        if column.need is not Need.DROPPED and reading.expression != column.quoted:
            invalid = f'NOT {reading.absent} AND "read_{column.name}" IS NULL'
            yield ColumnCheck(column.name, column.type.rule, invalid)
