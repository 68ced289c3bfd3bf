"""Calibrates a model, chooses its thresholds, and measures its scores; the measures are those of `metrics`."""

import numpy as np
from numpy.typing import NDArray

from features.declaration import DAY_MS
from features.history.store import Ints
from fraudstream.lab.dataset.errors import MissingExtraError
from fraudstream.lab.training.request import UnusableModelError
from fraudstream.lab.training.vectors import Table
from metrics.alerts import AlertCounts, ScoredRows
from metrics.calibration import brier_score
from metrics.card_precision import ALERTS_A_DAY, BLOCKED_DAYS, KnownFrauds, card_precision, known_compromised
from metrics.errors import MissingLibraryError
from metrics.ranking import average_precision, ranked_rows, roc_auc
from models.calibration import Calibration
from models.policy import Floats, Policy

KNOTS = 128
"""Points of the calibration table."""
WIDEST_LOGIT = 30.0
"""Beyond it neighbouring probabilities round to the same float."""


def calibrate(margins: Floats, frauds: NDArray[np.int8]) -> Calibration:
    """Fit Platt's sigmoid to margins of shape (n,), and tabulate it; the table extends half their range on each side.

    Raises:
        UnusableModelError: the probability of fraud does not rise with the margin.
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - of the extra `train`
    except ImportError as error:
        raise MissingExtraError("training", "scikit-learn", "train") from error
    platt = LogisticRegression(C=1e6).fit(margins[:, np.newaxis], frauds)
    slope, intercept = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    if slope <= 0:
        raise UnusableModelError("fraud does not rise with the model's margin: the features do not predict the labels")
    low, high = (float(slope * margin + intercept) for margin in (margins.min(), margins.max()))
    beyond = max((high - low) / 2, 1.0)
    logits = np.linspace(max(low - beyond, -WIDEST_LOGIT), min(high + beyond, WIDEST_LOGIT), KNOTS)
    probabilities = 1.0 / (1.0 + np.exp(-logits))
    return Calibration(tuple(((logits - intercept) / slope).tolist()), tuple(probabilities.tolist()))


def choose_policy(scores: Floats, review_share: float, decline_share: float) -> Policy:
    """Set the thresholds so that these shares of `scores` are at least reviewed, and at least declined."""
    review, decline = (
        float(np.quantile(scores, 1 - share, method="higher")) for share in (review_share, decline_share)
    )
    return Policy(review, decline)


def measure(table: Table, rows: Ints, scores: Floats, policy: Policy) -> dict[str, float]:
    """Measure scores of `rows`, all of them labelled, with at least one fraud and one genuine row.

    `auc`, `average_precision` and `card_precision_at_100` are of cards not known compromised. All other measures are
    over all rows.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    frauds, left_out = table.fraud[rows], blocked(table, rows)
    reviewed = AlertCounts.of(frauds, scores >= policy.review_at)
    free = rows[~left_out]
    investigated = ScoredRows(table.occurred_ms[free] // DAY_MS, table.card[free], scores[~left_out], table.fraud[free])
    return _ranking(frauds, scores, left_out) | {
        "card_precision_at_100": card_precision(investigated, ALERTS_A_DAY, BLOCKED_DAYS).mean or 0.0,
        "alert_rate": reviewed.alert_rate or 0.0,
        "decline_rate": float((scores >= policy.decline_at).mean()),
        "fraud_rate": reviewed.fraud_rate or 0.0,
        "recall_at_review": reviewed.recall or 0.0,
        "precision_at_review": reviewed.precision or 0.0,
        "brier": brier_score(frauds, scores) or 0.0,
    }


def _ranking(frauds: NDArray[np.int8], scores: Floats, left_out: NDArray[np.bool_]) -> dict[str, float]:
    """Measure the ranking of cards not known compromised."""
    measures = {"auc": roc_auc, "average_precision": average_precision}
    rows = ranked_rows(frauds, left_out)
    try:
        found = {name: measure(frauds[rows], scores[rows]) for name, measure in measures.items()}
    except MissingLibraryError as error:
        raise MissingExtraError("training", error.library, error.extra) from error
    return {name: one for name, one in found.items() if one is not None}


def blocked(table: Table, rows: Ints) -> NDArray[np.bool_]:
    """Tell which rows are of a card with a fraud that became known in the two weeks before the row's UTC day."""
    frauds = np.flatnonzero((table.fraud == 1) & table.decided)
    known = KnownFrauds(table.card[frauds], table.labelled_ms[frauds])
    return known_compromised(table.card[rows], table.occurred_ms[rows], known, BLOCKED_DAYS)
