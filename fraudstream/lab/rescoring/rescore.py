"""Loads models by digest, and computes scores, bands and decisions from vectors with them, or by rules."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.history.frames import Floats
from features.history.store import Ints
from features.vector.sets import FeatureSets
from fraudstream.lab.rescoring.history_pass import Flags
from fraudstream.lab.rescoring.request import UnknownModelError
from fraudstream_client.outputs import RULE, DecidedBy, Decision
from models.decline_cap import DECLINE_CAP
from models.errors import ModelError, ScoringError
from models.list_rules import RuleMatcher
from models.loading import Model, load, load_for_replay
from models.policy import Payments, bands
from models.problems import Problem, ProblemCode
from models.repository import Repository
from stream.control.probes import probe_vectorisers
from stream.control.trusted_models import ModelPlace
from stream.scoring.score import LIVE_MODEL_FAILED, decide_by_rules
from stream.settings import PREFIX

Objects = NDArray[np.object_]
NO_BAND = -1


Models = str | ModelPlace | Repository
"""Where models are: a repository, its place, or the URL alone, from which models need no signature."""


def opened(models: Models) -> Repository:
    """Return the repository of models, which loads signed ones alone where its place says so."""
    if isinstance(models, Repository):
        return models
    return (models if isinstance(models, ModelPlace) else ModelPlace(models)).open()


def resolve(models: Models, name: str) -> str:
    """Return the digest that a name, a digest or a prefix of one, stands for.

    Raises:
        UnknownModelError: no model or several have this prefix, or the repository does not answer.
    """
    try:
        found = opened(models).resolve(name)
    except ModelError as error:
        raise UnknownModelError(str(error)) from error
    if isinstance(found, Problem):
        raise UnknownModelError(f"{found.detail}; `fraudstream model list` shows the models that exist")
    return found


@lru_cache(maxsize=16)
def usable_model(models: Models, digest: str, sets: FeatureSets) -> Model:
    """Load a model that computes here what it computed where it was trained; cached per process.

    Raises:
        UnknownModelError: it does not exist, is not signed as it must be, or fails its probes.
    """
    try:
        found = load(opened(models), digest, probe_vectorisers(sets))
    except ModelError as error:
        raise UnknownModelError(str(error)) from error
    if isinstance(found, Model):
        return found
    raise UnknownModelError(
        f"model {digest[:12]} cannot be used here: {'; '.join(problem.detail for problem in found)}"
    )


@lru_cache(maxsize=64)
def deciding_model(url: str, digest: str) -> Model | None:
    """Load the model of a recorded decision, to score the features that it was given; None: it is missing or damaged.

    A repository that does not answer, or does not exist, is an error, not a missing model.

    Raises:
        UnknownModelError: the repository does not answer, or does not exist.
    """
    try:
        repository = ModelPlace(url).open()
        found = load_for_replay(repository, digest)
        is_there = isinstance(found, Model) or repository.exists()
    except ModelError as error:
        raise UnknownModelError(str(error)) from error
    if isinstance(found, Model):
        return found
    if not is_there:
        raise UnknownModelError(f"the model repository {repository.place} does not exist: correct {PREFIX}MODELS")
    if any(problem.code is ProblemCode.REPOSITORY_UNAVAILABLE for problem in found):
        raise UnknownModelError("; ".join(problem.detail for problem in found))
    return None


class RescoredOutputs(NamedTuple):
    """Score (NaN: none), band (NO_BAND: none), decision and overruling rule (None: none) of n transactions.

    The decision is what the model said, before the rule.
    """

    scores: Floats
    bands: Ints
    decisions: Objects
    rules: Objects

    def differences(self, other: "RescoredOutputs") -> tuple[Flags, Flags, Flags, Flags]:
        """Tell which scores, bands, decisions and rules differ."""
        equal = self.bands == other.bands, self.decisions == other.decisions, self.rules == other.rules
        return different(self.scores, other.scores), *(~one for one in equal)

    def of(self, which: Ints | Flags) -> "RescoredOutputs":
        """Return those of some transactions."""
        return RescoredOutputs(self.scores[which], self.bands[which], self.decisions[which], self.rules[which])


class DecidingModels(NamedTuple):
    """What made n recorded decisions: the model's digest, or None and how `decided_by` says it was decided instead.

    `payments` are what they decided on, with what their records say of them. `stood_in` are those of a model that stood
    in for the live one: its rules held beside the model's, and the record does not name it. `capped` are those that the
    cap on declines made reviews, whose record names no rule.
    """

    url: str
    digests: Objects
    decided_by: Objects
    payments: Payments
    stood_in: Flags
    capped: Flags

    def of(self, which: Ints) -> "DecidingModels":
        """Return those of some decisions."""
        made = self.digests[which], self.decided_by[which], self.payments.of(which)
        return DecidingModels(self.url, *made, self.stood_in[which], self.capped[which])


def different(left: Floats, right: Floats) -> Flags:
    """Tell where two arrays differ in any bit; all NaNs are equal."""
    both_nan = np.isnan(left) & np.isnan(right)
    bits = np.ascontiguousarray(left).view(np.int64) != np.ascontiguousarray(right).view(np.int64)
    differs: Flags = bits & ~both_nan
    return differs


def no_outputs(count: int) -> RescoredOutputs:
    """Return outputs without score, band and decision."""
    return RescoredOutputs(
        np.full(count, np.nan),
        np.full(count, NO_BAND, np.int64),
        np.full(count, None, object),
        np.full(count, None, object),
    )


def recorded(columns: dict[str, Any]) -> RescoredOutputs:
    """Return the outputs on record."""
    return RescoredOutputs(
        np.ma.filled(np.ma.asarray(columns["recorded_score"], np.float64), np.nan),
        np.ma.filled(np.ma.asarray(columns["recorded_band"], np.int64), NO_BAND),
        np.array(columns["recorded_decision"].tolist(), object),
        _recorded_rules(columns),
    )


def _recorded_rules(columns: dict[str, Any]) -> Objects:
    """Return the rules on record, without those of decisions where live failed: nothing says whose they were."""
    found = np.full(len(columns["digest"]), None, object)
    unknown = np.array([digest is None for digest in columns["digest"].tolist()], np.bool_) | stood_in(columns)
    softens = columns["softens_rule"].tolist()
    for at, by in enumerate(columns["overruled_by"].tolist()):
        found[at] = None if unknown[at] else overruling_rule(by, softens_rule=softens[at])
    return found


def stood_in(columns: dict[str, Any]) -> Flags:
    """Tell which decisions on record are of a model that stood in for the live one."""
    return np.array([LIVE_MODEL_FAILED in (one or "").split(",") for one in columns["degraded"].tolist()], np.bool_)


def capped(columns: dict[str, Any]) -> Flags:
    """Tell which decisions on record were declines that the cap made reviews."""
    return np.array([by == DECLINE_CAP for by in columns["overruled_by"].tolist()], np.bool_)


def overruling_rule(overruled_by: str | None, *, softens_rule: bool = False) -> str | None:
    """Return what overruled what a model said if it was a rule: lots and the cap depend on decisions before it.

    Where the cap has softened the decline of a rule, the record does not name the rule: then it is `rule:` alone.
    """
    if softens_rule:
        return RULE
    return overruled_by if overruled_by is not None and overruled_by.startswith(RULE) else None


def payments_of(columns: dict[str, Any]) -> Payments:
    """Return the payments of decisions on record, or of a file, with `merchant_country` as far as it is there."""
    count = len(columns["card_id"])
    country = columns.get("merchant_country")
    return Payments(
        columns["card_id"].tolist(),
        columns["merchant_id"].tolist(),
        [None] * count if country is None else country.tolist(),
        np.asarray(columns["amount_minor"], np.int64),
        columns["currency"].tolist(),
    )


def overruling(rules: RuleMatcher, said: Sequence[Decision], rows: tuple[Payments, Floats], capped: Flags) -> Objects:
    """Return the rule that overrules each of n decisions, as `overruling_rule` does; None: none does.

    `rows` are the payments and their vectors; `capped` tells where the cap has softened a decline afterwards.
    """
    found = np.full(len(said), None, object)
    for at, ruling in rules.rulings(said, *rows).items():
        is_softened = capped[at] and ruling.decision is Decision.DECLINE
        unnamed = None if said[at] is Decision.DECLINE else RULE
        found[at] = unnamed if is_softened else ruling.by
    return found


def rescore(models: DecidingModels, names: Sequence[str], vectors: Floats) -> tuple[RescoredOutputs, Flags]:
    """Rescore n decisions from vectors of shape (n, len(names)), each with the model or rules that made it.

    Returns:
        The outputs, and which of them could be computed: their model can be loaded.
    """
    outputs, known = no_outputs(len(vectors)), np.zeros(len(vectors), np.bool_)
    for digest in dict.fromkeys(models.digests.tolist()):
        which = np.flatnonzero(models.digests == digest)
        if digest is None:
            which = which[models.decided_by[which] == DecidedBy.RULES.value]
            outputs.decisions[which] = [decide_by_rules(names, vector).value for vector in vectors[which]]
        else:
            model = deciding_model(models.url, digest)
            if model is None:
                continue
            _score(model, names, (vectors, models, which), outputs)
            outputs.rules[which[models.stood_in[which]]] = None
        known[which] = True
    return outputs, known


def rescore_recorded(
    models: DecidingModels, features: Sequence[dict[str, float | None]]
) -> tuple[RescoredOutputs, Flags]:
    """Rescore n decisions from their recorded features, of whatever feature set."""
    outputs, known = no_outputs(len(features)), np.zeros(len(features), np.bool_)
    for at, named in enumerate(features):
        vector = np.array([list(named.values())], np.float64)
        one, one_known = rescore(models.of(np.array([at])), list(named), vector)
        for target, values in zip(outputs, one, strict=True):
            target[at] = values[0]
        known[at] = one_known[0]
    return outputs, known


def _score(
    model: Model, names: Sequence[str], inputs: tuple[Floats, DecidingModels, Ints], outputs: RescoredOutputs
) -> None:
    """Write the outputs of some vectors; those that the model gives no score for are left as they are."""
    vectors, models, which = inputs
    wanted = model.manifest.feature_names
    if set(wanted) != set(names):
        return
    order = [list(names).index(name) for name in wanted]
    ordered = vectors[which][:, order]
    try:
        _write_outputs(model, (ordered, models), which, outputs)
    except ScoringError:
        for at, row in zip(which.tolist(), ordered, strict=True):
            try:
                _write_outputs(model, (row[np.newaxis], models), np.array([at]), outputs)
            except ScoringError:
                continue


def _write_outputs(model: Model, given: tuple[Floats, DecidingModels], which: Ints, outputs: RescoredOutputs) -> None:
    vectors, models = given
    scores = model.score(vectors)
    some = models.payments.of(which) if model.reads_payments else None
    said = model.decide(scores, some)
    outputs.scores[which] = scores
    outputs.bands[which] = bands(scores)
    outputs.decisions[which] = [decision.value for decision in said]
    if model.rules is not None and some is not None:
        outputs.rules[which] = overruling(model.rules, said, (some, vectors), models.capped[which])
