"""The wheel lacks the code that `bench features` compares with, and the command says so."""

from types import ModuleType

import pytest
from click.testing import CliRunner

from stream.cli import bench_histories
from stream.cli.main import main


@pytest.mark.parametrize("absent", ["benchmarks", "benchmarks.comparison"])
def test_outside_of_a_checkout_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    def missing(name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}", name=absent)

    monkeypatch.setattr(bench_histories, "import_module", missing)
    done = CliRunner().invoke(main, ["bench", "features"])
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("bench features compares with code that only a checkout has")


def test_another_module_that_is_missing_is_no_reason_to_blame_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    monkeypatch.setattr(bench_histories, "import_module", missing)
    done = CliRunner().invoke(main, ["bench", "features"])
    assert isinstance(done.exception, ModuleNotFoundError)
