"""Predictions from storage in batch: all commands see what the store in memory shows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from features.declaration import load
from features.history.store import Prediction
from features.memory_store import MemoryStore
from features.vector.sets import FeatureSets
from features.vector.vectorise import vectorise
from fraudstream.lab.dataset.errors import PredictionsFileError
from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.evaluation.request import EvaluationRequest, EvaluationTerms
from fraudstream.lab.evaluation.run import evaluate
from fraudstream.lab.rescoring import predictions as rescored_predictions
from fraudstream.lab.rescoring.file_run import score_file
from fraudstream.lab.rescoring.request import FileRequest
from fraudstream.lab.training.compute import compute_vectors
from fraudstream.lab.training.request import TrainingRequest, VectorsRequest
from fraudstream.lab.training.run import train
from models.artifact import same_bits
from models.repository import Repository
from models.times import format_time, parse_time_ms
from support.acceptance import sized
from support.distillation_cases import SETS, DistillationCase
from support.training_files import DAY_MS, START_MS, silent, transactions, write

FEATURES = load("support.features.prediction_set")
HOUR_MS = 3_600_000


def nightly(cards: int = 150, days: int = 60) -> dict[str, list[Any]]:
    """Make predictions of two names, one each night and one each week, about a third of the cards; some came late."""
    random = np.random.default_rng(7)
    rows = []
    for day in range(days):
        for card in random.choice(cards, cards // 3, replace=False).tolist():
            computed_ms = START_MS + day * DAY_MS + int(random.integers(0, 5 * HOUR_MS))
            took_ms = int(random.choice([0, HOUR_MS, 5 * HOUR_MS, 6 * HOUR_MS, 9 * HOUR_MS]))
            value = None if random.random() < 0.1 else float(random.integers(0, 4)) / 3
            rows.append((f"c{card}", "teacher", value, computed_ms, computed_ms + took_ms))
            if day % 7 == 0:
                rows.append((f"c{card}", "segment", value, computed_ms, computed_ms))
    cards_of, names, values, computed, arrived = zip(*rows, strict=True)
    return {
        "card_id": list(cards_of),
        "name": list(names),
        "value": list(values),
        "computed_at": [format_time(time) for time in computed],
        "arrived_at": [format_time(time) for time in arrived],
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    return write(folder / "payments.parquet", transactions()), write(folder / "p.parquet", nightly())


@pytest.fixture(scope="module")
def vectors(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compute the vectors of all payments."""
    out = tmp_path_factory.mktemp("vectors") / "vectors.parquet"
    compute_vectors(VectorsRequest(files[0], out, FEATURES, 1, predictions=files[1]), silent)
    return out


@pytest.fixture(scope="module")
def trained(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Train a model on the payments with their predictions; return the repository and its digest."""
    models = str(tmp_path_factory.mktemp("models"))
    request = TrainingRequest(
        file=files[0],
        predictions=files[1],
        name="card",
        feature_set=FEATURES,
        trees=5,
        threads=1,
        review_share=0.1,
        accept_weak=True,
    )
    return models, train(request, Repository(models), silent).digest


def one_by_one(payments: Path, folder: Path, most: int) -> np.ndarray:
    """Return the prediction columns of the first payments, shown by the store in memory after all that had come."""
    columns = nightly()
    came = [
        Prediction(card_id, name, value, *(int(np.datetime64(t[:-1], "ms").astype(int)) for t in times), 0, offset)
        for offset, (card_id, name, value, *times) in enumerate(zip(*columns.values(), strict=True), 1)
    ]
    came.sort(key=lambda one: (one.arrived_ms, one.offset))
    store, found = MemoryStore(FEATURES), []
    with TransactionsFile(payments, folder, 1) as source:
        for batch in source.batches(lambda: 1):
            while came and came[0].arrived_ms <= int(batch.transactions.occurred_ms[0]):
                store.predict_now([came.pop(0)])
            observed = store.observe_now(batch.transactions)
            found.append(vectorise(FEATURES, batch.transactions, observed)[0])
            if len(found) == most:
                break
    return np.array(found)[:, 4:]


def matrix(path: Path) -> np.ndarray:
    chosen = ", ".join(f'"{name}"' for name in FEATURES.names)
    found = duckdb.connect().execute(f"SELECT {chosen} FROM '{path}'").fetchnumpy()  # noqa: S608
    return np.column_stack([np.ma.filled(np.ma.asarray(found[name]), np.nan) for name in FEATURES.names])


@pytest.mark.full_size
def test_compute_reads_what_the_store_in_memory_shows_bit_for_bit(
    tmp_path: Path, files: tuple[Path, Path], vectors: Path
) -> None:
    expected = one_by_one(files[0], tmp_path, sized(800, 6_000))
    assert 0.2 < np.isnan(expected[:, 0]).mean() < 0.9
    assert np.isfinite(expected).any(axis=0).all()
    assert same_bits(matrix(vectors)[: len(expected), 4:], expected)


def test_score_reads_what_compute_reads_bit_for_bit(
    files: tuple[Path, Path], vectors: Path, trained: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescored_predictions, "MOST_RECORDS", 40)
    scored, (models, digest) = vectors.with_name("scored.parquet"), trained
    score_file(FileRequest(files[0], digest, scored, models, FeatureSets((FEATURES,)), 1, files[1]), silent)
    assert same_bits(matrix(scored), matrix(vectors))


def test_features_that_read_predictions_are_not_computed_without_their_file(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    with pytest.raises(PredictionsFileError, match="the features read segment, teacher: give --predictions FILE"):
        compute_vectors(VectorsRequest(files[0], tmp_path / "out.parquet", FEATURES, 1), silent)
    with pytest.raises(PredictionsFileError, match="no feature reads a prediction"):
        compute_vectors(VectorsRequest(files[0], tmp_path / "out.parquet", load(None), 1, predictions=files[1]), silent)


def test_another_file_of_predictions_is_other_data(tmp_path: Path, files: tuple[Path, Path]) -> None:
    """The fingerprint of the training data covers the predictions."""
    payments, stored = files
    fewer = write(tmp_path / "fewer.parquet", {name: values[:-1] for name, values in nightly().items()})
    request = {"file": payments, "name": "card", "feature_set": FEATURES, "trees": 5, "threads": 1}
    request |= {"review_share": 0.1, "accept_weak": True}
    repository = Repository(str(tmp_path / "models"))
    digests = [train(TrainingRequest(predictions=one, **request), repository, silent).digest for one in (stored, fewer)]  # type: ignore[arg-type]
    assert digests[0] != digests[1]


@pytest.fixture(scope="module")
def nightly_case(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[DistillationCase, str]:
    """Train a model whose features read predictions, for labels that are known a day later."""
    case = DistillationCase(tmp_path_factory.mktemp("nightly"))
    return case, case.teacher(feature_set=FEATURES, predictions=files[1])


def test_an_evaluation_reads_predictions_beside_a_model_that_reads_none(
    files: tuple[Path, Path], nightly_case: tuple[DistillationCase, str], tmp_path: Path
) -> None:
    case, model = nightly_case
    request = EvaluationRequest(
        file=case.file,
        models=case.repository.url,
        model=model,
        against=case.teacher(),
        sets=FeatureSets((FEATURES, SETS.newest)),
        made_ms=START_MS,
        terms=EvaluationTerms(budgets=(1,), draws=1),
        threads=1,
    )
    with pytest.raises(PredictionsFileError, match="the features read segment, teacher: give --predictions FILE"):
        evaluate(request, silent)
    found = evaluate(replace(request, predictions=files[1]), silent)
    out = tmp_path / "vectors.parquet"
    compute_vectors(VectorsRequest(case.file, out, FEATURES, 1, predictions=files[1]), silent)
    since, until = (parse_time_ms(time).epoch_ms for time in (found.data.since, found.data.until))
    times = np.array([parse_time_ms(row["occurred_at"]).epoch_ms for row in case.rows()])
    undefined = np.isnan(matrix(out)[(times >= since) & (times <= until)]).mean(axis=0)
    stated = {feature.name: feature.undefined for feature in found.models[0].features}
    assert [stated[name] for name in FEATURES.names] == pytest.approx(undefined.tolist(), abs=0.01)
    assert 0 < undefined[-1] < 1


def test_a_teacher_that_reads_predictions_teaches_what_it_scores_with_them(
    files: tuple[Path, Path], nightly_case: tuple[DistillationCase, str], tmp_path: Path
) -> None:
    case, teacher = nightly_case
    both = FeatureSets((FEATURES, SETS.newest))
    with pytest.raises(PredictionsFileError, match="the features read segment, teacher: give --predictions FILE"):
        case.distil(teacher, sets=both)
    by_model = case.distil(teacher, sets=both, predictions=files[1])
    scored = tmp_path / "scored.parquet"
    score_file(FileRequest(case.file, teacher, scored, case.repository.url, both, 1, files[1]), silent)
    until_ms = parse_time_ms(by_model.calibrate.until).epoch_ms
    by_file = case.distil(scores=scored, scores_until_ms=until_ms)
    assert by_file.comparison.teacher_average_precision == by_model.comparison.teacher_average_precision
