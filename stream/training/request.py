"""Requests, reports and errors of training, of computing vectors and of importing a model, as values.

TrainingError                  catch this to catch all of ours; a problem with the file itself is a `FileError`
├── TrainingDataError          the file is valid but has too little: add days, labels or frauds
├── UnusableModelError         the model does not predict the labels, or fails its own probes: it is not stored
├── ModelFileError             the model file is none that can be served here: save or train it as the message says
├── VectorsFileError           the vectors file cannot be used: compute it again, or correct what the message names
└── RulesFileError             the file of rules cannot be used: correct what the message names
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from features.declaration import FeatureSet
from features.vector.sets import FeatureSets
from models.artifact import Manifest
from models.calibration import CalibrationMethod
from models.commands import Token
from models.cost_policy import CostPolicy
from models.expected import FORM_OF_TOKENS
from models.list_rules import RuleAction, RuleSet
from models.policy import Policy
from models.volume import AlertBudget, ExpectedVolume
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


class RulesFileError(TrainingError):
    """A file of rules cannot be read, or holds card numbers; the message has a line for each problem."""


class Shares(NamedTuple):
    """The shares of the validation transactions that are at least reviewed, and at least declined."""

    review: float = 0.005
    decline: float = 0.001


class PolicyWish(NamedTuple):
    """The policy that is asked for: at most one of fixed thresholds, a budget and costs; none: by shares.

    `rules` come beside any of them.
    """

    thresholds: Policy | None = None
    budget: AlertBudget | None = None
    costs: CostPolicy | None = None
    rules: RuleSet | None = None

    def rule_problems(self, names: Collection[str]) -> Iterator[str]:
        """Yield what prevents the rules from reading these features, the model's."""
        if self.rules is not None and (unknown := sorted(self.rules.features.difference(names))):
            yield f"rules: the model has no feature {', '.join(unknown)}"


class ArtifactTerms(NamedTuple):
    """How decisions are to be made: the calibration (None: the best), the policy, and shares if that states none."""

    calibration: CalibrationMethod | None
    policy: PolicyWish
    shares: Shares


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRequest:
    """What the requests for an artifact share: the file that it is made from, its name, and its policy.

    `review_share` and `decline_share` are the shares of the validation transactions that get this decision or a severer
    one, where `policy` asks for no thresholds of its own. `calibration` is its method; None: the best of all.
    `threads` changes the time, not the result.

    Raises:
        ValueError: invalid values, all of them named.
    """

    file: Path
    name: str
    version: str | None = None
    review_share: float = Shares().review
    decline_share: float = Shares().decline
    calibration: CalibrationMethod | None = None
    policy: PolicyWish = PolicyWish()  # noqa: RUF009 - it is immutable
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

    @property
    def terms(self) -> ArtifactTerms:
        """Return how decisions are to be made."""
        return ArtifactTerms(self.calibration, self.policy, self.shares)

    def _problems(self) -> Iterator[str]:
        """Yield what else is invalid."""
        yield from ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest(ArtifactRequest):
    """What to train on, how, and under which name; `version` defaults to the day of the file's last transaction."""

    feature_set: FeatureSet
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
        yield from self.policy.rule_problems(self.feature_set.names)


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
        if self.use_training_rows and self.policy.costs is not None:
            yield "policy: costs need probabilities, which rows of the training cannot prove: drop use_training_rows"


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

    `threads` are those that read the file; they change the time, not the result.
    """

    file: Path
    out: Path
    feature_set: FeatureSet
    threads: int = 2
    code_version: str = ""


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


class PolicyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How a model decides, in short; `rules` counts the rules beside it by action."""

    calibration: CalibrationMethod | None
    review_at: float
    decline_at: float
    costs: CostPolicy | None
    rules: dict[RuleAction, int]
    volume: ExpectedVolume | None

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Return what a manifest says."""
        return cls(
            calibration=manifest.calibration.method,
            review_at=manifest.policy.review_at,
            decline_at=manifest.policy.decline_at,
            costs=manifest.cost_policy,
            rules={} if manifest.rules is None else manifest.rules.counts,
            volume=manifest.volume,
        )


class PolicyReport(msgspec.Struct, frozen=True, kw_only=True):
    """The model that was made of its `parent` with another policy or other rules."""

    digest: str
    parent: str | None
    name: str
    version: str
    policy: PolicyFacts

    @classmethod
    def of(cls, digest: str, manifest: Manifest) -> Self:
        """Return what became of it."""
        return cls(
            digest=digest,
            parent=manifest.parent,
            name=manifest.name,
            version=manifest.version,
            policy=PolicyFacts.of(manifest),
        )


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
    policy: PolicyFacts
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
    policy: PolicyFacts
    metrics: dict[str, float]
    warnings: tuple[str, ...]
