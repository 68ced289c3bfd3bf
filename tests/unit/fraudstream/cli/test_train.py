"""The command `train`: how options are read, what it prints, and what it refuses."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fraudstream.cli.main import main
from fraudstream.cli.training_options import PartSizeParam
from fraudstream.lab.training.request import PartSize
from support.training_files import DAY_MS, transactions, write


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("train") / "a.parquet", transactions(12_000))


@pytest.fixture
def run(file: Path, tmp_path: Path) -> Callable[..., Any]:
    """A function that trains by the command line, with some options."""

    def run_with(*options: str, given: tuple[str, ...] = (str(file),)) -> Any:
        named = {"FRAUDSTREAM_MODELS": str(tmp_path / "models"), "COLUMNS": "300"}
        fixed = ["train", *given, "--name", "card", "--trees", "6", "--threads", "1", "--review-share", "0.05"]
        return CliRunner(env=named).invoke(main, [*fixed, *options])

    return run_with


def test_json_has_the_sizes_that_were_asked_for(run: Callable[..., Any]) -> None:
    result = run("--json", "--calibrate", "20%", "--validate", "20%")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["train"]["until"] < report["calibrate"]["since"] < report["validate"]["since"]
    assert report["validate"]["until"] < report["test"]["since"]
    assert report["gaps_days"][2] == 7.0
    assert 1 <= report["trees"] <= 6
    assert report["search"] is None
    assert [one["name"] for one in report["baselines"]] == ["logistic regression"]


@pytest.mark.acceptance
def test_the_file_is_looked_at_first_and_folds_of_time_are_taken_where_parts_would_be_small(
    run: Callable[..., Any],
) -> None:
    result = run("--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["split"], report["maturity_days"]) == ("folds", None)
    first, second, *_ = result.stderr.splitlines()
    assert first.startswith(
        "split: taken: folds of time, and a test of 8.2 days after a gap of 7.0 days: before the test"
    )
    assert second.startswith("split: parts by time with gaps of 1.7 days, 1.7 days, 7.0 days between them: train ")
    assert [f"split: {choice}" for choice in report["choices"]][:2] == [first, second]
    assert report["fitted"]["rows"] > 1.5 * report["train"]["rows"]


def test_a_weak_model_is_refused_unless_it_is_accepted_and_then_says_so(run: Callable[..., Any]) -> None:
    weak = ("--review-share", "0.002", "--decline-share", "0.001")
    refused = run(*weak)
    assert refused.exit_code == 1, refused.output
    assert "times the 3 that were asked for" in refused.stderr
    assert "nothing was stored: train on more frauds or other features, or store it as weak (--accept-weak)" in (
        refused.stderr
    )
    accepted = run(*weak, "--accept-weak")
    assert accepted.exit_code == 0, accepted.output
    assert re.search(r"│ digest +│ [0-9a-f]{64} +│", accepted.stdout)  # whole, although a pipe has 80 columns
    assert "times the 3 that were asked for" in accepted.stderr
    for part in ("train", "calibrate", "validate", "test", "gaps", "trees", "policy", "logistic regression"):
        assert f"│ {part} " in accepted.stdout


@pytest.mark.acceptance
def test_a_search_prints_what_it_did(run: Callable[..., Any]) -> None:
    pytest.importorskip("optuna")
    result = run("--trials", "2")
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "2 trials: 0." in text
    assert "at most on validate; " in text
    assert "num_leaves" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--test", "150%"), "'150%' is neither a share of the time such as 15%, nor a length such as 14d"),
        (("--test", "100%"), "test: expected a share between 0 and 1, such as 20%, or a length, such as 14d"),
        (("--validate", "0d"), "'0d' is neither a share of the time such as 15%, nor a length such as 14d"),
        (("--gap", "long"), "'long' is not a duration"),
        (("--fraud-weight", "0"), "fraud_weight: expected a number above 0"),
        (("--patience", "-1"), "patience: expected an integer from 0 to 10000, got -1"),
        (("--patience", "0", "--trials", "3"), "patience: a search compares"),
        (("--accept", "nothing"), "accept: no feature is called nothing"),
        (("--until", "2026-01-01T00:00:00Z"), "--until is for --topic"),
        (("--topic",), "name a FILE, or --topic: one of the two"),
    ],
)
def test_options_that_cannot_be_are_refused(run: Callable[..., Any], options: tuple[str, ...], message: str) -> None:
    result = run(*options)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())


def test_a_file_or_the_topics_have_to_be_named(run: Callable[..., Any]) -> None:
    result = run(given=())
    assert (result.exit_code, "name a FILE, or --topic" in result.stderr) == (2, True)


def test_a_split_that_does_not_fit_is_refused_with_what_to_set(run: Callable[..., Any]) -> None:
    result = run("--gap", "30d")
    assert result.exit_code == 1
    assert "no split leaves enough frauds with a known label" in result.stderr
    assert "or set a shorter --gap or another --test" in result.stderr


def test_a_part_is_a_share_or_a_length() -> None:
    read = PartSizeParam().convert
    assert read("12.5%", None, None) == PartSize(share=0.125)
    assert read("36h", None, None) == PartSize(length_ms=DAY_MS * 3 // 2)
