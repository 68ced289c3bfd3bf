"""`model import`: a model of anyone's training becomes an artifact that a worker serves, or is refused and why."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from features.declaration import load as load_features
from features.vector.sets import FeatureSets
from fraudstream.cli.main import main
from fraudstream.lab.training.import_run import import_model
from fraudstream.lab.training.request import ModelFileError, TrainingDataError, UnusableModelError, VectorsFileError
from models.artifact import same_bits
from models.calibration import Calibrator
from models.loading import Model, load
from models.repository import Repository
from models.times import format_time
from stream.control.probes import probe_vectorisers
from support.own_models import FEATURES, SET, SETS, TRAINED_UNTIL_MS, computed, labelled, request_for, rows_of, saved
from support.training_files import DAY_MS, START_MS, silent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vectors file, and a model that was trained elsewhere on its first half; no test changes them."""
    folder = tmp_path_factory.mktemp("own")
    computed(folder / "vectors.parquet", labelled())
    saved(folder / "model.txt", rows_of(folder / "vectors.parquet"), seed=3)
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(str(tmp_path / "models"))


def test_an_imported_model_is_one_that_a_worker_serves(folder: Path, repository: Repository) -> None:
    stages: list[str] = []
    report = import_model(request_for(folder), repository, lambda stage, *_: stages.append(stage))
    assert repository.digests() == (report.digest,)
    model = load(repository, report.digest, probe_vectorisers(SETS))
    assert isinstance(model, Model)
    assert (model.name, model.version, report.name, report.version) == ("theirs", "2026-03-01", "theirs", "2026-03-01")
    matrix, frauds = rows_of(folder / "vectors.parquet", START_MS + 90 * DAY_MS)
    theirs = saved(folder / "again.txt", rows_of(folder / "vectors.parquet"), seed=3)
    margins = np.asarray(theirs.predict(matrix, raw_score=True))
    scores = model.score(matrix)
    assert same_bits(scores, Calibrator.of(model.manifest.calibration).probabilities(margins))
    assert abs(scores[3_000:].mean() - frauds[3_000:].mean()) < 0.02
    assert report.metrics["average_precision"] > 0.5
    assert report.metrics["alert_rate"] == pytest.approx(0.05, abs=0.02)
    assert {"read", "evaluate"} == set(stages)


def test_only_rows_after_the_training_are_used_and_the_manifest_says_what_is_known(
    folder: Path, repository: Repository
) -> None:
    report = import_model(request_for(folder), repository, silent)
    until = format_time(TRAINED_UNTIL_MS)
    assert report.calibrate.since >= format_time(START_MS + 37 * DAY_MS)  # later than `until`: histories are complete
    assert report.calibrate.until < report.test.since
    assert report.trained_on > 2_500
    manifest = json.loads(repository.fetch(report.digest)["manifest.json"])
    assert "training" not in manifest
    imported = manifest["imported"]
    assert imported["trained_until"] == report.trained_until == until
    assert imported["calibrated_on"]["rows"] == report.calibrate.rows
    assert imported["calibrated_on"]["frauds"] == report.calibrate.frauds >= 10
    assert manifest["seed"] == 3
    assert manifest["parameters"]["num_leaves"] == 8
    assert report.warnings == ()


def test_the_same_files_give_the_same_digest_whichever_library_wrote_the_vectors(
    folder: Path, tmp_path: Path, repository: Repository
) -> None:
    report = import_model(request_for(folder), repository, silent)
    pq.write_table(pq.read_table(folder / "vectors.parquet"), tmp_path / "again.parquet", compression="gzip")
    again = import_model(request_for(folder, vectors=tmp_path / "again.parquet", threads=2), repository, silent)
    assert again.digest == report.digest
    changed = rewritten(folder, tmp_path / "changed.parquet", lambda table: changed_at_first(table, "is_night", 0.5))
    third = import_model(request_for(folder, vectors=changed), repository, silent)
    assert third.digest != report.digest  # the row is of the training: only the fingerprint of the data tells
    assert third.metrics == report.metrics


def test_a_model_of_the_older_of_two_feature_sets_is_imported(folder: Path, repository: Repository) -> None:
    both = FeatureSets((FEATURES, load_features("features.extended_set")))
    report = import_model(request_for(folder, sets=both), repository, silent)
    assert report.fingerprint == FEATURES.fingerprint


def test_an_import_without_the_end_of_the_training_uses_all_rows_and_warns(
    folder: Path, repository: Repository
) -> None:
    report = import_model(request_for(folder, trained_until_ms=None), repository, silent)
    assert report.trained_on == 0
    assert report.trained_until is None
    assert report.calibrate.since < format_time(TRAINED_UNTIL_MS)
    assert len(report.warnings) == 1
    assert "state --trained-until" in report.warnings[0]
    assert "weaknesses" not in json.loads(repository.fetch(report.digest)["manifest.json"]), "unknown is not weak"


def test_rows_of_the_training_are_used_only_if_asked_for(folder: Path, repository: Repository) -> None:
    report = import_model(request_for(folder, use_training_rows=True), repository, silent)
    assert report.trained_on == 0
    assert report.calibrate.since < format_time(TRAINED_UNTIL_MS)
    assert "was calibrated and measured on transactions of its training" in report.warnings[0]
    assert json.loads(repository.fetch(report.digest)["manifest.json"])["weaknesses"] == [report.warnings[0]]
    with pytest.raises(ValueError, match="use_training_rows: has no effect without trained_until"):
        request_for(folder, trained_until_ms=None, use_training_rows=True)


def test_a_model_without_feature_names_is_imported_by_position_with_a_warning(
    folder: Path, tmp_path: Path, repository: Repository
) -> None:
    saved(tmp_path / "nameless.txt", rows_of(folder / "vectors.parquet"), None)
    request = request_for(folder, file=tmp_path / "nameless.txt")
    with pytest.raises(ModelFileError, match="--features-by-position"):
        import_model(request, repository, silent)
    report = import_model(replace(request, features_by_position=True), repository, silent)
    assert report.features_by_position
    assert "nothing proves that their order" in report.warnings[0]


def test_a_model_that_was_trained_on_filled_gaps_is_imported_with_a_warning(
    folder: Path, tmp_path: Path, repository: Repository
) -> None:
    matrix, frauds = rows_of(folder / "vectors.parquet")
    undefined = [name for at, name in enumerate(FEATURES.names) if np.isnan(matrix[:, at]).any()]
    # what a split uses depends on the labels: here they follow a feature that is undefined in some rows
    column = FEATURES.names.index(undefined[0])
    matrix = np.nan_to_num(matrix, nan=-1.0)
    follows = (matrix[:, column] > np.quantile(matrix[:, column], 0.8)) | (frauds == 1)
    saved(tmp_path / "filled.txt", (matrix, follows.astype(int)))
    report = import_model(request_for(folder, file=tmp_path / "filled.txt"), repository, silent)
    assert len(report.warnings) == 1
    assert undefined[0] in report.warnings[0]
    assert "takes undefined for 0; train on the vectors as they are" in report.warnings[0]


def test_vectors_whose_gaps_were_filled_or_of_which_some_were_left_out_are_imported_with_warnings(
    folder: Path, tmp_path: Path, repository: Repository
) -> None:
    def filled(table: pa.Table) -> pa.Table:
        for name in FEATURES.names:
            column = table.column(name)
            table = table.set_column(table.schema.get_field_index(name), name, column.fill_null(0.0))
        return table.slice(0, len(table) - 10)

    vectors = rewritten(folder, tmp_path / "filled.parquet", filled)
    report = import_model(request_for(folder, vectors=vectors), repository, silent)
    few, gaps = report.warnings
    assert few.startswith(f"the file has {report.rows:,} of the {report.rows + 10:,} vectors that were computed")
    assert "nowhere in the file, so gaps were filled" in gaps


# --- refusals


def rewritten(folder: Path, out: Path, change: Callable[[pa.Table], pa.Table]) -> Path:
    """Write a changed vectors file with the metadata of the original."""
    table = pq.read_table(folder / "vectors.parquet")
    kept = table.schema.metadata
    pq.write_table(change(table).replace_schema_metadata(kept), out)
    return out


def refused(folder: Path, repository: Repository, vectors: Path, **changes: Any) -> str:
    with pytest.raises((VectorsFileError, TrainingDataError)) as caught:
        import_model(request_for(folder, vectors=vectors, **changes), repository, silent)
    assert repository.digests() == ()
    return str(caught.value)


def test_a_file_that_is_no_parquet_is_refused(folder: Path, tmp_path: Path, repository: Repository) -> None:
    csv = tmp_path / "vectors.csv"
    csv.write_text("a\n1\n")
    assert "ends in '.csv': only parquet says which features it holds" in refused(folder, repository, csv)
    other = tmp_path / "vectors.parquet"
    other.write_text("a\n1\n")
    assert f"{other}: cannot be read as parquet: " in refused(folder, repository, other)


def test_a_file_whose_metadata_were_dropped_or_damaged_is_refused_with_how_to_keep_them(
    folder: Path, tmp_path: Path, repository: Repository
) -> None:
    table = pq.read_table(folder / "vectors.parquet")
    out = tmp_path / "vectors.parquet"
    pq.write_table(table.replace_schema_metadata(None), out)
    assert "with pyarrow, table.replace_schema_metadata keeps them" in refused(folder, repository, out)
    kept = table.schema.metadata
    pq.write_table(table.replace_schema_metadata(kept | {b"fraudstream.vectors": b'{"schema":"vectors/9"}'}), out)
    found = refused(folder, repository, out)
    assert "its metadata are damaged (" in found
    assert "compute it again by `fraudstream features compute FILE --out vectors.parquet`" in found


def test_vectors_of_another_feature_set_are_refused(folder: Path, repository: Repository) -> None:
    other = FeatureSets((load_features("features.extended_set"),))
    found = refused(folder, repository, folder / "vectors.parquet", sets=other)
    assert f"holds features {FEATURES.fingerprint}, and FRAUDSTREAM_FEATURES names {other.newest.fingerprint}" in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda probes: {"vectors": [[9.5, *row[1:]] for row in probes["vectors"]]}, "do not give their vectors here"),
        (lambda _: {"histories": [], "vectors": []}, "holds no probe history: compute vectors of more"),
        (lambda probes: {"histories": ["{"] * len(probes["histories"])}, "its probe histories cannot be read"),
        (lambda probes: {"vectors": probes["vectors"][:-1]}, "do not give their vectors here"),
        (lambda _: {"vectors": [[1.0, 2.0]]}, "its probe histories cannot be read"),
    ],
    ids=["other bits", "none", "unreadable", "too few", "too short"],
)
def test_vectors_that_another_version_or_machine_would_compute_otherwise_are_refused(
    folder: Path, tmp_path: Path, repository: Repository, change: Callable[[Any], Any], message: str
) -> None:
    table = pq.read_table(folder / "vectors.parquet")
    metadata = table.schema.metadata
    probes = json.loads(metadata[b"fraudstream.probes"])
    changed = msgspec.json.encode(probes | change(probes))
    pq.write_table(table.replace_schema_metadata(metadata | {b"fraudstream.probes": changed}), tmp_path / "v.parquet")
    assert message in refused(folder, repository, tmp_path / "v.parquet")


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def changed_at_first(table: pa.Table, name: str, value: Any) -> pa.Table:
    column = table.column(name)
    return with_column(table, name, pa.array([value, *column.to_pylist()[1:]], column.type))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["card_count_1h"]), "column card_count_1h is missing"),
        (lambda table: table.drop_columns(["fraud"]), "column fraud is missing"),
        (
            lambda table: with_column(table, "card_count_1h", table.column("card_count_1h").cast(pa.float32())),
            "column card_count_1h is FLOAT, not DOUBLE: keep the values as they were computed",
        ),
        (
            lambda table: with_column(table, "occurred_at", table.column("occurred_at").cast(pa.timestamp("us"))),
            "column occurred_at is TIMESTAMP, which names no zone",
        ),
        (lambda table: changed_at_first(table, "card_id", None), "card_id is missing in row 1"),
        (lambda table: changed_at_first(table, "card_id", "a b"), "9 . _ : @ - in row 1: 'a b'"),
        (
            lambda table: changed_at_first(
                table, "labelled_at", table.column("occurred_at")[0].as_py().replace(year=2025)
            ),
            "labelled_at is before occurred_at in row 1: ",
        ),
        (
            lambda table: pa.concat_tables([table, table[:7]]),
            "card_id and transaction_id are those of an earlier row in 7 rows, first in row ",
        ),
        (lambda table: table[:0], "holds no vector"),
        (lambda table: table[:3_600], "the test part has"),
        (
            lambda table: with_column(table, "fraud", pa.nulls(len(table), pa.bool_())),
            "no transaction is labelled: fill the column fraud",
        ),
    ],
    ids=range(11),
)
def test_vectors_that_cannot_be_used_are_refused_and_why(
    folder: Path, tmp_path: Path, repository: Repository, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    vectors = rewritten(folder, tmp_path / "changed.parquet", change)
    assert message in refused(folder, repository, vectors)


def test_too_few_frauds_after_the_training_are_refused_with_what_was_left_out(
    folder: Path, repository: Repository
) -> None:
    vectors = folder / "vectors.parquet"
    late = refused(folder, repository, vectors, trained_until_ms=START_MS + 58 * DAY_MS)
    assert "those until 2026-02-28T00:00:00.000Z were left out, because the model was trained on them" in late
    after = refused(folder, repository, vectors, trained_until_ms=START_MS + 80 * DAY_MS)
    assert after.startswith("no labelled transaction is later than 2026-03-22T00:00:00.000Z, until when the model was")


def test_a_model_that_does_not_predict_the_labels_is_refused(
    folder: Path, tmp_path: Path, repository: Repository
) -> None:
    matrix, frauds = rows_of(folder / "vectors.parquet")
    saved(tmp_path / "reversed.txt", (matrix, 1 - frauds))
    with pytest.raises(UnusableModelError, match="fraud does not rise with the model's margin"):
        import_model(request_for(folder, file=tmp_path / "reversed.txt"), repository, silent)
    assert repository.digests() == ()


def test_a_model_of_other_features_is_refused_before_the_vectors_are_read(
    folder: Path, tmp_path: Path, repository: Repository
) -> None:
    matrix, frauds = rows_of(folder / "vectors.parquet")
    saved(tmp_path / "part.txt", (matrix[:, :4], frauds), FEATURES.names[:4])
    stages: list[str] = []
    with pytest.raises(ModelFileError, match=f"lacks {len(FEATURES) - 4} of the {len(FEATURES)} features"):
        import_model(
            request_for(folder, file=tmp_path / "part.txt"), repository, lambda stage, *_: stages.append(stage)
        )
    assert stages == []


# --- the command


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A function that imports the model by the command line, with some options."""

    def run_with(*options: str, **environment: str) -> Any:
        named = {
            "FRAUDSTREAM_MODELS": str(tmp_path / "models"),
            "COLUMNS": "300",
            "FRAUDSTREAM_FEATURES": SET,
        } | environment
        fixed = ["model", "import", str(folder / "model.txt"), "--vectors", str(folder / "vectors.parquet")]
        return CliRunner(env=named).invoke(main, [*fixed, "--name", "theirs", *options])

    return run_with


def test_the_command_prints_the_report_as_train_does(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run("--trained-until", format_time(TRAINED_UNTIL_MS), "--review-share", "0.05")
    assert result.exit_code == 0, result.output
    (digest,) = Repository(str(tmp_path / "models")).digests()
    text = " ".join(result.stdout.split())
    assert digest in text
    assert "trained elsewhere until 2026-01-31T00:00:00.000Z" in text
    for name in ("calibrate", "test", "auc", "average_precision", "card_precision_at_100", "policy"):
        assert name in text
    assert "warning" not in result.stderr


def test_the_command_warns_on_standard_error_and_prints_json(run: Callable[..., Any]) -> None:
    result = run("--json")
    assert result.exit_code == 0, result.output
    assert "warning: nothing says until when the model was trained" in result.stderr
    report = json.loads(result.stdout)
    assert report["features"] == list(FEATURES.names)
    assert report["warnings"]


def test_the_command_is_refused_where_options_or_files_cannot_be_used(run: Callable[..., Any]) -> None:
    useless = run("--use-training-rows")
    assert (useless.exit_code, "--use-training-rows is for --trained-until" in useless.stderr) == (2, True)
    named = run("--version", "a b")
    assert (named.exit_code, "version: expected 1 to 64" in named.stderr) == (2, True)
    late = run("--trained-until", "2026-05-01T00:00:00Z")
    assert (late.exit_code, "no labelled transaction is later" in late.stderr) == (1, True)
    other = run(FRAUDSTREAM_FEATURES="features.extended_set")
    assert (other.exit_code, "FRAUDSTREAM_FEATURES names" in other.stderr) == (1, True)
