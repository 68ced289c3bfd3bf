"""How well scores rank fraud above genuine payments, over all thresholds: ROC AUC and average precision.

Both are scikit-learn's, which is imported when one of them is asked for, since only training needs it.
"""

from typing import Any

import numpy as np

from metrics.columns import Bools, Flags, Floats, check_lengths
from metrics.errors import MissingLibraryError


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
