"""A feature that a model goes by costs average precision when it is permuted; one that it ignores costs nothing."""

import numpy as np
import pytest

from fraudstream.lab.evaluation.importance import (
    SAMPLE_FRAUDS,
    SAMPLE_ROWS,
    ImportanceSample,
    permuted_losses,
    sample_rows,
)
from metrics.bootstrap import BootstrapPlan


def test_the_sample_stands_for_all_payments() -> None:
    fraud = np.random.default_rng(0).random(60_000) < 0.1
    rows, weights = sample_rows(fraud, 1)
    assert len(rows) == SAMPLE_ROWS
    assert fraud[rows].sum() == SAMPLE_FRAUDS
    assert weights[fraud[rows]].sum() == pytest.approx(fraud.sum())
    assert weights.sum() == pytest.approx(len(fraud))
    again, _ = sample_rows(fraud, 1)
    assert again.tolist() == rows.tolist()


def test_only_the_feature_that_counts_loses() -> None:
    random = np.random.default_rng(1)
    fraud = random.random(3_000) < 0.1
    matrix = np.column_stack((random.normal(0, 1, 3_000) + 2 * fraud, random.normal(0, 1, 3_000)))
    sample = ImportanceSample(matrix, fraud, random.integers(0, 500, 3_000), np.ones(3_000))
    done: list[int] = []
    counted, ignored = permuted_losses(sample, lambda rows: rows[:, 0], BootstrapPlan(draws=20), done.append)
    assert counted.value > 0.3
    assert counted.draws.min() > 0.2
    assert ignored.value == 0
    assert not ignored.draws.any()
    assert done == [1, 2]
