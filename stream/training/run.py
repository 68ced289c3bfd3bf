"""Train a model: read, vectorise, split, refuse leaks, fit, calibrate, choose thresholds, measure, verify, store.

This is the page to read first. The same file and request give the same digest, unless a limit of time ended a search.
What follows the fit is in `assembly`, which models that were trained elsewhere go through too.
"""

import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import msgspec

from features.declaration import DAY_MS
from models.artifact import Artifact, Manifest, Parameter, as_weaknesses, with_policy
from models.booster import Booster, FittedTrees
from models.policy import Policy
from models.repository import Repository
from models.times import format_time
from stream.dataset.file import FileFacts, TransactionsFile
from stream.dataset.predictions_file import open_needed
from stream.training.assembly import data_of, fit_decisions, margins, period, store
from stream.training.baselines import ScoreRows, fit_logistic, measure_baselines, ranks_worse
from stream.training.leaks import find_leaks, refuse_leaks
from stream.training.policy_facts import PolicyFacts
from stream.training.request import Baseline, Progress, SearchReport, TrainingReport, TrainingRequest
from stream.training.search import search
from stream.training.split import Split, check_labels, label_delay_ms, split
from stream.training.trees import grow, parameters_of
from stream.training.vectors import Table, VectorPass, fill_table, reach_ms


class Built(NamedTuple):
    """An artifact that is not stored yet, and what a search of its parameters did, if there was one."""

    artifact: Artifact
    search: SearchReport | None = None


class _Seen(NamedTuple):
    """What a report says of the data, and of other models on it."""

    facts: FileFacts
    dropped: dict[str, int]
    table: Table
    parts: Split
    warnings: tuple[str, ...]
    baselines: tuple[Baseline, ...]


def train(request: TrainingRequest, repository: Repository, progress: Progress) -> TrainingReport:
    """Train a model on a transactions file and store its artifact in the repository.

    Whether the repository can be written, and whether there are labels, is checked before features are computed.

    Raises:
        FileError: what is wrong with the file, and what to do about it.
        TrainingError: its labels are too few, a feature knows them, or the model does not predict them.
        ModelError: the repository cannot be written.
    """
    repository.check_writable()
    with tempfile.TemporaryDirectory(prefix="fraudstream-train-") as name:
        folder = Path(name)
        progress("read", 0, 1)
        with TransactionsFile(request.file, folder, request.threads, needs_labels=True) as source:
            facts, dropped = source.facts, source.dropped
            check_labels(facts.labelled, facts.usable, facts.last_ms)
            progress("read", 1, 1)
            table = _table(request, source, folder, progress)
        parts = split(table, reach_ms(request.feature_set), request.sizes)
        accepted = refuse_leaks(find_leaks(table, parts.train, request.feature_set), request.accepted)
        built = build(request, table, parts, progress)
        logistic = fit_logistic(table, parts)
        baselines = measure_baselines(request, repository, (table, parts), logistic)
        built = _with_weaknesses(built, (*accepted, *ranks_worse((table, parts), _scorer(built, table), logistic)))
        progress("evaluate", 1, 1)
        digest = store(built.artifact, request.feature_set, repository, folder)
        warnings = (*built.artifact.manifest.weaknesses, *_warnings(table, parts, built))
    return _report(request, digest, built, _Seen(facts, dropped, table, parts, warnings, baselines))


def _table(request: TrainingRequest, source: TransactionsFile, folder: Path, progress: Progress) -> Table:
    """Compute the vectors of the file, with the predictions from storage that the features read."""
    names = request.feature_set.prediction_delays_ms
    with open_needed(request.predictions, names, folder, request.threads) or nullcontext() as predictions:
        pass_ = VectorPass(source, request.feature_set, request.seed, predictions)
        return fill_table(source, pass_, folder, progress)


def build(request: TrainingRequest, table: Table, parts: Split, progress: Progress) -> Built:
    """Grow trees on the parts of a table, calibrate, choose thresholds and measure; nothing is stored.

    Raises:
        UnusableModelError: the model does not predict the labels.
        MissingExtraError: a library is not installed.
    """
    parameters, fitted, searched = _grow(request, (table, parts), progress)
    names = request.feature_set.names
    decisions = fit_decisions(Booster(fitted.text, names), table, (parts.calibrate, parts.test), request.terms)
    chosen = decisions.chosen
    manifest = Manifest(
        name=request.name,
        version=request.version or format_time(table.last_ms)[:10],
        fingerprint=request.feature_set.fingerprint,
        feature_names=names,
        training=data_of(table, parts.before_test),
        code_version=request.code_version,
        provenance=request.provenance,
        parameters=parameters | {"num_iterations": fitted.trees},
        seed=request.seed,
        metrics=decisions.metrics,
        calibration=decisions.calibration,
        policy=chosen.policy,
        reference=decisions.reference,
    )
    manifest = with_policy(manifest, *chosen)
    artifact = Artifact(
        manifest=manifest, model_text=fitted.text, probe_rows=decisions.probe_rows, probe_histories=table.probes
    )
    return Built(artifact, searched)


def _scorer(built: Built, table: Table) -> ScoreRows:
    """Return the function that scores rows of the table by margins, which rank as probabilities do."""
    booster = Booster(built.artifact.model_text, built.artifact.manifest.feature_names)
    return lambda rows: margins(booster, table, rows)


def _with_weaknesses(built: Built, weaknesses: tuple[str, ...]) -> Built:
    """Return an artifact whose manifest states what is weak about its training; without any, its bytes stay."""
    manifest = msgspec.structs.replace(built.artifact.manifest, weaknesses=as_weaknesses(weaknesses))
    return built._replace(artifact=msgspec.structs.replace(built.artifact, manifest=manifest))


def _grow(
    request: TrainingRequest, data: tuple[Table, Split], progress: Progress
) -> tuple[dict[str, Parameter], FittedTrees, SearchReport | None]:
    """Grow trees by the request's parameters, or by the best that a search finds."""
    parameters = parameters_of(request)
    if request.searches:
        return search(request, parameters, data, progress)
    unfinished = request.trees - 1
    fitted = grow(request, parameters, data, lambda trees: progress("fit", min(trees, unfinished), request.trees))
    progress("fit", request.trees, request.trees)
    return parameters, fitted, None


def _warnings(table: Table, parts: Split, built: Built) -> Iterator[str]:
    """Yield what a person should know who promotes the model."""
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
    facts, dropped, table, parts, warnings, baselines = seen
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
