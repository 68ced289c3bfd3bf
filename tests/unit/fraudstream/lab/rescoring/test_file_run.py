"""`fraudstream score FILE`: each row with the features that the stream would have computed at its time, and a score."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from features.declaration import load as load_features
from features.history.store import Fate, Label
from features.memory_store import MemoryStore
from features.vector.sets import FeatureSets
from features.vector.vectorise import vectorise
from fraudstream.cli.main import main
from fraudstream.lab.dataset.errors import TransactionsFileError
from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.rescoring import file_run, workdir
from fraudstream.lab.rescoring.request import ComputationError, FileRequest, ScoreReport, UnknownModelError
from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.run import train
from models.loading import Model, load
from models.policy import bands
from models.repository import Repository
from stream.control.probes import probe_vectorisers
from support.acceptance import sized
from support.fleet.payments import put_model
from support.training_files import DAY_MS, START_MS, transactions, write

FEATURES = load_features(None)
COLUMNS = (
    "transaction_id", "card_id", "merchant_id", "occurred_at", "amount_minor", "currency", "utc_offset_minutes",
    "device_id", "mcc", "channel", "merchant_country", "latitude", "longitude", "fraud", "labelled_at", "fate", "score",
    "band", "decision", *FEATURES.names,
)  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def digest(models: str) -> str:
    file = write(Path(models) / "train.parquet", transactions())
    request = TrainingRequest(
        file=file,
        name="card",
        feature_set=FEATURES,
        trees=10,
        threads=1,
        patience=0,
        review_share=0.1,
        accept_weak=True,
    )
    return train(request, Repository(models), lambda _stage, _done, _total: None).digest


def scored(folder: Path, columns: dict[str, Any], models: str, digest: str, **changes: Any) -> dict[str, list[Any]]:
    """Score columns as a file, and return the columns of the output."""
    report(folder, columns, models, digest, **changes)
    return read(folder / "out.parquet")


def report(folder: Path, columns: dict[str, Any], models: str, digest: str, **changes: Any) -> ScoreReport:
    request = {"file": write(folder / "in.parquet", columns), "model": digest, "out": folder / "out.parquet"}
    request |= {"models": models, "sets": FeatureSets((FEATURES,)), "threads": 1} | changes
    return file_run.score_file(FileRequest(**request), lambda _stage, _done, _total: None)


def read(path: Path) -> dict[str, list[Any]]:
    found = duckdb.connect().execute(f"SELECT * REPLACE (epoch_ms(occurred_at) AS occurred_at) FROM '{path}'")  # noqa: S608
    names = [column[0] for column in found.description]
    return dict(zip(names, map(list, zip(*found.fetchall(), strict=True)), strict=True))


def one_by_one(path: Path, folder: Path) -> Iterator[tuple[Fate, list[float | None]]]:
    """Pass a file's rows through the store in memory one at a time, each after the labels known by then."""
    store = MemoryStore(FEATURES)
    with TransactionsFile(path, folder, 1) as source:
        batches = list(source.batches(lambda: 1))
    labels = sorted(labels_of(batches), key=lambda label: label.labelled_ms)
    for batch in batches:
        while labels and labels[0].labelled_ms <= int(batch.transactions.occurred_ms[0]):
            store.label_now([labels.pop(0)])
        observed = store.observe_now(batch.transactions)
        vector = vectorise(FEATURES, batch.transactions, observed)[0].tolist()
        yield observed.fates[0], [None if value != value else value for value in vector]  # noqa: PLR0124 - NaN


def labels_of(batches: list[Any]) -> list[Label]:
    return [
        Label(one.transaction_ids[0], one.card_ids[0], bool(batch.fraud[0]), int(batch.labelled_ms[0]), "chargeback",
              one.merchant_ids[0], int(one.occurred_ms[0]), 0, int(one.offset[0]))
        for batch in batches if batch.fraud[0] >= 0 for one in (batch.transactions,)
    ]  # fmt: skip


rows = st.lists(
    st.fixed_dictionaries(
        {
            "transaction_id": st.sampled_from(["t0", "t1", "t2", "t3", "t4", "t5"]),
            "card_id": st.sampled_from(["c0", "c1"]),
            "merchant_id": st.sampled_from(["m0", "m1", "m2"]),
            "occurred_at": st.sampled_from([0, 1, 1, 2, 9, 10, 30, 38, 46]),
            "amount_minor": st.sampled_from([1, 1, 2, 10**12]),
            "fraud": st.sampled_from([True, True, False, None]),
            "labelled_at": st.sampled_from([None, 0, 1, 8, 30]),
        }
    ),
    min_size=1,
    max_size=30,
)


@given(rows, st.integers(1, 5))
@settings(max_examples=sized(4, 20))
def test_each_row_has_the_fate_and_features_that_the_store_in_memory_gives(
    models: str, digest: str, tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], shard: int
) -> None:
    for row in rows:
        row["occurred_at"] = START_MS + row["occurred_at"] * DAY_MS
        later = row["labelled_at"]
        row["labelled_at"] = None if later is None else row["occurred_at"] + later * DAY_MS
    folder = tmp_path_factory.mktemp("file")
    columns = {name: [row[name] for row in rows] for name in rows[0]} | {"currency": ["EUR"] * len(rows)}
    columns |= {
        "fraud": pa.array(columns["fraud"], pa.bool_()),
        "labelled_at": pa.array(columns["labelled_at"], pa.int64()),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workdir, "SHARD_ROWS", shard)
        found = scored(folder, columns, models, digest)
    (folder / "again").mkdir()
    expected = list(one_by_one(folder / "in.parquet", folder / "again"))
    assert found["fate"] == [fate.value for fate, _ in expected]
    vectors = [list(vector) for vector in zip(*(found[name] for name in FEATURES.names), strict=True)]
    assert vectors == [vector if fate is Fate.DECIDE else [None] * len(FEATURES) for fate, vector in expected]


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=5).filter(
    lambda text: text[0] not in "=+-@"  # in CSV these have an apostrophe in front, so that no program computes them
)
full_rows = st.lists(
    st.fixed_dictionaries(
        {
            "transaction_id": texts,
            "card_id": st.sampled_from(["c0", "c1"]),
            "merchant_id": st.sampled_from(["m0", "m1"]),
            "occurred_at": st.builds(
                "2026-01-0{}{}22:{}:07.{}{}".format,
                st.integers(1, 8),
                st.sampled_from("T "),
                st.integers(10, 59),
                st.integers(0, 999_999),
                st.sampled_from(["Z", "+05:30", "-03:30", "-11:00", "+00:00"]),
            ),
            "amount_minor": st.integers(0, 10**12),
            "currency": st.sampled_from(["EUR", "JPY", "CLF"]),
            "device_id": st.none() | st.sampled_from(["phone", "007"]),
            "mcc": st.none() | st.sampled_from(["5411", "0742", "0000", "9999", "x"]),
            "channel": st.none() | st.sampled_from(["pos", "ecommerce", "moto", "atm", "phone"]),
            "merchant_country": st.none() | st.sampled_from(["DE", "AD", "ZW", "AA"]),
            "latitude": st.none() | st.floats(-91, 91),
            "longitude": st.none() | st.floats(-181, 181),
            "fraud": st.none() | st.sampled_from(["true", "false"]),
            "labelled_at": st.none() | st.sampled_from(["2026-01-10T00:00:00Z", "2026-01-11 00:00:00.001+01:00"]),
        }
    ),
    min_size=1,
    max_size=20,
)


@given(full_rows)
@settings(max_examples=sized(2, 8), phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_what_score_writes_it_reads_again_with_equal_results(
    models: str, digest: str, tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("again")
    columns = {name: pa.array([row[name] for row in rows]) for name in rows[0]}
    columns |= {name: column.cast(pa.string()) for name, column in columns.items() if column.type == pa.null()}
    first = report(folder, columns, models, digest)
    report(folder, columns, models, digest, out=folder / "out.csv")
    once = duckdb.read_parquet(str(folder / "out.parquet")).fetchall()
    for source in ("out.parquet", "out.csv"):
        again = report(folder, columns, models, digest, file=folder / source, out=folder / "again.parquet")
        assert again.fates == first.fates
        assert duckdb.read_parquet(str(folder / "again.parquet")).fetchall() == once
        report(folder, columns, models, digest, file=folder / source, out=folder / "again.csv")
        assert (folder / "again.csv").read_bytes() == (folder / "out.csv").read_bytes()


def test_csv_has_the_times_of_the_input_with_their_offset_and_the_numbers_of_parquet(
    tmp_path: Path, models: str, digest: str
) -> None:
    columns = transactions(rows=300)
    columns["occurred_at"] = [text.replace("Z", "+05:30") for text in columns["occurred_at"]]
    report(tmp_path, columns, models, digest, out=tmp_path / "out.csv")
    report(tmp_path, columns, models, digest)
    written = duckdb.read_csv(str(tmp_path / "out.csv"), all_varchar=True).fetchnumpy()
    assert written["occurred_at"].tolist() == columns["occurred_at"]
    kept = read(tmp_path / "out.parquet")
    for name in ("score", *FEATURES.names):
        assert [None if value is None else float(value) for value in written[name].tolist()] == kept[name]


def test_a_row_has_the_models_outputs_for_its_features(tmp_path: Path, models: str, digest: str) -> None:
    found = scored(tmp_path, transactions(rows=500), models, digest)
    assert tuple(found) == COLUMNS
    model = load(Repository(models), digest, probe_vectorisers(FeatureSets((FEATURES,))))
    assert isinstance(model, Model)
    scores = model.score(np.column_stack([np.array(found[name], np.float64) for name in FEATURES.names]))
    assert found["score"] == scores.tolist()
    assert found["band"] == bands(scores).tolist()
    assert found["decision"] == model.policy.decide(scores)
    assert len(set(found["decision"])) > 1, sorted(set(found["score"]))


def test_threads_shards_and_blocks_do_not_change_the_rows(
    tmp_path: Path, models: str, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = transactions(rows=3_000)
    report(tmp_path, columns, models, digest, out=tmp_path / "one.parquet")
    report(tmp_path, columns, models, digest, out=tmp_path / "two.parquet", threads=2)
    monkeypatch.setattr(workdir, "SHARD_ROWS", 400)
    monkeypatch.setattr(workdir, "BLOCK_ROWS", 1_000)
    report(tmp_path, columns, models, digest, out=tmp_path / "three.parquet")
    one, two, three = (read(tmp_path / f"{name}.parquet") for name in ("one", "two", "three"))
    assert one == two
    assert one == three


def test_rows_that_would_not_be_decided_have_a_fate_but_no_score_or_features(
    tmp_path: Path, models: str, digest: str
) -> None:
    columns = transactions(rows=20)
    for name, values in columns.items():
        values += [values[3], values[4] + 1 if name == "amount_minor" else values[4]]
    done = report(tmp_path, columns, models, digest)
    assert done.fates == {"decide": 20, "repeated": 1, "transaction_conflict": 1}
    assert sum(done.decisions.values()) == 20
    found = read(tmp_path / "out.parquet")
    for at, fate in enumerate(found["fate"]):
        kept = {found[name][at] is not None for name in ("score", "band", "decision", *FEATURES.names[:20])}
        assert kept == {fate == "decide"}, fate


def test_a_label_counts_from_the_time_at_which_it_was_known(tmp_path: Path, models: str, digest: str) -> None:
    fraud, known = START_MS, START_MS + 9 * DAY_MS
    columns = {
        "transaction_id": ["t0", "t1", "t2"],
        "card_id": ["c0", "c1", "c2"],
        "merchant_id": ["m"] * 3,
        "occurred_at": [fraud, known - 1, known],
        "amount_minor": [1] * 3,
        "currency": ["EUR"] * 3,
        "fraud": [True, None, None],
        "labelled_at": [known, None, None],
    }
    found = scored(tmp_path, columns, models, digest)
    assert found["merchant_count_delayed_7d"] == [0.0, 1.0, 1.0]
    assert found["merchant_fraud_share_delayed_7d"] == [0.0, 0.0, 1.0]


def test_an_unknown_or_unusable_model_is_rejected_without_an_output_file(tmp_path: Path, models: str) -> None:
    columns = transactions(rows=5)
    with pytest.raises(UnknownModelError, match=r"no artifact 00000000 in .*; `fraudstream model list`"):
        report(tmp_path, columns, models, "00000000")
    with pytest.raises(UnknownModelError, match="not 8 to 64 hexadecimal digits"):
        report(tmp_path, columns, models, "latest")
    other = put_model(models, fingerprint="0" * 64)
    with pytest.raises(UnknownModelError, match=f"{other[:12]} cannot be used here: the model needs features 000"):
        report(tmp_path, columns, models, other)
    assert not (tmp_path / "out.parquet").exists()


def test_an_unusable_file_is_rejected_without_an_output_file(tmp_path: Path, models: str, digest: str) -> None:
    columns = transactions(rows=5)
    del columns["currency"]
    with pytest.raises(TransactionsFileError, match="column currency is missing"):
        report(tmp_path, columns, models, digest)
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_an_unwritable_output_raises_a_computation_error(tmp_path: Path, models: str, digest: str) -> None:
    with pytest.raises(ComputationError, match=r"absent: .*No such file"):
        report(tmp_path, transactions(rows=5), models, digest, out=tmp_path / "absent" / "out.parquet")


def command(*arguments: str, models: str) -> Result:
    return CliRunner(env={"FRAUDSTREAM_MODELS": models}).invoke(main, ["score", *arguments])


def test_the_command_prints_a_json_object_or_a_table(tmp_path: Path, models: str, digest: str) -> None:
    file, out = write(tmp_path / "in.csv", transactions(rows=50)), tmp_path / "out.parquet"
    arguments = [str(file), "--model", digest[:10], "--out", str(out), "--threads", "1"]
    done = command(*arguments, "--json", models=models)
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["digest"] == digest
    assert facts["rows"] == 50
    assert facts["fates"] == {"decide": 50}
    assert sum(facts["decisions"].values()) == 50
    said = command(*arguments, models=models).stdout
    assert digest in said
    cells = [line.split() for line in said.splitlines()]
    counts = {"rows": 50, **facts["fates"], **facts["decisions"]}
    assert [name for name, count in counts.items() if [name, str(count)] not in cells] == []


def test_the_command_reports_an_error_and_exits_with_1(tmp_path: Path, models: str, digest: str) -> None:
    file = write(tmp_path / "in.csv", {"card_id": ["c"]})
    done = command(str(file), "--model", digest, "--out", str(tmp_path / "out.parquet"), models=models)
    assert done.exit_code == 1
    assert "column transaction_id is missing" in done.stderr


def test_an_output_that_cannot_be_what_was_asked_for_is_wrong_usage(tmp_path: Path, models: str, digest: str) -> None:
    file = write(tmp_path / "in.csv", transactions(rows=5))
    for out, problem in (("x.xlsx", "ends in '.xlsx': name a file that ends in .parquet, .pq, .csv"),
                         ("in.csv", "--out is the FILE itself")):  # fmt: skip
        done = command(str(file), "--model", digest, "--out", str(tmp_path / out), models=models)
        assert done.exit_code == 2
        assert problem in " ".join(done.stderr.replace("│", " ").split())


def test_a_repository_that_does_not_exist_or_has_no_driver_is_named_before_the_file_is_read(tmp_path: Path) -> None:
    file = write(tmp_path / "in.csv", {"card_id": ["c"]})
    arguments = [str(file), "--model", "0" * 8, "--out", str(tmp_path / "out.csv")]
    absent = command(*arguments, models=str(tmp_path / "modles"))
    assert absent.exit_code == 1
    assert f"FRAUDSTREAM_MODELS: {tmp_path}/modles does not exist: correct the setting" in absent.stderr
    unknown = command(*arguments, models="gs://bucket/models")
    assert unknown.exit_code == 2
    assert unknown.stderr.startswith("FRAUDSTREAM_MODELS: gs://bucket/models: ")
    assert "gcsfs" in unknown.stderr
    assert unknown.stderr.count("\n") == 1
