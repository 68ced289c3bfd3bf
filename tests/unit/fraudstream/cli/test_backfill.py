"""`fraudstream backfill` refuses what it cannot do before anything is read or written."""

from pathlib import Path

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from click.testing import CliRunner

from fraudstream.cli.backfill import BackfillReport, _warning
from fraudstream.cli.main import main
from fraudstream.lab.dataset.backfill_sources import FilesSource
from fraudstream.lab.dataset.too_large import SizeFilter
from stream.errors import PublishError
from support.training_files import transactions, write


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name FILEs, or a --topic: one of the two"),
        (["past.csv", "--topic", "archive"], "name FILEs, or a --topic: one of the two"),
        (["past.csv", "--labels-topic", "archive"], "--labels-topic is for --topic"),
        (["--topic", "transactions"], "transactions is the topic that is filled"),
        (["--topic", "archive", "--labels-topic", "labels"], "labels is the topic that is filled"),
        (["past.csv", "--until", "noon"], "noon"),
        (["absent.csv"], "absent.csv"),
    ],
)
def test_wrong_use_exits_with_2_and_says_what_is_expected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "past.csv", transactions(rows=5))
    done = CliRunner().invoke(main, ["backfill", *arguments])
    assert done.exit_code == 2
    assert told in done.stderr


def test_the_report_tells_what_was_written_and_what_was_found(tmp_path: Path) -> None:
    path = write(tmp_path / "past.csv", transactions(rows=20))
    (tmp_path / "work").mkdir()
    source = FilesSource([path], tmp_path / "work")
    report = BackfillReport(source, "0" * 16, 30, SizeFilter({}), 0.5, 2.25)
    assert report.facts() | {"last": ""} == {
        "backfill": "0" * 16,
        "payments": 20,
        "labels": 20,
        "last": "",
        "written": 30,
        "found": 10,
        "write_seconds": 0.5,
        "apply_seconds": 2.25,
        "left_out": {},
        "too_large": [],
    }
    assert "applied: not waited for" in report._replace(sent=0, apply_s=None).text()


@pytest.mark.parametrize(
    ("cause", "told"),
    [(MessageSizeTooLargeError(), "Allow DescribeConfigs on transactions and labels"), (TimeoutError(), "it goes on")],
)
def test_a_refusal_for_size_is_explained_and_any_other_is_met_by_the_same_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cause: Exception, told: str
) -> None:
    async def fill(*_: object) -> None:
        raise PublishError("not acknowledged") from cause

    monkeypatch.setattr("fraudstream.cli.backfill._fill", fill)
    done = CliRunner().invoke(main, ["backfill", str(write(tmp_path / "past.csv", transactions(rows=5)))])
    assert done.exit_code == 1
    assert told in done.stderr


@pytest.mark.parametrize(("rate", "told"), [(None, "give --rate"), (200.0, "with --rate 200 that is short")])
def test_a_stream_that_has_begun_is_warned_of_with_the_rate_that_limits_the_wait(rate: float | None, told: str) -> None:
    warning = _warning(1_200, rate)
    assert "the stream has begun (1,200 payments to decide on the topic, or decided)" in warning
    assert "(1 payment to decide on" in _warning(1, rate)
    assert told in warning
