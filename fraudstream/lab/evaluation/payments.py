"""The payments of a transactions file as columns: vectors in the order of time, labels, and what segments are cut by.

Vectors are those of training and of the worker: each payment sees what was known when it occurred. They are a file that
is mapped into memory; every other column has a value for each payment.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.declaration import FeatureSet
from features.history.records import CHANNEL, COUNTRY, unpack_trait
from features.history.store import Ints
from features.own_payment import texts
from fraudstream.lab.dataset.database import DatasetBatch
from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.dataset.predictions_file import PredictionsFile
from fraudstream.lab.evaluation.request import Progress
from fraudstream.lab.training.segments import NamedTexts, card_ages_ms
from fraudstream.lab.training.vectors import Table, TableRows, TableWriter, VectorPass, row_blocks
from metrics.alerts import first_frauds
from metrics.card_precision import KnownFrauds, known_compromised
from metrics.columns import Bools, Floats


class PaymentColumns(NamedTuple):
    """What training has no use for, of n payments in the order of their table; each column has the shape (n,).

    `currency` is a place in `currencies`. `channel` and `country` (the merchant's) are packed as in histories; 0 where
    the file gives none. `categories` are places in the texts of each of `named`, of shape (n, named).
    """

    amount_minor: Ints
    currency: Ints
    channel: Ints
    country: Ints
    categories: Ints
    currencies: tuple[str, ...]
    named: tuple[NamedTexts, ...] = ()


class FileTable(NamedTuple):
    """All payments of a file: the table as training has it, and the other columns."""

    table: Table
    columns: PaymentColumns


class EvaluatedPayments(NamedTuple):
    """The n payments that count, by time; each column has the shape (n,).

    Attributes:
        occurred_ms: the time, in epoch milliseconds.
        card: a number for each card.
        fraud: the outcome.
        amount_minor: in minor units of its currency.
        currency: a place in the currencies of the file.
        channel, country, categories: as in `PaymentColumns`.
        card_age_ms: the time since the card's first payment in the file.
        blocked: whether the card was known to be compromised when the payment's day began.
        first_fraud: whether it is the first fraud of its card in the file.
    """

    occurred_ms: Ints
    card: Ints
    fraud: Bools
    amount_minor: Ints
    currency: Ints
    channel: Ints
    country: Ints
    categories: Ints
    card_age_ms: Ints
    blocked: Bools
    first_fraud: Bools

    def where(self, which: Bools | Ints) -> "EvaluatedPayments":
        """Return some of them."""
        columns: dict[str, Any] = {name: column[which] for name, column in self._asdict().items()}
        return EvaluatedPayments(**columns)


def read_file_tables(
    source: TransactionsFile,
    feature_sets: Mapping[str, FeatureSet],
    folder: Path,
    progress: Progress,
    predictions: PredictionsFile | None = None,
    *,
    categories: Sequence[str] = (),
) -> dict[str, FileTable]:
    """Return the payments of a file with the vectors of each feature set, by fingerprint; see `read_payments`."""
    found: dict[str, FileTable] = {}
    for fingerprint, feature_set in feature_sets.items():
        place = folder / f"vectors-{len(found)}"
        place.mkdir()
        found[fingerprint] = read_payments(source, feature_set, place, progress, predictions, categories=categories)
    return found


def read_payments(
    source: TransactionsFile,
    feature_set: FeatureSet,
    folder: Path,
    progress: Progress,
    predictions: PredictionsFile | None = None,
    *,
    categories: Sequence[str] = (),
) -> FileTable:
    """Compute the vectors of all payments of a file; the matrix is a file in `folder`.

    `predictions` are those from storage, which a feature set may read. `categories` are fields whose texts are kept.

    Raises:
        FormulaError: a formula of the feature set raised, or returned no number.
    """
    writer = TableWriter(source.facts.rows, len(feature_set.names), folder)
    pass_, parts = VectorPass(source, feature_set, predictions), list[_ColumnParts]()
    currencies: dict[str, int] = {}
    places: dict[str, dict[str | None, int]] = {name: {None: 0} for name in categories}
    for rows, matrix, decided in pass_.batches(progress):
        seen = rows.transactions
        labels, money = (rows.labelled_ms, rows.fraud), (seen.amount_minor, rows.currencies)
        writer.append(TableRows(matrix, seen.occurred_ms, *labels, decided, seen.card_ids, *money))
        parts.append(_ColumnParts.of(rows, currencies, places))
    writer.table.fingerprint = pass_.fingerprint
    joined = _ColumnParts(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    named = tuple(NamedTexts(name, tuple(text or "" for text in known)) for name, known in places.items())
    return FileTable(writer.table, PaymentColumns(**joined._asdict(), currencies=tuple(currencies), named=named))


class _ColumnParts(NamedTuple):
    """The columns of one batch."""

    amount_minor: Ints
    currency: Ints
    channel: Ints
    country: Ints
    categories: Ints

    @classmethod
    def of(
        cls, rows: DatasetBatch, currencies: dict[str, int], places: Mapping[str, dict[str | None, int]]
    ) -> "_ColumnParts":
        seen = rows.transactions
        numbers = np.array([currencies.setdefault(one, len(currencies)) for one in rows.currencies], np.int64)
        categories = np.empty((len(numbers), len(places)), np.int64)
        for at, (name, known) in enumerate(places.items()):
            categories[:, at] = [known.setdefault(text, len(known)) for text in texts(name, seen)]
        channel, country = unpack_trait(seen.traits, CHANNEL), unpack_trait(seen.traits, COUNTRY)
        return cls(seen.amount_minor, numbers, channel, country, categories)


def payments_of(file: FileTable, rows: Ints, fraud: NDArray[np.int8]) -> EvaluatedPayments:
    """Return some payments of a file; `fraud` has the outcome of each payment of the file."""
    table, columns = file.table, file.columns
    frauds = np.flatnonzero((table.fraud == 1) & table.decided)
    known = KnownFrauds(table.card[frauds], table.labelled_ms[frauds])
    return EvaluatedPayments(
        occurred_ms=table.occurred_ms[rows],
        card=table.card[rows],
        fraud=fraud[rows] == 1,
        amount_minor=columns.amount_minor[rows],
        currency=columns.currency[rows],
        channel=columns.channel[rows],
        country=columns.country[rows],
        categories=columns.categories[rows],
        card_age_ms=card_ages_ms(table)[rows],
        blocked=known_compromised(table.card[rows], table.occurred_ms[rows], known),
        first_fraud=first_frauds(table.card, table.occurred_ms, (fraud == 1) & table.decided)[rows],
    )


def column_of(table: Table, rows: Ints, place: int) -> Floats:
    """Return one feature of some rows."""
    return np.concatenate([np.asarray(table.matrix[block, place]) for block in row_blocks(rows)])


def days_of(occurred_ms: Ints) -> NDArray[np.int64]:
    """Return the UTC days of times, as numbers since 1970-01-01."""
    return occurred_ms // 86_400_000
