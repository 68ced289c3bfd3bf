"""Drafts a module of features, and the transactions file, from a file of payments with any names.

This is the page to read first: the file is profiled (`given_file`), the contract's columns are found in it (`roles`),
the others become fields or are left out (`selection`), and what was chosen is written (`module_text`, `conversion`).
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path

import msgspec

from fraudstream.lab.declarations.conversion import AmountTerms, WrittenFile, label_expression, write_transactions
from fraudstream.lab.declarations.given_file import ColumnProfile, GivenFile
from fraudstream.lab.declarations.module_text import DraftFacts, module_text
from fraudstream.lab.declarations.roles import Guess, find_roles
from fraudstream.lab.declarations.selection import Ground, Selection, select
from models.times import format_time
from stream.contract.iso import CURRENCY_DECIMALS

ASSUMED_CURRENCY = "EUR"
_IN_MINOR = frozenset({"minor", "cents", "cent", "pence"})
_MADE = {
    "transaction_id": "the number of the row stands for it",
    "merchant_id": "a payment needs it: name it by --column merchant_id=COLUMN",
    "card_id": "a payment needs it: name it by --column card_id=COLUMN",
    "amount_minor": "a payment needs it: name it by --column amount_minor=COLUMN",
    "fraud": "training needs it, and leaks are found by it: name it by --column fraud=COLUMN",
    "labelled_at": "a label counts as known 7 days after its payment",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftRequest:
    """What is to be drafted.

    Attributes:
        file: the payments.
        stated: columns by field of the contract, as a person says; empty where there is none.
        currency: of a file that has no such column; empty: it is guessed from names, else assumed.
        in_minor: whether amounts are in minor units; None: by the column's name.
        write_to: the transactions file to write; None for none.
        threads: of reading the file.
    """

    file: Path
    stated: Mapping[str, str] = field(default_factory=dict)
    currency: str = ""
    in_minor: bool | None = None
    write_to: Path | None = None
    threads: int = 2


class MappedColumn(msgspec.Struct, frozen=True):
    """A column of the contract, the file's column that is taken for it, how sure that is, why, and what else may be."""

    field: str
    column: str | None
    sure: str
    why: str
    others: tuple[str, ...]


class DraftedField(msgspec.Struct, frozen=True):
    """A field that is proposed, and how well its column alone ranks the frauds."""

    field: str
    column: str
    kind: str
    auc: float | None
    note: str


class LeftOutColumn(msgspec.Struct, frozen=True):
    """A column that is left out; `ground` is one of leak, private, token, time, form, tells_nothing, too_many."""

    column: str
    ground: str
    why: str


class DraftReport(msgspec.Struct, frozen=True):
    """What was drafted; times are those of the first and the last payment."""

    file: str
    rows: int
    frauds: int | None
    since: str
    until: str
    columns: tuple[MappedColumn, ...]
    fields: tuple[DraftedField, ...]
    left_out: tuple[LeftOutColumn, ...]
    passed_on: tuple[str, ...]
    module: str
    written: WrittenFile | None


def draft(request: DraftRequest) -> DraftReport:
    """Draft a module of features, and write the transactions file if it is asked for.

    Raises:
        InputFileError: the file cannot be read, no column may be a time, or a payment would lack a column.
        OutputError: the transactions file cannot be written.
        MissingExtraError: DuckDB is not installed.
    """
    with (
        tempfile.TemporaryDirectory(prefix="fraudstream-draft-") as name,
        GivenFile(request.file, Path(name), request.threads) as file,
    ):
        roles = find_roles(str(request.file), file.columns, file.rows, request.stated)
        given = {role: guess.column for role, guess in roles.items() if guess.column is not None}
        fraud = label_expression(given["fraud"]) if "fraud" in given else "NULL"
        terms = _terms(request, given)
        currencies = given["currency"].distinct if "currency" in given else 1
        selection = select(file, roles, fraud, terms.currency if currencies == 1 else "")
        facts = DraftFacts(request.file.name, selection.fields, selection.left_out, frozenset(given), currencies)
        text = module_text(facts)
        written = None
        if request.write_to is not None:
            written = write_transactions(file, given, selection, terms, request.write_to)
        first, last, frauds = file.execute(
            f"SELECT min({given['occurred_at'].time}), max({given['occurred_at'].time}), "  # noqa: S608 - our own
            f"count(*) FILTER (({fraud}) = 1) FROM given"
        ).fetchall()[0]
        return DraftReport(
            file=request.file.name,
            rows=file.rows,
            frauds=frauds if "fraud" in given else None,
            since=format_time(first),
            until=format_time(last),
            columns=tuple(_mapped(name, guess, terms, given) for name, guess in roles.items()),
            fields=_fields(selection),
            left_out=tuple(
                LeftOutColumn(one.column.shown, Ground(one.ground).name.lower(), one.why) for one in selection.left_out
            ),
            passed_on=tuple(one.name for one in selection.passed_on),
            module=text,
            written=written,
        )


def _terms(request: DraftRequest, given: Mapping[str, ColumnProfile]) -> AmountTerms:
    amount, currency = given.get("amount_minor"), given.get("currency")
    in_minor = request.in_minor
    if in_minor is None:
        in_minor = amount is not None and not amount.decimals and bool(_IN_MINOR & set(amount.words))
    code = request.currency
    if not code and currency is not None:
        code = max(set(currency.sample), key=currency.sample.count)
    if not code and amount is not None:
        code = next((word.upper() for word in amount.words if word.upper() in CURRENCY_DECIMALS), "")
    return AmountTerms(in_minor, code or ASSUMED_CURRENCY)


def _mapped(name: str, guess: Guess, terms: AmountTerms, given: Mapping[str, ColumnProfile]) -> MappedColumn:
    if guess.column is not None:
        why = guess.why
        if name == "amount_minor":
            why += "; in minor units" if terms.in_minor else "; in major units, which become minor ones"
        return MappedColumn(name, guess.column.shown, guess.sure, why, guess.others)
    why = _MADE.get(name, "optional")
    if name == "currency":
        why = f"{terms.currency} is taken for all payments: state yours by --currency"
    return MappedColumn(name, None, "none", why, guess.others if name not in given else ())


def _fields(selection: Selection) -> tuple[DraftedField, ...]:
    return tuple(
        DraftedField(
            one.name,
            one.column.shown,
            one.kind.value,
            None if isnan(one.auc) else round(one.auc, 4),
            one.note,
        )
        for one in selection.fields
    )
