"""Students: trees that learn a teacher's scores, calibrated on labels, with thresholds that flag as much as it does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraudstream.lab.distillation.request import DistillationRequest, SoftTarget, StudentSize
from fraudstream.lab.distillation.teacher import TeacherScores
from fraudstream.lab.evaluation.figures import ScoredBy
from fraudstream.lab.training.assembly import MadeTrees, margins
from fraudstream.lab.training.calibrators import choose_calibration
from fraudstream.lab.training.policy import decision_codes
from fraudstream.lab.training.split import SingleFit
from fraudstream.lab.training.trees import defaults_of
from fraudstream.lab.training.vectors import Table
from models.artifact import Parameter
from models.booster import Booster, FitRows, fit
from models.calibration import Calibration, Calibrator
from models.errors import ScoringError
from models.model_text import as_binary
from models.policy import Floats, Policy

_NEAREST = 1e-9
"""Of a probability to 0 and to 1, so that log odds are finite."""
_OBJECTIVES = {SoftTarget.PROBABILITIES: "cross_entropy", SoftTarget.LOG_ODDS: "regression"}


class StudentInputs(NamedTuple):
    """What all students of one run share: the request, the table of their features, its parts, and the teacher."""

    request: DistillationRequest
    table: Table
    parts: SingleFit
    teacher: TeacherScores


@dataclass(frozen=True, slots=True)
class Student:
    """A trained student: `said` is of the held-back part, and `features` are those that its trees use."""

    size: StudentSize
    trees: MadeTrees
    booster: Booster
    calibration: Calibration
    calibrator: Calibrator
    policy: Policy
    said: ScoredBy
    features: tuple[str, ...]

    def score(self, matrix: Floats) -> Floats:
        """Return the probability of fraud of each row of a matrix of shape (n, features), as a served model does.

        Raises:
            ScoringError: a score is not finite.
        """
        scores = self.calibrator.probabilities(self.booster.margins(matrix))
        if not np.isfinite(scores).all():
            raise ScoringError(f"a student of {self.size.text} returned scores that are not finite")
        return scores


def train_student(inputs: StudentInputs, size: StudentSize) -> Student:
    """Train on the train part with the teacher's scores; calibrate, and choose thresholds, on the calibrate part.

    Raises:
        UnusableModelError: the probability of fraud does not rise with the student's margin.
        MissingExtraError: scikit-learn is not installed.
    """
    request, table, parts, teacher = inputs
    names = request.sets.newest.names
    parameters = _parameters(inputs, size)
    text = _fit(inputs, parameters)
    booster = Booster(text, names, table.categories)
    on_calibrate = margins(booster, table, parts.calibrate)
    calibration = choose_calibration(on_calibrate, table.fraud[parts.calibrate], request.calibration)
    calibrator = Calibrator.of(calibration)
    policy = match_volumes(calibrator.probabilities(on_calibrate), teacher.scores[parts.calibrate], teacher.policy)
    said = said_on(calibrator.probabilities(margins(booster, table, parts.held_back)), policy)
    used = tuple(name for name, gain in zip(names, gains(text, len(names)), strict=True) if gain)
    trees = MadeTrees(text, parameters, request.seed)
    return Student(size, trees, booster, calibration, calibrator, policy, said, used)


def _fit(inputs: StudentInputs, parameters: dict[str, Parameter]) -> str:
    request, table, parts, teacher = inputs
    targets = soft_targets(teacher.scores[parts.train], request.target)
    threaded = parameters | {"num_threads": request.threads}
    rows = FitRows(table.matrix, parts.train, targets, table.categories)
    return as_binary(fit(rows, request.sets.newest.names, threaded, lambda _trees: None).text)


def _parameters(inputs: StudentInputs, size: StudentSize) -> dict[str, Parameter]:
    """Return LightGBM's parameters; fewer features are those that gain most where a student of this size has all."""
    request = inputs.request
    parameters: dict[str, Parameter] = {
        **defaults_of(request.sets.newest),
        "objective": _OBJECTIVES[request.target],
        "num_iterations": size.trees,
        "num_leaves": size.leaves,
        "learning_rate": request.rate(size),
        "seed": request.seed,
    }
    width = len(request.sets.newest)
    if size.features is None or size.features == width:
        return parameters
    found = gains(_fit(inputs, parameters), width)
    chosen = set(np.argsort(-found, kind="stable")[: size.features].tolist())
    # LightGBM multiplies each feature's gain by its factor, and takes no split that gains nothing.
    return parameters | {"feature_contri": ",".join("1" if at in chosen else "0" for at in range(width))}


def soft_targets(scores: Floats, target: SoftTarget) -> Floats:
    """Return what a student learns for each of n rows: the teacher's probability, or its log odds."""
    if target is SoftTarget.PROBABILITIES:
        return scores
    inside = np.clip(scores, _NEAREST, 1 - _NEAREST)
    return np.log(inside) - np.log1p(-inside)


def gains(text: str, width: int) -> NDArray[np.float64]:
    """Return the sum of the gains of all splits on each of `width` features, from a model's text."""
    found = np.zeros(width)
    for features, gained in zip(_lines(text, "split_feature"), _lines(text, "split_gain"), strict=True):
        np.add.at(found, np.array(features, np.int64), np.array(gained, np.float64))
    return found


def _lines(text: str, name: str) -> Iterator[Sequence[str]]:
    """Yield the numbers of each tree's line of that name; a tree of one leaf has none."""
    return (line.partition("=")[2].split() for line in text.splitlines() if line.startswith(f"{name}="))


def match_volumes(scores: Floats, teacher: Floats, policy: Policy) -> Policy:
    """Return the thresholds with which a student flags as many rows of a part as its teacher does.

    Args:
        scores: the student's, of shape (n,).
        teacher: the teacher's of the same rows.
        policy: the teacher's thresholds.
    """
    review, decline = (
        _threshold(scores, int((teacher >= at).sum()), at) for at in (policy.review_at, policy.decline_at)
    )
    return Policy(review, max(review, decline))


def _threshold(scores: Floats, wanted: int, never: float) -> float:
    """Return the score from which as near to `wanted` rows are flagged as ties allow, of two the smaller number.

    To flag none is one of the choices: from `never` on if that is above 1, else above the student's highest score.
    """
    found, counts = np.unique(-scores, return_counts=True)
    nearest = int(np.argmin(np.abs(np.concatenate(([0], np.cumsum(counts))) - wanted)))
    if nearest == 0:
        return never if never > 1.0 else float(np.nextafter(scores.max(), np.inf))
    return -float(found[nearest - 1])


def said_on(scores: Floats, policy: Policy) -> ScoredBy:
    """Return scores with the decisions that thresholds make of them."""
    return ScoredBy(scores, decision_codes(scores, policy))
