"""How well scores rank fraud above genuine payments, over all thresholds: ROC AUC and average precision.

Both are scikit-learn's, which is imported when one of them is asked for, since only training needs it. Wherever a
command prints them, they are of the payments that `ranked_rows` chooses: those of cards not known compromised.
"""

from typing import Any

import numpy as np

from metrics.columns import Bools, Flags, Floats, Ints, check_lengths
from metrics.errors import MissingLibraryError


def ranked_rows(fraud: Flags, compromised: Bools) -> Ints:
    """Return the numbers of the rows that a ranking is measured on: those of cards not known compromised.

    A team has blocked a card whose fraud it knows, so finding its next fraud is no merit of a model, and easy. If the
    other rows are all fraud or all genuine, there is nothing to rank, and all rows are taken.

    Args:
        fraud: which rows are fraud, of shape (n,).
        compromised: which rows are of a card that was known to be compromised, as of
            `metrics.card_precision.known_compromised`.
    """
    check_lengths(fraud=fraud, compromised=compromised)
    kept = np.flatnonzero(~compromised)
    return kept if 0 < fraud[kept].sum() < len(kept) else np.arange(len(fraud))


def roc_auc(fraud: Flags, scores: Floats, leave_out: Bools | None = None) -> float | None:
    """Return the probability that a fraud has a higher score than a genuine payment, ties counting half.

    Args:
        fraud: which rows are fraud, of shape (n,).
        scores: their scores, of shape (n,), in any unit.
        leave_out: rows that are not measured, such as those of blocked cards.

    Returns:
        the area under the ROC curve; None unless there are both frauds and genuine rows.

    Raises:
        MissingLibraryError: scikit-learn is not installed.
    """
    return _measured("roc_auc_score", fraud, scores, leave_out)


def average_precision(fraud: Flags, scores: Floats, leave_out: Bools | None = None) -> float | None:
    """Return the mean of the precision at each threshold, weighted by the recall that it adds.

    Arguments, result and errors are those of `roc_auc`.
    """
    return _measured("average_precision_score", fraud, scores, leave_out)


def _measured(measure: str, fraud: Flags, scores: Floats, leave_out: Bools | None) -> float | None:
    left_out = np.zeros(len(fraud), np.bool_) if leave_out is None else leave_out
    check_lengths(fraud=fraud, scores=scores, leave_out=left_out)
    truth = fraud[~left_out]
    if not 0 < truth.sum() < len(truth):
        return None
    return float(getattr(_sklearn_metrics(), measure)(truth, scores[~left_out]))


def _sklearn_metrics() -> Any:  # noqa: ANN401 - a module, which may not be there
    try:
        from sklearn import metrics  # noqa: PLC0415 - of the extra `train`
    except ImportError as error:
        raise MissingLibraryError("measures of ranking", "scikit-learn", "train") from error
    return metrics
