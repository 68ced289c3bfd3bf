"""Derive an artifact from another one with another policy or other rules: the trees and the calibration stay.

The digest changes, so it is a model of its own: it is promoted, compared and rolled back like any other. Its manifest
names the one that it comes from as `parent`.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from features.history.store import Ints
from features.vector.sets import FeatureSets
from fraudstream.lab.training.assembly import assemble, margins, scored_part, store
from fraudstream.lab.training.policy import ChosenPolicy, ScoredPart, alert_measures, fit_policy, said_by
from fraudstream.lab.training.policy_facts import PolicyReport
from fraudstream.lab.training.request import PolicyWish, Progress, TrainingDataError, UnusableModelError
from fraudstream.lab.training.seen import stated_until_ms
from fraudstream.lab.training.split import label_delay_ms, warm_since_ms
from fraudstream.lab.training.vectors import Table, reach_ms
from fraudstream.lab.training.vectors_file import open_vectors, read_table
from models.artifact import Artifact, Manifest, read_artifact, with_policy
from models.booster import Booster
from models.calibration import Calibrator
from models.categories import Categories
from models.problems import Problem
from models.repository import Repository
from models.times import format_time
from models.training_reference import QuantityReference, decisions_reference

_MEASURED = ("alert_rate", "decline_rate", "recall_at_review", "precision_at_review")
"""Metrics that depend on the policy: without payments they are left out."""


class _Work(NamedTuple):
    """How vectors are read: a folder for it, threads, and the last payment that the model or a teacher has seen."""

    folder: Path
    progress: Progress
    threads: int
    seen_until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRequest:
    """Which model gets which policy.

    `policy` without thresholds, budget and costs leaves these as they are; without rules it leaves the rules, unless
    `drop_rules`. `vectors` are payments, of which the model has not seen some; a budget and costs need them, and
    without them the expected volume is not known. `version` defaults to the model's own.

    Raises:
        ValueError: nothing would change, or what is asked for needs vectors.
    """

    model: str
    policy: PolicyWish
    drop_rules: bool = False
    vectors: Path | None = None
    version: str | None = None
    threads: int = 2

    def __post_init__(self) -> None:
        if self.drop_rules and self.policy.rules is not None:
            raise ValueError("--no-rules and --rules contradict each other")
        if self.policy == PolicyWish() and not self.drop_rules and self.vectors is None:
            raise ValueError("nothing to change: give a policy, --rules FILE, --no-rules, or --vectors FILE")
        if self.vectors is None and (self.policy.budget or self.policy.costs):
            what = "a budget is reckoned" if self.policy.budget else "costs need a calibrated model, which is shown"
            raise ValueError(f"{what} on payments: give --vectors FILE, labelled and later than the model's training")


def derive(request: PolicyRequest, sets: FeatureSets, repository: Repository, progress: Progress) -> PolicyReport:
    """Store a model with another policy, and return what it is.

    Raises:
        TrainingError: there is no such model, or it cannot have that policy.
        FileError: a library is not installed.
        ModelError: the artifact is damaged, or the repository cannot be read or written.
    """
    repository.check_writable()
    digest = repository.resolve(request.model)
    if isinstance(digest, Problem):
        raise UnusableModelError(f"{digest.detail}; `fraudstream model list` shows the models that exist")
    parent = read_artifact(repository.renew(digest))
    feature_set = sets.by_fingerprint.get(parent.manifest.fingerprint)
    if feature_set is None:
        raise UnusableModelError(
            f"model {digest[:12]} needs features {parent.manifest.fingerprint}; FRAUDSTREAM_FEATURES names others"
        )
    if problems := tuple(request.policy.rule_problems(feature_set.names)):
        raise UnusableModelError("; ".join(problems))
    with tempfile.TemporaryDirectory(prefix="fraudstream-policy-") as name:
        seen_ms = stated_until_ms(parent.manifest, repository)
        manifest = _manifest(request, parent, sets, _Work(Path(name), progress, request.threads, seen_ms))
        artifact = assemble(msgspec.structs.replace(manifest, parent=digest), parent.model_text, feature_set)
        made = store(artifact, feature_set, repository, Path(name))
    return PolicyReport.of(made, artifact.manifest)


def _manifest(request: PolicyRequest, parent: Artifact, sets: FeatureSets, work: _Work) -> Manifest:
    """Return the manifest with the policy that is asked for; what is not asked for stays."""
    before, wish = parent.manifest, request.policy
    keeps = wish.thresholds is None and wish.budget is None and wish.costs is None
    rules = None if request.drop_rules else (wish.rules or before.rules)
    wish = wish._replace(rules=rules, costs=before.cost_policy if keeps else wish.costs)
    named = msgspec.structs.replace(before, version=request.version or before.version)
    if request.vectors is None:
        return _unmeasured(named, wish, keeps=keeps)
    part, cards = _part(request.vectors, parent, sets, work)
    chosen = fit_policy(wish, part, before.policy)
    if keeps and before.volume is not None:  # the thresholds come from the same budget
        volume = msgspec.structs.replace(chosen.volume, budget=before.volume.budget)
        chosen = chosen._replace(volume=volume)
    reference = before.reference and msgspec.structs.replace(
        before.reference, decisions=_decisions(chosen, part, cards)
    )
    metrics = before.metrics | alert_measures(chosen, part)
    return with_policy(msgspec.structs.replace(named, metrics=metrics, reference=reference), *chosen)


def _decisions(chosen: ChosenPolicy, part: ScoredPart, cards: Ints) -> QuantityReference:
    """Return what live decisions by a policy are compared with."""
    said = said_by(chosen.policy, chosen.costs, part).astype(np.int64)
    return decisions_reference(said, cards, part.occurred_ms, chosen.policy)


def _unmeasured(before: Manifest, wish: PolicyWish, *, keeps: bool) -> Manifest:
    """Return a manifest with a policy whose volume is not known, unless it `keeps` its thresholds and costs.

    Nor is it known what live decisions would be compared with.
    """
    if keeps:
        return with_policy(before, before.policy, wish.costs, wish.rules, before.volume)
    metrics = {name: one for name, one in before.metrics.items() if name not in _MEASURED}
    reference = before.reference and msgspec.structs.replace(before.reference, decisions=None)
    unmeasured = msgspec.structs.replace(before, metrics=metrics, reference=reference)
    return with_policy(unmeasured, wish.thresholds or before.policy, wish.costs, wish.rules, None)


def _part(path: Path, parent: Artifact, sets: FeatureSets, work: _Work) -> tuple[ScoredPart, Ints]:
    """Return the payments of a vectors file that the model has not seen, with its scores, and their cards.

    Those without complete histories are left out, and the labels of the last payments: of these only the labels that
    came early are known.
    """
    vectors, manifest = open_vectors(path, sets, work.folder), parent.manifest
    if vectors.feature_set.fingerprint != manifest.fingerprint:
        raise UnusableModelError(
            f"{path}: holds features {vectors.feature_set.fingerprint}, the model needs {manifest.fingerprint}"
        )
    table = read_table(vectors, work.folder, work.threads, work.progress)
    rows = _unseen(table, work.seen_until_ms, vectors.since_ms + reach_ms(vectors.feature_set))
    labelled = _mature(table, rows)
    if not 0 < int(table.fraud[labelled].sum()) < len(labelled):
        until = format_time(work.seen_until_ms)
        raise TrainingDataError(
            f"{path}: no frauds and genuine payments with known labels are later than {until}, until when "
            "the model was trained and calibrated, and its teachers: compute vectors of later days"
        )
    categories = Categories.of(manifest.categories, manifest.feature_names)
    booster = Booster(parent.model_text, manifest.feature_names, categories)
    scores = Calibrator.of(manifest.calibration).probabilities(margins(booster, table, rows))
    return scored_part(table, rows, scores, labelled), table.card[rows]


def _unseen(table: Table, seen_until_ms: int, complete_ms: int) -> Ints:
    """Return the rows after a time that the stream would decide, with complete histories.

    As where a model is imported, incomplete histories cost at most a quarter of the time.
    """
    rows = np.flatnonzero(table.decided & (table.occurred_ms > seen_until_ms))
    if not len(rows):
        return rows
    warm_ms = warm_since_ms(int(table.occurred_ms[rows[0]]), table.last_ms, complete_ms)
    return rows[table.occurred_ms[rows] >= warm_ms]


def _mature(table: Table, rows: Ints) -> Ints:
    """Return those of some rows whose labels count: known, and as old as labels take, at most a third of the time."""
    if not len(rows):
        return rows
    delay_ms = min(label_delay_ms(table), (table.last_ms - int(table.occurred_ms[rows[0]])) // 3)
    return rows[table.known[rows] & (table.occurred_ms[rows] <= table.last_ms - delay_ms)]
