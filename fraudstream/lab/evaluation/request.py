"""Requests and errors of an evaluation, as values.

EvaluationError                catch this to catch all of ours; a problem with the file itself is a `FileError`
├── NotHeldBackError           the payments asked for were trained on: choose later ones, or say that they may count
├── UnknownSegmentError        segments are asked for by a field that is no category: name one that is
├── UnstatedCostsError         costs are stated for some currencies of the file: state them for each, or for none
└── NothingToEvaluateError     no payment counts, or all of them have one outcome: add days or labels
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from features.own_fields import CONTRACT_FIELDS, FieldKind
from features.vector.sets import FeatureSets
from fraudstream.ops.rollout.outcomes.costs import StatedCosts
from metrics.bootstrap import BootstrapPlan
from stream.control.trusted_models import ModelPlace
from stream.errors import StreamError

Progress = Callable[[str, int, int], None]
"""Called now and then with the name of the stage, how much of it is done, and the total."""
BUDGETS = (10, 20, 50, 100, 200, 500)
DRAWS = 1_000
_ALWAYS = ("channel", "merchant_country")


class EvaluationError(StreamError):
    """Any error that an evaluation raises on purpose."""


class NotHeldBackError(EvaluationError):
    """The model was trained on payments that were asked for, so they cannot be called held back."""


class UnknownSegmentError(EvaluationError):
    """Segments are asked for by a field that is no category, or is not declared."""


class UnstatedCostsError(EvaluationError):
    """Costs are stated, but not for each currency of the payments."""


class NothingToEvaluateError(EvaluationError):
    """There is no payment to measure, or there is nothing to tell apart."""


@dataclass(frozen=True, slots=True)
class EvaluatedPeriod:
    """Which payments of a file count.

    Attributes:
        since_ms: payments from then on; None: what follows the training of every model, with whole histories.
        until_ms: payments before that; None: to the file's end.
        use_training_rows: whether payments that a model was trained on may count; they are never called held back.
        maturity_days: a payment without a label counts as genuine if it is so much older than the file's last payment,
            and no younger one counts; None: payments without a label do not count.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    use_training_rows: bool = False
    maturity_days: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTerms:
    """By what a model is measured.

    Attributes:
        budgets: alerts a day; of each the precision and the recall are stated.
        cards_a_day: the budget k of card precision.
        costs: what decisions cost, by currency.
        draws: of the bootstrap by card.
        seed: of the draws and of the sample on which features are permuted.
    """

    budgets: tuple[int, ...] = BUDGETS
    cards_a_day: int = 100
    costs: StatedCosts = field(default_factory=StatedCosts)
    draws: int = DRAWS
    seed: int = 1

    def __post_init__(self) -> None:
        found = tuple(self._problems())
        if found:
            raise ValueError("; ".join(found))

    @property
    def plan(self) -> BootstrapPlan:
        """How cards are drawn."""
        return BootstrapPlan(draws=self.draws, seed=self.seed)

    def _problems(self) -> Iterator[str]:
        if not self.budgets or min(self.budgets) < 1:
            yield f"budgets: {self.budgets}; each must be at least 1 alert a day"
        if self.cards_a_day < 1:
            yield f"cards_a_day: {self.cards_a_day}; it must be at least 1"
        if self.draws < 1:
            yield f"draws: {self.draws}; it must be at least 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """Which models to evaluate, on what, and by what.

    `models` is the URL of the repository, or its place; `model` and `against` name models by digest or the beginning of
    one. `sets` are the feature sets of the deployment. `made_ms` is when the report is made. `threads` are those that
    read the file; they change the time, not the result. `predictions` is the file of the predictions from storage that
    features of the models read. `segments` are fields that are categories, declared or of the contract; by each the
    figures are stated, too.

    Raises:
        UnknownSegmentError: a field is no category; the message names those that are.
    """

    file: Path
    models: str | ModelPlace
    model: str
    against: str | None
    sets: FeatureSets
    made_ms: int
    period: EvaluatedPeriod = EvaluatedPeriod()
    terms: EvaluationTerms = field(default_factory=EvaluationTerms)
    threads: int = 2
    predictions: Path | None = None
    segments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = segment_fields(self.sets)
        if unknown := [name for name in self.segments if name not in known]:
            raise UnknownSegmentError(
                f"{', '.join(unknown)}: no category that segments can be cut by; there are {', '.join(known)}, and "
                "amount, channel, country and card are always cut by"
            )


def segment_fields(sets: FeatureSets) -> list[str]:
    """Return the categories that segments can be cut by when they are named: declared ones, and the contract's."""
    of_contract = [name for name, one in CONTRACT_FIELDS.items() if one.kind is FieldKind.CATEGORY]
    return [*sets.fields.categories, *(name for name in of_contract if name not in _ALWAYS)]
