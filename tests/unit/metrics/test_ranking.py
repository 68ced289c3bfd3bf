"""Ranking measures against their definitions, pair by pair and threshold by threshold."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.errors import MeasureInputError, MissingLibraryError
from metrics.ranking import average_precision, ranked_rows, roc_auc

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.booleans()), min_size=1, max_size=40)


def columns(rows: list[tuple[bool, int, bool]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    fraud, scores, left_out = (np.array(column) for column in zip(*rows, strict=True))
    return fraud, scores / 10, left_out


def pairwise_auc(fraud: np.ndarray, scores: np.ndarray) -> float | None:
    bad, good = scores[fraud].tolist(), scores[~fraud].tolist()
    pairs = [(b > g) + (b == g) / 2 for b in bad for g in good]
    return sum(pairs) / len(pairs) if pairs else None


def stepwise_precision(fraud: np.ndarray, scores: np.ndarray) -> float:
    """Go down the thresholds: the precision at each, times the recall that it adds."""
    total = before = 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        alerted = scores >= threshold
        recall = fraud[alerted].sum() / fraud.sum()
        total += (recall - before) * fraud[alerted].mean()
        before = recall
    return total


@given(ROWS)
def test_both_equal_their_definitions_over_the_rows_that_are_not_left_out(rows: list[tuple[bool, int, bool]]) -> None:
    fraud, scores, left_out = columns(rows)
    kept, kept_scores = fraud[~left_out], scores[~left_out]
    expected = pairwise_auc(kept, kept_scores)
    assert roc_auc(fraud, scores, left_out) == pytest.approx(expected)
    if expected is None:
        assert average_precision(fraud, scores, left_out) is None
    else:
        assert average_precision(fraud, scores, left_out) == pytest.approx(stepwise_precision(kept, kept_scores))


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingLibraryError, match=r"scikit-learn is not installed; install .* fraudstream\[train\]"):
        roc_auc(np.array([True, False]), np.array([0.1, 0.2]))


def test_columns_of_different_lengths_are_refused_by_name() -> None:
    with pytest.raises(MeasureInputError, match="differ in length: fraud 2, scores 1, leave_out 2"):
        roc_auc(np.array([True, False]), np.array([0.1]))


def test_rows_of_cards_known_compromised_are_not_ranked_unless_the_others_have_one_outcome() -> None:
    fraud, compromised = np.array([1, 0, 1, 0], np.int8), np.array([True, False, False, False])
    assert ranked_rows(fraud, compromised).tolist() == [1, 2, 3]
    assert ranked_rows(fraud, np.array([True, False, True, False])).tolist() == [0, 1, 2, 3]
    assert ranked_rows(fraud, fraud == 0).tolist() == [0, 1, 2, 3]
