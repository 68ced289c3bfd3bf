"""Loading an artifact: an intact one scores like LightGBM itself, a damaged one is returned as a problem."""

import re
from pathlib import Path
from typing import Any

import lightgbm
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artifact import Imported, TrainingData, same_bits
from models.booster import Booster, text_of
from models.calibration import Calibrator
from models.errors import DamagedArtifactError, ProbeError, ScoringError
from models.judge import HeldArtifact
from models.loading import Model, inspect_artifact, load
from models.model_text import MOST_SPLITS_DEEP, check_model_text
from models.problems import ProblemCode
from models.repository import Repository
from support.examples import examples
from support.model_artifacts import CALIBRATION, FINGERPRINT, NAMES, artifact, history_vectors, rows, train
from support.threads import in_threads

TREES = train()
TEXT = text_of(TREES)
BOOSTER = Booster(TEXT, NAMES)
CELLS = st.floats(allow_nan=True, allow_infinity=True, width=64)


@pytest.fixture
def repository(tmp_path: Path) -> Any:
    return Repository(str(tmp_path))


def codes(answer: Any) -> Any:
    assert isinstance(answer, tuple)
    return [problem.code for problem in answer]


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=50))
def test_margins_equal_those_of_lightgbm_row_by_row_and_in_a_batch(cells: Any) -> None:
    matrix = np.array(cells)
    margins = BOOSTER.margins(matrix)
    assert same_bits(margins, np.asarray(TREES.predict(matrix, raw_score=True)))
    assert same_bits(margins, np.concatenate([BOOSTER.margins(row[np.newaxis]) for row in matrix]))
    assert same_bits(margins, BOOSTER.margins(np.asfortranarray(matrix)))


def test_an_intact_artifact_is_loaded_as_a_model(repository: Repository) -> None:
    digest = repository.put(artifact())
    model = load(repository, digest, {FINGERPRINT: history_vectors})
    assert isinstance(model, Model)
    assert (model.digest, model.name, model.version, model.fingerprint) == (digest, "card", "1", FINGERPRINT)
    assert len(model.probe_hash) == 64
    matrix = rows(300, seed=5)
    expected = Calibrator.of(CALIBRATION).probabilities(np.asarray(TREES.predict(matrix, raw_score=True)))
    assert same_bits(model.score(matrix), expected)
    assert model.policy.decide(model.score(matrix)).count("approve") > 100
    again = load(repository, digest, {FINGERPRINT: history_vectors})
    assert isinstance(again, Model)
    assert again.probe_hash == model.probe_hash


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_raises_a_scoring_error(
    bad: float, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(repository, repository.put(artifact()), {FINGERPRINT: history_vectors})
    assert isinstance(model, Model)
    monkeypatch.setattr(model._calibrator, "probabilities", lambda _: np.array([0.5, bad, bad]))
    with pytest.raises(ScoringError, match=f"^{model.digest} returned 2 scores that are not finite"):
        model.score(rows(3))


def test_threads_score_the_same_bits(repository: Repository) -> None:
    model = load(repository, repository.put(artifact()), {FINGERPRINT: history_vectors})
    assert isinstance(model, Model)
    matrix = rows(2_000, seed=6)
    expected, found = model.score(matrix), []

    def score() -> None:
        found.extend(model.score(matrix) for _ in range(20))

    in_threads(score)
    assert len(found) == 80
    assert all(same_bits(scores, expected) for scores in found)


def test_inspecting_an_artifact_returns_its_digest_and_fingerprint(repository: Repository) -> None:
    digest = repository.put(artifact())
    assert inspect_artifact(repository, digest[:8]) == HeldArtifact(digest, FINGERPRINT)
    assert codes(inspect_artifact(repository, "0" * 8)) == [ProblemCode.UNKNOWN_MODEL]
    assert codes(inspect_artifact(repository, "latest")) == [ProblemCode.INVALID_FIELD]


def test_an_artifact_with_another_fingerprint_is_refused(repository: Repository) -> None:
    digest = repository.put(artifact(fingerprint="other"))
    assert codes(load(repository, digest, {FINGERPRINT: history_vectors})) == [ProblemCode.WRONG_FINGERPRINT]


def test_probe_mismatches_of_rows_and_histories_are_returned_at_once(repository: Repository) -> None:
    contents = artifact()
    probes = msgspec.json.decode(contents["probe_rows.json"])
    probes["scores"][3] = float(np.nextafter(probes["scores"][3], 2))
    contents["probe_rows.json"] = msgspec.json.encode(probes)
    digest = repository.put(contents)
    answer = load(repository, digest, {FINGERPRINT: lambda histories: np.nextafter(history_vectors(histories), 9)})
    assert codes(answer) == [ProblemCode.PROBE_MISMATCH] * 3
    assert isinstance(answer, tuple)
    assert "first is row 3" in answer[0].detail


def test_an_unreadable_probe_history_is_returned_as_a_problem(repository: Repository) -> None:
    def unreadable(_histories: Any) -> Any:
        raise ProbeError("history 0: no card")

    digest = repository.put(artifact())
    assert codes(load(repository, digest, {FINGERPRINT: unreadable})) == [ProblemCode.PROBE_MISMATCH]


def test_a_missing_artifact_or_repository_is_returned_as_a_problem(tmp_path: Path, repository: Repository) -> None:
    assert codes(load(repository, "0" * 64, {FINGERPRINT: history_vectors})) == [ProblemCode.MISSING_ARTIFACT]
    (tmp_path / "file").write_text("")
    broken = Repository(str(tmp_path / "file"))
    assert codes(load(broken, "0" * 64, {FINGERPRINT: history_vectors}))[0] in {
        ProblemCode.MISSING_ARTIFACT,
        ProblemCode.REPOSITORY_UNAVAILABLE,
    }


BAD_FILES = {
    "a truncated model": {"model.txt": artifact()["model.txt"][:700]},
    "an empty model": {"model.txt": b""},
    "a model that is no text": {"model.txt": b"\xff\xfe"},
    "a manifest that is no JSON": {"manifest.json": b"{"},
    "a manifest of another version": {"manifest.json": b'{"schema":"manifest/9"}'},
    "a deep manifest": {"manifest.json": b"[" * 100_000},
    "no probes": {"probe_rows.json": b'{"vectors":[],"scores":[]}'},
    "narrow probes": {"probe_rows.json": b'{"vectors":[[1.0]],"scores":[0.5]}'},
    "more scores than vectors": {"probe_rows.json": b'{"vectors":[[1.0,1.0,1.0]],"scores":[0.5,0.5]}'},
    "scores that are text": {"probe_rows.json": b'{"vectors":[[1.0,1.0,1.0]],"scores":["0.5"]}'},
    "no histories": {"probe_histories.json": b"{}"},
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_damaged_file_is_returned_as_a_problem(name: Any, repository: Repository) -> None:
    digest = repository.put(artifact() | BAD_FILES[name])
    assert codes(load(repository, digest, {FINGERPRINT: history_vectors})) == [ProblemCode.DAMAGED_ARTIFACT]


def test_an_invalid_policy_calibration_or_feature_list_is_returned_as_damage(repository: Repository) -> None:
    for old, new in ((b'"review_at":0.5', b'"review_at":0.9'), (b"-30.0", b"30.0"), (b'"b"', b'"a"')):
        contents = artifact()
        assert old in contents["manifest.json"]
        contents["manifest.json"] = contents["manifest.json"].replace(old, new)
        digest = repository.put(contents)
        assert codes(load(repository, digest, {FINGERPRINT: history_vectors})) == [ProblemCode.DAMAGED_ARTIFACT]


def test_bytes_changed_after_the_digest_are_returned_as_damage(tmp_path: Path, repository: Repository) -> None:
    digest = repository.put(artifact())
    path = tmp_path / digest / "model.txt"
    path.write_bytes(path.read_bytes().replace(b"num_leaves=", b"num_leaves=9"))
    assert codes(load(repository, digest, {FINGERPRINT: history_vectors})) == [ProblemCode.DAMAGED_ARTIFACT]


def resized(text: Any) -> Any:
    """Correct tree_sizes, so that only the intended change is wrong."""
    head, _, trees = text.partition("\n\n")
    blocks = re.split(r"(?=^Tree=|^end of trees)", trees, flags=re.MULTILINE)
    sizes = " ".join(str(len(block)) for block in blocks if block.startswith("Tree="))
    return re.sub(r"tree_sizes=.*", f"tree_sizes={sizes}", head) + "\n\n" + trees


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"^tree\n", "forest\n", "does not start"),
        (r"num_class=1", "num_class=2", "num_class"),
        (r"objective=binary sigmoid:1", "objective=regression", "objective"),
        (r"max_feature_idx=2", "max_feature_idx=9999999", "3 features"),
        (r"feature_names=a b c", "feature_names=a c b", "feature_names"),
        (r"num_leaves=\d", "num_leaves=7", "entries"),
        (r"num_leaves=\d", "num_leaves=999999999", "num_leaves"),
        (r"num_leaves=\d", "num_leaves=x", "not a number"),
        (r"num_cat=0", "num_cat=1", "no cat_boundaries"),
        (r"is_linear=0", "is_linear=1", "linear"),
        (r"split_feature=\d+", "split_feature=77", "feature that does not exist"),
        (r"split_feature=\d+", "split_feature=-1", "feature that does not exist"),
        (r"decision_type=\d+", "decision_type=1", "by categories has no set"),
        (r"threshold=\S+", "threshold=nan", "not a number"),
        (r"leaf_value=\S+", "leaf_value=1e999", "not finite"),
        (r"leaf_value=\S+ ", "leaf_value=", "entries"),
        (r"left_child=\S+", "left_child=0", "parent"),
        (r"left_child=\S+", "left_child=0.5", "not a 32-bit integer"),
        (r"split_gain=", "split_gain= ", "not a number"),
        (r"split_gain=", "split_gain==", "name=value"),
        (r"split_gain=", "split_pain=", "fields of a tree"),
        (r"decision_type=\d+", "decision_type=14", "unknown type"),
        (r"left_child=\S+", "left_child=4000000", "parent"),
        (r"(?s)Tree=0.*(?=end of trees)", "", "tree 0"),
    ],
)
def test_a_model_text_that_lightgbm_must_not_load_is_refused(pattern: Any, replacement: Any, message: Any) -> None:
    text = resized(re.sub(pattern, replacement, TEXT, count=1))
    with pytest.raises(DamagedArtifactError, match=message):
        check_model_text(text, NAMES)


def test_a_model_text_with_wrong_tree_sizes_or_without_its_end_is_refused() -> None:
    with pytest.raises(DamagedArtifactError, match="tree_sizes"):
        check_model_text(re.sub(r"tree_sizes=\d+", "tree_sizes=5", TEXT), NAMES)
    with pytest.raises(DamagedArtifactError, match="does not end"):
        check_model_text(TEXT.replace("end of trees", "end of"), NAMES)


@settings(max_examples=examples(300), deadline=None)
@given(st.data())
def test_a_damaged_text_is_refused_or_still_loads(data: Any) -> None:
    """Cut or overwrite the text anywhere, without the check of the digest: the process must not crash."""
    place = data.draw(st.integers(0, len(TEXT) - 1))
    change = data.draw(st.sampled_from(["", "-", "9", " ", "\n", "=", "nan", "e9"]))
    kept = data.draw(st.sampled_from([TEXT[place + 1 :], TEXT[place + 40 :], ""]))
    try:
        booster = Booster(TEXT[:place] + change + kept, NAMES)
    except DamagedArtifactError:
        return
    assert booster.margins(rows(5)).shape == (5,)


def test_a_tree_with_one_leaf_scores_as_in_lightgbm() -> None:
    dataset = lightgbm.Dataset(rows(100), np.tile([0, 1], 50), feature_name=list(NAMES))
    parameters = {"objective": "binary", "verbosity": -1, "min_data_in_leaf": 90, "num_threads": 1}
    stump = lightgbm.train(parameters, dataset, 2)
    assert same_bits(
        Booster(text_of(stump), NAMES).margins(rows(9)), np.asarray(stump.predict(rows(9), raw_score=True))
    )


def test_a_manifest_says_what_its_model_was_trained_on_or_that_it_was_imported() -> None:
    with pytest.raises(ValueError, match="training, imported: expected one of the two"):
        artifact(training=None)
    data = msgspec.json.decode(artifact()["manifest.json"])["training"]
    imported = Imported(model_file="a" * 64, calibrated_on=msgspec.convert(data, TrainingData))
    with pytest.raises(ValueError, match="training, imported: expected one of the two"):
        artifact(imported=imported)
    assert b"training" not in artifact(training=None, imported=imported)["manifest.json"]


def chain(splits: int) -> str:
    """Return a model of one tree of which each split has a leaf and the next split."""
    whole = {
        "num_leaves": [splits + 1],
        "num_cat": [0],
        "split_feature": [0] * splits,
        "split_gain": [1] * splits,
        "threshold": range(splits),
        "decision_type": [2] * splits,
        "left_child": [-1 - at for at in range(splits)],
        "right_child": [*range(1, splits), -1 - splits],
        "leaf_value": [0.1] * (splits + 1),
        "leaf_weight": [1] * (splits + 1),
        "leaf_count": [1] * (splits + 1),
        "internal_value": [0] * splits,
        "internal_weight": [1] * splits,
        "internal_count": [1] * splits,
        "is_linear": [0],
        "shrinkage": [1],
    }
    lines = "\n".join(f"{name}={' '.join(map(str, values))}" for name, values in whole.items())
    head = TEXT.split("\n\n", 1)[0]
    return resized(f"{head}\n\nTree=0\n{lines}\n\n\nend of trees\n")


def test_a_chain_of_splits_has_a_bounded_depth_and_is_refused_beyond() -> None:
    (tree,) = check_model_text(chain(MOST_SPLITS_DEEP), NAMES)
    assert len(tree.leaves) == MOST_SPLITS_DEEP + 1
    for splits in (MOST_SPLITS_DEEP + 1, 15_000):
        with pytest.raises(
            DamagedArtifactError, match=f"a tree has {splits} splits on the way to a leaf, more than 256"
        ):
            check_model_text(chain(splits), NAMES)
    with pytest.raises(DamagedArtifactError, match="num_leaves is '30001', not 1 to 16384"):
        check_model_text(chain(30_000), NAMES)
