"""Tables that users give are read by one declaration: what is refused, where it is, and what the values are."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from fraudstream.cli.score_publish import ScoredAs, write_last_scores
from fraudstream.lab.dataset import columns
from fraudstream.lab.dataset.errors import InputFileError
from fraudstream.lab.dataset.input_table import Column, ColumnCheck, Need, TableLayout, read_table
from fraudstream.lab.dataset.output import join_parts, write_part
from support.training_files import write

LAYOUT = TableLayout(
    item="payment",
    columns=(
        Column("transaction_id", columns.TRANSACTION_ID, may_hold_card_numbers=True),
        Column("card_id", columns.IDENTIFIER, Need.NOTHING),
        Column("score", columns.PROBABILITY, Need.COLUMN),
        Column("amount_minor", columns.AMOUNT, Need.DROPPED),
        Column("model", columns.ANY_TEXT, Need.NOTHING),
    ),
    checks=(ColumnCheck("model", "is longer than 3 characters", "length(read_model) > 3"),),
    unique=("transaction_id", "card_id"),
    only_with="score",
    from_output=True,
)
Row = tuple[Any, ...]


def read(path: Path, wanted: str = "row, read_transaction_id, read_score") -> list[Row]:
    with duckdb.connect() as connection, read_table(connection, path, LAYOUT):
        return connection.execute(f"SELECT {wanted} FROM read ORDER BY row").fetchall()  # noqa: S608 - of the tests


def problems(path: Path) -> list[str]:
    with pytest.raises(InputFileError) as caught:
        read(path)
    return list(caught.value.problems)


@pytest.fixture(params=["file.parquet", "file.csv"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param


def test_rows_without_a_value_in_the_column_that_counts_are_left_out_and_the_others_keep_their_numbers(
    file: Path,
) -> None:
    write(file, {"transaction_id": ["a", "b", None, "d"], "score": [0.5, None, float("nan"), 1.0]})
    assert read(file) == [(1, "a", 0.5), (4, "d", 1.0)]
    assert read(file, "read_card_id, read_amount_minor, read_model")[0] == (None, None, None)


def test_rows_of_the_same_key_are_reported_with_the_first_that_repeats_one(file: Path) -> None:
    write(file, {"transaction_id": ["a", "b", "a", "a"], "score": [0.1] * 4})
    assert problems(file) == ["transaction_id is that of an earlier row in 2 rows, first in row 3: keep one of each"]
    write(file, {"transaction_id": ["a", "b", "a", "a"], "card_id": ["c", "c", "c", "d"], "score": [0.1] * 4})
    assert problems(file) == [
        "transaction_id and card_id are those of an earlier row in row 3: keep one of each"
    ]  # fmt: skip


def test_invalid_values_that_are_dropped_are_counted_even_where_the_column_cannot_be_read(tmp_path: Path) -> None:
    given = {"transaction_id": ["a", "b"], "score": [0.1, 0.2]}
    for number, amounts in enumerate((["12", "twelve"], [1.5, 2.5])):
        path = write(tmp_path / f"{number}.parquet", given | {"amount_minor": amounts})
        with duckdb.connect() as connection, read_table(connection, path, LAYOUT) as table:
            assert table.dropped == {"amount_minor": 1 + number}


def test_a_column_of_a_parquet_file_without_any_value_is_read_as_empty(tmp_path: Path) -> None:
    nothing = pa.nulls(2)
    path = write(tmp_path / "a.parquet", {"transaction_id": ["a", "b"], "score": [0.1, 0.2], "card_id": nothing})
    assert read(path, "read_transaction_id, read_card_id") == [("a", None), ("b", None)]
    path = write(tmp_path / "b.parquet", {"transaction_id": nothing, "score": [0.1, 0.2]})
    assert problems(path) == ["transaction_id is missing in 2 rows, first in row 1"]


def test_a_column_of_the_file_called_row_is_not_in_the_way(file: Path) -> None:
    write(file, {"row": [7, 8], "transaction_id": ["a", "b"], "score": [0.1, 0.2]})
    assert [number for number, *_ in read(file)] == [1, 2]


def test_texts_that_a_spreadsheet_would_compute_come_back_from_our_csv_as_they_were(tmp_path: Path) -> None:
    names = ["-1", "=x", "@home", "'quoted", "plain"]
    part, out = tmp_path / "part.parquet", tmp_path / "scores.csv"
    write_part({name: pa.array(values).to_numpy(zero_copy_only=False) for name, values in {
        "transaction_id": names, "card_id": ["-c"] * 5, "fate": ["decide"] * 5, "score": [0.1, 0.2, 0.3, 0.4, 0.5]
    }.items()}, part, 64)  # fmt: skip
    with duckdb.connect() as connection:
        join_parts(connection, [part], out)
    assert "'-1" in out.read_text()
    assert [name for _, name, _ in read(out)] == names
    published = write_last_scores(out, ScoredAs("teacher", 0, "0" * 64), tmp_path)
    assert duckdb.read_parquet(str(published)).fetchall()[0][0] == "-c"


def test_a_file_that_cannot_be_read_is_refused_with_what_to_check(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("transaction_id,score\na,0.5\n")
    (problem,) = problems(tmp_path / "a.parquet")
    assert problem.startswith("cannot be read: ")
    assert problem.endswith("; if it is no parquet file, name it .csv")
