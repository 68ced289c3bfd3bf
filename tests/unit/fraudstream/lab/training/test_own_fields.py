"""Fields of one's own in training: columns of a file and attributes of topics give one model, categories a table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.declaration import FeatureSet
from features.own_fields import DeclaredFields, category, category_code, number
from features.rows import card, own
from fraudstream.lab.dataset.backfill_sources import FilesSource
from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.dataset.own_columns import OwnColumns
from fraudstream.lab.dataset.records import RecordsDatabase
from fraudstream.lab.training.request import TrainingDataError, TrainingRequest
from fraudstream.lab.training.run import train
from fraudstream.lab.training.topics_file import write_file
from fraudstream.lab.training.trees import with_categories
from fraudstream.lab.training.vectors import Table
from models.artifact import read_artifact
from models.repository import Repository
from stream.contract.transaction import ParsedTransaction, read_transaction
from support.own_fields_file import SET, file_of
from support.training_files import silent, transactions, write

SOME = DeclaredFields((number("age", least=0, most=10), category("country")))


def test_a_model_of_attributes_on_topics_has_the_digest_of_the_model_of_the_file(tmp_path: Path) -> None:
    file = file_of(tmp_path / "payments.parquet")
    (tmp_path / "source").mkdir()
    write_file(FilesSource([file], tmp_path / "source", declared=SET.fields), tmp_path / "topics.parquet", SET.fields)
    digests = []
    for source in (file, tmp_path / "topics.parquet"):
        repository = Repository(str(tmp_path / f"models-{source.stem}"))
        wanted = TrainingRequest(
            file=source, name="card", feature_set=SET, trees=8, threads=1, patience=0, accept_weak=True
        )
        digests.append(train(wanted, repository, silent).digest)
    assert digests[0] == digests[1]
    manifest = read_artifact(repository.fetch(digests[1])).manifest
    assert set(manifest.categories) == set(SET.categories)
    assert manifest.categories["own_card_country"], "all three are frequent: one of them is the rest"
    assert len(manifest.categories["own_card_country"]) == 2
    assert category_code("browser", "browser-0") == manifest.categories["own_browser"][0]


def test_records_of_a_file_have_its_fields_as_attributes(tmp_path: Path) -> None:
    columns = transactions(rows=3) | {"age": [1, 11, None], "country": ["AT", "", "x" * 300], "other": [1, 2, 3]}
    database = RecordsDatabase(tmp_path, SOME)
    database.add(write(tmp_path / "payments.parquet", columns))
    read = [read_transaction(one.value, one.key, 2**50) for one in database.records() if one.kind == "transaction"]
    assert all(isinstance(one, ParsedTransaction) for one in read)
    assert [one.transaction.attributes for one in read if isinstance(one, ParsedTransaction)] == [
        {"age": 1, "country": "AT"},
        None,
        None,
    ]
    assert database.dropped == {"age": 1, "country": 1}


def read_of(folder: Path, **more: Any) -> TransactionsFile:
    columns = transactions(rows=len(next(iter(more.values())))) | more
    return TransactionsFile(write(folder / "payments.csv", columns), folder, 1, own=OwnColumns(SOME))


@pytest.mark.parametrize(
    ("ages", "countries", "kept", "dropped"),
    [
        ([1.0, 2.0, None], ["AT", "DE", None], [{"age": 1, "country": "AT"}, {"age": 2, "country": "DE"}, {}], {}),
        (
            ["1", "2.5", "3.5"],
            [1, 2, 3],
            [{"age": 1, "country": "1"}, {"age": 2, "country": "2"}, {"age": 4, "country": "3"}],
            {},
        ),
        (["x", "-1", "11"], ["", "", ""], [{}, {}, {}], {"age": 3}),
    ],
)
def test_columns_are_read_as_attributes_are(
    tmp_path: Path, ages: list[Any], countries: list[Any], kept: list[Any], dropped: dict[str, int]
) -> None:
    with read_of(tmp_path, age=ages, country=countries) as source:
        (batch,) = source.batches(lambda: 10)
        assert batch.transactions.own == kept
        assert source.dropped == dropped


def test_a_file_may_lack_a_declared_column(tmp_path: Path) -> None:
    with read_of(tmp_path, age=[1, None]) as source:
        (batch,) = source.batches(lambda: 10)
        assert batch.transactions.own == [{"age": 1}, {}]


def test_a_category_of_too_many_values_is_told_to_be_an_identifier() -> None:
    feature_set = FeatureSet((card("count", "1d"), own("country")), SOME)
    rows = 10_001
    matrix = np.column_stack([np.zeros(rows), np.arange(rows, dtype=np.float64)])
    empty: Any = np.zeros(rows, np.int64)
    table = Table(matrix, empty, empty, empty, empty, empty, empty, empty)
    found = with_categories(table, np.arange(rows - 1), feature_set)
    assert found.categories.codes == {"own_country": []}, "none has twenty payments"
    with pytest.raises(TrainingDataError, match=r"own_country: the category 'country' has 10,001 values in training"):
        with_categories(table, np.arange(rows), feature_set)
