"""Load a model by its digest and verify that it computes the same bits here as where it was trained.

All functions block; call them outside the event loop's thread. The caller supplies the function that turns probe
histories into vectors, since this package does not know the features.
"""

import hashlib
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraudstream_client.outputs import Decision
from models.artifact import Artifact, Contents, Manifest, matrix_of, read_artifact, read_manifest, same_bits
from models.booster import Booster
from models.calibration import Calibrator
from models.card import review_record
from models.categories import Categories
from models.errors import (
    ArtifactError,
    DamagedArtifactError,
    MissingArtifactError,
    ProbeError,
    RepositoryUnavailableError,
    ScoringError,
    UnknownSignerError,
    UnsignedArtifactError,
    WrongSignatureError,
)
from models.judge import HeldArtifact
from models.list_rules import RuleMatcher
from models.policy import Floats, Payments, Policy
from models.problems import Problem, ProblemCode
from models.repository import Repository

VectoriseProbe = Callable[[Sequence[bytes]], Floats]
"""Turns n histories, each as JSON, into float64 of shape (n, features); raises ProbeError for one it cannot read."""

_CODES: dict[type[Exception], ProblemCode] = {
    MissingArtifactError: ProblemCode.MISSING_ARTIFACT,
    DamagedArtifactError: ProblemCode.DAMAGED_ARTIFACT,
    ArtifactError: ProblemCode.DAMAGED_ARTIFACT,
    UnsignedArtifactError: ProblemCode.UNSIGNED_MODEL,
    UnknownSignerError: ProblemCode.UNKNOWN_MODEL_KEY,
    WrongSignatureError: ProblemCode.WRONG_MODEL_SIGNATURE,
    RepositoryUnavailableError: ProblemCode.REPOSITORY_UNAVAILABLE,
    ScoringError: ProblemCode.PROBE_MISMATCH,
    ProbeError: ProblemCode.PROBE_MISMATCH,
}
TOLERANCE = 1e-9
"""So far the sum of a row's contributions may be from its raw margin: more than rounding, less than any reason."""
LAST_CALLS = 512
LEAST_CALLS = 50
"""Below so many calls nothing is said: the first ones of a model find nothing in the processor's caches."""
LEAST_CALLS_OF_P99 = 200
"""Below so many calls the 99th percentile is that of one or two calls, in which something else may have happened."""
_NS_IN_US = 1_000


class RowQuantiles(NamedTuple):
    """Microseconds of processor time for a row: the median of the last calls, and how long the slowest take.

    `features_us` is the median of that part which computes the features; `p99_us` is None until there are 200 calls.
    """

    median_us: float
    p95_us: float
    p99_us: float | None
    features_us: float


class RowTimes:
    """The time for a row in each of a model's last calls; a call of several rows counts once, by its mean.

    It is processor time, features included, whatever else runs. A model that is slow on some of its rows has a usual
    median, so the upper quantiles are told as well.
    """

    def __init__(self) -> None:
        self._calls: deque[tuple[float, float]] = deque(maxlen=LAST_CALLS)

    def add(self, nanoseconds: int, rows: int, features_ns: float = 0.0) -> None:
        """Add a call that took so long for at least one row, and the time that the features of one row took."""
        self._calls.append((nanoseconds / rows + features_ns, features_ns))

    @property
    def quantiles(self) -> RowQuantiles | None:
        """The quantiles of the last 512 calls; None below 50 calls."""
        calls = list(self._calls)  # a copy in one step: a scoring thread may add meanwhile
        if len(calls) < LEAST_CALLS:
            return None
        times, features = sorted(call[0] for call in calls), sorted(call[1] for call in calls)
        p99 = _at(times, 0.99) if len(calls) >= LEAST_CALLS_OF_P99 else None
        return RowQuantiles(_at(times, 0.5), _at(times, 0.95), p99, _at(features, 0.5))

    @property
    def median_us(self) -> float | None:
        """The median of the last 512 calls, in microseconds for a row; None below 50 calls."""
        found = self.quantiles
        return None if found is None else found.median_us


def _at(ascending: Sequence[float], part: float) -> float:
    return ascending[math.ceil(part * len(ascending)) - 1] / _NS_IN_US


class Contributions(NamedTuple):
    """What n rows' features add to their raw margins (log-odds before calibration).

    Attributes:
        margins: the raw margin of each row, shape (n,).
        scores: the calibrated probability of each row, shape (n,).
        base: the model's expected margin, shape (n,); the same for all rows.
        features: what each feature adds, shape (n, features), columns as in the manifest.
    """

    margins: Floats
    scores: Floats
    base: Floats
    features: Floats

    def are_exact(self) -> NDArray[np.bool_]:
        """Tell of which rows the base and all contributions sum to the margin; shape (n,)."""
        gaps = np.abs(self.base + self.features.sum(axis=1) - self.margins)
        return np.asarray(gaps <= TOLERANCE, dtype=np.bool_)  # NaN is not


class Model:
    """A loaded model: it scores matrices, and identifies itself in score records."""

    def __init__(self, digest: str, manifest: Manifest, booster: Booster) -> None:
        """Use `load`, which also verifies the model."""
        self.digest = digest
        self.manifest = manifest
        self.probe_hash = ""
        self.row_times = RowTimes()
        """Of the calls that decided payments; whoever decides adds them."""
        self._booster = booster
        self._calibrator = Calibrator.of(manifest.calibration)
        self.rules = None if manifest.rules is None else RuleMatcher(manifest.rules, manifest.feature_names)
        """The rules beside the model; None: it has none."""

    @property
    def name(self) -> str:
        """The name it was trained under."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The version it was trained under."""
        return self.manifest.version

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the features in its matrix."""
        return self.manifest.fingerprint

    @property
    def policy(self) -> Policy:
        """The thresholds that turn its scores into decisions; with a cost policy, those of payments without costs."""
        return self.manifest.policy

    @property
    def reads_payments(self) -> bool:
        """Whether its decisions depend on more than the scores: on amounts by costs, or on what rules look at."""
        return self.manifest.cost_policy is not None or self.rules is not None

    def decide(self, scores: Floats, payments: Payments | None = None) -> list[Decision]:
        """Return what the model says of n payments with these scores, of shape (n,); rules come after it.

        Raises:
            ValueError: it decides by costs, and the payments are not given.
        """
        costs = self.manifest.cost_policy
        if costs is None:
            return self.policy.decide(scores)
        if payments is None:
            raise ValueError(f"{self.digest} decides by the costs of each payment, which are not given")
        return costs.decide(scores, payments, self.policy)

    def score(self, matrix: Floats) -> Floats:
        """Return the probability of fraud of each row of a float64 matrix of shape (n, features).

        A row's score does not depend on the other rows or on the machine, bit for bit.

        Raises:
            ScoringError: the matrix does not have the model's width, or a score is not finite.
        """
        scores = self._calibrator.probabilities(self._booster.margins(matrix))
        if not np.isfinite(scores).all():
            raise ScoringError(f"{self.digest} returned {int((~np.isfinite(scores)).sum())} scores that are not finite")
        return scores

    def contributions(self, matrix: Floats) -> Contributions:
        """Return what each feature of each row adds to its raw margin, and the scores that follow from the margins.

        Raises:
            ScoringError: the matrix does not have the model's width.
        """
        margins, parts = self._booster.margins(matrix), self._booster.contributions(matrix)
        return Contributions(margins, self._calibrator.probabilities(margins), parts[:, -1], parts[:, :-1])

    def gains(self) -> Floats:
        """Return the share of each feature in the gain of all splits, of shape (features,)."""
        return self._booster.gains()


def load(repository: Repository, digest: str, computed: Mapping[str, VectoriseProbe]) -> Model | tuple[Problem, ...]:
    """Fetch, verify and probe a model, or return all problems found.

    `digest` is a full one; `computed` maps the fingerprint of each feature set that is computed here to the function
    that vectorises probe histories.
    """
    fetched = _fetch(repository, digest)
    if isinstance(fetched, Problem):
        return (fetched,)
    model, artifact = fetched
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
    """Fetch and verify a model that scores recorded vectors, so its features need not be computed here."""
    fetched = _fetch(repository, digest)
    if isinstance(fetched, Problem):
        return (fetched,)
    _, problems = _probe_rows(*fetched)
    return problems or fetched[0]


def rehearse(contents: Contents, computed: Mapping[str, VectoriseProbe]) -> None:
    """Do with the files of an artifact all that `load`, `load_for_replay` and an explanation do, whatever comes of it.

    Raises:
        DamagedArtifactError: the files cannot be read as an artifact.
    """
    model, artifact = _opened("", contents)
    _probe_rows(model, artifact)
    if (vectorise := computed.get(artifact.manifest.fingerprint)) is not None:
        _probe_histories(vectorise, artifact)
    with suppress(ScoringError):
        model.contributions(matrix_of(artifact.probe_rows.vectors[:1], len(artifact.manifest.feature_names)))


def _fetch(repository: Repository, digest: str) -> tuple[Model, Artifact] | Problem:
    try:
        return _opened(digest, repository.fetch(digest))
    except (ArtifactError, RepositoryUnavailableError) as error:
        return _problem(error)


def _opened(digest: str, contents: Contents) -> tuple[Model, Artifact]:
    artifact = read_artifact(contents)
    manifest = artifact.manifest
    categories = Categories.of(manifest.categories, manifest.feature_names)
    return Model(digest, manifest, Booster(artifact.model_text, manifest.feature_names, categories)), artifact


def inspect_artifact(repository: Repository, name: str) -> HeldArtifact | tuple[Problem, ...]:
    """Return what the judge needs to know of the model whose digest is or begins with `name`, without loading it."""
    try:
        digest = repository.resolve(name)
        if isinstance(digest, Problem):
            return (digest,)
        manifest = read_manifest(repository.fetch(digest)["manifest.json"])
        reviews = review_record(repository, digest)
    except (ArtifactError, RepositoryUnavailableError) as error:
        return (_problem(error),)
    return HeldArtifact(digest, manifest.fingerprint, manifest.weaknesses, reviews)


def _probe_rows(model: Model, artifact: Artifact) -> tuple[Floats, tuple[Problem, ...]]:
    """Score the probe rows as a batch and one by one: both must give the expected bits."""
    matrix = matrix_of(artifact.probe_rows.vectors, len(artifact.manifest.feature_names))
    expected = np.array(artifact.probe_rows.scores)
    try:
        batch = model.score(matrix)
        single = np.concatenate([model.score(row[np.newaxis]) for row in matrix])
    except ScoringError as error:
        return expected, (_problem(error),)
    return batch, (*_differences("score", batch, expected), *_differences("single-row score", single, expected))


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
        detail = f"probe {what}s have shape {computed.shape} here, {expected.shape} in the artifact"
        return (Problem(ProblemCode.PROBE_MISMATCH, detail),)
    rows = [row for row in range(len(expected)) if not same_bits(computed[row], expected[row])]
    detail = f"{len(rows)} of {len(expected)} probe {what}s differ here from the artifact's, the first is row {rows[0]}"
    return (Problem(ProblemCode.PROBE_MISMATCH, detail),)


def _problem(error: Exception) -> Problem:
    return Problem(_CODES[type(error)], str(error))
