"""From a digest to a model that is known to compute here what it computed where it was made.

Synchronous, and meant for another thread than the event loop's. Nothing here knows what a probe history is: the
caller brings the function that turns histories into vectors.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from models.artifact import Artifact, Manifest, matrix_of, read_artifact, read_manifest, same_bits
from models.booster import Booster
from models.calibration import Calibrator
from models.errors import (
    ArtifactError,
    DamagedArtifactError,
    MissingArtifactError,
    ProbeError,
    RepositoryUnavailableError,
    ScoringError,
)
from models.judge import HeldArtifact
from models.policy import Floats, Policy
from models.problems import Problem, ProblemCode
from models.repository import Repository

VectoriseProbe = Callable[[Sequence[bytes]], Floats]
"""Turns n histories, each as JSON, into float64 of shape (n, features); raises ProbeError for one it cannot read."""

_CODES: dict[type[Exception], ProblemCode] = {
    MissingArtifactError: ProblemCode.MISSING_ARTIFACT,
    DamagedArtifactError: ProblemCode.DAMAGED_ARTIFACT,
    ArtifactError: ProblemCode.DAMAGED_ARTIFACT,
    RepositoryUnavailableError: ProblemCode.REPOSITORY_UNAVAILABLE,
    ScoringError: ProblemCode.PROBE_MISMATCH,
    ProbeError: ProblemCode.PROBE_MISMATCH,
}


class Model:
    """A loaded model: scores, and what a score record says about their maker."""

    def __init__(self, digest: str, manifest: Manifest, booster: Booster) -> None:
        """Join what an artifact holds; `load` is who makes models."""
        self.digest = digest
        self.manifest = manifest
        self.probe_hash = ""
        self._booster = booster
        self._calibrator = Calibrator.of(manifest.calibration)

    @property
    def name(self) -> str:
        """Return the name it was trained under."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """Return the version it was trained under."""
        return self.manifest.version

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the features that its matrix holds."""
        return self.manifest.fingerprint

    @property
    def policy(self) -> Policy:
        """Return what turns its scores into decisions."""
        return self.manifest.policy

    def score(self, matrix: Floats) -> Floats:
        """Return the probability of fraud of each row of a float64 matrix of shape (n, features).

        A row's score is the same, to the bit, whatever rows are with it and whatever machine it is.

        Raises:
            ScoringError: the matrix has another width.
        """
        scores = self._calibrator.probabilities(self._booster.margins(matrix))
        if not np.isfinite(scores).all():
            raise ScoringError(f"{self.digest} gave {int((~np.isfinite(scores)).sum())} scores that are no numbers")
        return scores


def load(repository: Repository, digest: str, computed: Mapping[str, VectoriseProbe]) -> Model | tuple[Problem, ...]:
    """Fetch, verify, probe and warm a model, or say everything that speaks against it.

    `digest` is a full one; `computed` has the fingerprints of the features that are computed here, each with the
    function that makes vectors of probe histories.
    """
    opened = _open(repository, digest)
    if isinstance(opened, Problem):
        return (opened,)
    model, artifact = opened
    vectorise_probe = computed.get(artifact.manifest.fingerprint)
    if vectorise_probe is None:
        ours = ", ".join(computed)
        detail = f"the model needs features {artifact.manifest.fingerprint}, this worker computes {ours}"
        return (Problem(ProblemCode.WRONG_FINGERPRINT, detail),)
    scores, row_problems = _probe_rows(model, artifact)
    vectors, history_problems = _probe_histories(vectorise_probe, artifact)
    problems = row_problems + history_problems
    if problems:
        return problems
    model.probe_hash = hashlib.sha256(scores.tobytes() + vectors.tobytes()).hexdigest()
    return model


def load_for_replay(repository: Repository, digest: str) -> Model | tuple[Problem, ...]:
    """Fetch and verify a model that is to score recorded vectors: whoever recorded them computed them."""
    opened = _open(repository, digest)
    if isinstance(opened, Problem):
        return (opened,)
    _, problems = _probe_rows(*opened)
    return problems or opened[0]


def _open(repository: Repository, digest: str) -> tuple[Model, Artifact] | Problem:
    try:
        artifact = read_artifact(repository.fetch(digest))
        return Model(digest, artifact.manifest, Booster(artifact.model_text, artifact.manifest.feature_names)), artifact
    except (ArtifactError, RepositoryUnavailableError) as error:
        return _problem(error)


def inspect_artifact(repository: Repository, name: str) -> HeldArtifact | tuple[Problem, ...]:
    """Say what the judge needs to know of the model that `name` is or begins, without loading it."""
    try:
        digest = repository.resolve(name)
        if isinstance(digest, Problem):
            return (digest,)
        manifest = read_manifest(repository.fetch(digest)["manifest.json"])
    except (ArtifactError, RepositoryUnavailableError) as error:
        return (_problem(error),)
    return HeldArtifact(digest, manifest.fingerprint)


def _probe_rows(model: Model, artifact: Artifact) -> tuple[Floats, tuple[Problem, ...]]:
    """Score the probe rows together and one by one: both must give the expected bits."""
    matrix = matrix_of(artifact.probe_rows.vectors, len(artifact.manifest.feature_names))
    expected = np.array(artifact.probe_rows.scores)
    try:
        together = model.score(matrix)
        alone = np.concatenate([model.score(row[np.newaxis]) for row in matrix])
    except ScoringError as error:
        return expected, (_problem(error),)
    return together, (*_differences("score", together, expected), *_differences("lone score", alone, expected))


def _probe_histories(vectorise: VectoriseProbe, artifact: Artifact) -> tuple[Floats, tuple[Problem, ...]]:
    expected = matrix_of(artifact.probe_histories.vectors, len(artifact.manifest.feature_names))
    try:
        vectors = vectorise([bytes(history) for history in artifact.probe_histories.histories])
    except ProbeError as error:
        return expected, (_problem(error),)
    canonical = np.where(np.isnan(vectors), np.nan, vectors)
    return canonical, _differences("vector", canonical, expected)


def _differences(what: str, computed: Floats, expected: Floats) -> tuple[Problem, ...]:
    if same_bits(computed, expected):
        return ()
    if computed.shape != expected.shape:
        detail = f"probe {what}s come in shape {computed.shape}, not {expected.shape}"
        return (Problem(ProblemCode.PROBE_MISMATCH, detail),)
    rows = [row for row in range(len(expected)) if not same_bits(computed[row], expected[row])]
    detail = f"{len(rows)} of {len(expected)} probe {what}s have other bits here than in the artifact, first {rows[0]}"
    return (Problem(ProblemCode.PROBE_MISMATCH, detail),)


def _problem(error: Exception) -> Problem:
    return Problem(_CODES[type(error)], str(error))
