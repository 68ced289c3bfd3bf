"""Requests, reports and errors of training, of computing vectors and of importing a model, as values.

TrainingError                  catch this to catch all of ours; a problem with the file itself is a `FileError`
├── TrainingDataError          the file is valid but has too little: add days, labels or frauds
├── LeakError                  a feature knows the label, or what came later: correct what the message names
├── UnusableModelError         the model does not predict the labels, or fails its own probes: it is not stored
├── WeakModelError             the training is weak: do what the message says, or accept it, and it is stored as weak
├── ModelFileError             the model file is none that can be served here: save or train it as the message says
├── VectorsFileError           the vectors file cannot be used: compute it again, or correct what the message names
└── RulesFileError             the file of rules cannot be used: correct what the message names
"""

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from features.declaration import DAY_MS, FeatureSet
from features.own_fields import OwnValue
from features.vector.sets import FeatureSets
from fraudstream.lab.training.policy_facts import PolicyFacts
from fraudstream_client.field_types import FORM_OF_TOKENS
from models.artifact import Parameter, Provenance
from models.calibration import CalibrationMethod
from models.commands import Token
from models.cost_policy import CostPolicy
from models.list_rules import RuleSet
from models.model_text import MOST_LEAVES
from models.policy import Policy
from models.volume import AlertBudget
from stream.errors import StreamError

Progress = Callable[[str, int, int], None]
"""Called now and then with the name of the stage, how much of it is done, and the total."""
_LONGEST_SHOWN = 80
_BOUNDS = {
    "trees": (1, 10_000),
    "leaves": (2, MOST_LEAVES),
    "max_depth": (1, 64),
    "patience": (0, 10_000),
    "threads": (1, 1_024),
    "seed": (0, 2**31 - 1),
}
_HEAVIEST = 100_000.0
_MOST_TRIALS = 100_000


class TrainingError(StreamError):
    """Any error that training raises on purpose."""


class TrainingDataError(TrainingError):
    """The transactions are valid, but there are too few, or too few of them are labelled."""


class LeakError(TrainingError):
    """A feature knows what nobody knew at the decision; the message has a line for each."""


class UnusableModelError(TrainingError):
    """The trained model must not go into the repository."""


class WeakModelError(TrainingError):
    """The model's training is weak, and nobody accepted that; the message has a line for each reason."""


class ModelFileError(TrainingError):
    """A model file cannot be read, or is a model that is not supported; the message has a line for each problem."""


class VectorsFileError(TrainingError):
    """A vectors file cannot be read, or is of other features; the message has a line for each problem."""


class RulesFileError(TrainingError):
    """A file of rules cannot be read, or holds card numbers; the message has a line for each problem."""


class Shares(NamedTuple):
    """The shares of the transactions of `calibrate` that are at least reviewed, and at least declined."""

    review: float = 0.005
    decline: float = 0.001


class PartSize(NamedTuple):
    """The size of a part of the split: a share of the time without gaps, a length, or the shorter of both."""

    share: float | None = None
    length_ms: int | None = None

    def of(self, total_ms: int) -> int:
        """Return the part's length in milliseconds, of a time without gaps of `total_ms`, which may be negative."""
        shared = None if self.share is None else int(max(total_ms, 0) * self.share)
        return min(size for size in (shared, self.length_ms) if size is not None)


class SplitSizes(NamedTuple):
    """How long the parts after `train` are, and the gaps between all parts; None: the label delay, see `split`.

    The defaults are shares, so that they suit files of some weeks, and lengths at most, so that all else of a longer
    file is trained on.
    """

    calibrate: PartSize = PartSize(0.15, 21 * DAY_MS)
    validate: PartSize = PartSize(0.15, 21 * DAY_MS)
    test: PartSize = PartSize(0.25, 28 * DAY_MS)
    gap_ms: int | None = None


DEFAULT_SIZES = SplitSizes()


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
            own = OwnValue("").column
            rows = ", ".join(f'own("{name.removeprefix(own)}")' for name in unknown if name.startswith(own))
            advice = (
                f"; a rule on a field needs its row in FEATURES, and a model trained with it: {rows}" if rows else ""
            )
            yield f"rules: the model has no feature {', '.join(unknown)}{advice}"


class ArtifactTerms(NamedTuple):
    """How decisions are to be made: the calibration (None: the best), the policy, and shares if that states none."""

    calibration: CalibrationMethod | None
    policy: PolicyWish
    shares: Shares


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRequest:
    """What the requests for an artifact share: the file that it is made from, its name, and its policy.

    `review_share` and `decline_share` are the shares of the transactions of `calibrate` that get this decision or a
    severer one, where `policy` asks for no thresholds of its own. `calibration` is its method; None: the best of all.
    `threads` changes the time, not the result. `accepted` are features that look like leaks and are not. With
    `maturity_days` a payment without a label counts as genuine when it is so old, and no younger one counts.
    `accept_weak` lets a model be stored whose training is weak; its manifest says so.

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
    accepted: tuple[str, ...] = ()
    provenance: Provenance | None = None
    maturity_days: float | None = None
    accept_weak: bool = False

    def __post_init__(self) -> None:
        found = [*_name_problems(self.name, self.version), *_share_problems(self.shares), *self._problems()]
        if self.maturity_days is not None and not 0 <= self.maturity_days < math.inf:
            found.append(f"maturity_days: expected a number of at least 0, got {self.maturity_days}")
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
    """What to train on, how, and under which name; `version` defaults to the day of the file's last transaction.

    `max_depth` limits the splits on the way to a leaf, for faster explanations; None: leaves alone limit a tree.
    Training ends with the tree after which the average precision on `validate` has not risen for `patience` trees, and
    keeps those up to the best; with 0 it keeps all `trees`. A fraud counts `fraud_weight` times in the training, not in
    the calibration, so that probabilities stay probabilities. With `trials` or `search_seconds`, parameters are
    searched until either budget is spent; only a number of trials gives the same model each time. With `refit` the
    stored model is fitted again to all that is known; without, it is the measured one. `live` is a stored model to
    compare with. `monotone` grows trees that keep to what rows of features declare of the risk. `source` is what a
    report calls the file, if not by its path.
    """

    feature_set: FeatureSet
    predictions: Path | None = None
    """The file of the predictions from storage that the features read."""
    seed: int = 1
    trees: int = 150
    leaves: int = 31
    max_depth: int | None = None
    learning_rate: float = 0.05
    patience: int = 50
    fraud_weight: float = 1.0
    sizes: SplitSizes = DEFAULT_SIZES
    trials: int | None = None
    search_seconds: float | None = None
    live: str | None = None
    monotone: bool = False
    refit: bool = True
    source: str = ""

    @property
    def searches(self) -> bool:
        """Whether parameters are searched."""
        return self.trials is not None or self.search_seconds is not None

    def _problems(self) -> Iterator[str]:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                yield f"{name}: expected an integer from {least} to {most}, got {value}"
        if not 0.0 < self.learning_rate <= 1.0:
            yield f"learning_rate: expected a number above 0 and at most 1, got {self.learning_rate}"
        if not 0.0 < self.fraud_weight <= _HEAVIEST:
            yield f"fraud_weight: expected a number above 0 and at most {_HEAVIEST:,.0f}, got {self.fraud_weight}"
        yield from size_problems(self.sizes)
        yield from self._search_problems()
        yield from self.policy.rule_problems(self.feature_set.names)
        yield from _unknown(self.accepted, self.feature_set.names)

    def _search_problems(self) -> Iterator[str]:
        if self.trials is not None and not 1 <= self.trials <= _MOST_TRIALS:
            yield f"trials: expected an integer from 1 to {_MOST_TRIALS:,}, got {self.trials}"
        if self.search_seconds is not None and self.search_seconds <= 0:
            yield f"search: expected a duration above 0, got {self.search_seconds} s"
        if self.searches and not self.patience:
            yield "patience: a search compares the average precision on `validate`, so it needs at least 1"


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
        yield from _unknown(self.accepted, [name for one in self.sets.by_fingerprint.values() for name in one.names])
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


def _unknown(accepted: Collection[str], names: Collection[str]) -> Iterator[str]:
    """Yield accepted features that do not exist."""
    unknown = [name for name in accepted if name not in names]
    if unknown:
        yield f"accept: no feature is called {', '.join(unknown)[:_LONGEST_SHOWN]}: see `fraudstream features list`"


def size_problems(sizes: SplitSizes) -> Iterator[str]:
    """Yield what is wrong with the sizes of a split."""
    if sizes.gap_ms is not None and sizes.gap_ms < 0:
        yield f"gap: expected a duration of at least 0, got {sizes.gap_ms} ms"
    for name in ("calibrate", "validate", "test"):
        size: PartSize = getattr(sizes, name)
        if size == PartSize() or not 0 < (size.share or 0.5) < 1 or (size.length_ms or 1) <= 0:
            yield f"{name}: expected a share between 0 and 1, such as 20%, or a length, such as 14d"


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


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """Another model, measured on the same test part; `metrics` are empty if it could not be, and `note` says why."""

    name: str
    digest: str | None = None
    metrics: dict[str, float] = {}
    note: str = ""


class SearchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a search did: the average precision on `validate` of the request's own parameters, and of the taken ones.

    `highest` is that of the best trial, which is not taken unless it is clearly better than the first. `reproducible`
    is false if time ended the search: another run may end after another number of trials.
    """

    trials: int
    first: float
    best: float
    highest: float
    reproducible: bool
    chosen: dict[str, Parameter]


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
    test: Period
    gaps_days: tuple[float, float, float]
    """The gaps before `calibrate`, `validate` and `test`."""
    split: str
    """"parts", or "folds": then `train` is all before the test, and `calibrate` and `validate` are what folds score."""
    choices: tuple[str, ...]
    """What each way to split leaves, the one that was taken first."""
    fitted: Period
    """What the stored model is fitted to; the metrics are of a model of what was known when the test began."""
    maturity_days: float | None
    trees: int
    """The trees that were kept, up to the best one on `validate`."""
    features: tuple[str, ...]
    review_at: float
    decline_at: float
    policy: PolicyFacts
    metrics: dict[str, float]
    warnings: tuple[str, ...] = ()
    """What a person should know who promotes the model."""
    baselines: tuple[Baseline, ...] = ()
    search: SearchReport | None = None


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
    test: Period
    features: tuple[str, ...]
    review_at: float
    decline_at: float
    policy: PolicyFacts
    metrics: dict[str, float]
    warnings: tuple[str, ...]
