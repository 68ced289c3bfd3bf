"""Import a model that was trained elsewhere: check it, calibrate it on vectors, choose thresholds, measure, store.

What follows the checks is what `run` does with a model that it has trained. The same files and request give the same
digest.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.declaration import FeatureSet
from fraudstream.lab.training.assembly import (
    MadeTrees,
    assemble,
    data_of,
    fit_decisions,
    manifest_of,
    margins,
    period,
    store,
)
from fraudstream.lab.training.labels import label_terms
from fraudstream.lab.training.leaks import constant_on_cards, find_changed, find_leaks, refuse_leaks
from fraudstream.lab.training.model_file import ModelFile, read_model_file
from fraudstream.lab.training.policy_facts import PolicyFacts
from fraudstream.lab.training.request import ImportReport, ImportRequest, Progress, UnusableModelError
from fraudstream.lab.training.split import UnseenSplit, split_unseen
from fraudstream.lab.training.vectors import Table, reach_ms
from fraudstream.lab.training.vectors_file import Vectors, open_vectors, read_table
from fraudstream.lab.training.weakness import ranks_by_chance, refuse_weak
from models.artifact import Artifact, Imported, Manifest, as_weaknesses, matrix_of
from models.booster import Booster
from models.categories import Categories
from models.repository import Repository
from models.times import format_time

_MOST_NAMED = 5


def import_model(request: ImportRequest, repository: Repository, progress: Progress) -> ImportReport:
    """Store a model file as an artifact, calibrated and with thresholds, in the repository.

    The model file is checked before the vectors are read.

    Raises:
        TrainingError: the model or the vectors cannot be used, or the model does not predict the labels.
        FileError: a library is not installed.
        ModelError: the repository cannot be written.
    """
    repository.check_writable()
    with tempfile.TemporaryDirectory(prefix="fraudstream-import-") as name:
        folder = Path(name)
        vectors = open_vectors(request.vectors, request.sets, folder)
        if problems := tuple(request.policy.rule_problems(vectors.feature_set.names)):
            raise UnusableModelError("; ".join(problems))
        names = vectors.feature_set.names
        model = read_model_file(
            request.file,
            names,
            by_position=request.features_by_position,
            categories=vectors.feature_set.categories.keys(),
        )
        table = read_table(vectors, folder, request.threads, progress)
        table = replace(table, categories=Categories.of(model.categories, names))
        terms = label_terms(table, request)
        table = terms.apply(table)
        parts = split_unseen(
            table,
            vectors.since_ms + reach_ms(vectors.feature_set),
            None if request.use_training_rows else request.trained_until_ms,
        )
        accepted = _refuse_leaks(request, vectors.feature_set, table, parts)
        artifact = _build(request, (vectors, model), table, parts, terms.maturity_days)
        progress("evaluate", 1, 1)
        ranked = margins(Booster(model.text, names, table.categories), table, parts.test)
        chance = refuse_weak(ranks_by_chance(table, parts.test, ranked), accepted=request.accept_weak)
        weak = (*terms.weaknesses, *chance, *_weaknesses(request, model, table, vectors))
        manifest = msgspec.structs.replace(artifact.manifest, weaknesses=as_weaknesses((*accepted, *weak)))
        artifact = msgspec.structs.replace(artifact, manifest=manifest)
        digest = store(artifact, vectors.feature_set, repository, folder)
        warnings = (*accepted, *terms.notes, *_warnings(request, model, table, vectors), *weak)
    return _report(request, digest, artifact.manifest, (table, parts, warnings))


def _refuse_leaks(request: ImportRequest, feature_set: FeatureSet, table: Table, parts: UnseenSplit) -> tuple[str, ...]:
    """Check the vectors as `train` does, on all labelled rows before the test, and whether they were changed.

    Raises:
        LeakError: a feature knows the label, or what came later.
    """
    before = np.flatnonzero(table.known)
    before = before[before < parts.test[0]]
    changed = find_changed(table, table.probes, feature_set.names)
    return refuse_leaks((*changed, *find_leaks(table, before, feature_set)), request.accepted)


def _build(
    request: ImportRequest,
    given: tuple[Vectors, ModelFile],
    table: Table,
    parts: UnseenSplit,
    maturity_days: float | None,
) -> Artifact:
    vectors, model = given
    until, feature_set = request.trained_until_ms, vectors.feature_set
    booster = Booster(model.text, feature_set.names, table.categories)
    decisions = fit_decisions(booster, table, (parts.calibrate, parts.test), request.terms)
    imported = Imported(
        model_file=model.digest,
        calibrated_on=data_of(table, parts.calibrate, maturity_days),
        trained_until=None if until is None else format_time(until),
        features_by_position=model.features_by_position,
    )
    trees = MadeTrees(model.text, model.parameters, model.seed)
    manifest = manifest_of(request, feature_set, table, trees, decisions, imported=imported)
    return assemble(manifest, model.text, feature_set)


def _warnings(request: ImportRequest, model: ModelFile, table: Table, vectors: Vectors) -> Iterator[str]:
    """Yield what the import could not prove."""
    if request.trained_until_ms is None:
        yield (
            "nothing says until when the model was trained: if it has seen these transactions, its probabilities and "
            "metrics are too good; state --trained-until"
        )
    if model.features_by_position:
        yield "the model names no features: nothing proves that their order is that of the feature set"
    if len(table.fraud) < vectors.description.rows:
        yield (
            f"the file has {len(table.fraud):,} of the {vectors.description.rows:,} vectors that were computed: if "
            "frauds were kept and others left out, the probabilities are too high"
        )
    yield from constant_on_cards(table, vectors.feature_set)


def _weaknesses(request: ImportRequest, model: ModelFile, table: Table, vectors: Vectors) -> Iterator[str]:
    """Yield what is weak about the training, by what the import has found: the manifest states it."""
    names = vectors.feature_set.names
    if request.use_training_rows:
        yield "the model was calibrated and measured on transactions of its training: its metrics are too good"
    undefined, of_probes = _undefined(table.matrix), _undefined(matrix_of(vectors.probes.vectors, len(names)))
    if filled := [name for at, name in enumerate(names) if of_probes[at] and not undefined[at]]:
        yield (
            f"{_named(filled)}: undefined in payments of these vectors, but nowhere in the file, so gaps were filled: "
            "the worker does not fill them, so its scores are not those measured; import the vectors as they are"
        )
    if taken_for_0 := [name for at, name in enumerate(names) if name in model.undefined_as_0 and undefined[at]]:
        yield (
            f"{_named(taken_for_0)}: sometimes undefined, but never in the model's training, so it "
            "takes undefined for 0; train on the vectors as they are, without filling gaps"
        )


def _undefined(matrix: NDArray[np.float64]) -> list[bool]:
    """Tell for each column whether it is undefined in some row."""
    return [bool(np.isnan(matrix[:, at]).any()) for at in range(matrix.shape[1])]


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"


def _report(
    request: ImportRequest, digest: str, manifest: Manifest, seen: tuple[Table, UnseenSplit, tuple[str, ...]]
) -> ImportReport:
    table, parts, warnings = seen
    until = request.trained_until_ms
    known = table.known
    return ImportReport(
        digest=digest,
        name=manifest.name,
        version=manifest.version,
        fingerprint=manifest.fingerprint,
        file=str(request.file),
        vectors=str(request.vectors),
        rows=len(table.fraud),
        labelled=int(known.sum()),
        frauds=int(table.fraud[known].sum()),
        trained_until=None if until is None else format_time(until),
        trained_on=parts.trained_on,
        features_by_position=manifest.imported is not None and manifest.imported.features_by_position,
        calibrate=period(table, parts.calibrate),
        test=period(table, parts.test),
        features=manifest.feature_names,
        review_at=manifest.policy.review_at,
        decline_at=manifest.policy.decline_at,
        policy=PolicyFacts.of(manifest),
        metrics=manifest.metrics,
        warnings=warnings,
    )
