"""Writes the transactions file of a file with other names: what `train`, `publish` and `score` read.

A row without what a payment must have is left out, and counted. Identifiers that are no tokens become tokens:
characters that no token may have become `_`, or, where two identifiers would then be one, a hash stands for each.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from features.own_fields import FieldKind
from fraudstream.lab.dataset.columns import LARGEST_AMOUNT, TOKEN
from fraudstream.lab.dataset.database import quoted
from fraudstream.lab.dataset.errors import InputFileError, OutputError
from fraudstream.lab.dataset.output import join_parts, temporary_folder
from fraudstream.lab.declarations.given_file import WITH_ZONE, ColumnProfile, GivenFile
from fraudstream.lab.declarations.roles import NO, YES
from fraudstream.lab.declarations.selection import ProposedField, Selection
from stream.contract.iso import CURRENCY_DECIMALS

_NEEDED_COLUMNS = ("occurred_at", "amount_minor", "card_id", "merchant_id")


class WrittenFile(NamedTuple):
    """What was written: how many rows, how many were left out, and remarks on what was changed on the way."""

    path: str
    rows: int
    left_out: int
    remarks: tuple[str, ...]


class AmountTerms(NamedTuple):
    """How amounts are read: in minor units or in major ones, and the currency of a file that has no such column."""

    in_minor: bool
    currency: str


def label_expression(column: ColumnProfile) -> str:
    """Return a label as SQL: 1, 0, or NULL where there is none."""
    text = f"lower({column.text})"
    yes, no = (", ".join(quoted(word) for word in sorted(words)) for words in (YES, NO))
    return f"CASE WHEN {text} IN ({yes}) THEN 1 WHEN {text} IN ({no}) THEN 0 END"


def amount_expression(column: ColumnProfile, terms: AmountTerms, currency: ColumnProfile | None) -> str:
    """Return an amount in minor units as SQL; NULL where it is none that a payment may have."""
    cleaned = f"regexp_replace({column.text}, '^[$€£]? ?', '')"
    number = f"TRY_CAST({cleaned} AS DECIMAL(30, 6))"
    if terms.in_minor:
        minor = number
    elif currency is None:
        minor = f"{number} * {10 ** CURRENCY_DECIMALS[terms.currency]}"
    else:
        cases = " ".join(
            f"WHEN {currency.text} IN ({', '.join(quoted(code) for code in codes)}) THEN {10**decimals}"
            for decimals, codes in _by_decimals().items()
        )
        minor = f"{number} * CASE {cases} END"
    rounded = f"CAST(round_even({minor}, 0) AS BIGINT)"
    return f"CASE WHEN {minor} BETWEEN 0 AND {LARGEST_AMOUNT} THEN {rounded} END"


def _by_decimals() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for code, decimals in sorted(CURRENCY_DECIMALS.items()):
        found.setdefault(decimals, []).append(code)
    return found


def write_transactions(
    file: GivenFile,
    columns: Mapping[str, ColumnProfile],
    selection: Selection,
    terms: AmountTerms,
    out: Path,
) -> WrittenFile:
    """Write the transactions file.

    Raises:
        InputFileError: a payment would lack a column, or an id is a card number.
        OutputError: the file cannot be written.
    """
    problems = [
        f"no column is known to be {name}: name it by --column {name}=COLUMN"
        for name in _NEEDED_COLUMNS
        if name not in columns
    ]
    problems += [
        f"column {column.shown}, taken for {name}, holds a card number, or what looks like one: replace card numbers "
        "by tokens first"
        for name, column in columns.items()
        if column.has_card_number and name != "transaction_id"
    ]
    if problems:
        raise InputFileError(str(out), tuple(problems))
    remarks: list[str] = []
    expressions = dict(_contract(file, columns, terms, remarks))
    expressions |= {one.name: f"{one.text}" for one in selection.passed_on}
    expressions |= {one.name: _value(one) for one in selection.fields}
    chosen = ", ".join(f'{expression} AS "{name}"' for name, expression in expressions.items())
    needed = " AND ".join(f'"{name}" IS NOT NULL' for name in (*_NEEDED_COLUMNS, "currency", "transaction_id"))
    with temporary_folder(out.resolve().parent, "draft", OutputError) as folder:
        part = folder / "part.parquet"
        file.execute(
            f"COPY (SELECT * FROM (SELECT {chosen} FROM given ORDER BY row) WHERE {needed}) TO {quoted(part)} "  # noqa: S608 - our own
            "(FORMAT parquet)"
        )
        (rows,) = file.execute(f"SELECT count(*) FROM read_parquet({quoted(part)})").fetchall()[0]  # noqa: S608 - quoted
        if not rows:
            raise InputFileError(str(out), ("no row has a time, an amount, a card and a merchant that can be read",))
        join_parts(file.connection, [part], out)
    return WrittenFile(str(out), rows, file.rows - rows, tuple(remarks))


def _contract(
    file: GivenFile, columns: Mapping[str, ColumnProfile], terms: AmountTerms, remarks: list[str]
) -> Iterator[tuple[str, str]]:
    """Yield the columns of the contract and what they are made of, as SQL."""
    made = "'row-' || row"
    yield "transaction_id", columns["transaction_id"].text if "transaction_id" in columns else made
    for name in ("card_id", "merchant_id", "device_id"):
        if name in columns:
            yield name, _token(file, name, columns[name], remarks)
    time = columns["occurred_at"]
    yield "occurred_at", time.text if time.time_form == WITH_ZONE else _time_text(time.time)
    currency = columns.get("currency")
    yield "amount_minor", amount_expression(columns["amount_minor"], terms, currency)
    yield "currency", quoted(terms.currency) if currency is None else currency.text
    if "fraud" in columns:
        yield "fraud", f"CAST({label_expression(columns['fraud'])} AS BOOLEAN)"
    if "labelled_at" in columns:
        yield "labelled_at", _time_text(f"greatest({columns['labelled_at'].time}, {time.time})")
    for name in ("mcc", "channel", "merchant_country", "card_country", "latitude", "longitude"):
        if name in columns:
            yield name, columns[name].text


def _time_text(milliseconds: str) -> str:
    written = f"strftime(make_timestamp(CAST({milliseconds} AS BIGINT) * 1000), '%Y-%m-%dT%H:%M:%S.%g') || 'Z'"
    return f"CASE WHEN {milliseconds} IS NOT NULL THEN {written} END"


def _token(file: GivenFile, name: str, column: ColumnProfile, remarks: list[str]) -> str:
    """Return an identifier as a token, as SQL; what was done to it is added to the remarks."""
    changed = f"regexp_replace({column.text}, '[^A-Za-z0-9._:@-]', '_', 'g')"
    invalid, distinct, kept, longest = file.execute(
        f"SELECT count(*) FILTER (NOT regexp_full_match({column.text}, '{TOKEN}')), count(DISTINCT {column.text}), "  # noqa: S608 - our own
        f"count(DISTINCT {changed}), max(length({column.text})) FROM given"
    ).fetchall()[0]
    if not invalid:
        return column.text
    if distinct == kept and longest <= 64:  # noqa: PLR2004 - of the contract
        remarks.append(f"{name}: characters that no token may have became _: let producers do the same")
        return changed
    remarks.append(f"{name}: replaced by hashes, since tokens have 1 to 64 of A-Z a-z 0-9 . _ : @ -: send tokens")
    return f"translate(sha256({column.text})[1:32], '0123456789', 'ghijklmnop')"  # no digits, so no card number


def _value(field: ProposedField) -> str:
    """Return the values of a field as SQL, of the type that its kind has."""
    text = field.column.text
    match field.kind:
        case FieldKind.NUMBER:
            return f"TRY_CAST({text} AS DOUBLE)"
        case FieldKind.FLAG:
            return f"CASE WHEN lower({text}) IN ('true', '1') THEN true WHEN {text} IS NOT NULL THEN false END"
        case _:
            return text
