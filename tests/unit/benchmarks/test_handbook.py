"""The handbook's protocol: which cards it removes, which payments it trains on, and that figures come out."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.handbook import (
    BOOK_FEATURES,
    SPLITS,
    WEEK_MS,
    HandbookEffort,
    HandbookSplit,
    known_to_be_compromised,
    means,
    measure_handbook,
    write_transactions,
)
from features.declaration import FeatureSet, load
from fraudstream.lab.training.vectors import Table
from stream.errors import MeasurementError

DAY_MS = 86_400_000
BEGIN = dt.datetime(2018, 4, 1)  # noqa: DTZ001 - as the book's times, without a zone


def stream(rows: int = 9_000, days: int = 122, seed: int = 0) -> dict[str, list[Any]]:
    """Draw payments with the book's columns; one terminal of twenty has frauds of high amounts."""
    random = np.random.default_rng(seed)
    seconds = np.sort(random.integers(0, days * 86_400, rows))
    terminal = random.integers(0, 20, rows)
    fraud = (terminal == 3) & (random.random(rows) < 0.7)
    return {
        "TRANSACTION_ID": list(range(rows)),
        "TX_DATETIME": [BEGIN + dt.timedelta(seconds=int(one)) for one in seconds],
        "CUSTOMER_ID": [str(one) for one in random.integers(0, 900, rows)],
        "TERMINAL_ID": [str(one) for one in terminal],
        "TX_AMOUNT": np.round(random.random(rows) * 100 * np.where(fraud, 3, 1), 2).tolist(),
        "TX_FRAUD": fraud.astype(int).tolist(),
    }


def written(folder: Path, **changes: Any) -> Path:
    pq.write_table(pa.table(stream(**changes)), folder / "book.parquet")
    return folder / "book.parquet"


def test_the_splits_are_those_of_the_book() -> None:
    def days(split: HandbookSplit) -> tuple[str, ...]:
        times = (split.train_ms, split.known_ms, split.test_ms, split.test_ms + WEEK_MS)
        return tuple(dt.datetime.fromtimestamp(one / 1000, dt.UTC).date().isoformat() for one in times)

    validation = [days(one) for one in SPLITS if one.name == "validation"]
    assert [one[2:] for one in validation] == [
        ("2018-07-04", "2018-07-11"),
        ("2018-07-11", "2018-07-18"),
        ("2018-07-18", "2018-07-25"),
        ("2018-07-25", "2018-08-01"),
    ]
    assert [one[:2] for one in validation][-1] == ("2018-07-11", "2018-07-18")
    (chapter,) = (days(one) for one in SPLITS if one.name == "chapter 3")
    assert chapter == ("2018-07-25", "2018-08-01", "2018-08-08", "2018-08-15")
    assert [days(one)[2] for one in SPLITS if one.name == "test"] == [
        "2018-08-08",
        "2018-08-15",
        "2018-08-22",
        "2018-08-29",
    ]


def removed_by_the_book(table: Table, split: HandbookSplit) -> set[int]:
    """Follow the book: sets of customers, day by day of the test; return the rows that it leaves out of the test."""
    day = (table.occurred_ms // DAY_MS - split.train_ms // DAY_MS).tolist()
    card, fraud = table.card.tolist(), table.fraud.tolist()
    known = {card[row] for row in range(len(day)) if 0 <= day[row] < 7 and fraud[row]}
    removed = set()
    for tested in range(14, 21):
        known |= {card[row] for row in range(len(day)) if day[row] == tested - 8 and fraud[row]}
        removed |= {row for row in range(len(day)) if day[row] == tested and card[row] in known}
    return removed


@pytest.mark.parametrize("seed", range(2))
def test_the_cards_that_are_removed_are_those_of_the_book(seed: int) -> None:
    random = np.random.default_rng(seed)
    split = SPLITS[0]
    rows = 3_000
    occurred = np.sort(random.integers(split.train_ms - WEEK_MS, split.test_ms + WEEK_MS, rows))
    fraud = (random.random(rows) < 0.05).astype(np.int8)
    card = random.integers(0, 300, rows)
    others = np.ones(rows, np.bool_), np.full(rows, 4_200), np.full(rows, b"EUR")
    table = Table(np.zeros((rows, 1)), occurred, occurred, fraud, card, *others)
    test = np.flatnonzero(occurred >= split.test_ms)
    found = set(test[known_to_be_compromised(table, split)[test]].tolist())
    assert found == removed_by_the_book(table, split)
    assert 0 < len(found) < len(test)


def test_the_books_payments_become_a_transactions_file(tmp_path: Path) -> None:
    write_transactions(written(tmp_path, rows=500), tmp_path / "out.parquet", tmp_path)
    found, given = pq.read_table(tmp_path / "out.parquet").to_pydict(), stream(rows=500)
    assert found["card_id"] == [f"c-{one}" for one in given["CUSTOMER_ID"]]
    assert found["merchant_id"] == [f"m-{one}" for one in given["TERMINAL_ID"]]
    assert found["amount_minor"] == [round(one * 100) for one in given["TX_AMOUNT"]]
    assert found["fraud"] == [bool(one) for one in given["TX_FRAUD"]]
    epochs = [round(one.replace(tzinfo=dt.UTC).timestamp() * 1000) for one in given["TX_DATETIME"]]
    assert found["occurred_at"] == epochs


@pytest.mark.acceptance
def test_every_split_of_the_file_has_a_line_for_each_model(tmp_path: Path) -> None:
    found = measure_handbook(written(tmp_path), load(None), HandbookEffort(trees=5, threads=1), lambda *_: None)
    assert len(found.lines) == 16
    assert len(found.not_reached) == 5
    for one in found.lines:
        assert one.average_precision.value is not None
        assert 0 < one.average_precision.value <= 1
        assert one.test_since[:10] in {"2018-07-04", "2018-07-11", "2018-07-18", "2018-07-25"}
        assert one.train_until <= one.test_since
    for first, second in zip(found.lines[::4], found.lines[2::4], strict=True):
        assert (first.history, second.history) == ("week", "all")
        assert first.trained_rows < second.trained_rows
        assert (first.payments, first.frauds) == (second.payments, second.frauds)
    (mean, *_) = means(found.lines)
    own = [one for one in found.lines if (one.features, one.history) == ("book", "week")]
    assert (mean.splits, mean.of) == ("validation", 4)
    assert mean.average_precision == pytest.approx(np.mean([one.average_precision.value for one in own]))


@pytest.mark.acceptance
def test_searched_parameters_are_chosen_before_the_first_test_and_used_on_every_split(tmp_path: Path) -> None:
    effort = HandbookEffort(trees=5, threads=1, trials=2)
    found = measure_handbook(written(tmp_path), load(None), effort, lambda *_: None)
    assert found.search is not None
    assert found.search.trials == 2
    assert found.search.best >= found.search.first
    own = [one for one in found.lines if one.searched]
    assert len(own) == 4
    assert {(one.features, one.history) for one in own} == {("default", "all")}
    assert [one.searched for one in means(found.lines)] == [False] * 4 + [True]


def test_a_file_of_another_kind_or_too_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="holds no split of the book"):
        measure_handbook(written(tmp_path, rows=500, days=60), load(None), HandbookEffort(), lambda *_: None)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(MeasurementError, match="parquet with the columns TRANSACTION_ID"):
        measure_handbook(tmp_path / "other.parquet", load(None), HandbookEffort(), lambda *_: None)
    rows = tuple(row for row in load(None).rows if row.name != BOOK_FEATURES[0])
    with pytest.raises(MeasurementError, match="lacks is_weekend"):
        measure_handbook(tmp_path / "other.parquet", FeatureSet(rows), HandbookEffort(), lambda *_: None)
