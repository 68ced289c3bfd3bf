"""Train a model: read, vectorise, split, fit, calibrate, choose thresholds, measure, verify, store.

This is the page to read first. The same file and request give the same digest. What follows the fit is in `assembly`,
which models that were trained elsewhere go through too.
"""

import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType

import numpy as np

from models.artifact import Artifact, Manifest, Parameter
from models.booster import Booster, fit
from models.policy import Policy
from models.repository import Repository
from models.times import format_time
from stream.dataset.file import FileFacts, TransactionsFile
from stream.dataset.predictions_file import open_needed
from stream.training.assembly import data_of, fit_decisions, period, store
from stream.training.evaluation import Split, check_labels, split
from stream.training.request import Progress, TrainingReport, TrainingRequest
from stream.training.vectors import Table, VectorPass, fill_table, reach_ms

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
            table = _table(request, source, folder, progress)
        parts = split(table, reach_ms(request.feature_set))
        artifact = _build(request, table, parts, progress)
        digest = store(artifact, request.feature_set, repository, folder)
    return _report(request, digest, artifact.manifest, (facts, dropped, table, parts))


def _table(request: TrainingRequest, source: TransactionsFile, folder: Path, progress: Progress) -> Table:
    """Compute the vectors of the file, with the predictions from storage that the features read."""
    names = request.feature_set.prediction_delays_ms
    with open_needed(request.predictions, names, folder, request.threads) or nullcontext() as predictions:
        pass_ = VectorPass(source, request.feature_set, request.seed, predictions)
        return fill_table(source, pass_, folder, progress)


def _build(request: TrainingRequest, table: Table, parts: Split, progress: Progress) -> Artifact:
    parameters = _parameters(request)
    names = request.feature_set.names
    text = fit(
        (table.matrix, parts.train),
        table.fraud[parts.train],
        names,
        parameters | {"num_threads": request.threads},
        lambda trees: progress("fit", trees, request.trees),
    )
    decisions = fit_decisions(Booster(text, names), table, (parts.calibrate, parts.validate), request.shares)
    progress("evaluate", 1, 1)
    manifest = Manifest(
        name=request.name,
        version=request.version or format_time(table.last_ms)[:10],
        fingerprint=request.feature_set.fingerprint,
        feature_names=names,
        training=data_of(table, np.concatenate((parts.train, parts.calibrate))),
        code_version=request.code_version,
        parameters=parameters,
        seed=request.seed,
        metrics=decisions.metrics,
        calibration=decisions.calibration,
        policy=decisions.policy,
    )
    return Artifact(manifest=manifest, model_text=text, probe_rows=decisions.probe_rows, probe_histories=table.probes)


def _parameters(request: TrainingRequest) -> dict[str, Parameter]:
    return {
        **DEFAULTS,
        "num_iterations": request.trees,
        "num_leaves": request.leaves,
        "learning_rate": request.learning_rate,
        "seed": request.seed,
    }


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
        train=period(table, parts.train),
        calibrate=period(table, parts.calibrate),
        validate=period(table, parts.validate),
        features=manifest.feature_names,
        review_at=policy.review_at,
        decline_at=policy.decline_at,
        metrics=manifest.metrics,
    )
