"""Train a model: read, vectorise, split, fit, calibrate, choose thresholds, measure, verify, store.

This is the page to read first. The same file and request give the same digest.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
import numpy as np

from features.history.store import Entity, Ints
from features.vector.sets import FeatureSets
from models.artifact import (
    Artifact,
    Contents,
    Manifest,
    Parameter,
    ProbeHistories,
    ProbeRows,
    TrainingData,
    vectors_of,
    write_artifact,
)
from models.booster import Booster, fit
from models.calibration import Calibration, Calibrator
from models.loading import Model, load
from models.policy import Floats, Policy
from models.repository import Repository
from models.times import format_time
from stream.control.probes import probe_vectorisers
from stream.dataset.file import FileFacts, TransactionsFile
from stream.training.evaluation import Split, calibrate, check_labels, choose_policy, measure, split
from stream.training.request import Period, Progress, TrainingReport, TrainingRequest, UnusableModelError
from stream.training.vectors import Table, build_table

PROBE_ROWS = 64
"""Rows that the artifact keeps with their scores, to prove that a worker computes the same."""
DEFAULTS: Mapping[str, Parameter] = MappingProxyType(
    {
        "objective": "binary",
        "verbosity": -1,
        "deterministic": True,
        "force_col_wise": True,
        # On the handbook's stream 255 bins cost 0.07 average precision on six weeks and 0.01 on seventeen (frauds are
        # in the sparse tails), and leaves of 50 rows cost 0.03 on seventeen weeks compared with leaves of 200.
        "max_bin": 4095,
        "min_data_in_bin": 1,
        "min_data_in_leaf": 200,
    }
)


def train(request: TrainingRequest, repository: Repository, progress: Progress) -> TrainingReport:
    """Train a model on a transactions file and store its artifact in the repository.

    Whether the repository can be written, and whether there are labels, is checked before features are computed.

    Raises:
        FileError: what is wrong with the file, and what to do about it.
        TrainingError: its labels are too few, or the model does not predict them.
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
            table = build_table(source, request.feature_set, folder, request.seed, progress)
        parts = split(table, _reach_ms(request))
        artifact = _build_artifact(request, table, parts, progress)
        contents = write_artifact(artifact)
        _verify(request, contents, folder)
        digest = repository.put(contents)
    return _report(request, digest, artifact.manifest, (facts, dropped, table, parts))


def _build_artifact(request: TrainingRequest, table: Table, parts: Split, progress: Progress) -> Artifact:
    parameters = _parameters(request)
    names = request.feature_set.names
    text = fit(
        (table.matrix, parts.train),
        table.fraud[parts.train],
        names,
        parameters | {"num_threads": request.threads},
        lambda trees: progress("fit", trees, request.trees),
    )
    booster = Booster(text, names)
    calibration = calibrate(_margins(booster, table, parts.calibrate), table.fraud[parts.calibrate])
    scores = Calibrator.of(calibration).probabilities(_margins(booster, table, parts.validate))
    policy = choose_policy(scores, request.review_share, request.decline_share)
    progress("evaluate", 1, 1)
    return Artifact(
        manifest=Manifest(
            name=request.name,
            version=request.version or format_time(table.last_ms)[:10],
            fingerprint=request.feature_set.fingerprint,
            feature_names=names,
            training=_training(table, parts),
            code_version=request.code_version,
            parameters=parameters,
            seed=request.seed,
            metrics=measure(table, parts.validate, scores, policy),
            calibration=calibration,
            policy=policy,
        ),
        model_text=text,
        probe_rows=_probe_rows(table, parts.validate, (booster, calibration, scores)),
        probe_histories=ProbeHistories(
            tuple(msgspec.Raw(probe) for probe in table.probes), vectors_of(table.matrix[table.probe_rows])
        ),
    )


def _parameters(request: TrainingRequest) -> dict[str, Parameter]:
    return {
        **DEFAULTS,
        "num_iterations": request.trees,
        "num_leaves": request.leaves,
        "learning_rate": request.learning_rate,
        "seed": request.seed,
    }


def _reach_ms(request: TrainingRequest) -> int:
    return max((row.reach_ms for row in request.feature_set.rows if row.entity is not Entity.NONE), default=0)


def _margins(booster: Booster, table: Table, rows: Ints) -> Floats:
    """Return the margins of some rows, computed in blocks because the matrix may not fit into memory."""
    blocks = np.array_split(rows, max(1, len(rows) // 65_536))
    return np.concatenate([booster.margins(np.asarray(table.matrix[block])) for block in blocks])


def _probe_rows(table: Table, rows: Ints, fitted: tuple[Booster, Calibration, Floats]) -> ProbeRows:
    """Return rows spread evenly over the scores, from the lowest to the highest."""
    booster, calibration, scores = fitted
    by_score = rows[np.argsort(scores, kind="stable")]
    matrix = np.asarray(table.matrix[by_score[np.linspace(0, len(rows) - 1, PROBE_ROWS).astype(int)]])
    expected = Calibrator.of(calibration).probabilities(booster.margins(matrix))
    return ProbeRows(vectors_of(matrix), tuple(expected.tolist()))


def _training(table: Table, parts: Split) -> TrainingData:
    period = _period(table, np.concatenate((parts.train, parts.calibrate)))
    return TrainingData(
        since=period.since, until=period.until, rows=period.rows, frauds=period.frauds, fingerprint=table.fingerprint
    )


def _verify(request: TrainingRequest, contents: Contents, folder: Path) -> None:
    """Load the artifact as a worker would, before it is stored."""
    trial = Repository(str(folder / "trial"))
    digest = trial.put(contents)
    model = load(trial, digest, probe_vectorisers(FeatureSets((request.feature_set,))))
    if not isinstance(model, Model):
        raise UnusableModelError("; ".join(f"{problem.code}: {problem.detail}" for problem in model))


def _period(table: Table, rows: Ints) -> Period:
    times = table.occurred_ms[rows]
    return Period(format_time(int(times[0])), format_time(int(times[-1])), len(rows), int(table.fraud[rows].sum()))


def _report(
    request: TrainingRequest, digest: str, manifest: Manifest, seen: tuple[FileFacts, dict[str, int], Table, Split]
) -> TrainingReport:
    facts, dropped, table, parts = seen
    policy: Policy = manifest.policy
    return TrainingReport(
        digest=digest,
        name=manifest.name,
        version=manifest.version,
        fingerprint=manifest.fingerprint,
        file=str(request.file),
        rows=facts.rows,
        labelled=facts.usable,
        frauds=int(table.fraud[table.known].sum()),
        set_aside=int((~table.decided).sum()),
        dropped=dropped,
        train=_period(table, parts.train),
        calibrate=_period(table, parts.calibrate),
        validate=_period(table, parts.validate),
        features=manifest.feature_names,
        review_at=policy.review_at,
        decline_at=policy.decline_at,
        metrics=manifest.metrics,
    )
