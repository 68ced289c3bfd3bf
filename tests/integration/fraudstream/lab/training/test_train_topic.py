"""`fraudstream train --topic` on real Kafka gives the model of the file whose records were published."""

import json
from pathlib import Path
from typing import Any

import pytest

from fraudstream.lab.dataset.backfill_sources import FilesSource
from fraudstream.lab.dataset.records import RecordKind
from support.fleet.fleet import Fleet
from support.training_files import transactions, write


def trained(fleet: Fleet, *arguments: str) -> dict[str, Any]:
    done = fleet.cli("train", *arguments, "--name", "card", "--trees", "5", "--threads", "1", "--json", seconds=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.integration
def test_a_model_of_the_topics_has_the_digest_of_the_model_of_the_file(fleet: Fleet, tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", transactions())
    records = list(FilesSource([file], tmp_path).records())
    for kind, topic in ((RecordKind.TRANSACTION, "transactions"), (RecordKind.LABEL, "labels")):
        fleet.publish([(one.key.decode(), one.value) for one in records if one.kind is kind], topic=topic)
    by_file, by_topics = trained(fleet, str(file)), trained(fleet, "--topic")
    assert by_topics["digest"] == by_file["digest"]
    assert by_topics["file"] == f"{by_file['rows']:,} payments and {by_file['rows']:,} labels of the topics"
    assert by_topics["test"] == by_file["test"]


def test_a_broker_that_does_not_answer_and_options_without_effect_are_refused(fleet: Fleet, tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", transactions(10))
    both = fleet.cli("train", str(file), "--topic", "--name", "card")
    assert (both.returncode, "name a FILE, or --topic: one of the two" in both.stderr) == (2, True)
    until = fleet.cli("train", str(file), "--until", "2026-01-01T00:00:00Z", "--name", "card")
    assert (until.returncode, "--until is for --topic" in until.stderr) == (2, True)
    absent = fleet.cli("train", "--topic", "--name", "card", BROKERS="127.0.0.1:1")
    assert absent.returncode == 1, absent.stderr
