"""Train a model: read, look at labels and split, vectorise, refuse leaks, fit, measure, fit again, verify, store.

This is the page to read first. The same file and request give the same digest, unless a limit of time ended a search.
What follows the fit is in `assembly`, which models that were trained elsewhere go through too.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from features.declaration import DAY_MS
from features.history.store import Ints
from fraudstream.lab.dataset.file import FileFacts, TransactionsFile
from fraudstream.lab.dataset.own_columns import OwnColumns
from fraudstream.lab.dataset.predictions_file import open_needed
from fraudstream.lab.training.assembly import (
    MadeTrees,
    assemble,
    data_of,
    decided_among,
    fit_decisions,
    manifest_of,
    margins,
    period,
    store,
)
from fraudstream.lab.training.baselines import ScoreRows, fit_logistic, measure_baselines, ranks_worse
from fraudstream.lab.training.labels import LabelTerms, chosen_labels, look_at_labels
from fraudstream.lab.training.leaks import constant_on_cards, find_leaks, refuse_leaks
from fraudstream.lab.training.policy_facts import PolicyFacts
from fraudstream.lab.training.refit import refit
from fraudstream.lab.training.request import Baseline, Progress, SearchReport, TrainingReport, TrainingRequest
from fraudstream.lab.training.search import search
from fraudstream.lab.training.split import Split, label_delay_ms, split
from fraudstream.lab.training.trees import fold_margins, grow, parameters_of, with_categories
from fraudstream.lab.training.vectors import Table, VectorPass, fill_table, reach_ms
from fraudstream.lab.training.weakness import declines_beyond_asked, few_trees, refuse_weak, weaknesses
from models.artifact import Artifact, Parameter, as_weaknesses
from models.booster import Booster, FittedTrees
from models.policy import Policy
from models.repository import Repository


class Built(NamedTuple):
    """An artifact that is not stored yet.

    Attributes:
        artifact: the files.
        measured: LightGBM's text of the trees that the metrics are of; other ones, where the model was fitted again.
        rows: what the artifact's own trees and choices are of.
        search: what a search of the parameters did, if there was one.
    """

    artifact: Artifact
    measured: str
    rows: Ints
    search: SearchReport | None = None


class _Seen(NamedTuple):
    """What a report says of the data, and of other models on it."""

    facts: FileFacts
    dropped: dict[str, int]
    table: Table
    parts: Split
    terms: LabelTerms
    warnings: tuple[str, ...]
    baselines: tuple[Baseline, ...]


def train(
    request: TrainingRequest,
    repository: Repository,
    progress: Progress,
    tell: Callable[[str], None] = lambda _line: None,
) -> TrainingReport:
    """Train a model on a transactions file and store its artifact in the repository.

    Whether the repository can be written, which labels count, and how the file is split, is known before features are
    computed; `tell` is called with it, line by line.

    Raises:
        FileError: what is wrong with the file, and what to do about it.
        TrainingError: its labels are too few, a feature knows them, or the model does not predict them, or is weak.
        ModelError: the repository cannot be written.
    """
    repository.check_writable()
    with tempfile.TemporaryDirectory(prefix="fraudstream-train-") as name:
        folder = Path(name)
        progress("read", 0, 1)
        own = OwnColumns.of(request.feature_set)
        with TransactionsFile(request.file, folder, request.threads, own=own, needs_labels=True) as source:
            facts, dropped = source.facts, source.dropped
            terms = _look(request, source, tell)
            request = replace(request, maturity_days=terms.maturity_days)
            progress("read", 1, 1)
            table = terms.apply(_table(request, source, folder, progress))
        parts = split(table, reach_ms(request.feature_set), request.sizes)
        table = with_categories(table, parts.train, request.feature_set)
        learned = parts.known if request.refit and parts.known is not None else parts.train
        accepted = refuse_leaks(find_leaks(table, learned, request.feature_set), request.accepted)
        built = build(request, table, parts, progress)
        logistic = fit_logistic(table, parts)
        weak = refuse_weak(_weaknesses(request, table, parts, built), accepted=request.accept_weak)
        worse = ranks_worse(table, parts, _scorer(built, table), logistic)
        baselines = measure_baselines(request, repository, table, parts, logistic)
        built = _with_weaknesses(built, (*terms.weaknesses, *accepted, *weak, *worse))
        progress("evaluate", 1, 1)
        digest = store(built.artifact, request.feature_set, repository, folder)
        warnings = (*built.artifact.manifest.weaknesses, *terms.notes, *_warnings(request, table, parts, built))
    return _report(request, digest, built, _Seen(facts, dropped, table, parts, terms, warnings, baselines))


def _look(request: TrainingRequest, source: TransactionsFile, tell: Callable[[str], None]) -> LabelTerms:
    """Look at times and labels alone: tell which labels count, and how the file will be split."""
    terms, table = look_at_labels(source, request)
    parts = split(table, reach_ms(request.feature_set), request.sizes)
    for line in (*terms.notes, *(f"split: {choice}" for choice in parts.choices)):
        tell(line)
    return terms


def _weaknesses(request: TrainingRequest, table: Table, parts: Split, built: Built) -> Iterator[str]:
    """Yield what is weak about the measured model."""
    manifest = built.artifact.manifest
    yield from few_trees(int(manifest.parameters["num_iterations"]), request.trees)
    if manifest.volume is not None:
        margins_there = _scorer(built, table)(parts.test)
        yield from weaknesses(table, parts.test, margins_there, manifest.volume, request.terms)


def _table(request: TrainingRequest, source: TransactionsFile, folder: Path, progress: Progress) -> Table:
    """Compute the vectors of the file, with the predictions from storage that the features read."""
    names = request.feature_set.prediction_delays_ms
    with open_needed(request.predictions, names, folder, request.threads) or nullcontext() as predictions:
        pass_ = VectorPass(source, request.feature_set, predictions)
        return fill_table(source, pass_, folder, progress)


def build(request: TrainingRequest, table: Table, parts: Split, progress: Progress) -> Built:
    """Grow trees on the parts of a table, calibrate, choose thresholds, measure, and fit again; nothing is stored.

    Raises:
        UnusableModelError: the model does not predict the labels.
        MissingExtraError: a library is not installed.
    """
    parameters, fitted, searched = _grow(request, table, parts, progress)
    parameters["num_iterations"] = fitted.trees
    names = request.feature_set.names
    folds = fold_margins(request, parameters, table, parts.folds) if parts.folds else None
    both = parts.calibrate, parts.test
    booster = Booster(fitted.text, names, table.categories)
    decisions = fit_decisions(booster, table, both, request.terms, out_of_fold=folds)
    text, rows, measured = fitted.text, parts.before_test, None
    if request.refit and (again := refit(request, parameters, table, parts, decisions)) is not None:
        text, decisions, rows, measured = again
    progress("refit", 1, 1)
    trees, feature_set = MadeTrees(text, parameters, request.seed), request.feature_set
    training = data_of(table, rows, request.maturity_days)
    manifest = manifest_of(request, feature_set, table, trees, decisions, training=training)
    manifest = msgspec.structs.replace(manifest, measured=measured)
    return Built(assemble(manifest, text, feature_set), fitted.text, rows, searched)


def _scorer(built: Built, table: Table) -> ScoreRows:
    """Return the function that scores rows by margins of the measured trees, which rank as probabilities do."""
    booster = Booster(built.measured, built.artifact.manifest.feature_names, table.categories)
    return lambda rows: margins(booster, table, rows)


def _with_weaknesses(built: Built, weaknesses: tuple[str, ...]) -> Built:
    """Return an artifact whose manifest states what is weak about its training; without any, its bytes stay."""
    manifest = msgspec.structs.replace(built.artifact.manifest, weaknesses=as_weaknesses(weaknesses))
    return built._replace(artifact=msgspec.structs.replace(built.artifact, manifest=manifest))


def _grow(
    request: TrainingRequest, table: Table, parts: Split, progress: Progress
) -> tuple[dict[str, Parameter], FittedTrees, SearchReport | None]:
    """Grow trees by the request's parameters, or by the best that a search finds."""
    parameters = parameters_of(request)
    if request.searches:
        return search(request, parameters, table, parts, progress)
    unfinished = request.trees - 1
    fitted = grow(
        request, parameters, table, parts, lambda trees: progress("fit", min(trees, unfinished), request.trees)
    )
    progress("fit", request.trees, request.trees)
    return parameters, fitted, None


def _warnings(request: TrainingRequest, table: Table, parts: Split, built: Built) -> Iterator[str]:
    """Yield what a person should know who promotes the model."""
    tested = decided_among(table, parts.test)
    margins_there = _scorer(built, table)(tested)
    alerts = np.zeros(len(tested), np.bool_)
    volume = built.artifact.manifest.volume
    if volume is not None:  # as many as the model alerts, by its ranking
        alerts[np.argsort(-margins_there, kind="stable")[: round(volume.alert_share * len(tested))]] = True
        yield from declines_beyond_asked(volume, request.terms)
    yield from chosen_labels(table, tested, alerts)
    yield from constant_on_cards(table, request.feature_set)
    if request.refit and built.artifact.manifest.measured is None:
        yield "the stored model is the measured one: frauds come too close together in time to fit it again"
    delay_ms = label_delay_ms(table)
    if parts.gaps_ms[-1] < delay_ms:
        yield (
            f"the gap before the test is {parts.gaps_ms[-1] / DAY_MS:.1f} days, and labels take "
            f"{delay_ms / DAY_MS:.1f}: live, the model will be older than in this measurement"
        )
    if built.search is not None and not built.search.reproducible:
        yield (
            f"time ended the search after {built.search.trials} trials, so another run may give another model: "
            f"--trials {built.search.trials} gives this one again"
        )


def _report(request: TrainingRequest, digest: str, built: Built, seen: _Seen) -> TrainingReport:
    facts, dropped, table, parts, terms, warnings, baselines = seen
    manifest = built.artifact.manifest
    policy: Policy = manifest.policy
    return TrainingReport(
        digest=digest,
        name=manifest.name,
        version=manifest.version,
        fingerprint=manifest.fingerprint,
        file=request.source or str(request.file),
        rows=facts.rows,
        labelled=facts.usable,
        frauds=int(table.fraud[table.known].sum()),
        set_aside=int((~table.decided).sum()),
        dropped=dropped,
        train=period(table, parts.train),
        calibrate=period(table, parts.calibrate),
        validate=period(table, parts.validate),
        test=period(table, parts.test),
        gaps_days=_in_days(parts.gaps_ms),
        split="folds" if parts.folds else "parts",
        choices=parts.choices,
        fitted=period(table, built.rows),
        maturity_days=terms.maturity_days,
        trees=int(manifest.parameters["num_iterations"]),
        features=manifest.feature_names,
        review_at=policy.review_at,
        decline_at=policy.decline_at,
        policy=PolicyFacts.of(manifest),
        metrics=manifest.metrics,
        warnings=warnings,
        baselines=baselines,
        search=built.search,
    )


def _in_days(gaps_ms: tuple[int, int, int]) -> tuple[float, float, float]:
    """Return the gaps in days, to a hundredth."""
    first, second, third = (round(gap / DAY_MS, 2) for gap in gaps_ms)
    return first, second, third
