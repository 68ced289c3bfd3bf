"""Files of predictions from storage: what is read of them, what is refused, and the records that are published."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from features.history import records
from fraudstream.lab.dataset.errors import PredictionsFileError
from fraudstream.lab.dataset.predictions_file import PredictionsFile, open_needed
from stream.contract.prediction import PredictionSource, read_prediction

COLUMNS: dict[str, list[Any]] = {
    "card_id": ["c2", "c1", "c1", "c1"],
    "name": ["teacher", "teacher", "segment", "teacher"],
    "value": [0.25, 0.1, None, 0.1],
    "computed_at": [
        "2026-01-02T03:00:00Z",
        "2026-01-01T03:00:00Z",
        "2026-01-01T04:00:00+01:00",
        "2026-01-01T03:00:00Z",
    ],
}


def written(folder: Path, columns: dict[str, Any], name: str = "p.parquet") -> Path:
    path = folder / name
    if name.endswith(".csv"):
        path.write_text(
            "\n".join(
                ",".join("" if v is None else str(v) for v in row)
                for row in [list(columns), *zip(*columns.values(), strict=True)]
            )
        )
    else:
        pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def opened(folder: Path, columns: dict[str, Any], name: str = "p.parquet") -> PredictionsFile:
    return PredictionsFile(written(folder, columns, name), folder, 1)


@pytest.mark.parametrize("name", ["p.parquet", "p.csv"])
def test_a_file_becomes_records_in_the_order_of_time(tmp_path: Path, name: str) -> None:
    with opened(tmp_path, COLUMNS, name) as file:
        assert file.facts == (4, 2, ("segment", "teacher"), 1767236400000, 1767322800000)
        sent = list(file.records())
    assert [one.key for one in sent] == [b"c1", b"c1", b"c1", b"c2"]
    assert json.loads(sent[0].value) == {
        "schema": "prediction/1",
        "card_id": "c1",
        "name": "teacher",
        "value": 0.1,
        "computed_at": "2026-01-01T03:00:00.000Z",
    }
    assert json.loads(sent[1].value)["value"] is None
    read = [read_prediction(one.value, one.key, PredictionSource(0, at, 10**13, 0)) for at, one in enumerate(sent)]
    assert [one.prediction.value for one in read] == [0.1, None, 0.1, 0.25]  # type: ignore[union-attr]


def test_a_log_has_each_prediction_once_as_the_worker_records_it(tmp_path: Path) -> None:
    with opened(tmp_path, COLUMNS) as file:
        log, of_teacher = file.log(("teacher", "segment")), file.log(("teacher",))
    cards = sorted((records.card_hash("c1"), records.card_hash("c2")))
    assert log._cards.tolist() == sorted([records.card_hash("c1")] * 2 + [records.card_hash("c2")])
    assert of_teacher._cards.tolist() == cards
    assert set(log._rows[:, records.AMOUNT].tolist()) == {records.value_bits(one) for one in (0.1, None, 0.25)}


def test_one_without_a_time_of_arrival_came_when_it_was_computed(tmp_path: Path) -> None:
    times = COLUMNS | {"arrived_at": [None, "2026-01-01T05:00:00Z", None, None]}
    with opened(tmp_path, times) as file:
        rows = file.log(("teacher",))._rows
    assert sorted((rows[:, records.ARRIVED] - rows[:, records.TIME]).tolist()) == [0, 0]


def test_one_whose_clock_was_ahead_may_have_come_before_it_was_computed(tmp_path: Path) -> None:
    with opened(tmp_path, COLUMNS | {"arrived_at": ["2026-01-02T02:58:00Z", None, None, None]}) as file:
        rows = file.log(("teacher",))._rows
    assert sorted((rows[:, records.ARRIVED] - rows[:, records.TIME]).tolist()) == [-120_000, 0]


def test_predictions_of_the_future_are_refused_with_their_row(tmp_path: Path) -> None:
    with opened(tmp_path, COLUMNS) as file:
        file.require_computed(file.facts.last_ms)
        with pytest.raises(PredictionsFileError, match=r"in row 1: '2026-01-02T03:00:00.000Z'"):
            file.require_computed(file.facts.last_ms - 1)
        with pytest.raises(PredictionsFileError, match=r"computed_at is further ahead of now .* in 4 rows, first in"):
            file.require_computed(0)


def test_a_file_has_a_fingerprint_of_its_values_not_of_its_order(tmp_path: Path) -> None:
    prints = []
    for number, order in enumerate(([0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 1, 1])):
        folder = tmp_path / str(number)
        folder.mkdir()
        with opened(folder, {name: [values[at] for at in order] for name, values in COLUMNS.items()}) as file:
            prints.append(file.fingerprint)
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"card_id": ["c2", "c 1", "c1", "c1"]}, "card_id is not a token of 1 to 64 .* in row 2: 'c 1'"),
        ({"card_id": ["4111111111111111", "c1", "c1", "c1"]}, "card_id holds a card number in row 1"),
        ({"name": [None, "teacher", "a", "b"]}, "name is missing in row 1"),
        ({"value": [float("inf"), 0.1, None, None]}, "value is not a finite number, or nothing in row 1"),
        ({"value": ["0.5", "high", "0", "1"]}, "value is not a finite number, or nothing in row 2: 'high'"),
        ({"value": [[1], [2], [3], [4]]}, "column value is .*: write numbers"),
        ({"computed_at": ["2026-01-02T03:00:00"] * 4}, "computed_at is not RFC 3339 .*names no zone"),
        ({"model": ["m" * 201, "", "", ""]}, "model is longer than 200 characters in row 1"),
        (
            {"arrived_at": ["2025-01-01T00:00:00Z", None, None, None]},
            "arrived_at is more than a day before computed_at in row 1",
        ),
    ],
)
def test_what_cannot_be_a_prediction_is_refused_with_its_row(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(PredictionsFileError, match=problem):
        opened(tmp_path, COLUMNS | changes)


def test_nan_and_an_empty_text_are_no_value(tmp_path: Path) -> None:
    for number, values in enumerate(([0.1, float("nan"), None, 0.2], ["0.1", "", None, "0.2"])):
        (tmp_path / str(number)).mkdir()
        with opened(tmp_path / str(number), COLUMNS | {"value": values}) as file:
            assert sum(b'"value":null' in one.value for one in file.records()) == 2


def test_a_file_is_needed_exactly_where_features_read_its_names(tmp_path: Path) -> None:
    path = written(tmp_path, COLUMNS)
    assert open_needed(None, (), tmp_path, 1) is None
    with pytest.raises(PredictionsFileError, match="the features read teacher: give --predictions FILE"):
        open_needed(None, ("teacher",), tmp_path, 1)
    with pytest.raises(PredictionsFileError, match="no feature reads a prediction"):
        open_needed(path, (), tmp_path, 1)
    (tmp_path / "again").mkdir()
    with pytest.raises(PredictionsFileError, match="has no prediction named other; it has segment, teacher"):
        open_needed(path, ("other", "teacher"), tmp_path / "again", 1)
    found = open_needed(path, ("teacher",), tmp_path, 1)
    assert found is not None
    found.close()
