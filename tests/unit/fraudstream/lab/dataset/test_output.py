"""An output file is its owner's alone, appears whole, and its CSV has no cell that a spreadsheet computes."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fraudstream.lab.dataset.database import connect_memory
from fraudstream.lab.dataset.output import join_parts, temporary_folder, write_part
from stream.errors import StreamError

TEXTS = ["=1+1", "+a", "-b", "@c", "\td", "\re", "e=1", "", None, "'x", "a\nb"]


def written(folder: Path, name: str) -> Path:
    out = folder / name
    with temporary_folder(folder, "test", StreamError) as parts:
        columns = {"id": np.array(TEXTS, object), "count": np.arange(len(TEXTS)) - 4}
        write_part(columns, parts / "part.parquet", 512)
        with connect_memory(parts, 512) as connection:
            join_parts(connection, [parts / "part.parquet"], out)
    assert list(folder.iterdir()) == [out]
    return out


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_file_can_be_read_by_its_owner_alone(tmp_path: Path, name: str) -> None:
    assert written(tmp_path, name).stat().st_mode & 0o777 == 0o600


def test_no_cell_of_a_csv_file_is_a_formula_and_parquet_keeps_texts_as_they_are(tmp_path: Path) -> None:
    with written(tmp_path, "out.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["id", "count"]
    escaped = ["'=1+1", "'+a", "'-b", "'@c", "'\td", "'\re", "e=1", "", "", "'x", "a\nb"]
    assert [text for text, _ in rows[1:]] == escaped
    assert [int(count) for _, count in rows[1:]] == [one - 4 for one in range(len(TEXTS))], "numbers may be negative"
    (tmp_path / "out.csv").unlink()
    kept = written(tmp_path, "out.parquet")
    with connect_memory(tmp_path, 512) as connection:
        found = connection.execute(f"SELECT id FROM '{kept}'").fetchall()  # noqa: S608 - our own
        assert [one for (one,) in found] == TEXTS
