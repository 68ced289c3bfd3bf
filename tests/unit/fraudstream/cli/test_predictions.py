"""`predictions publish`, and `score --publish`: what is sent, and what is refused before anything is."""

from pathlib import Path
from typing import Any

import duckdb
import pytest
from aiokafka.errors import UnknownTopicOrPartitionError
from click.testing import CliRunner

from fraudstream.cli import predictions, score, score_publish
from fraudstream.cli.main import main
from fraudstream.cli.predictions import scheduled
from fraudstream.cli.score_publish import ScoredAs, write_last_scores
from fraudstream.lab.dataset.predictions_file import PredictionsFile
from models.times import format_time
from stream.settings import Settings
from support.training_files import write

AT_MS = 1_767_225_600_000


def stored(folder: Path) -> PredictionsFile:
    columns: dict[str, Any] = {
        "card_id": ["c1", "c2"],
        "name": ["teacher"] * 2,
        "value": [0.5, None],
        "computed_at": [format_time(AT_MS + 5), format_time(AT_MS)],
    }
    return PredictionsFile(write(folder / "p.parquet", columns), folder, 1)


@pytest.mark.parametrize(("backfill", "timestamps"), [(False, [None, None]), (True, [AT_MS, AT_MS + 5])])
def test_records_have_the_time_of_their_sending_or_of_their_computation(
    tmp_path: Path,
    backfill: bool,  # noqa: FBT001 - a parameter
    timestamps: list[int | None],
) -> None:
    with stored(tmp_path) as opened:
        found = list(scheduled("p-predictions", opened, backfill=backfill))
    assert [one.timestamp_ms for one in found] == timestamps
    assert {one.has_time_of_sending for one in found} == {not backfill}
    assert [one.key for one in found] == [b"c2", b"c1"]
    assert {(one.topic, one.name) for one in found} == {("p-predictions", "predictions")}


def test_names_that_no_feature_reads_are_known_before_a_person_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "with_teacher.py").write_text(
        "from features.rows import prediction\n\nFEATURES = [prediction('teacher', delay='6h', max_age='2d')]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert predictions.unread(Settings(), ("teacher", "embedding")) == ["embedding", "teacher"]
    assert predictions.unread(Settings(features="with_teacher"), ("teacher", "embedding")) == ["embedding"]


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_the_last_score_of_each_card_is_published(tmp_path: Path, ending: str) -> None:
    columns: dict[str, Any] = {
        "card_id": ["c1", "c2", "c1", "c2", "c3"],
        "occurred_at": [format_time(AT_MS + n) for n in range(5)],
        "score": [0.1, 0.2, 0.3, None, None],
        "fate": ["decide", "decide", "decide", "repeated", "too_late"],
    }
    scored = write(tmp_path / f"scored.{ending}", columns)
    target = write_last_scores(scored, ScoredAs("teacher", AT_MS, "3f2a9c01"), tmp_path)
    found = duckdb.execute(f"SELECT card_id, name, value, computed_at, model FROM '{target}' ORDER BY 1").fetchall()  # noqa: S608
    assert found == [
        ("c1", "teacher", 0.3, format_time(AT_MS), "3f2a9c01"),
        ("c2", "teacher", 0.2, format_time(AT_MS), "3f2a9c01"),
    ]
    (tmp_path / "read").mkdir()
    with PredictionsFile(target, tmp_path / "read", 1) as opened:
        assert opened.facts.rows == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--topic", "--diff", "--publish", "teacher"), "--publish sends scores, and --diff makes none to send"),
        (("--topic", "--model", "3f2a9c01", "--predictions", "{file}"), "--predictions is for a FILE"),
        (("{file}", "--model", "3f2a9c01", "--publish", "a b"), "cannot be a prediction's name"),
    ],
)
def test_options_without_effect_and_wrong_names_are_refused(
    tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    file = write(tmp_path / "p.parquet", {"card_id": ["c1"]})
    done = CliRunner().invoke(main, ["score", *(one.format(file=file) for one in arguments)])
    assert done.exit_code == 2
    assert problem in done.output


def test_scores_are_not_computed_if_there_is_no_topic_to_publish_them_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def missing(_settings: Any) -> None:
        raise UnknownTopicOrPartitionError("topic predictions is missing")

    def run(*_: Any) -> None:
        pytest.fail("it was scored")

    monkeypatch.setattr(score_publish, "check_topic", missing)
    monkeypatch.setattr(score, "_run", run)
    file = write(tmp_path / "p.parquet", {"card_id": ["c1"]})
    out = str(tmp_path / "o.parquet")
    arguments = ["score", str(file), "--model", "3f2a9c01", "--out", out, "--publish", "teacher"]
    done = CliRunner().invoke(main, arguments, env={"FRAUDSTREAM_MODELS": str(tmp_path)})
    assert done.exit_code == 1
    assert "topic predictions is missing" in done.output


def test_a_file_with_predictions_of_the_future_is_refused_and_nothing_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def there(_settings: Any) -> None:
        """Do as if there were a topic."""

    async def send(*_: Any, **__: Any) -> None:
        pytest.fail("it was sent")

    monkeypatch.setattr(predictions, "check_topic", there)
    monkeypatch.setattr(predictions, "send", send)
    columns = {"card_id": ["c1"], "name": ["teacher"], "value": [0.5], "computed_at": ["2200-01-01T00:00:00Z"]}
    done = CliRunner().invoke(main, ["predictions", "publish", str(write(tmp_path / "p.parquet", columns))])
    assert done.exit_code == 1
    assert "computed_at is further ahead of now than FRAUDSTREAM_FUTURE_SKEW allows in row 1" in done.output
