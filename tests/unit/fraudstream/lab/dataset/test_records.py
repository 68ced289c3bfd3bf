"""A transactions file is converted to the records that a producer and case management would have sent."""

import json
from pathlib import Path
from typing import Any

import pytest

from fraudstream.lab.dataset import database
from fraudstream.lab.dataset.backfill_sources import FilesSource
from fraudstream.lab.dataset.records import RecordKind, RecordsDatabase
from models.times import format_time
from stream.contract.codes import Rejection
from stream.contract.label import read_label
from stream.contract.transaction import read_transaction
from support.training_files import START_MS, transactions, write

FUTURE_MS = 2**50


def records(path: Path, workplace: Path, kind: RecordKind = RecordKind.TRANSACTION) -> list[dict[str, Any]]:
    source = RecordsDatabase(workplace)
    source.add(path, (kind,))
    found = list(source.records())
    assert len(found) == source.count(kind)
    decoded = [json.loads(one.value) for one in found]
    assert [one.key.decode() for one in found] == [record["card_id"] for record in decoded]
    for one in found:
        read = (
            read_transaction(one.value, one.key, FUTURE_MS)
            if kind is RecordKind.TRANSACTION
            else read_label(one.value, one.key, (0, 0))
        )
        assert not isinstance(read, Rejection), read
    return decoded


def columns(rows: int = 50, **more: Any) -> dict[str, Any]:
    return transactions(rows=rows) | more


@pytest.mark.parametrize("name", ["payments.parquet", "payments.csv"])
def test_transactions_are_yielded_in_order_of_time(tmp_path: Path, name: str) -> None:
    given = columns()
    backwards = {column: values[::-1] for column, values in given.items()}
    found = records(write(tmp_path / name, backwards), tmp_path)
    assert [record["transaction_id"] for record in found] == given["transaction_id"]
    assert [record["amount_minor"] for record in found] == given["amount_minor"]
    assert "fraud" not in found[0]


def test_optional_columns_are_included_and_empty_values_and_unknown_columns_are_omitted(tmp_path: Path) -> None:
    given = columns(
        2,
        mcc=["5411", None],
        channel=["pos", ""],
        latitude=[52.5, None],
        device_id=["d-1", None],
        unheard_of=["x", "y"],
    )
    first, second = records(write(tmp_path / "p.parquet", given), tmp_path)
    assert (first["mcc"], first["channel"], first["latitude"], first["device_id"]) == ("5411", "pos", 52.5, "d-1")
    assert {"mcc", "channel", "latitude", "device_id", "unheard_of"} & second.keys() == set()


def test_a_numeric_category_code_gets_its_leading_zeros_back(tmp_path: Path) -> None:
    (record,) = records(write(tmp_path / "p.parquet", columns(1, mcc=[742])), tmp_path)
    assert record["mcc"] == "0742"


def test_epoch_milliseconds_become_rfc_3339_text(tmp_path: Path) -> None:
    (record,) = records(write(tmp_path / "p.parquet", columns(1, occurred_at=[START_MS + 7])), tmp_path)
    assert record["occurred_at"] == "2026-01-01T00:00:00.007+00:00"


def test_labels_are_yielded_in_order_of_labelled_at_and_unlabelled_rows_are_omitted(tmp_path: Path) -> None:
    given = columns(
        3,
        fraud=[True, None, False],
        labelled_at=[format_time(START_MS + 90 * 86_400_000), None, format_time(START_MS + 80 * 86_400_000)],
    )
    found = records(write(tmp_path / "p.parquet", given), tmp_path, RecordKind.LABEL)
    assert [(label["transaction_id"], label["fraud"]) for label in found] == [("t2", False), ("t0", True)]
    assert found[0]["labelled_at"] == format_time(START_MS + 80 * 86_400_000)
    assert found[0]["occurred_at"] == given["occurred_at"][2]


def test_a_label_without_labelled_at_is_dated_a_week_after_its_transaction(tmp_path: Path) -> None:
    given = columns(1, occurred_at=[START_MS], fraud=[True])
    (label,) = records(write(tmp_path / "p.parquet", given), tmp_path, RecordKind.LABEL)
    assert label["labelled_at"] == format_time(START_MS + 7 * 86_400_000)


def test_many_files_share_one_database_and_its_memory_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[Any, int]] = []
    totals: list[int] = []
    open_database = database._open

    def is_open(connection: Any) -> bool:
        try:
            connection.execute("SELECT 1")
        except database.import_duckdb().ConnectionException:
            return False
        return True

    def open_and_count(name: str, threads: int, memory_mb: int, folder: Path) -> Any:
        opened.append((open_database(name, threads, memory_mb, folder), memory_mb))
        totals.append(sum(limit for one, limit in opened if is_open(one)))
        return opened[-1][0]

    monkeypatch.setattr(database, "_open", open_and_count)
    (tmp_path / "work").mkdir()
    source = FilesSource([write(tmp_path / f"{at}.csv", columns(2 + at)) for at in range(3)], tmp_path / "work")
    assert len(list(source.records())) == 2 * (2 + 3 + 4)
    assert max(totals) == database.MEMORY_MB
    assert len(opened) == 1
