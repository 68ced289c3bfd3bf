"""How cost grows: sets of every size can be built, and figures are shown as they were measured."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from benchmarks.growth import stages
from benchmarks.growth.__main__ import main
from benchmarks.growth.series import GrowthPoint, GrowthSeries, picture, read_series, write_series
from benchmarks.growth.stages import FEATURES, by_records
from features.declaration import FeatureSet
from features.history.frames import Floats
from features.history.store import Observed, Transactions
from features.vector.sets import load_sets

SERIES = GrowthSeries(
    "A worker by cards", "cards", "µs", ("backlog", "slow"), (GrowthPoint(10, (5, 8)), GrowthPoint(40, (10, 8)))
)


def shown(series: GrowthSeries) -> str:
    console = Console(width=120, record=True)
    console.print(series.table())
    return console.export_text()


def test_a_table_says_how_many_times_the_first_size_and_its_cost_the_last_ones_are() -> None:
    lines = [line.split() for line in shown(SERIES).splitlines()]
    assert ["│", "40", "│", "10.0", "│", "8.0", "│"] in lines
    assert ["│", "4", "times", "│", "2.0", "times", "│", "1.0", "times", "│"] in lines


def test_figures_can_be_drawn_from_their_files(tmp_path: Path) -> None:
    file, plot = tmp_path / "growth.json", tmp_path / "growth.svg"
    write_series([SERIES, SERIES], file)
    assert read_series(file) == [SERIES, SERIES]
    done = CliRunner().invoke(main, ["plot", str(file), "--plot", str(plot)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert plot.read_text() == picture([SERIES, SERIES])
    assert "A worker by cards" in plot.read_text()


@pytest.mark.parametrize("count", FEATURES)
def test_sets_of_every_size_that_is_measured_can_be_built(count: int) -> None:
    assert len(FeatureSet(stages._rows(load_sets("").newest.rows, count)).names) == count


def test_a_payment_is_measured_whose_histories_have_as_many_records_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "RECORDS", (0, 7))
    monkeypatch.setattr(stages, "_SECONDS", 0.0)
    lengths: list[int] = []
    vectorise = stages.vectorise

    def counted(feature_set: FeatureSet, transactions: Transactions, observed: Observed) -> Floats:
        matrix = vectorise(feature_set, transactions, observed)
        lengths.append(int(matrix[0, feature_set.names.index("card_count_30d")]))
        return matrix

    monkeypatch.setattr(stages, "vectorise", counted)
    points = by_records().points
    assert [point.size for point in points] == [0, 7]
    assert set(lengths) == {1, 8}, "the payment's own record counts, too"
    assert all(value > 0 for point in points for value in point.values)
