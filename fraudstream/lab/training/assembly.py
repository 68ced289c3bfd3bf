"""What every model goes through once it has trees: calibrate, choose thresholds, measure, invent probes, verify.

It does not matter where the trees were trained: `run` has just fitted them, `import_run` has read them from a file.
"""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from features.declaration import FeatureSet
from features.history.store import Ints
from features.vector.sets import FeatureSets
from fraudstream.lab.training.calibrators import choose_calibration
from fraudstream.lab.training.evaluation import measure
from fraudstream.lab.training.policy import ChosenPolicy, ScoredPart, alert_measures, fit_policy, said_by
from fraudstream.lab.training.probe_histories import invented_histories
from fraudstream.lab.training.probe_rows import invented_rows
from fraudstream.lab.training.request import ArtifactRequest, ArtifactTerms, Period, UnusableModelError
from fraudstream.lab.training.vectors import Table, score_blocks
from models.artifact import (
    Artifact,
    Contents,
    Imported,
    Manifest,
    Parameter,
    ProbeRows,
    TrainingData,
    vectors_of,
    with_policy,
    write_artifact,
)
from models.booster import Booster
from models.calibration import Calibration, Calibrator
from models.categories import Categories
from models.loading import Model, load
from models.model_text import without_ranges
from models.policy import Floats
from models.repository import Repository
from models.times import format_time
from models.training_reference import ReferenceRows, TrainingReference, build_reference
from stream.control.probes import probe_vectorisers


class MadeTrees(NamedTuple):
    """Trees, wherever they were fitted: LightGBM's text, and the parameters and the seed of the fit."""

    text: str
    parameters: dict[str, Parameter]
    seed: int


class Decisions(NamedTuple):
    """How margins become decisions, how good these are, and what drift is told by."""

    calibration: Calibration
    chosen: ChosenPolicy
    metrics: dict[str, float]
    reference: TrainingReference


class PartMargins(NamedTuple):
    """All payments of a part's time that the stream would decide, with margins; only `labelled` have labels."""

    rows: Ints
    margins: Floats
    labelled: Ints

    @classmethod
    def of(cls, booster: Booster, table: Table, labelled: Ints) -> Self:
        """Return what a model says of the time of some labelled rows."""
        rows = decided_among(table, labelled)
        return cls(rows, margins(booster, table, rows), labelled)

    @property
    def labelled_margins(self) -> Floats:
        """Return the margins of the labelled rows."""
        return self.margins[np.searchsorted(self.rows, self.labelled)]

    def scored(self, table: Table, calibration: Calibration) -> ScoredPart:
        """Return the payments with calibrated scores."""
        return scored_part(table, self.rows, Calibrator.of(calibration).probabilities(self.margins), self.labelled)


def fit_decisions(
    booster: Booster,
    table: Table,
    parts: tuple[Ints, Ints],
    terms: ArtifactTerms,
    *,
    out_of_fold: PartMargins | None = None,
) -> Decisions:
    """Calibrate, and make the policy, on the rows of the first part; measure on those of the second.

    Thresholds and the expected volume count all payments of a part's time, those without a label too. `out_of_fold` are
    the margins of the first part where the model was fitted to it.

    Raises:
        UnusableModelError: the probability of fraud does not rise with the margin, or costs need a better calibration.
        MissingExtraError: scikit-learn is not installed.
    """
    tested_on = parts[1]
    there = PartMargins.of(booster, table, parts[0]) if out_of_fold is None else out_of_fold
    calibration = choose_calibration(there.labelled_margins, table.fraud[there.labelled], terms.calibration)
    tested = PartMargins.of(booster, table, tested_on).scored(table, calibration)
    scores = tested.labelled.scores
    chosen = fit_policy(terms.policy, there.scored(table, calibration), terms.shares, tested)
    metrics = measure(table, tested_on, scores, chosen.policy) | alert_measures(chosen, tested)
    since = np.flatnonzero(table.decided & (table.occurred_ms >= table.occurred_ms[tested_on[0]]))
    seen = PartMargins(since, margins(booster, table, since), since[:0])
    reference = make_reference(booster, table, seen, (calibration, chosen))
    return Decisions(calibration, chosen, metrics, reference)


def make_reference(
    booster: Booster, table: Table, seen: PartMargins, decided: tuple[Calibration, ChosenPolicy]
) -> TrainingReference:
    """Make the reference of payments, those without a label too, as live ones come; `booster` says what matters."""
    calibration, chosen = decided
    rows, scores = seen.rows, Calibrator.of(calibration).probabilities(seen.margins)
    said = said_by(chosen.policy, chosen.costs, scored_part(table, rows, scores, rows[:0])).astype(np.int64)
    times, gains = table.occurred_ms[rows], booster.gains()
    known = ReferenceRows(table.matrix, rows, scores, table.card[rows], times, said, gains, table.categories)
    return build_reference(known, chosen.policy)


def decided_among(table: Table, rows: Ints) -> Ints:
    """Return all rows from the first to the last of some that the stream would decide, labelled or not."""
    first, last = int(rows[0]), int(rows[-1])
    return first + np.flatnonzero(table.decided[first : last + 1])


def scored_part(table: Table, rows: Ints, scores: Floats, labelled: Ints) -> ScoredPart:
    """Return some rows with their scores, of shape (len(rows),); only `labelled`, which are among them, have labels."""
    fraud = np.full(len(rows), -1, np.int8)
    fraud[np.searchsorted(rows, labelled)] = table.fraud[labelled]
    return ScoredPart(scores, fraud, table.occurred_ms[rows], table.amount_minor[rows], table.currency[rows])


def margins(booster: Booster, table: Table, rows: Ints) -> Floats:
    """Return the margins of some rows."""
    return score_blocks(booster.margins, table, rows)


def manifest_of(
    request: ArtifactRequest,
    feature_set: FeatureSet,
    table: Table,
    trees: MadeTrees,
    decisions: Decisions,
    *,
    training: TrainingData | None = None,
    imported: Imported | None = None,
) -> Manifest:
    """Return what a manifest states of any model that decides so; one of `training` and `imported` says its data."""
    manifest = Manifest(
        name=request.name,
        version=request.version or format_time(table.last_ms)[:10],
        fingerprint=feature_set.fingerprint,
        feature_names=feature_set.names,
        training=training,
        imported=imported,
        code_version=request.code_version,
        provenance=request.provenance,
        parameters=trees.parameters,
        seed=trees.seed,
        metrics=decisions.metrics,
        calibration=decisions.calibration,
        policy=decisions.chosen.policy,
        reference=decisions.reference,
        categories={name: tuple(codes) for name, codes in table.categories.codes.items()},
    )
    return with_policy(manifest, *decisions.chosen)


def assemble(manifest: Manifest, text: str, feature_set: FeatureSet) -> Artifact:
    """Return the artifact of a manifest and LightGBM's text, with invented probes: it holds no payment of its training.

    Raises:
        DamagedArtifactError: the text is not a valid model of these features.
        FormulaError: a formula of the feature set cannot compute with any of the invented histories.
    """
    text = without_ranges(text)  # those of a file, and of artifacts of earlier versions
    categories = Categories.of(manifest.categories, manifest.feature_names)
    rows = categories.as_codes(invented_rows(text, manifest.feature_names, manifest.reference))
    margins_there = Booster(text, manifest.feature_names, categories).margins(rows)
    scores = Calibrator.of(manifest.calibration).probabilities(margins_there)
    return Artifact(
        manifest=manifest,
        model_text=text,
        probe_rows=ProbeRows(vectors_of(rows), tuple(scores.tolist())),
        probe_histories=invented_histories(feature_set),
    )


def store(artifact: Artifact, feature_set: FeatureSet, repository: Repository, folder: Path) -> str:
    """Load an artifact from a trial repository in `folder`, as a worker would, then store it; return its digest.

    Raises:
        UnusableModelError: a worker could not serve it; nothing is stored.
        RepositoryUnavailableError: the repository cannot be written.
    """
    contents = write_artifact(artifact)
    _verify(contents, feature_set, folder)
    return repository.put(contents)


def _verify(contents: Contents, feature_set: FeatureSet, folder: Path) -> None:
    trial = Repository(str(folder / "trial"))
    digest = trial.put(contents)
    model = load(trial, digest, probe_vectorisers(FeatureSets((feature_set,))))
    if not isinstance(model, Model):
        raise UnusableModelError("; ".join(f"{problem.code}: {problem.detail}" for problem in model))


def period(table: Table, rows: Ints) -> Period:
    """Return the times of the first and the last of some rows, in order of time, and how many there are."""
    times = table.occurred_ms[rows]
    return Period(format_time(int(times[0])), format_time(int(times[-1])), len(rows), int(table.fraud[rows].sum()))


def data_of(table: Table, rows: Ints, maturity_days: float | None = None) -> TrainingData:
    """Return what a manifest says of rows of a table that its model was fitted to, or measured on."""
    found = period(table, rows)
    return TrainingData(
        since=found.since,
        until=found.until,
        rows=found.rows,
        frauds=found.frauds,
        fingerprint=table.fingerprint,
        maturity_days=maturity_days,
    )
