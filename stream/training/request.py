"""Requests, reports and errors of training, of computing vectors and of importing a model, as values.

TrainingError                  catch this to catch all of ours; a problem with the file itself is a `FileError`
├── TrainingDataError          the file is valid but has too little: add days, labels or frauds
├── UnusableModelError         the model does not predict the labels, or fails its own probes: it is not stored
├── ModelFileError             the model file is none that can be served here: save or train it as the message says
└── VectorsFileError           the vectors file cannot be used: compute it again, or correct what the message names
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from features.declaration import FeatureSet
from features.vector.sets import FeatureSets
from models.commands import Token
from models.expected import FORM_OF_TOKENS
from stream.errors import StreamError

Progress = Callable[[str, int, int], None]
"""Called now and then with the name of the stage, how much of it is done, and the total."""
_LONGEST_SHOWN = 80
_BOUNDS = {"trees": (1, 10_000), "leaves": (2, 131_072), "threads": (1, 1_024), "seed": (0, 2**31 - 1)}


class TrainingError(StreamError):
    """Any error that training raises on purpose."""


class TrainingDataError(TrainingError):
    """The transactions are valid, but there are too few, or too few of them are labelled."""


class UnusableModelError(TrainingError):
    """The trained model must not go into the repository."""


class ModelFileError(TrainingError):
    """A model file cannot be read, or is a model that is not supported; the message has a line for each problem."""


class VectorsFileError(TrainingError):
    """A vectors file cannot be read, or is of other features; the message has a line for each problem."""


class Shares(NamedTuple):
    """The shares of the validation transactions that are at least reviewed, and at least declined."""

    review: float = 0.005
    decline: float = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRequest:
    """What the requests for an artifact share: the file that it is made from, its name, and its policy.

    `review_share` and `decline_share` are the shares of the validation transactions that get this decision or a severer
    one. `threads` changes the time, not the result.

    Raises:
        ValueError: invalid values, all of them named.
    """

    file: Path
    name: str
    version: str | None = None
    review_share: float = Shares().review
    decline_share: float = Shares().decline
    threads: int = 2
    code_version: str = ""

    def __post_init__(self) -> None:
        found = (*_name_problems(self.name, self.version), *_share_problems(self.shares), *self._problems())
        if found:
            raise ValueError("; ".join(found))

    @property
    def shares(self) -> Shares:
        """Return both shares."""
        return Shares(self.review_share, self.decline_share)

    def _problems(self) -> Iterator[str]:
        """Yield what else is invalid."""
        yield from ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest(ArtifactRequest):
    """What to train on, how, and under which name; `version` defaults to the day of the file's last transaction."""

    feature_set: FeatureSet
    predictions: Path | None = None
    """The file of the predictions from storage that the features read."""
    seed: int = 1
    trees: int = 150
    leaves: int = 31
    learning_rate: float = 0.05

    def _problems(self) -> Iterator[str]:
        for name, (least, most) in _BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                yield f"{name}: expected an integer from {least} to {most}, got {getattr(self, name)}"
        if not 0.0 < self.learning_rate <= 1.0:
            yield f"learning_rate: expected a number above 0 and at most 1, got {self.learning_rate}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest(ArtifactRequest):
    """Which model file to import, on which vectors to calibrate it, and under which name.

    `sets` are the feature sets of the deployment. `trained_until_ms` is the time of the last transaction that the model
    was trained on, as far as it is known; rows up to then are not used unless `use_training_rows`. With
    `features_by_position`, a model without feature names is accepted if it has as many as the feature set. `version`
    defaults to the day of the last of the vectors.
    """

    vectors: Path
    sets: FeatureSets
    trained_until_ms: int | None = None
    use_training_rows: bool = False
    features_by_position: bool = False

    def _problems(self) -> Iterator[str]:
        if self.use_training_rows and self.trained_until_ms is None:
            yield "use_training_rows: has no effect without trained_until; all rows are used then"


def _name_problems(name: str, version: str | None) -> Iterator[str]:
    for field, text in (("name", name), ("version", version or "-")):
        try:
            msgspec.convert(text, Token)
        except msgspec.ValidationError:
            yield f"{field}: expected {FORM_OF_TOKENS}, got {text[:_LONGEST_SHOWN]!r}"


def _share_problems(shares: Shares) -> Iterator[str]:
    if not 0.0 <= shares.decline <= shares.review <= 1.0:
        given = f"{shares.decline} and {shares.review}"
        yield f"decline_share and review_share: expected 0 <= decline <= review <= 1, got {given}"


@dataclass(frozen=True, slots=True)
class VectorsRequest:
    """Compute the vectors of a transactions file by a feature set, and write them to `out`, .parquet or .csv.

    `threads` are those that read the file; they change the time, not the result. `predictions` is the file of the
    predictions from storage that the features read.
    """

    file: Path
    out: Path
    feature_set: FeatureSet
    threads: int = 2
    code_version: str = ""
    predictions: Path | None = None


class VectorsReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of computing vectors.

    Rows that the stream would not decide (repeated or contradicting ones) are `set_aside`: they have no vector.
    `dropped` counts invalid optional values by column, which the stream drops as well.
    """

    out: str
    rows: int
    labelled: int
    frauds: int
    set_aside: int
    dropped: dict[str, int]
    since: str
    until: str
    fingerprint: str
    features: tuple[str, ...]


class Period(msgspec.Struct, frozen=True):
    """One part of the split: the times of its first and last transaction, how many there are, how many are frauds."""

    since: str
    until: str
    rows: int
    frauds: int


class TrainingReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of training. `metrics` are those of the manifest; `evaluation.measure` defines them."""

    digest: str
    name: str
    version: str
    fingerprint: str
    file: str
    rows: int
    labelled: int
    frauds: int
    set_aside: int
    """Rows that are not used because the stream would not decide them: repeated or contradicting ones."""
    dropped: dict[str, int]
    """How many optional values were invalid, by column; the stream drops such values as well."""
    train: Period
    calibrate: Period
    validate: Period
    features: tuple[str, ...]
    review_at: float
    decline_at: float
    metrics: dict[str, float]


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an import. `metrics` are those of the manifest; `evaluation.measure` defines them.

    `trained_on` are the labelled rows that were left out because the model was trained on them. `warnings` are what a
    person should know who promotes the model.
    """

    digest: str
    name: str
    version: str
    fingerprint: str
    file: str
    vectors: str
    rows: int
    labelled: int
    frauds: int
    trained_until: str | None
    trained_on: int
    features_by_position: bool
    calibrate: Period
    validate: Period
    features: tuple[str, ...]
    review_at: float
    decline_at: float
    metrics: dict[str, float]
    warnings: tuple[str, ...]
