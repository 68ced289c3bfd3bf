"""The optional columns of a file give the same values, and the same dropped ones, as its published records."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from features.history.records import CHANNELS
from features.history.store import Transactions
from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.dataset.records import RecordKind, RecordsDatabase
from stream.scoring.decode import decode
from support.examples import examples
from support.stream_records import Told
from support.training_files import write

FUTURE_MS = 2**50
texts = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1, max_size=5)
rows = st.fixed_dictionaries(
    {
        "device_id": st.none() | st.sampled_from(("phone", "a b", "x" * 64, "x" * 65)) | texts,
        "mcc": st.none() | st.sampled_from(("5411", "0000", "742", "54111", "-411", "५४११", "5411\n")),
        "channel": st.none() | st.sampled_from((*CHANNELS, "POS", "phone")),
        "merchant_country": st.none() | st.sampled_from(("DE", "US", "ZW", "AA", "de", "DEU", "Ä")),
        "latitude": st.none() | st.floats(-91, 91) | st.sampled_from((0.0, 90.0, -90.0, 0.000005, 1.000015, -0.000025)),
        "longitude": st.none() | st.floats(-181, 181) | st.sampled_from((0.0, 180.0, -180.0, 0.000015)),
        "occurred_at": st.sampled_from(
            ("2026-01-31T23:30:00Z", "2026-01-31T23:30:00+05:30", "2026-01-31T23:30:00-11:00")
        ),
        "currency": st.sampled_from(("EUR", "JPY", "CLF", "ZWG")),
    }
)


def file_of(path: Path, given: list[dict[str, Any]]) -> Path:
    columns = {name: [row[name] for row in given] for name in given[0]}
    names = [f"t{number}" for number in range(len(given))]
    required = {"transaction_id": names, "card_id": names, "merchant_id": names, "amount_minor": [1] * len(given)}
    return write(path, required | columns)


def optional_values(transactions: Transactions) -> dict[str, tuple[Any, ...]]:
    columns = zip(
        transactions.device_ids, transactions.place.tolist(), transactions.traits.tolist(), strict=True
    )  # fmt: skip
    return dict(zip(transactions.transaction_ids, columns, strict=True))


def read(path: Path) -> tuple[dict[str, tuple[Any, ...]], dict[str, int]]:
    with TemporaryDirectory() as workplace, TransactionsFile(path, Path(workplace), 1) as source:
        (batch,) = source.batches(lambda: 1000)
        return optional_values(batch.transactions), source.dropped


def streamed(path: Path) -> tuple[dict[str, tuple[Any, ...]], dict[str, int]]:
    """Send a file as `publish` does, and decode it as a worker does."""
    with TemporaryDirectory() as workplace:
        database = RecordsDatabase(Path(workplace))
        database.add(path, (RecordKind.TRANSACTION,))
        sent = list(database.records())
    records = [Told(one.value, one.key, offset=at, timestamp=FUTURE_MS) for at, one in enumerate(sent)]
    decoded = decode(records, 0)
    assert not decoded.dead
    return optional_values(decoded.columns), Counter(name for one in decoded.accepted for name in one.dropped)


@pytest.mark.parametrize("name", ["file.parquet", "file.csv"])
@given(given_rows=st.lists(rows, min_size=20, max_size=60))
@settings(max_examples=examples(4), deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_a_file_is_read_with_the_same_values_as_its_published_records(
    name: str, given_rows: list[dict[str, Any]]
) -> None:
    with TemporaryDirectory() as folder:
        path = file_of(Path(folder) / name, given_rows)
        assert read(path) == streamed(path)


def test_invalid_values_are_counted_by_column_and_empty_ones_are_not(tmp_path: Path) -> None:
    given_rows = [
        {"mcc": "x", "channel": "", "latitude": 1.0, "device_id": None},
        {"mcc": "y", "channel": "pos", "latitude": 91.0, "device_id": "a b"},
        {"mcc": "742", "channel": "pos", "latitude": float("nan"), "device_id": "ab"},
    ]
    required = {"occurred_at": "2026-01-31T23:30:00Z", "currency": "EUR"}
    path = file_of(tmp_path / "f.parquet", [required | row for row in given_rows])
    assert read(path)[1] == {"device_id": 1, "mcc": 2, "latitude": 2}


@pytest.mark.parametrize(
    ("column", "values"),
    [("mcc", [5411, 742]), ("mcc", [5411.0, 742.0]), ("device_id", [17, 18]), ("latitude", [1, 2])],
)
def test_numeric_columns_are_read_with_the_same_values_as_their_published_records(
    tmp_path: Path, column: str, values: list[Any]
) -> None:
    given_rows = [{"occurred_at": "2026-01-31T23:30:00Z", "currency": "EUR", column: value} for value in values]
    if column == "latitude":
        given_rows = [row | {"longitude": 3} for row in given_rows]
    path = file_of(tmp_path / "f.parquet", given_rows)
    assert read(path) == streamed(path)
    assert not read(path)[1]


def test_a_column_of_another_type_is_dropped_whole(tmp_path: Path) -> None:
    given_rows = [{"occurred_at": "2026-01-31T23:30:00Z", "currency": "EUR", "latitude": True, "mcc": True}] * 2
    assert read(file_of(tmp_path / "f.parquet", given_rows))[1] == {"latitude": 2, "mcc": 2}
