"""A transactions file becomes what a producer and a case management would have sent."""

import json
from pathlib import Path
from typing import Any

import pytest

from models.times import format_time
from stream.contract.codes import Rejection
from stream.contract.label import read_label
from stream.contract.transaction import read_transaction
from stream.dataset.errors import TransactionsFileError
from stream.dataset.records import RecordKind, RecordsFile
from support.training_files import START_MS, transactions, write

FUTURE_MS = 2**50


def records(path: Path, workplace: Path, kind: RecordKind = RecordKind.TRANSACTION) -> list[dict[str, Any]]:
    source = RecordsFile(path, workplace)
    found = list(source.records(kind))
    assert len(found) == source.count(kind)
    decoded = [json.loads(value) for _, value in found]
    assert [key.decode() for key, _ in found] == [record["card_id"] for record in decoded]
    for key, value in found:
        read = (
            read_transaction(value, key, FUTURE_MS)
            if kind is RecordKind.TRANSACTION
            else read_label(value, key, (0, 0))
        )
        assert not isinstance(read, Rejection), read
    return decoded


def columns(rows: int = 50, **more: Any) -> dict[str, Any]:
    return transactions(rows=rows) | more


@pytest.mark.parametrize("name", ["payments.parquet", "payments.csv"])
def test_all_rows_come_in_the_order_of_time(tmp_path: Path, name: str) -> None:
    given = columns()
    backwards = {column: values[::-1] for column, values in given.items()}
    found = records(write(tmp_path / name, backwards), tmp_path)
    assert [record["transaction_id"] for record in found] == given["transaction_id"]
    assert [record["amount_minor"] for record in found] == given["amount_minor"]
    assert "fraud" not in found[0]


def test_optional_columns_go_along_and_empty_ones_do_not(tmp_path: Path) -> None:
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


def test_a_category_code_that_became_a_number_gets_its_zeros_back(tmp_path: Path) -> None:
    (record,) = records(write(tmp_path / "p.parquet", columns(1, mcc=[742])), tmp_path)
    assert record["mcc"] == "0742"


def test_a_wall_clock_keeps_its_offset_and_its_moment(tmp_path: Path) -> None:
    given = columns(1, occurred_at=["2026-01-31T23:30:00.250+02:00"])
    (record,) = records(write(tmp_path / "p.csv", given), tmp_path)
    assert record["occurred_at"] == "2026-01-31T23:30:00.250+02:00"


def test_milliseconds_become_text(tmp_path: Path) -> None:
    (record,) = records(write(tmp_path / "p.parquet", columns(1, occurred_at=[START_MS + 7])), tmp_path)
    assert record["occurred_at"] == "2026-01-01T00:00:00.007+00:00"


def test_labels_come_as_they_became_known_without_the_unlabelled(tmp_path: Path) -> None:
    given = columns(
        3,
        fraud=[True, None, False],
        labelled_at=[format_time(START_MS + 90 * 86_400_000), None, format_time(START_MS + 80 * 86_400_000)],
    )
    found = records(write(tmp_path / "p.parquet", given), tmp_path, RecordKind.LABEL)
    assert [(label["transaction_id"], label["fraud"]) for label in found] == [("t2", False), ("t0", True)]
    assert found[0]["labelled_at"] == format_time(START_MS + 80 * 86_400_000)
    assert found[0]["occurred_at"] == given["occurred_at"][2]


def test_a_label_without_a_time_is_known_a_week_later_as_in_training(tmp_path: Path) -> None:
    given = columns(1, occurred_at=[START_MS], fraud=[True])
    (label,) = records(write(tmp_path / "p.parquet", given), tmp_path, RecordKind.LABEL)
    assert label["labelled_at"] == format_time(START_MS + 7 * 86_400_000)


def test_a_file_without_labels_has_none_to_send(tmp_path: Path) -> None:
    given = columns(3)
    del given["fraud"]
    with pytest.raises(TransactionsFileError, match="column fraud is missing"):
        records(write(tmp_path / "p.parquet", given), tmp_path, RecordKind.LABEL)


def test_a_bad_file_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(TransactionsFileError, match="currency is not an ISO 4217 code"):
        RecordsFile(write(tmp_path / "p.parquet", columns(1, currency=["ZZZ"])), tmp_path)
