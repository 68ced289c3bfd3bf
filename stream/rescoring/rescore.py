"""Scores, bands and decisions made over again from vectors, by the model that each record names, or by rules.

Nothing here knows where a vector comes from.

Models by digest for back-scoring: named by its user, or by a score that it made.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.history.frames import Floats
from features.history.store import Ints
from features.vector.sets import FeatureSets
from models.errors import ModelError, ScoringError
from models.loading import Model, load, load_for_replay
from models.policy import bands
from models.problems import Problem, ProblemCode
from models.repository import Repository
from stream.contract.outputs import DecidedBy
from stream.control.probes import probe_vectorisers
from stream.rescoring.passes import Flags
from stream.rescoring.request import UnknownModelError
from stream.scoring.score import decide_by_rules

Objects = NDArray[np.object_]
NO_BAND = -1


def resolve(url: str, name: str) -> str:
    """Return the digest that a user means.

    Raises:
        UnknownModelError: none or several begin so, or the repository does not answer.
    """
    try:
        found = Repository(url).resolve(name)
    except ModelError as error:
        raise UnknownModelError(str(error)) from error
    if isinstance(found, Problem):
        raise UnknownModelError(f"{found.detail}; `fraudstream model list` names those that there are")
    return found


@lru_cache(maxsize=16)
def model_of(url: str, digest: str, sets: FeatureSets) -> Model:
    """Return a model that computes here what it computed where it was made; remembered by each process.

    Raises:
        UnknownModelError: it is not there, or does not.
    """
    try:
        found = load(Repository(url), digest, probe_vectorisers(sets))
    except ModelError as error:
        raise UnknownModelError(str(error)) from error
    if isinstance(found, Model):
        return found
    raise UnknownModelError(
        f"model {digest[:12]} cannot be used here: {'; '.join(problem.detail for problem in found)}"
    )


@lru_cache(maxsize=64)
def maker_of(url: str, digest: str) -> Model | None:
    """Return the model that made a score, to be given the features that it was given; None: it cannot be had.

    A repository that does not answer is no reason to think that it is gone.

    Raises:
        UnknownModelError: the repository does not answer.
    """
    try:
        found = load_for_replay(Repository(url), digest)
    except ModelError as error:
        raise UnknownModelError(str(error)) from error
    if isinstance(found, Model):
        return found
    if any(problem.code is ProblemCode.REPOSITORY_UNAVAILABLE for problem in found):
        raise UnknownModelError("; ".join(problem.detail for problem in found))
    return None


class RescoredOutputs(NamedTuple):
    """What n decisions came to: score (NaN: none), band (NO_BAND: none) and decision (None: none)."""

    scores: Floats
    bands: Ints
    decisions: Objects

    def differences(self, other: "RescoredOutputs") -> tuple[Flags, Flags, Flags]:
        """Tell which scores, which bands and which decisions differ."""
        return different(self.scores, other.scores), self.bands != other.bands, self.decisions != other.decisions

    def of(self, which: Ints | Flags) -> "RescoredOutputs":
        """Return some of them."""
        return RescoredOutputs(self.scores[which], self.bands[which], self.decisions[which])


class DecidingModels(NamedTuple):
    """Who made n decisions, as their records say: the model's digest, None where `decided_by` rules."""

    url: str
    digests: Objects
    decided_by: Objects

    def of(self, which: Ints) -> "DecidingModels":
        """Return those of some."""
        return DecidingModels(self.url, self.digests[which], self.decided_by[which])


def different(left: Floats, right: Floats) -> Flags:
    """Tell where two arrays differ in a bit, NaN being equal to any NaN."""
    both_nan = np.isnan(left) & np.isnan(right)
    bits = np.ascontiguousarray(left).view(np.int64) != np.ascontiguousarray(right).view(np.int64)
    differs: Flags = bits & ~both_nan
    return differs


def nothing(count: int) -> RescoredOutputs:
    """Return what nobody made."""
    return RescoredOutputs(np.full(count, np.nan), np.full(count, NO_BAND, np.int64), np.full(count, None, object))


def remake(makers: DecidingModels, names: Sequence[str], vectors: Floats) -> tuple[RescoredOutputs, Flags]:
    """Make n decisions again from vectors of shape (n, len(names)).

    Returns:
        The decisions, and which of them could be tried: their maker is there.
    """
    made, known = nothing(len(vectors)), np.zeros(len(vectors), np.bool_)
    for digest in dict.fromkeys(makers.digests.tolist()):
        which = np.flatnonzero(makers.digests == digest)
        if digest is None:
            which = which[makers.decided_by[which] == DecidedBy.RULES.value]
            made.decisions[which] = [decide_by_rules(names, vector).value for vector in vectors[which]]
        else:
            model = maker_of(makers.url, digest)
            if model is None:
                continue
            _score(model, names, (vectors, which), made)
        known[which] = True
    return made, known


def remake_from(makers: DecidingModels, features: Sequence[dict[str, float | None]]) -> tuple[RescoredOutputs, Flags]:
    """Make n decisions again from features as they were recorded, whatever table they are of."""
    made, known = nothing(len(features)), np.zeros(len(features), np.bool_)
    for at, named in enumerate(features):
        vector = np.array([list(named.values())], np.float64)
        one, its_known = remake(makers.of(np.array([at])), list(named), vector)
        made.scores[at], made.bands[at], made.decisions[at] = one.scores[0], one.bands[0], one.decisions[0]
        known[at] = its_known[0]
    return made, known


def _score(model: Model, names: Sequence[str], what: tuple[Floats, Ints], made: RescoredOutputs) -> None:
    """Score some vectors, and leave empty what the model gives no score for."""
    vectors, which = what
    wanted = model.manifest.feature_names
    if set(wanted) != set(names):
        return
    order = [list(names).index(name) for name in wanted]
    ordered = vectors[which][:, order]
    try:
        _keep(model, ordered, which, made)
    except ScoringError:
        for at, row in zip(which.tolist(), ordered, strict=True):
            try:
                _keep(model, row[np.newaxis], np.array([at]), made)
            except ScoringError:
                continue


def _keep(model: Model, vectors: Floats, which: Ints, made: RescoredOutputs) -> None:
    scores = model.score(vectors)
    made.scores[which] = scores
    made.bands[which] = bands(scores)
    made.decisions[which] = [decision.value for decision in model.policy.decide(scores)]


def recorded(columns: dict[str, Any]) -> RescoredOutputs:
    """Return what the records say."""
    return RescoredOutputs(
        np.ma.filled(np.ma.asarray(columns["recorded_score"], np.float64), np.nan),
        np.ma.filled(np.ma.asarray(columns["recorded_band"], np.int64), NO_BAND),
        np.array(columns["recorded_decision"].tolist(), object),
    )
