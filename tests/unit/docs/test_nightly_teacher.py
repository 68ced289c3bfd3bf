"""The worked example of a slow model whose score is a feature in the morning: what it tells each night."""

import importlib.util
from pathlib import Path
from types import ModuleType

import duckdb
import pytest

from support.paths import HOUSE
from support.training_files import transactions, write


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("nightly_teacher", HOUSE / "examples/python/nightly_teacher.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    few = {"trees": 10, "leaves": 15, "threads": 1, "review_share": 0.1}
    monkeypatch.setattr(module, "TEACHER", few)
    monkeypatch.setattr(module, "STUDENT", few)
    return module


@pytest.mark.acceptance
def test_each_night_the_teacher_tells_the_highest_score_of_a_fortnight(example: ModuleType, tmp_path: Path) -> None:
    file = write(tmp_path / "payments.parquet", transactions(rows=18_000, days=180))
    found = example.run(file, tmp_path)
    assert found.keys() == {"predictions", "teacher", "without", "with"}
    told = duckdb.execute(f"SELECT card_id, value, computed_at FROM '{tmp_path}/predictions.parquet'").fetchall()  # noqa: S608
    assert len(told) == found["predictions"] > 1_000
    card_id, value, computed_ms = told[len(told) // 2]
    night_ms = computed_ms - 5_400_000
    assert night_ms % example.DAY_MS == 0
    (highest,) = duckdb.execute(
        f"SELECT max(score) FROM '{tmp_path}/scored.parquet' WHERE card_id = ? AND epoch_ms(occurred_at) < ? "  # noqa: S608
        "AND epoch_ms(occurred_at) >= ?",
        [card_id, night_ms, night_ms - 14 * example.DAY_MS],
    ).fetchall()[0]
    assert value == highest
