"""What a model is compared with on its own test part: a logistic regression, and a model that is stored already.

The logistic regression is the least that trees have to beat: a model that ranks worse is stored with that as a weakness
of its training. The stored model is the one that a promotion would replace; it does not affect the artifact.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from features.history.store import Ints
from features.vector.sets import FeatureSets
from fraudstream.lab.dataset.errors import MissingExtraError
from fraudstream.lab.training.assembly import decided_among, scored_part
from fraudstream.lab.training.evaluation import blocked, calibrate, choose_policy, measure
from fraudstream.lab.training.policy import ChosenPolicy, ScoredPart, alert_measures, expected_volume
from fraudstream.lab.training.request import Baseline, TrainingRequest, UnusableModelError
from fraudstream.lab.training.seen import known_until_ms, stated_until_ms
from fraudstream.lab.training.split import Split
from fraudstream.lab.training.vectors import Table, score_blocks
from metrics.bootstrap import BootstrapPlan
from metrics.paired_ranking import paired_average_precision
from metrics.ranking import average_precision, ranked_rows
from models.calibration import Calibrator
from models.loading import Model, load
from models.overview import overviews
from models.policy import Floats
from models.problems import Problem
from models.repository import Repository
from models.times import format_time
from stream.control.probes import probe_vectorisers

LOGISTIC = "logistic regression"
_MOST_ROWS = 200_000
"""The last rows of `train` that the logistic regression is fitted to; more change little and take memory."""
_QUANTILES = 256
_DRAWS = BootstrapPlan(draws=200)

ScoreRows = Callable[[Any], Floats]
"""Scores rows of the table by their numbers."""


class _Given(NamedTuple):
    """What is compared: the request, and the rows with the parts that they are in."""

    request: TrainingRequest
    table: Table
    parts: Split


def measure_baselines(
    request: TrainingRequest, repository: Repository, table: Table, parts: Split, logistic: ScoreRows | None = None
) -> tuple[Baseline, ...]:
    """Measure the logistic regression, and a stored model: `request.live`, else the newest of the request's name.

    `logistic` is what `fit_logistic` returned; without it, it is fitted here.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    given = _Given(request, table, parts)
    return (_logistic(given, logistic or fit_logistic(table, parts)), *_stored(given, repository))


def ranks_worse(table: Table, parts: Split, model: ScoreRows, logistic: ScoreRows) -> Iterator[str]:
    """Yield that a model ranks the test part worse than the logistic regression, if chance does not explain it.

    Both are of cards not known compromised, as `average_precision` among the metrics. The interval is by card, since of
    few frauds chance alone makes either model look better.
    """
    rows = parts.test[ranked_rows(table.fraud[parts.test], blocked(table, parts.test))]
    fraud, scores = table.fraud[rows], (model(rows), logistic(rows))
    first, second = (average_precision(fraud, one) for one in scores)
    if first is None or second is None or first >= second:
        return  # the draws, each of which reads all rows, are not needed
    found = paired_average_precision(fraud, scores, table.card[rows], _DRAWS)
    interval = None if found is None else found.difference_interval
    if found is not None and interval is not None and interval.high < 0:
        yield (
            f"it ranks the test part worse than a {LOGISTIC}: average precision {found.first:.2f} against "
            f"{found.second:.2f}"
        )


def _logistic(given: _Given, score: ScoreRows) -> Baseline:
    _, table, parts = given
    try:
        calibration = calibrate(score(parts.calibrate), table.fraud[parts.calibrate])
    except UnusableModelError as error:
        return Baseline(name=LOGISTIC, note=str(error))
    probabilities = Calibrator.of(calibration).probabilities
    policy = choose_policy(probabilities(score(parts.calibrate)), *given.request.shares)
    return Baseline(name=LOGISTIC, metrics=measure(table, parts.test, probabilities(score(parts.test)), policy))


def fit_logistic(table: Table, parts: Split) -> ScoreRows:
    """Fit a logistic regression to the quantiles of the features; return the function that scores rows by margins.

    An undefined feature takes its median, and a column of its own says so.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn import impute, linear_model, pipeline, preprocessing  # noqa: PLC0415 - of the extra `train`
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise MissingExtraError("training", "scikit-learn", "train") from error
    rows = parts.train[-_MOST_ROWS:]
    model = pipeline.make_pipeline(
        impute.SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        preprocessing.QuantileTransformer(
            n_quantiles=min(_QUANTILES, len(rows)), output_distribution="normal", random_state=0
        ),
        linear_model.LogisticRegression(max_iter=300),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as a baseline it is good enough where it stops
        model.fit(np.asarray(table.matrix[rows]), table.fraud[rows])

    def score(chosen: Any) -> Floats:  # noqa: ANN401 - row numbers
        return score_blocks(model.decision_function, table, chosen)

    return score


def _stored(given: _Given, repository: Repository) -> Iterator[Baseline]:
    """Yield the stored model, measured with its own thresholds or costs, or why it cannot be."""
    request, table, parts = given
    name = request.live or _newest(request, repository)
    if name is None:
        return
    digest = repository.resolve(name)
    found = (
        (digest,)
        if isinstance(digest, Problem)
        else load(repository, digest, probe_vectorisers(FeatureSets((request.feature_set,))))
    )
    if not isinstance(found, Model):
        why = "; ".join(f"{problem.code}: {problem.detail}" for problem in found)
        yield Baseline(name=f"stored model {name}", note=f"not measured: {why}")
        return
    rows = decided_among(table, parts.test)
    scores = score_blocks(found.score, table, rows)
    yield Baseline(
        name=f"{found.name} {found.version}",
        digest=found.digest,
        metrics=_by_its_policy(found, scored_part(table, rows, scores, parts.test), table, parts.test),
        note="; ".join(_notes(found, repository, int(table.occurred_ms[parts.test[0]]))),
    )


def _by_its_policy(model: Model, part: ScoredPart, table: Table, test: Ints) -> dict[str, float]:
    """Measure a model on the test part; alerts are those of its costs, if it has some, as in its own report."""
    costs = model.manifest.cost_policy
    chosen = ChosenPolicy(model.policy, costs, None, expected_volume(model.policy, costs, part, None))
    return measure(table, test, part.labelled.scores, model.policy) | alert_measures(chosen, part)


def _newest(request: TrainingRequest, repository: Repository) -> str | None:
    """Return the digest of the newest stored model of the request's name and features."""
    alike = [
        (one.stored_ms or 0, one.digest)
        for one in overviews(repository, repository.digests()).values()
        if one.manifest is not None
        and one.manifest.name == request.name
        and one.manifest.fingerprint == request.feature_set.fingerprint
    ]
    return max(alike)[1] if alike else None


def _notes(model: Model, repository: Repository, begin_ms: int) -> Iterator[str]:
    """Yield what is to be known of a stored model's figures."""
    if seen := _seen(model, repository, begin_ms):
        yield seen
    if model.rules is not None:
        yield "its rules are not applied here"


def _seen(model: Model, repository: Repository, begin_ms: int) -> str:
    """Return a note if a model, or a teacher of it, has seen payments of the test part, or may have."""
    known_ms = known_until_ms(model.manifest, repository)
    until_ms = stated_until_ms(model.manifest, repository) if known_ms is None else known_ms
    if until_ms >= begin_ms:
        return (
            f"it was trained or calibrated, or its teacher was, until {format_time(until_ms)} and has seen a part of "
            "the test: its figures are too good"
        )
    if known_ms is None:
        return "until when it was trained is not known: it may have seen the test part"
    return ""
