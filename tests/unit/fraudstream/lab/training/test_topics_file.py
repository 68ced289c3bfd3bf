"""Topics give the same model as the transactions file with their records, without a broker in between."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from features.declaration import load
from fraudstream.lab.dataset.backfill_sources import FilesSource, TopicsSource
from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.dataset.records import RecordKind
from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.run import train
from fraudstream.lab.training.topics_file import write_file
from models.repository import Repository
from models.times import format_time
from support.stream_records import Told
from support.training_files import DAY_MS, START_MS, silent, transactions, write

OPTIONAL = {
    "device_id": "d1",
    "mcc": "0763",
    "channel": "pos",
    "merchant_country": "FR",
    "latitude": 48.5,
    "longitude": -2.25,
}


def records_of(file: Path, folder: Path) -> tuple[list[Told], list[Told]]:
    """Return the payments and the labels of a file as records of topics with three partitions, in order."""
    payments, labels = list[Told](), list[Told]()
    for one in FilesSource([file], folder).records():
        is_label = one.kind is RecordKind.LABEL
        log = labels if is_label else payments
        topic = "labels" if is_label else "transactions"
        log.append(Told(one.value, one.key, len(log) % 3, len(log) // 3, topic=topic))
    return payments, labels


def written(folder: Path, payments: list[Told], labels: list[Told], until_ms: int | None = None) -> Path:
    """Write topics as a file."""
    place = folder / f"place-{len(list(folder.iterdir()))}"
    place.mkdir()
    source = TopicsSource("topics", place, until_ms)
    source.add(RecordKind.TRANSACTION, payments)
    source.add(RecordKind.LABEL, labels)
    write_file(source, place / "topics.parquet")
    return place / "topics.parquet"


def rows(file: Path) -> list[dict[str, Any]]:
    found = duckdb.connect().execute(f"SELECT * FROM '{file}'")  # noqa: S608 - our own
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "a.parquet", transactions())


def test_a_model_of_the_topics_has_the_digest_of_the_model_of_the_file(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraudstream.lab.training.topics_file.PART_ROWS", 500)
    payments, labels = records_of(file, tmp_path)
    shuffled = [labels[at] for at in np.random.default_rng(1).permutation(len(labels))]
    topics = written(tmp_path, payments, shuffled)
    request = TrainingRequest(
        file=file, name="card", feature_set=load("support.features.small_set"), trees=5, threads=1, accept_weak=True
    )
    by_file = train(request, Repository(str(tmp_path / "one")), silent)
    by_topics = train(replace(request, file=topics, source="the topics"), Repository(str(tmp_path / "two")), silent)
    assert by_topics.digest == by_file.digest
    assert by_topics.file == "the topics"


def test_of_several_labels_the_latest_counts_whatever_their_order(tmp_path: Path) -> None:
    columns = {name: values[:3] for name, values in transactions(3_000).items()}
    payments, labels = records_of(write(tmp_path / "a.parquet", columns), tmp_path)
    first = json.loads(labels[0].value or b"")
    corrected = first | {"fraud": not first["fraud"], "labelled_at": format_time(START_MS + 50 * DAY_MS)}
    labels[0:0] = [Told(json.dumps(corrected).encode(), labels[0].key, 2, 99, topic="labels")]
    found = {row["transaction_id"]: row for row in rows(written(tmp_path, payments, labels))}
    assert found[first["transaction_id"]]["fraud"] is corrected["fraud"]
    assert found[first["transaction_id"]]["labelled_at"] == START_MS + 50 * DAY_MS
    assert all(row["fraud"] is not None for row in found.values())


def test_a_label_from_before_its_payment_is_known_from_the_payment_on(tmp_path: Path) -> None:
    columns = {name: values[:3] for name, values in transactions(3_000).items()}
    payments, labels = records_of(write(tmp_path / "a.parquet", columns), tmp_path)
    first = json.loads(labels[0].value or b"")
    early = json.dumps(first | {"labelled_at": format_time(START_MS - DAY_MS)}).encode()
    labels[0] = replace(labels[0], value=early)
    topics = written(tmp_path, payments[:2], labels)
    found = {row["transaction_id"]: row for row in rows(topics)}
    row = found.pop(first["transaction_id"])
    assert row["labelled_at"] == row["occurred_at"]
    assert [row["labelled_at"] - row["occurred_at"] for row in found.values()] == [7 * DAY_MS]
    with TransactionsFile(topics, tmp_path, 1) as source:
        assert source.facts.rows == 2


def test_payments_keep_their_optional_values_and_local_time_and_need_no_label(tmp_path: Path) -> None:
    columns = {name: values[:1] for name, values in transactions(3_000).items() if name != "fraud"}
    columns |= {name: [value] for name, value in OPTIONAL.items()}
    columns["occurred_at"] = ["2026-01-05T10:00:00+02:00"]
    payments, labels = records_of(write(tmp_path / "a.parquet", columns), tmp_path)
    assert labels == []
    (row,) = rows(written(tmp_path, payments, labels))
    assert OPTIONAL.items() <= row.items()
    assert (row["utc_offset_minutes"], row["fraud"], row["labelled_at"]) == (120, None, None)


def test_records_of_the_given_time_or_later_are_left_out(tmp_path: Path, file: Path) -> None:
    payments, labels = records_of(file, tmp_path)
    until_ms = START_MS + 30 * DAY_MS
    found = rows(written(tmp_path, payments, labels, until_ms))
    assert 0 < len(found) < 6_000
    assert max(row["occurred_at"] for row in found) < until_ms
    labelled = [row["labelled_at"] for row in found if row["labelled_at"] is not None]
    assert 0 < len(labelled) < len(found)
    assert max(labelled) < until_ms
