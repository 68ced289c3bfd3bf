"""A file of payments with any names, read as texts into a table of a database, and a profile of each column.

Whatever type a column has, its values are compared as texts: whole numbers without a point, times as RFC 3339 or as
they are written, what stands for nothing (empty, NaN, NULL, None, N/A) as NULL. Column number i is `ti` of the table
`given`, so no name of the file is part of a query. A profile has counts, and at most a thousand values for rules on
texts: no value is ever printed.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fraudstream.lab.dataset.columns import INTEGERS, TEXT, TIME, ZONED, time_text
from fraudstream.lab.dataset.database import MEMORY_MB, connect, import_duckdb
from fraudstream.lab.dataset.errors import InputFileError
from fraudstream.lab.dataset.input_table import source_of
from metrics.weighted_ranking import WeightedRanking
from stream.contract.iso import COUNTRIES
from stream.printing import printable
from stream.redaction import holds_card_number, shorten

SAMPLED = 1_000
"""So many values of a column are looked at by rules that are not SQL."""
MOSTLY = 0.95
"""The share of a column's values that must be of a kind for the column to be of it."""
_ALONE_ROWS, _BINS, _CODES = 200_000, 64, 64
_FEWEST_CARDS, _CONSTANT_SHARE, _CARD_PAYMENTS = 30, 0.95, 3
_LEAST_DIGITS, _LONGEST_NAME = 14, 80
_FIRST_S, _LAST_S = 946_684_800, 4_102_444_800
"""2000 and 2100: numbers between are taken for seconds of the Unix epoch."""
_NESTED = re.compile(r"^(STRUCT|MAP|UNION|JSON|BLOB|BIT|VARIANT)|\[\d*\]$")
_NOTHING = "('', 'nan', 'NaN', 'NULL', 'null', 'None', 'N/A')"
_DAY = r"\d{4}-\d\d-\d\d"


def _by_format(form: str) -> Callable[[str], str]:
    return lambda column: f"epoch_ms(try_strptime({column}, '{form}'))"


def _seconds(column: str) -> str:
    number = f"TRY_CAST({column} AS DOUBLE)"
    return f"CASE WHEN {number} BETWEEN {_FIRST_S} AND {_LAST_S} THEN CAST(floor({number} * 1000) AS BIGINT) END"


def _milliseconds(column: str) -> str:
    number = f"TRY_CAST({column} AS BIGINT)"
    return f"CASE WHEN {number} BETWEEN {_FIRST_S * 1000} AND {_LAST_S * 1000} THEN {number} END"


def _zoned(column: str) -> str:
    return f"CASE WHEN {column} LIKE '____-%' THEN {TIME.read(column, TEXT).expression} END"


def _unzoned(column: str) -> str:
    return rf"CASE WHEN regexp_matches({column}, '^{_DAY}') THEN epoch_ms(TRY_CAST({column} AS TIMESTAMP)) END"


def _elapsed(column: str) -> str:
    number = f"TRY_CAST({column} AS DOUBLE)"
    return f"CASE WHEN {number} >= 0 AND {number} < {_FIRST_S} THEN CAST(floor({number} * 1000) AS BIGINT) END"


WITH_ZONE, ELAPSED = "with a zone", "seconds since a beginning that nothing states"
TIME_FORMS: Mapping[str, Callable[[str], str]] = {
    WITH_ZONE: _zoned,
    "without a zone, read as UTC": _unzoned,
    "epoch milliseconds": _milliseconds,
    "epoch seconds": _seconds,
    **{
        f"as {form}, read as UTC": _by_format(form)
        for form in (
            "%d/%m/%Y %H:%M:%S",
            "%m/%d/%Y %H:%M:%S",
            "%d/%m/%Y %H:%M",
            "%m/%d/%Y %H:%M",
            "%d.%m.%Y %H:%M:%S",
            "%d.%m.%Y %H:%M",
            "%Y/%m/%d %H:%M:%S",
            "%d/%m/%Y",
            "%m/%d/%Y",
            "%d.%m.%Y",
        )
    },
}
"""Forms of times that are recognised, and how SQL reads them as epoch milliseconds; NULL for any other form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnProfile:
    """What the values of a column are like; counts are of rows.

    Attributes:
        name: as the file has it.
        at: its number; it is `t{at}` of the table.
        words: of its name, in lower case.
        nested: whether its values are lists or objects, which are not read.
        filled: with a value.
        distinct: different values.
        numbers, whole: values that are finite numbers, and whole ones.
        negative: numbers below 0.
        least, most: of the numbers.
        decimals: the most digits behind a point of a number.
        longest: characters of the longest value.
        flags: values that are true, false, 1 or 0.
        zero_led: whole numbers that begin with a zero, so that they are codes.
        time_form: one of `TIME_FORMS`, if the values are times.
        sample: some of its values, for rules on texts.
        has_card_number: whether some value holds what looks like a card number.
    """

    name: str
    at: int
    words: tuple[str, ...]
    nested: bool = False
    filled: int = 0
    distinct: int = 0
    numbers: int = 0
    whole: int = 0
    negative: int = 0
    least: float = 0.0
    most: float = 0.0
    decimals: int = 0
    longest: int = 0
    flags: int = 0
    zero_led: int = 0
    time_form: str = ""
    sample: Sequence[str] = field(default=(), repr=False)
    has_card_number: bool = False

    @property
    def shown(self) -> str:
        """Its name on one line, without card numbers."""
        return shown_name(self.name)

    @property
    def text(self) -> str:
        """The column of its texts, as SQL."""
        return f"t{self.at}"

    @property
    def is_number(self) -> bool:
        """Whether all values are numbers, none of them with a zero before it."""
        return 0 < self.filled == self.numbers and not self.zero_led

    @property
    def is_flag(self) -> bool:
        """Whether all values are true or false, or all 1 or 0."""
        return 0 < self.filled == self.flags and self.distinct <= 2  # noqa: PLR2004 - true and false

    @property
    def is_time(self) -> bool:
        """Whether the values are times: numbers are if their name says so as well, for they may be ids or lengths."""
        if self.time_form == ELAPSED:
            return False
        return bool(self.time_form) and (not self.is_number or bool(_TIME_WORDS & set(self.words)))

    @property
    def time(self) -> str:
        """The values as epoch milliseconds, as SQL."""
        return time_expression(self.text, self.time_form)

    def share(self, matches: Callable[[str], object]) -> float:
        """Return the share of the sampled values that match."""
        return sum(bool(matches(value)) for value in self.sample) / max(1, len(self.sample))

    @property
    def are_countries(self) -> bool:
        """Whether the values are ISO 3166 alpha-2 codes."""
        return self.share(COUNTRIES.__contains__) >= MOSTLY


def shown_name(name: str) -> str:
    """Return the name of a column or a file on one line, without card numbers, of 80 characters at most."""
    return printable(shorten(name, _LONGEST_NAME))


def time_expression(column: str, form: str) -> str:
    """Return SQL that reads times of a form as epoch milliseconds."""
    return _elapsed(column) if form == ELAPSED else TIME_FORMS[form](column)


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a column's name in lower case: `cardHash`, `card-hash` and `CARD_HASH` have the same."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return tuple(re.findall(r"[a-z]+|[0-9]+", apart.lower()))


class GivenFile:
    """A file that was read into a database in a folder; close it, or use it as a context.

    Attributes:
        rows: how many payments it has.
        columns: a profile of each column.

    Raises:
        InputFileError: it cannot be read, or has no rows.
        MissingExtraError: DuckDB is not installed.
    """

    def __init__(self, path: Path, folder: Path, threads: int) -> None:
        duckdb = import_duckdb()
        self._connection = connect(folder / "given.duckdb", threads, MEMORY_MB)
        try:
            self._kinds = self._read(path)
        except duckdb.Error as error:
            self.close()
            reason = str(error).splitlines()[0].rstrip(".")
            raise InputFileError(str(path), (f"cannot be read as {path.suffix or 'a table'}: {reason}",)) from error
        (self.rows,) = self.execute("SELECT count(*) FROM given").fetchall()[0]
        if not self.rows:
            self.close()
            raise InputFileError(str(path), ("holds no payment: it has a heading at most",))
        self.columns = tuple(self._profile(at, name, kind) for at, (name, kind) in enumerate(self._kinds))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def execute(self, query: str) -> Any:  # noqa: ANN401 - of a module without types
        """Run a query on the table `given`."""
        return self._connection.execute(query)

    @property
    def connection(self) -> Any:  # noqa: ANN401 - of a module without types
        """The connection to the database."""
        return self._connection

    def _read(self, path: Path) -> list[tuple[str, str]]:
        source = source_of(path)
        described = self.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608 - quoted
        kinds = [(str(name), str(kind)) for name, kind, *_ in described]
        names = ", ".join(f"c{at}" for at in range(len(kinds)))
        texts = ", ".join(f"{_as_text(f'c{at}', kind)} AS t{at}" for at, (_, kind) in enumerate(kinds))
        self.execute(
            f"CREATE TABLE given AS SELECT row_number() OVER () AS row, {texts} FROM {source} AS file({names})"  # noqa: S608 - our own
        )
        return kinds

    def _profile(self, at: int, name: str, kind: str) -> ColumnProfile:
        words, text = words_of(name), f"t{at}"
        if _NESTED.search(kind):
            return ColumnProfile(name=name, at=at, words=words, nested=True)
        self._without_points(text)
        number = f"TRY_CAST({text} AS DOUBLE)"
        finite = f"(isfinite({number}) AND NOT regexp_matches({text}, '[xX_]'))"
        points = f"length(regexp_extract({text}, '\\.([0-9]+)$', 1))"
        small = f"regexp_matches({text}, '[eE]-')"
        (found,) = self.execute(
            f"SELECT count({text}), count(DISTINCT {text}), count(*) FILTER ({finite}), "  # noqa: S608 - our own
            f"count(*) FILTER (regexp_full_match({text}, '[+-]?[0-9]+')), count(*) FILTER ({finite} AND {number} < 0), "
            f"coalesce(min({number}) FILTER ({finite}), 0), coalesce(max({number}) FILTER ({finite}), 0), "
            f"coalesce(max(CASE WHEN {small} THEN 9 ELSE {points} END) FILTER ({finite}), 0), "
            f"coalesce(max(length({text})), 0), "
            f"count(*) FILTER (lower({text}) IN ('true', 'false', '1', '0')), "
            f"count(*) FILTER (regexp_full_match({text}, '0[0-9]+')) FROM given"
        ).fetchall()
        sample = self._sample(text)
        return ColumnProfile(
            name=name,
            at=at,
            words=words,
            **dict(zip(_COUNTED, found, strict=True)),
            time_form=self._time_form(text, found[0], words),
            sample=sample,
            has_card_number=self._has_card_number(text),
        )

    def _without_points(self, text: str) -> None:
        """Write whole numbers without a point in a column whose values all are: pandas writes such, where gaps are."""
        whole = f"regexp_full_match({text}, '-?[0-9]+\\.0')"
        (other,) = self.execute(f"SELECT count(*) FROM given WHERE {text} IS NOT NULL AND NOT {whole}").fetchall()[0]  # noqa: S608 - our own
        if not other:
            self.execute(f"UPDATE given SET {text} = left({text}, length({text}) - 2) WHERE {text} IS NOT NULL")  # noqa: S608 - our own

    def _sample(self, text: str) -> tuple[str, ...]:
        rows = self.execute(
            f"SELECT {text} FROM given WHERE {text} IS NOT NULL ORDER BY hash(row) LIMIT {SAMPLED}"  # noqa: S608 - our own
        ).fetchall()
        return tuple(value for (value,) in rows)

    def _time_form(self, text: str, filled: int, words: Sequence[str]) -> str:
        """Return the form of a column's times; empty if they are none."""
        forms = list(TIME_FORMS)
        counts = ", ".join(f"count({TIME_FORMS[form](text)})" for form in forms)
        few = f"SELECT {text} FROM given WHERE {text} IS NOT NULL ORDER BY hash(row) LIMIT {SAMPLED}"  # noqa: S608 - our own
        (found,) = self.execute(f"SELECT count({text}), {counts} FROM ({few})").fetchall()  # noqa: S608 - our own
        for form, count in zip(forms, found[1:], strict=True):
            if found[0] and count >= MOSTLY * found[0]:
                (whole,) = self.execute(f"SELECT count({TIME_FORMS[form](text)}) FROM given").fetchall()[0]  # noqa: S608 - our own
                if whole >= MOSTLY * filled:
                    return form
        return ELAPSED if _ELAPSED_WORDS & set(words) and self._is_elapsed(text, filled) else ""

    def _is_elapsed(self, text: str, filled: int) -> bool:
        (count,) = self.execute(f"SELECT count({_elapsed(text)}) FROM given").fetchall()[0]  # noqa: S608 - our own
        return bool(filled) and count == filled

    def _has_card_number(self, text: str) -> bool:
        digits = f"regexp_replace({text}, '[^0-9]', '', 'g')"
        found = self.execute(
            f"SELECT DISTINCT {text} FROM given WHERE length({digits}) >= {_LEAST_DIGITS} "  # noqa: S608 - our own
            f"AND NOT regexp_full_match({text}, '-?[0-9]*[.][0-9]+([eE][+-]?[0-9]+)?')"
        )
        while rows := found.fetchmany(SAMPLED):
            if any(holds_card_number(value) for (value,) in rows):
                return True
        return False

    def auc_alone(self, column: ColumnProfile, fraud: str, card: str) -> float:
        """Return how well a column alone ranks frauds: ROC AUC of the fraud rates of its values, or bins of numbers.

        The rates of one half of the cards are tried on the other one. `fraud` is 1, 0 or NULL, `card` an identifier, as
        SQL. NaN where there is nothing to rank.
        """
        by_bins = column.is_number and column.distinct > _CODES
        value = f"TRY_CAST({column.text} AS DOUBLE)" if by_bins else f"hash({column.text})"
        found = self.execute(
            f"SELECT {value} AS value, {column.text} IS NULL AS absent, {fraud} AS fraud, hash({card}) % 2 AS half "  # noqa: S608 - our own
            f"FROM given WHERE ({fraud}) IS NOT NULL ORDER BY {fraud} DESC, hash(row) LIMIT {_ALONE_ROWS}"
        ).fetchnumpy()
        values, absent = np.ma.getdata(found["value"]), np.asarray(found["absent"], np.bool_)
        codes = _bins(values, absent) if by_bins else np.unique(values, return_inverse=True)[1].astype(np.int64) + 1
        codes[absent] = 0
        is_fraud, second = np.asarray(found["fraud"]) == 1, np.asarray(found["half"]) == 1
        areas = [_area(codes, is_fraud, half) for half in (second, ~second)]
        return float(np.mean(areas))

    def is_constant_per_card(self, column: ColumnProfile, card: str, time: str) -> bool:
        """Tell whether a card's payments, over a day and more, have one value all, though cards differ in it."""
        (usual,) = self.execute(f"SELECT mode({column.text}) FROM given").fetchall()[0]  # noqa: S608 - our own
        found = self._connection.execute(
            "SELECT count(*), count(*) FILTER (different = 1) FROM ("  # noqa: S608 - our own
            f"SELECT count(DISTINCT {column.text}) AS different FROM given WHERE {column.text} IS NOT NULL "
            f"GROUP BY {card} HAVING count(*) >= {_CARD_PAYMENTS} AND max({time}) - min({time}) >= 86400000 "
            f"AND bool_or({column.text} <> ?))",
            [usual],
        ).fetchall()
        ((cards, constant),) = found
        return bool(cards >= _FEWEST_CARDS and constant >= _CONSTANT_SHARE * cards)


_COUNTED = (
    *("filled", "distinct", "numbers", "whole", "negative", "least", "most", "decimals", "longest"),
    *("flags", "zero_led"),
)
_TIME_WORDS = word_set("time timestamp datetime date ts at epoch unix dt when created occurred ms millis")
_ELAPSED_WORDS = frozenset({"time", "timestamp", "dt", "seconds", "datetime"})
Codes = NDArray[np.int64]


def _as_text(column: str, kind: str) -> str:
    """Return SQL for a column's values as texts, NULL where they stand for nothing."""
    if _NESTED.search(kind):
        return "CAST(NULL AS VARCHAR)"
    if kind in ZONED:
        return time_text(f"CAST({column} AS TIMESTAMPTZ)")
    if kind.startswith("TIMESTAMP"):
        return f"CAST(CAST({column} AS TIMESTAMP) AS VARCHAR)"
    if kind in {"DOUBLE", "FLOAT"}:
        whole = f"{column} = floor({column}) AND abs({column}) < 1e15"
        written = f"CAST({column} AS VARCHAR)"
        return (
            f"CASE WHEN isfinite({column}) THEN CASE WHEN {whole} THEN CAST(CAST({column} AS BIGINT) AS VARCHAR) "
            f"ELSE {written} END END"
        )
    written = f"CAST({column} AS VARCHAR)"
    if kind in INTEGERS:
        return written
    return f"CASE WHEN trim({written}) NOT IN {_NOTHING} THEN trim({written}) END"


def _bins(values: NDArray[Any], absent: NDArray[np.bool_]) -> Codes:
    there = values[~absent]
    edges = np.unique(np.quantile(there, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(there) else there
    return np.searchsorted(edges, values, side="right").astype(np.int64) + 1


def _area(codes: Codes, fraud: NDArray[np.bool_], tried: NDArray[np.bool_]) -> float:
    """Return the AUC that the fraud rates of codes outside of `tried` have there; NaN without frauds on both sides."""
    learned = ~tried
    if not fraud[learned].any() or not fraud[tried].any() or fraud[tried].all():
        return float("nan")
    size = int(codes.max()) + 1
    counts = np.bincount(codes[learned], minlength=size)
    frauds = np.bincount(codes[learned], weights=fraud[learned], minlength=size)
    rates = (frauds + fraud[learned].mean()) / (counts + 1)
    return WeightedRanking(fraud[tried], rates[codes[tried]]).measure(np.ones(int(tried.sum())))[0]


def others(columns: Sequence[ColumnProfile], taken: Mapping[str, ColumnProfile]) -> Iterator[ColumnProfile]:
    """Yield the columns that are none of some."""
    numbers = {one.at for one in taken.values()}
    yield from (column for column in columns if column.at not in numbers)
