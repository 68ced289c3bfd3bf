"""A model as four files, identified by the SHA-256 of their contents.

    model.txt             LightGBM's text
    manifest.json         `Manifest`
    probe_rows.json       vectors with the scores expected of them
    probe_histories.json  histories with the vectors expected of them, opaque JSON here (`features` reads it)

The files hold no creation time: the same training must give the same digest. This module works on bytes;
`repository` stores them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.calibration import Calibration
from models.categories import LARGEST_CODE, MOST_CATEGORIES
from models.commands import Digest, Timestamp, Token
from models.cost_policy import CostPolicy
from models.errors import DamagedArtifactError
from models.expected import without_pattern
from models.list_rules import RuleSet
from models.policy import Floats, Policy
from models.training_reference import TrainingReference
from models.volume import ExpectedVolume

Parameter = bool | int | float | str
MODEL, MANIFEST = "model.txt", "manifest.json"
PROBE_ROWS, PROBE_HISTORIES = "probe_rows.json", "probe_histories.json"
FILES = (MANIFEST, MODEL, PROBE_HISTORIES, PROBE_ROWS)
LARGEST_BYTES = 64 * 1024 * 1024
"""Upper limit for the size of one artifact, several times a large model; protects the worker's memory."""

Contents = Mapping[str, bytes]
Vector = tuple[float | None, ...]


MOST_WEAKNESSES, LONGEST_WEAKNESS = 50, 600
Weakness = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_WEAKNESS)]
Weaknesses = Annotated[tuple[Weakness, ...], msgspec.Meta(max_length=MOST_WEAKNESSES)]
Version = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Commit = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40}([0-9a-f]{24})?$")]


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The code and the environment of a training.

    `code` is the SHA-256 over the sources that training runs, whatever they were installed from, `commit` the commit
    that they were installed or checked out from; None if that is not known. `python` and `libraries` are versions, the
    latter by the name of the distribution.
    """

    code: Digest
    commit: Commit | None = None
    python: Version
    libraries: dict[str, Version]


def configuration_fingerprint(parameters: Mapping[str, bool | int | float | str], seed: int) -> str:
    """Return the SHA-256 of a training's parameters and seed: equal for trainings that were configured alike.

    It is derived from what every manifest holds, so artifacts of all versions have one.
    """
    value = msgspec.json.encode({"parameters": dict(parameters), "seed": seed}, order="deterministic")
    return hashlib.sha256(value).hexdigest()


class WeighedTeacher(msgspec.Struct, frozen=True):
    """One model of an ensemble; `weight` is its share of the ensemble's score, and those of all models sum up to 1."""

    digest: Digest
    weight: Annotated[float, msgspec.Meta(gt=0, le=1)]


class TeacherScoresFile(msgspec.Struct, frozen=True):
    """A file of scores: its SHA-256, and the last transaction that its model was trained on, as somebody stated it."""

    digest: Digest
    trained_until: Timestamp


class DistilledFrom(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The teachers of a student: either the models of an ensemble or a file of scores."""

    ensemble: tuple[WeighedTeacher, ...] = ()
    scores_file: TeacherScoresFile | None = None

    def __post_init__(self) -> None:
        if bool(self.ensemble) is (self.scores_file is not None):
            raise ValueError("ensemble, scores_file: expected one of the two")


class TrainingData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The transactions that a model was trained on; `fingerprint` hashes the file's content, labels included.

    With `maturity_days` payments without a label counted as genuine at that age, and no younger ones counted.
    """

    since: Timestamp
    until: Timestamp
    rows: int
    frauds: int
    fingerprint: Digest
    maturity_days: float | None = None


class MeasuredModel(msgspec.Struct, frozen=True, kw_only=True):
    """The model that the metrics are of, where the stored one was fitted again to all that was known.

    It was made in the same way of `training`, what was known when `test` began, and measured on that.
    """

    training: TrainingData
    test: TrainingData


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model that was trained elsewhere.

    `model_file` is the SHA-256 of the file that it came in, and `calibrated_on` the transactions with which it was
    calibrated here. `trained_until` is the time of the last transaction that it was trained on, as whoever imported it
    stated; None if nobody did. With `features_by_position` the file had no names for its features.
    """

    model_file: Digest
    calibrated_on: TrainingData
    trained_until: Timestamp | None = None
    features_by_position: bool = False


MOST_CATEGORY_FEATURES = 256
CategoryCode = Annotated[int, msgspec.Meta(ge=0, lt=LARGEST_CODE)]
CategoryTable = Annotated[tuple[CategoryCode, ...], msgspec.Meta(max_length=MOST_CATEGORIES)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="manifest/1", omit_defaults=True):
    """Everything about a model except its trees.

    `fingerprint` and `feature_names` are those of the feature set that computes its rows; names are in column order.
    A model has either `training`, what it was trained on here, or `imported`, where it was trained elsewhere.
    `metrics` and `volume` are of the model itself, or of the one that it was made after, `measured`.
    `parent` is the digest of the model that it was distilled, continued or derived from; `distilled` is in its place
    where a student had several teachers, or learned from a file of scores. `reference` is what live features and scores
    are compared with. `provenance` is what it was made with. `policy` are fixed thresholds; with `cost_policy` they
    decide what has no costs. `rules` decide in the model's place, `volume` is what is expected. `weaknesses` is what
    speaks against the training, in words: the judge asks whoever lets the model decide to accept it. `categories` are
    the codes of each feature that is a category, in the order of the numbers that the trees know them by.
    """

    name: Token
    version: Token
    fingerprint: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    feature_names: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=4096)]
    training: TrainingData | None = None
    imported: Imported | None = None
    code_version: str
    parameters: dict[str, Parameter]
    seed: int
    metrics: dict[str, float]
    calibration: Calibration
    policy: Policy
    parent: Digest | None = None
    distilled: DistilledFrom | None = None
    reference: TrainingReference | None = None
    provenance: Provenance | None = None
    cost_policy: CostPolicy | None = None
    rules: RuleSet | None = None
    volume: ExpectedVolume | None = None
    weaknesses: Weaknesses = ()
    measured: MeasuredModel | None = None
    categories: Annotated[dict[str, CategoryTable], msgspec.Meta(max_length=MOST_CATEGORY_FEATURES)] = {}

    def __post_init__(self) -> None:
        if type(self) is Manifest and (self.cost_policy or self.rules):
            raise ValueError("cost_policy, rules: expected in a manifest/2, which earlier versions refuse")
        unknown = sorted(self.rules.features.difference(self.feature_names)) if self.rules else []
        if unknown:
            raise ValueError(f"rules: the model has no feature {', '.join(unknown)}")
        for name, codes in self.categories.items():
            if name not in self.feature_names or len(set(codes)) != len(codes):
                raise ValueError(f"categories: {name} is no feature of the model, or has a code twice")
        if len(set(self.feature_names)) != len(self.feature_names):
            raise ValueError("feature_names: a name occurs twice")
        if (self.training is None) is (self.imported is None):
            raise ValueError("training, imported: expected one of the two")
        if self.reference is not None and len(self.reference.features) != len(self.feature_names):
            raise ValueError("reference: needs one distribution for each of feature_names")


class PolicyManifest(Manifest, frozen=True, kw_only=True, tag="manifest/2"):
    """A manifest whose decisions need more than thresholds.

    A worker of an earlier version, which would pass over costs and rules, refuses it instead.
    """


def with_policy(
    manifest: Manifest, policy: Policy, costs: CostPolicy | None, rules: RuleSet | None, volume: ExpectedVolume | None
) -> Manifest:
    """Return a manifest with another policy, other rules and another volume; all else stays.

    Raises:
        ValueError: a rule looks at a feature that the model does not have.
    """
    fields = {name: getattr(manifest, name) for name in manifest.__struct_fields__}
    kind = PolicyManifest if costs is not None or rules is not None else Manifest
    return kind(**fields | {"policy": policy, "cost_policy": costs, "rules": rules, "volume": volume})


def as_weaknesses(texts: Iterable[str]) -> Weaknesses:
    """Return texts as a manifest states what is weak about a training: cut, and the first ones of very many."""
    return tuple(text[:LONGEST_WEAKNESS] for text in texts)[:MOST_WEAKNESSES]


class ProbeRows(msgspec.Struct, frozen=True):
    """Vectors (null is NaN) and the score expected of each, bit for bit."""

    vectors: tuple[Vector, ...]
    scores: tuple[float, ...]


class ProbeHistories(msgspec.Struct, frozen=True):
    """Histories as `features` reads them (JSON, opaque here) and the vector expected of each, bit for bit."""

    histories: tuple[msgspec.Raw, ...]
    vectors: tuple[Vector, ...]


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """The decoded contents of the four files."""

    manifest: Manifest
    model_text: str
    probe_rows: ProbeRows
    probe_histories: ProbeHistories


def digest_of(contents: Contents) -> str:
    """Return the digest: SHA-256 over the files' names, sizes and bytes, sorted by name."""
    digest = hashlib.sha256(b"fraudstream artifact 1\n")
    for name in sorted(contents, key=str.encode):
        digest.update(f"{name}\n{len(contents[name])}\n".encode())
        digest.update(contents[name])
    return digest.hexdigest()


def write_artifact(artifact: Artifact) -> dict[str, bytes]:
    """Return the files' contents by name; the same artifact gives the same bytes."""
    return {
        MANIFEST: _json(artifact.manifest),
        MODEL: artifact.model_text.encode(),
        PROBE_HISTORIES: _json(artifact.probe_histories),
        PROBE_ROWS: _json(artifact.probe_rows),
    }


def read_artifact(contents: Contents) -> Artifact:
    """Read the files of an artifact.

    Raises:
        DamagedArtifactError: a file is missing, unknown or cannot be decoded.
    """
    if set(contents) != set(FILES):
        raise DamagedArtifactError(
            f"an artifact must hold the files {sorted(FILES)}, this one holds {sorted(contents)}"
        )
    try:
        model_text = contents[MODEL].decode("ascii")
    except UnicodeDecodeError as error:
        raise DamagedArtifactError(f"{MODEL}: {error}") from error
    artifact = Artifact(
        manifest=read_manifest(contents[MANIFEST]),
        model_text=model_text,
        probe_rows=_read(contents[PROBE_ROWS], ProbeRows, PROBE_ROWS),
        probe_histories=_read(contents[PROBE_HISTORIES], ProbeHistories, PROBE_HISTORIES),
    )
    _check_shapes(artifact)
    return artifact


def read_manifest(value: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        DamagedArtifactError: the bytes are not a valid manifest.
    """
    found: Manifest = _read(value, Manifest | PolicyManifest, MANIFEST)
    return found


def matrix_of(vectors: tuple[Vector, ...], width: int) -> Floats:
    """Return vectors as float64 of shape (n, width), null as NaN."""
    return np.array(vectors, dtype=np.float64).reshape(len(vectors), width)


def vectors_of(matrix: Floats) -> tuple[Vector, ...]:
    """Return the rows of a matrix as an artifact stores them, NaN as null."""
    return tuple(tuple(None if value != value else value for value in row) for row in matrix.tolist())  # noqa: PLR0124


def same_bits(left: Floats, right: Floats) -> bool:
    """Tell whether two arrays are equal bit for bit; zeros differ by sign, all NaNs are equal."""
    return left.shape == right.shape and bool(np.array_equal(_bits(left), _bits(right)))


def _bits(values: Floats) -> NDArray[np.int64]:
    canonical = np.ascontiguousarray(np.where(np.isnan(values), np.nan, values), dtype=np.float64)
    return canonical.view(np.int64)


def _json(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value, order="deterministic") + b"\n"


def _read(value: bytes, kind: Any, name: str) -> Any:  # noqa: ANN401 - a struct of that kind, or of that union
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedArtifactError(f"{name}: {without_pattern(error)}") from error


def _check_shapes(artifact: Artifact) -> None:
    width = len(artifact.manifest.feature_names)
    rows, histories = artifact.probe_rows, artifact.probe_histories
    pairs: tuple[tuple[str, tuple[Vector, ...], tuple[Any, ...]], ...] = (
        (PROBE_ROWS, rows.vectors, rows.scores),
        (PROBE_HISTORIES, histories.vectors, histories.histories),
    )
    for name, vectors, others in pairs:
        if not vectors or len(vectors) != len(others):
            raise DamagedArtifactError(
                f"{name}: has {len(vectors)} vectors and {len(others)} entries; both counts must be equal and above 0"
            )
        if any(len(vector) != width for vector in vectors):
            raise DamagedArtifactError(f"{name}: a vector does not have the {width} entries of feature_names")
