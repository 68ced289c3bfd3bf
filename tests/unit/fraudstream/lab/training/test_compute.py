"""`features compute`: the vectors of `score` and of the stream, point in time, in files that a notebook reads."""

import hashlib
import json
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from features.vector.sets import load_sets
from fraudstream.cli.main import main
from fraudstream.lab.dataset.errors import OutputError
from fraudstream.lab.rescoring.file_run import score_file
from fraudstream.lab.rescoring.request import FileRequest
from fraudstream.lab.training import compute
from fraudstream.lab.training.compute import compute_vectors
from fraudstream.lab.training.request import VectorsRequest
from fraudstream.lab.training.vectors_file import COLUMNS, VectorsDescription, column_meanings
from models.artifact import ProbeHistories, matrix_of, same_bits
from models.repository import Repository
from stream.control.probes import vectorise_probe
from support.fleet.payments import model_for_tests
from support.own_models import FEATURES, SETS, computed, labelled
from support.training_files import silent, transactions, write


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vectors of a labelled file of 6,000 rows; no test changes them."""
    out = tmp_path_factory.mktemp("vectors") / "vectors.parquet"
    computed(out, labelled())
    return out


def matrix(path: Path, condition: str = "true") -> np.ndarray:
    chosen = ", ".join(f'"{name}"' for name in FEATURES.names)
    found = duckdb.connect().execute(f"SELECT {chosen} FROM '{path}' WHERE {condition}").fetchnumpy()  # noqa: S608
    return np.column_stack([np.ma.filled(np.ma.asarray(found[name]), np.nan) for name in FEATURES.names])


def test_the_vectors_are_those_that_score_writes(tmp_path: Path, vectors: Path) -> None:
    models = str(tmp_path / "models")
    digest = Repository(models).put(model_for_tests(features=FEATURES))
    file = vectors.with_name("vectors-transactions.parquet")
    score_file(FileRequest(file, digest, tmp_path / "scored.parquet", models, SETS, 1), silent)
    assert same_bits(matrix(vectors), matrix(tmp_path / "scored.parquet"))
    assert len(matrix(vectors)) == 6_000


def test_a_vector_sees_no_later_payment_and_no_label_that_was_known_later(tmp_path: Path, vectors: Path) -> None:
    columns = labelled()
    cut = columns["occurred_at"][4_000]
    flipped = [
        fraud if known <= cut else not fraud
        for fraud, known in zip(columns["fraud"], columns["labelled_at"], strict=True)
    ]
    assert flipped != columns["fraud"]
    assert matrix(vectors)[:4_001, FEATURES.names.index("merchant_fraud_share_delayed_30d")].any()
    past = {name: values[:4_001] for name, values in (columns | {"fraud": flipped}).items()}
    computed(tmp_path / "past.parquet", past)
    assert same_bits(matrix(tmp_path / "past.parquet"), matrix(vectors)[:4_001])


def test_the_columns_are_the_documented_ones_in_the_order_of_the_feature_set(vectors: Path) -> None:
    described = duckdb.connect().execute(f"DESCRIBE SELECT * FROM '{vectors}'").fetchall()  # noqa: S608
    kinds = {name: kind for name, kind, *_ in described}
    assert tuple(kinds) == (*COLUMNS, *FEATURES.names)
    zoned = "TIMESTAMP WITH TIME ZONE"
    assert [kinds[name] for name in COLUMNS] == ["VARCHAR", "VARCHAR", zoned, "BIGINT", "VARCHAR", "BOOLEAN", zoned]
    assert {kinds[name] for name in FEATURES.names} == {"DOUBLE"}
    columns = labelled()
    table = pq.read_table(vectors)
    for name in ("transaction_id", "card_id", "amount_minor", "currency", "fraud"):
        assert table.column(name).to_pylist() == columns[name]
    for name in ("occurred_at", "labelled_at"):
        written = [
            time.isoformat(timespec="milliseconds").replace("+00:00", "Z") for time in table.column(name).to_pylist()
        ]
        assert written == columns[name]


def test_the_metadata_say_which_features_they_are_and_hold_probes_that_give_their_vectors(vectors: Path) -> None:
    metadata = pq.read_schema(vectors).metadata
    description = msgspec.json.decode(metadata[b"fraudstream.vectors"], type=VectorsDescription)
    assert description.fingerprint == FEATURES.fingerprint
    assert description.columns == column_meanings(FEATURES)
    assert description.columns["card_count_1h"] == "transactions: number of transactions"
    assert (description.rows, description.since[:10], description.until[:10]) == (6_000, "2026-01-01", "2026-03-01")
    probes = msgspec.json.decode(metadata[b"fraudstream.probes"], type=ProbeHistories)
    assert len(probes.histories) == 6
    again = vectorise_probe(FEATURES)([bytes(one) for one in probes.histories])
    assert same_bits(again, matrix_of(probes.vectors, len(FEATURES)))


def test_the_same_file_gives_the_same_bytes_in_one_part_or_in_several(
    tmp_path: Path, vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = labelled()
    computed(tmp_path / "again.parquet", columns)
    assert (
        hashlib.sha256((tmp_path / "again.parquet").read_bytes()).digest()
        == hashlib.sha256(vectors.read_bytes()).digest()
    )
    monkeypatch.setattr(compute, "PART_ROWS", 2_500)
    computed(tmp_path / "parts.parquet", columns)
    assert pq.read_table(tmp_path / "parts.parquet").equals(pq.read_table(vectors))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["again.parquet", "again-transactions.parquet", "parts.parquet", "parts-transactions.parquet"]
    )


def test_csv_has_the_same_values_and_times_as_rfc_3339(tmp_path: Path, vectors: Path) -> None:
    columns = labelled()
    computed(tmp_path / "vectors.csv", columns)
    text = duckdb.read_csv(str(tmp_path / "vectors.csv"), all_varchar=True).fetchnumpy()
    assert text["occurred_at"].tolist() == columns["occurred_at"]
    assert text["labelled_at"].tolist() == columns["labelled_at"]
    kept = matrix(vectors)
    for at, name in enumerate(FEATURES.names):
        read = np.array(
            [np.nan if value is None or value is np.ma.masked else float(value) for value in text[name].tolist()]
        )
        assert same_bits(read, kept[:, at])


def test_an_unlabelled_file_has_empty_label_columns_of_the_same_types(tmp_path: Path) -> None:
    columns = {name: values for name, values in transactions(200).items() if name != "fraud"}
    report = computed(tmp_path / "vectors.parquet", columns)
    assert (report.rows, report.labelled, report.frauds) == (200, 0, 0)
    table = pq.read_table(tmp_path / "vectors.parquet")
    assert (table.column("fraud").null_count, table.column("labelled_at").null_count) == (200, 200)
    described = duckdb.connect().execute(f"DESCRIBE SELECT fraud, labelled_at FROM '{tmp_path / 'vectors.parquet'}'")  # noqa: S608
    assert [kind for _, kind, *_ in described.fetchall()] == ["BOOLEAN", "TIMESTAMP WITH TIME ZONE"]


def test_rows_that_the_stream_would_not_decide_are_left_out_and_counted(tmp_path: Path) -> None:
    columns = labelled(300)
    doubled = {name: [*values, *values[:100]] for name, values in columns.items()}
    report = computed(tmp_path / "vectors.parquet", doubled)
    assert (report.rows, report.set_aside) == (300, 100)
    assert pq.read_table(tmp_path / "vectors.parquet").column("transaction_id").to_pylist() == columns["transaction_id"]


def test_an_output_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "in.parquet", transactions(50))
    with pytest.raises(OutputError, match=r"absent: .*No such file"):
        compute_vectors(VectorsRequest(file, tmp_path / "absent" / "out.parquet", FEATURES), silent)
    (tmp_path / "taken.parquet").mkdir()
    with pytest.raises(OutputError, match="irectory"):
        compute_vectors(VectorsRequest(file, tmp_path / "taken.parquet", FEATURES), silent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "taken.parquet"]


def run(*arguments: Any, **environment: str) -> Any:
    return CliRunner(env=environment).invoke(main, ["features", "compute", *map(str, arguments)])


def test_the_command_prints_what_is_in_the_output(tmp_path: Path) -> None:
    file = write(tmp_path / "in.csv", labelled(300))
    result = run(file, "--out", tmp_path / "out.parquet", COLUMNS="200")
    assert result.exit_code == 0, result.output
    assert "300, 300 labelled, " in result.stdout
    newest = load_sets("").newest
    assert f"features │ {len(newest)}, fingerprint {newest.fingerprint}" in " ".join(result.stdout.split())
    facts = json.loads(run(file, "--out", tmp_path / "out.csv", "--json").stdout)
    assert (facts["rows"], facts["features"], facts["set_aside"]) == (300, list(newest.names), 0)


def test_the_command_refuses_what_it_cannot_write_or_read(tmp_path: Path) -> None:
    file = write(tmp_path / "in.parquet", transactions(50))
    wrong = run(file, "--out", tmp_path / "out.json")
    assert (wrong.exit_code, "name a file that ends in .parquet, .pq, .csv" in wrong.stderr) == (2, True)
    itself = run(file, "--out", file)
    assert (itself.exit_code, "--out is the FILE itself" in itself.stderr) == (2, True)
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    bad = run(tmp_path / "bad.csv", "--out", tmp_path / "out.parquet")
    assert bad.exit_code == 1
    assert "column transaction_id is missing" in bad.stderr
