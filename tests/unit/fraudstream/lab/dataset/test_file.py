"""Transactions files are read as records are, all their problems are reported, and no card number is echoed."""

import datetime as dt
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fraudstream.lab.dataset.errors import MissingExtraError, TransactionsFileError
from fraudstream.lab.dataset.file import LABEL_DELAY_MS, TransactionsFile
from models.errors import InvalidTimeError
from models.times import parse_time_ms
from support.training_files import START_MS, write

ROW = {
    "transaction_id": "t",
    "card_id": "c",
    "merchant_id": "m",
    "occurred_at": "2026-01-01T00:00:00Z",
    "amount_minor": 1_234,
    "currency": "EUR",
}
TIMES = [
    "2026-01-01T00:00:00Z",
    "2026-01-01t00:00:00.9999z",
    "2026-01-01T05:30:00.5+05:30",
    "2025-12-31T20:29:59.123456789-03:30",
    "2026-01-01T00:00:00-00:00",
    "1970-01-01T00:00:00.001Z",
    "9999-12-31T23:59:59.999Z",
    "1767225600123",
    "2026-01-01 00:00:00+00:00",
    "2026-01-01 05:30:00.123456+05:30",
]
INVALID_TIMES = [
    "2026-01-01T00:00:00",
    "2026-01-01 00:00:00",
    "2026-01-01 00:00:00+00",
    "2026-02-30T00:00:00Z",
    "2026-01-01T00:00:60Z",
    "2026-01-01T00:00:00+24:00",
]


def columns(rows: int = 1, **changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {name: [value] * rows for name, value in ROW.items()}
    base["transaction_id"] = [f"t{number}" for number in range(rows)]
    return {name: value for name, value in (base | changes).items() if value is not ...}


@pytest.fixture(params=["file.parquet", "file.csv"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param


def opened(path: Path) -> TransactionsFile:
    workplace = path.with_name("workplace")
    workplace.mkdir(exist_ok=True)
    (workplace / "transactions.duckdb").unlink(missing_ok=True)
    return TransactionsFile(path, workplace, 1)


def problems(path: Path) -> list[str]:
    with pytest.raises(TransactionsFileError) as caught:
        opened(path)
    assert str(path) in str(caught.value)
    return list(caught.value.problems)


def test_a_csv_file_of_mixed_line_ends_is_refused_with_what_to_check(tmp_path: Path) -> None:
    lines = write(tmp_path / "mixed.csv", columns(400)).read_text().splitlines()
    (tmp_path / "mixed.csv").write_bytes("\r\n".join(lines[:1]).encode() + b"\r\n" + "\n".join(lines[1:]).encode())
    (problem,) = problems(tmp_path / "mixed.csv")
    assert problem.startswith("cannot be read: ")
    assert "check that all lines end alike (LF or CRLF) and have as many columns as the first" in problem


def test_times_are_parsed_as_in_transaction_records(file: Path) -> None:
    with opened(write(file, columns(len(TIMES), occurred_at=TIMES))) as source:
        (batch,) = source.batches(lambda: 100)
    found = dict(zip(batch.transactions.transaction_ids, zip(
        batch.transactions.occurred_ms.tolist(), batch.transactions.utc_offset_minutes.tolist(), strict=True
    ), strict=True))  # fmt: skip
    assert [found[f"t{number}"] for number in range(len(TIMES))] == [tuple(parse_time_ms(
        int(text) if text.isdecimal() else text
    )) for text in TIMES]  # fmt: skip


@pytest.mark.parametrize("text", INVALID_TIMES)
def test_times_that_are_invalid_in_records_are_reported_with_their_number_and_first_row(file: Path, text: str) -> None:
    with pytest.raises(InvalidTimeError):
        parse_time_ms(text)
    (found,) = problems(write(file, columns(2, occurred_at=["2026-01-01T00:00:00Z", text])))
    assert "occurred_at is not RFC 3339 with a zone" in found
    assert f"in row 2: {text!r}" in found
    assert ("names no zone" in found) == (text in ("2026-01-01T00:00:00", "2026-01-01 00:00:00"))


@pytest.mark.parametrize(("unit", "count"), [("ns", 999_999_999), ("us", 999_999), ("ms", 999)])
def test_a_timestamp_column_with_a_zone_is_read_and_cut_to_milliseconds(tmp_path: Path, unit: str, count: int) -> None:
    start = START_MS // 1_000 * {"ns": 10**9, "us": 10**6, "ms": 10**3}[unit]
    moments = pa.array([start + count], pa.timestamp(unit, "Europe/Paris"))
    with opened(write(tmp_path / "a.parquet", columns(occurred_at=moments))) as source:
        assert source.facts.first_ms == START_MS + 999


def test_columns_of_unusable_types_are_named_all_at_once(tmp_path: Path) -> None:
    naive = pa.array([dt.datetime(2026, 1, 1)], pa.timestamp("us"))  # noqa: DTZ001 - what is tested
    found = problems(write(tmp_path / "a.parquet", columns(occurred_at=naive, amount_minor=[12.34], card_id=[1.5])))
    assert len(found) == 3
    assert "card_id is DOUBLE" in found[0]
    assert "names no zone" in found[1]
    assert "12.34 EUR is 1234" in found[2]


def columns_found(*names: str) -> str:
    """Return the problem that lists the columns of a file in which some are missing."""
    return f"the columns found are {', '.join(map(repr, names))}: rename or add what is missing"


def test_missing_columns_are_named_all_at_once(file: Path) -> None:
    assert problems(write(file, columns(currency=..., card_id=...))) == [
        "column card_id is missing",
        "column currency is missing",
        columns_found("transaction_id", "merchant_id", "occurred_at", "amount_minor"),
    ]


def test_a_missing_column_is_named_with_the_nearest_ones_that_the_file_has(file: Path) -> None:
    named = {"TransactionID": ["t"], "Currency": ["EUR"], "occured_at": ["x"], "4111111111111111": ["x"]}
    changed = columns(transaction_id=..., currency=..., occurred_at=...) | named
    assert problems(write(file, changed)) == [
        "column transaction_id is missing, the nearest is 'TransactionID'",
        "column occurred_at is missing, the nearest is 'occured_at'",
        "column currency is missing, the nearest is 'Currency'",
        columns_found(
            "card_id", "merchant_id", "amount_minor", "TransactionID", "Currency", "occured_at", "[redacted]"
        ),
    ]


def test_a_file_without_labels_is_refused_only_where_they_are_needed(file: Path) -> None:
    write(file, columns(is_fraud=["true"]))
    opened(file).close()
    workplace = file.with_name("labels")
    workplace.mkdir()
    with pytest.raises(TransactionsFileError, match="column fraud is missing, the nearest is 'is_fraud'"):
        TransactionsFile(file, workplace, 1, needs_labels=True)


def test_invalid_values_are_reported_with_their_number_and_first_row(file: Path) -> None:
    bad = columns(
        4,
        card_id=["c", "c d", "c", None],
        amount_minor=[1, -1, 10**12 + 1, 10**12],
        currency=["EUR", "eur", "XXX", "JPY"],
        fraud=["true", "0", "maybe", None],
        labelled_at=["2025-12-31T23:59:59Z", None, None, None],
        kind=["authorization", None, "refund", None],
    )
    found = problems(write(file, bad))
    assert [text.split(" ")[0] for text in found] == [
        "card_id", "card_id", "amount_minor", "currency", "fraud", "labelled_at", "kind"
    ]  # fmt: skip
    assert found[1].endswith("in row 2: 'c d'")
    assert found[2].endswith("in 2 rows, first in row 2: '-1'")
    assert found[4].endswith("in row 3: 'maybe'")
    assert found[5].endswith("in row 1: '2025-12-31T23:59:59Z'")


def test_a_refused_value_is_shown_without_card_numbers_and_not_at_length(file: Path) -> None:
    values = ["card 4111111111111111", "x" * 500]
    (found,) = problems(write(file, columns(2, occurred_at=["2026-01-01T00:00:00Z", values[0]])))
    assert found.endswith("in row 2: 'card [redacted]'")
    (found,) = problems(write(file, columns(1, amount_minor=[values[1]])))
    assert found.endswith(f": '{'x' * 79}")


@pytest.mark.parametrize("times", [[START_MS, START_MS], [str(START_MS), "2026-01-01T05:30:00+05:30"]])
def test_the_offset_of_a_time_that_names_none_is_read_from_a_column(file: Path, times: list[Any]) -> None:
    with opened(write(file, columns(2, occurred_at=times, utc_offset_minutes=[-210, 60]))) as source:
        (batch,) = source.batches(lambda: 10)
    assert batch.transactions.occurred_ms.tolist() == [START_MS, START_MS]
    assert batch.transactions.utc_offset_minutes.tolist() == [-210, 60 if isinstance(times[1], int) else 330]


def test_card_numbers_are_rejected_and_not_echoed(file: Path) -> None:
    number = "4111111111111111"
    found = problems(write(file, columns(2, card_id=["c", number], merchant_id=["m", f"m-{number}"])))
    assert len(found) == 2
    assert "card_id holds a card number in row 2" in found[0]
    assert number not in "".join(found)


def test_card_numbers_are_named_first_and_beside_all_other_problems_of_values(file: Path) -> None:
    wrong = {"card_id": ["4111111111111111", "c"], "merchant_id": ["m", None], "amount_minor": ["1.5", "2"]}
    found = problems(write(file, columns(3, **{name: [*values, "3"] for name, values in wrong.items()})))
    assert [problem.partition(" in row")[0] for problem in found] == [
        "card_id holds a card number",
        "merchant_id is missing",
        "amount_minor is not a whole number of minor units from 0 to 10^12 (12.34 EUR is 1234)",
    ]


def test_an_empty_unreadable_absent_or_unsupported_file_is_reported(tmp_path: Path) -> None:
    empty = {name: pa.array([], pa.string()) for name in ROW}
    assert problems(write(tmp_path / "a.parquet", empty)) == ["holds no transaction"]
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    assert "cannot be read" in problems(tmp_path / "broken.parquet")[0]
    assert "cannot be read" in problems(tmp_path / "absent.csv")[0]
    assert "use .parquet or .csv" in problems(tmp_path / "a.xlsx")[0]


def test_rows_are_sorted_by_time_and_rows_of_equal_time_keep_their_order(file: Path) -> None:
    times = [START_MS + 5, START_MS, START_MS + 5, START_MS]
    with opened(write(file, columns(4, occurred_at=times))) as source:
        batches = list(source.batches(lambda: 3))
    assert [len(batch.transactions) for batch in batches] == [3, 1]
    assert [name for batch in batches for name in batch.transactions.transaction_ids] == ["t1", "t3", "t0", "t2"]
    assert np.concatenate([batch.transactions.offset for batch in batches]).tolist() == [0, 1, 2, 3]


def test_labels_are_known_at_labelled_at_or_a_week_after_the_transaction(file: Path) -> None:
    labelled = columns(
        4, occurred_at=[START_MS, START_MS + 1, START_MS + 2, START_MS + LABEL_DELAY_MS],
        fraud=[True, True, False, None], labelled_at=[START_MS + 9, None, START_MS + 3, None],
    )  # fmt: skip
    with opened(write(file, labelled)) as source:
        assert source.facts[3:] == (3, 2)
        labels = source.frauds_known(-1, START_MS + LABEL_DELAY_MS + 1)
        assert [(label.transaction_id, label.labelled_ms - START_MS) for label in labels] == [
            ("t0", 9), ("t1", LABEL_DELAY_MS + 1)
        ]  # fmt: skip
        assert source.frauds_known(START_MS + 9, START_MS + LABEL_DELAY_MS) == []
        (batch,) = source.batches(lambda: 10)
        assert batch.fraud.tolist() == [1, 1, 0, -1]


@pytest.fixture
def no_duckdb() -> Iterator[None]:
    kept = sys.modules.get("duckdb")
    sys.modules["duckdb"] = None  # type: ignore[assignment] - so an import fails
    yield
    if kept is None:
        del sys.modules["duckdb"]
    else:
        sys.modules["duckdb"] = kept


@pytest.mark.usefixtures("no_duckdb")
def test_the_error_for_a_missing_library_names_the_extra(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"fraudstream\[train\]"):
        TransactionsFile(tmp_path / "a.csv", tmp_path, 1)
