"""Artifacts that earlier versions made load, keep their digests, and give the same bits."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.vector.sets import load_sets
from models.artifact import FILES, digest_of, read_artifact, same_bits, write_artifact
from models.loading import Model, load, load_for_replay
from models.policy import bands
from models.problems import ProblemCode
from models.repository import Repository
from stream.control.probes import probe_vectorisers
from support.paths import HOUSE

FOLDER = HOUSE / "tests/data/artifacts"
KEPT = sorted(FOLDER.glob("*.zip"))
OTHER_FEATURES = {"2026-11-24-4a3e17d.zip"}
"""Those whose set of features is no longer the default one: they replay, and a worker says that it computes others."""


def read(path: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    with zipfile.ZipFile(path) as kept:
        files = {name: kept.read(name) for name in kept.namelist()}
    return {name: files[name] for name in FILES}, json.loads(files["cases.json"])


def floats(rows: list[Any]) -> np.ndarray:
    return np.array([float("nan") if value is None else float.fromhex(value) for value in rows])


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_an_old_artifact_replays_with_the_bits_that_its_own_version_gave(path: Path, tmp_path: Path) -> None:
    contents, cases = read(path)
    assert digest_of(contents) == cases["digest"]
    repository = Repository(str(tmp_path))
    assert repository.put(contents) == cases["digest"]
    model = load_for_replay(repository, cases["digest"])
    assert isinstance(model, Model)
    matrix = np.array([floats(row) for row in cases["vectors"]])
    scores = model.score(matrix)
    assert same_bits(scores, floats(cases["scores"]))
    assert same_bits(np.concatenate([model.score(row[np.newaxis]) for row in matrix]), scores)
    assert [str(one) for one in model.policy.decide(scores)] == cases["decisions"]
    assert bands(scores).tolist() == cases["bands"]
    assert len(set(cases["scores"])) >= 3, "the rows tell one model from another"


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_an_old_artifact_is_served_where_its_features_are_still_computed(path: Path, tmp_path: Path) -> None:
    contents, cases = read(path)
    repository = Repository(str(tmp_path))
    repository.put(contents)
    found = load(repository, cases["digest"], probe_vectorisers(load_sets("")))
    if path.name in OTHER_FEATURES:
        assert isinstance(found, tuple)
        assert [problem.code for problem in found] == [ProblemCode.WRONG_FINGERPRINT]
    else:
        assert isinstance(found, Model), found


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_is_read_of_an_old_artifact_is_all_that_it_holds(path: Path) -> None:
    contents, _ = read(path)
    written = write_artifact(read_artifact(contents))
    for name in contents.keys() - {"model.txt"}:
        assert json.loads(written[name]) == json.loads(contents[name]), "no field was renamed, lost or added"
    assert written["model.txt"] == contents["model.txt"]


def test_one_changed_bit_of_a_leaf_is_noticed(tmp_path: Path) -> None:
    contents, cases = read(KEPT[-1])
    text = contents["model.txt"].decode()
    at = text.index("leaf_value=") + len("leaf_value=")
    digit = text.index(".", at) + 5
    changed = text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :]
    repository = Repository(str(tmp_path))
    digest = repository.put(contents | {"model.txt": changed.encode()})
    assert digest != cases["digest"]
    found = load_for_replay(repository, digest)
    assert isinstance(found, tuple)
    assert {problem.code for problem in found} == {ProblemCode.PROBE_MISMATCH}
