"""The wheel lacks the code that `bench features` compares with, and the command reports that."""

from types import ModuleType

import pytest
from click.testing import CliRunner

from fraudstream.cli import bench_histories
from fraudstream.cli.main import main


@pytest.mark.parametrize("absent", ["benchmarks", "benchmarks.comparison"])
def test_bench_features_outside_a_checkout_exits_with_1_and_one_line(
    monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    def missing(name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}", name=absent)

    monkeypatch.setattr(bench_histories, "import_module", missing)
    done = CliRunner().invoke(main, ["bench", "features"])
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("bench features compares with code that only a checkout has")


def test_bench_features_raises_the_import_error_of_any_other_missing_module(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    monkeypatch.setattr(bench_histories, "import_module", missing)
    done = CliRunner().invoke(main, ["bench", "features"])
    assert isinstance(done.exception, ModuleNotFoundError)
