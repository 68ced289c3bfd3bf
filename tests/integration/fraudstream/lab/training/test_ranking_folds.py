"""What the rows of the second default set are worth: four weeks of the public handbook, none of them trained on.

Trees see what is known when a week begins, labels 7 days late; cards known to be compromised are left out of the weeks.
"""

from pathlib import Path
from typing import NamedTuple

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.handbook import WEEK_MS, write_transactions
from features.declaration import DAY_MS, FeatureSet, load
from fraudstream.lab.training.compute import compute_vectors
from fraudstream.lab.training.request import VectorsRequest
from fraudstream.lab.training.trees import DEFAULTS
from metrics.card_precision import KnownFrauds, known_compromised
from metrics.paired_ranking import paired_average_precision
from metrics.ranking import average_precision
from support.handbook import LABEL_DELAY_MS, TRANSACTIONS, needs_handbook

FIRST, SECOND = load("features.default_set"), load("features.default_set_2")
JULY_4_MS = 1_530_662_400_000
WEEKS = [JULY_4_MS + week * WEEK_MS for week in range(4)]
WARM_MS = 23 * DAY_MS
"""Histories are young in the file's first weeks; no more of it is left out than `train` would."""
PARAMETERS = DEFAULTS | {"num_leaves": 31, "learning_rate": 0.05, "feature_fraction": 0.7, "seed": 1, "num_threads": 1}
ONE_IN = 3
"""So many of the genuine rows stand for all."""
TREES = 120


class Rows(NamedTuple):
    """All payments of the file, by time."""

    matrix: np.ndarray
    occurred_ms: np.ndarray
    fraud: np.ndarray
    card: np.ndarray


def read(folder: Path) -> Rows:
    file, out = folder / "transactions.parquet", folder / "vectors.parquet"
    write_transactions(TRANSACTIONS, file, folder)
    compute_vectors(VectorsRequest(file, out, SECOND), lambda _stage, _done, _total: None)
    table = pq.read_table(out)
    features = np.column_stack([table[name].to_numpy() for name in SECOND.names])
    cards = np.unique(table["card_id"].to_numpy(), return_inverse=True)[1]
    times = pc.cast(pc.cast(table["occurred_at"], pa.timestamp("ms", "UTC")), "int64").to_numpy()
    return Rows(features, times, table["fraud"].to_numpy().astype(np.int8), cards)


def scores_of(rows: Rows, feature_set: FeatureSet, week_ms: int, test: np.ndarray) -> np.ndarray:
    """Train on what is known when a week begins, and score that week."""
    columns = [SECOND.names.index(name) for name in feature_set.names]
    known = np.flatnonzero(
        (rows.occurred_ms >= rows.occurred_ms[0] + WARM_MS) & (rows.occurred_ms < week_ms - LABEL_DELAY_MS)
    )
    fraud = rows.fraud[known] == 1
    known = known[fraud | (np.random.default_rng(1).random(len(known)) < 1 / ONE_IN)]
    weights = np.where(rows.fraud[known] == 1, 1, ONE_IN)
    data = lightgbm.Dataset(rows.matrix[known][:, columns], rows.fraud[known], weight=weights, params=dict(PARAMETERS))
    return lightgbm.train(dict(PARAMETERS), data, TREES).predict(rows.matrix[test][:, columns])


@needs_handbook
@pytest.mark.integration
@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_the_second_default_set_ranks_frauds_better_in_each_of_four_weeks(tmp_path: Path) -> None:
    rows, tests, pairs, weeks = read(tmp_path), [], [], []
    frauds = np.flatnonzero(rows.fraud == 1)
    known = KnownFrauds(rows.card[frauds], rows.occurred_ms[frauds] + LABEL_DELAY_MS)
    for week_ms in WEEKS:
        test = np.flatnonzero((rows.occurred_ms >= week_ms) & (rows.occurred_ms < week_ms + WEEK_MS))
        test = test[~known_compromised(rows.card[test], rows.occurred_ms[test], known)]
        first, second = (scores_of(rows, one, week_ms, test) for one in (FIRST, SECOND))
        weeks.append(tuple(average_precision(rows.fraud[test], scores) or 0.0 for scores in (first, second)))
        tests.append(test)
        pairs.append((second, first))
    pooled = np.concatenate(tests)
    scores = np.concatenate([one for one, _ in pairs]), np.concatenate([one for _, one in pairs])
    found = paired_average_precision(rows.fraud[pooled], scores, rows.card[pooled])
    assert found is not None
    assert found.difference_interval is not None
    figures = f"{weeks}, pooled {found.second:.4f} to {found.first:.4f}, difference in {found.difference_interval}"
    assert all(now > before for before, now in weeks), figures
    assert found.difference > 0.005, figures
    assert found.difference_interval.low > 0, figures
