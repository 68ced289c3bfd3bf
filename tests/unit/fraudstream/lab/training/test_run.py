"""A whole training run: the same file gives the same digest, and a worker can load the artifact."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from features.declaration import load as load_features
from features.history.store import Transactions
from features.memory_store import MemoryStore
from features.vector.vectorise import vectorise
from fraudstream.lab.dataset.errors import TransactionsFileError
from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.training.request import TrainingDataError, TrainingReport, TrainingRequest
from fraudstream.lab.training.run import train
from fraudstream.lab.training.vectors import NO_PROBES, Table, VectorPass, fill_table
from models.artifact import PROBE_HISTORIES, ProbeHistories, matrix_of, same_bits
from models.errors import ProbeError, RepositoryUnavailableError
from models.loading import Model, load
from models.repository import Repository
from stream.control.probes import vectorise_probe
from support.acceptance import sized
from support.training_files import silent, transactions, write

FEATURES, SMALL = load_features(None), load_features("support.features.small_set")


@pytest.fixture(scope="module")
def columns() -> dict[str, list[Any]]:
    return transactions()


def request_for(path: Path, **changes: Any) -> TrainingRequest:
    base = TrainingRequest(file=path, name="card", feature_set=SMALL, trees=15, threads=1, code_version="0.1.0")
    return replace(base, **changes)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(str(tmp_path / "models"))


class Trained(NamedTuple):
    """A model that was trained once, its repository, and the steps that were reported."""

    repository: Repository
    report: TrainingReport
    progress: list[tuple[str, int, int]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, columns: dict[str, list[Any]]) -> Trained:
    folder, progress = tmp_path_factory.mktemp("trained"), list[tuple[str, int, int]]()
    repository = Repository(str(folder / "models"))
    file = write(folder / "a.parquet", columns)
    return Trained(repository, train(request_for(file), repository, lambda *step: progress.append(step)), progress)


def test_the_same_input_gives_the_same_digest_and_a_model_that_loads(
    tmp_path: Path, trained: Trained, columns: dict[str, list[Any]]
) -> None:
    repository, report, progress = trained
    again = train(request_for(write(tmp_path / "b.csv", columns)), repository, silent)
    assert again.digest == report.digest
    assert repository.digests() == (report.digest,)
    model = load(repository, report.digest, {SMALL.fingerprint: vectorise_probe(SMALL)})
    assert isinstance(model, Model)
    assert (model.name, model.version) == ("card", "2026-03-01")
    assert report.metrics["average_precision"] > 0.5
    assert report.rows == 6_000
    assert (report.split, report.train.rows, report.fitted.rows) == ("folds", 2_446, 3_989)
    assert report.train.until < report.test.since < report.test.until <= report.fitted.until
    assert [stage for stage, done, total in progress if done == total] == [
        "read", "features", "fit", "refit", "evaluate"
    ]  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(report))["digest"] == report.digest


def test_what_can_be_known_before_the_features_are_computed_is_refused_before_it(
    tmp_path: Path, repository: Repository, columns: dict[str, list[Any]]
) -> None:
    progress: list[str] = []
    short = {name: values[:50] for name, values in columns.items()}
    file = write(tmp_path / "a.parquet", short)
    (tmp_path / "taken").write_text("")
    with pytest.raises(RepositoryUnavailableError, match="taken cannot be written"):
        train(request_for(file), Repository(str(tmp_path / "taken")), lambda stage, *_: progress.append(stage))
    assert progress == []
    unlabelled = write(tmp_path / "b.parquet", {name: values for name, values in short.items() if name != "fraud"})
    with pytest.raises(TransactionsFileError, match="column fraud is missing"):
        train(request_for(unlabelled), repository, lambda stage, *_: progress.append(stage))
    empty = write(tmp_path / "c.csv", short | {"fraud": [""] * 50})
    with pytest.raises(TrainingDataError, match="no transaction is labelled"):
        train(request_for(empty), repository, lambda stage, *_: progress.append(stage))
    assert set(progress) == {"read"}
    assert not (tmp_path / "models").exists()


@pytest.fixture
def table(tmp_path: Path, columns: dict[str, list[Any]]) -> Iterator[Table]:
    workplace = tmp_path / "workplace"
    workplace.mkdir()
    with TransactionsFile(write(tmp_path / "a.parquet", columns), workplace, 1) as source:
        pass_ = VectorPass(source, FEATURES, probe_seed=1)
        table = fill_table(source, pass_, workplace, silent)
        assert table.probes == NO_PROBES
        table.probes = pass_.probes
        yield table


@pytest.mark.full_size
def test_training_vectors_equal_those_of_one_transaction_and_one_label_at_a_time(table: Table, tmp_path: Path) -> None:
    count = sized(500, 1_500)
    store, rows = MemoryStore(FEATURES), []
    again = tmp_path / "again"
    again.mkdir()
    with TransactionsFile(tmp_path / "a.parquet", again, 1) as source:
        known = -1
        for batch in source.batches(lambda: 1):
            time = int(batch.transactions.occurred_ms[0])
            for label in source.frauds_known(known, time):
                store.label_now([label])
            known = time
            rows.append(_vector(store, batch.transactions))
            if len(rows) == count:
                break
    assert same_bits(np.asarray(table.matrix[:count]), np.concatenate(rows))


def _vector(store: MemoryStore, transactions: Transactions) -> np.ndarray:
    return vectorise(FEATURES, transactions, store.observe_now(transactions))


def test_the_probes_of_a_pass_are_of_its_payments_and_reproduce_their_vectors(table: Table) -> None:
    assert len(table.probes.histories) > 2
    expected = matrix_of(table.probes.vectors, len(FEATURES))
    assert same_bits(vectorise_probe(FEATURES)([bytes(one) for one in table.probes.histories]), expected)
    rows = np.where(np.isnan(table.matrix), np.nan, table.matrix)
    assert {row.tobytes() for row in expected} <= {row.tobytes() for row in rows}


@pytest.mark.parametrize("probe", [b"{}", b"{", b'{"occurred_ms":1e99}', b"\xff"])
def test_an_unreadable_probe_history_raises_a_probe_error(probe: bytes) -> None:
    with pytest.raises(ProbeError, match="cannot be read"):
        vectorise_probe(FEATURES)([probe])


def test_an_artifact_does_not_load_if_probe_vectors_differ_in_the_last_bit(trained: Trained) -> None:
    repository, report, _ = trained
    contents = repository.fetch(report.digest)
    probes = msgspec.json.decode(contents[PROBE_HISTORIES], type=ProbeHistories)
    assert len(probes.histories) > 2
    computed = vectorise_probe(SMALL)([bytes(history) for history in probes.histories])
    answer = load(repository, report.digest, {SMALL.fingerprint: lambda _: np.nextafter(computed, np.inf)})
    assert not isinstance(answer, Model)


def test_long_histories_make_batches_smaller_and_change_no_vector(
    tmp_path: Path, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraudstream.lab.training.vectors.MAX_RECORDS", 5_000)
    sizes: list[int] = []
    (tmp_path / "again").mkdir()
    with TransactionsFile(tmp_path / "a.parquet", tmp_path / "again", 1) as source:
        pass_ = VectorPass(source, FEATURES)
        again = fill_table(source, pass_, tmp_path / "again", lambda _stage, done, _rows: sizes.append(done))
    assert min(np.diff(sizes)) < 100
    assert same_bits(np.asarray(again.matrix), np.asarray(table.matrix))
    assert again.fingerprint == table.fingerprint


def test_repeated_rows_are_set_aside(tmp_path: Path, repository: Repository, columns: dict[str, list[Any]]) -> None:
    doubled = {name: [*values, *values[:100]] for name, values in columns.items()}
    report = train(request_for(write(tmp_path / "a.parquet", doubled)), repository, silent)
    assert report.set_aside == 100


def test_labels_known_after_the_end_are_not_used(
    tmp_path: Path, repository: Repository, columns: dict[str, list[Any]]
) -> None:
    late = columns | {"labelled_at": ["2027-01-01T00:00:00Z"] * len(columns["fraud"])}
    with pytest.raises(TrainingDataError, match="no label was known by 2026-03-01"):
        train(request_for(write(tmp_path / "a.parquet", late)), repository, silent)
    assert repository.digests() == ()
