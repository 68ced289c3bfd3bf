"""Tables of labelled rows by day, as training has them after the features were computed."""

import numpy as np

from features.declaration import DAY_MS, HOUR_MS, FeatureSet
from features.rows import card, own
from fraudstream.lab.training.vectors import Table


def table(day: list[int], card: list[int], fraud: list[int], labelled_day: list[int] | None = None) -> Table:
    """Make a table of one column of zeros; labels are known 7 days later, or on these days."""
    occurred = np.array(day, np.int64) * DAY_MS + np.arange(len(day))
    labelled = occurred + 7 * DAY_MS if labelled_day is None else np.array(labelled_day, np.int64) * DAY_MS
    return Table(
        matrix=np.zeros((len(day), 1)),
        occurred_ms=occurred,
        labelled_ms=labelled,
        fraud=np.array(fraud, np.int8),
        card=np.array(card, np.int64),
        decided=np.ones(len(day), np.bool_),
        amount_minor=np.full(len(day), 4_200),
        currency=np.full(len(day), b"EUR"),
    )


def spread(days: int, *, fraud_every: int = 5, per_day: int = 20) -> Table:
    """Make a table with as many rows on each day, of which each nth is a fraud."""
    day = [number // per_day for number in range(days * per_day)]
    fraud = [int(number % fraud_every == 0) for number in range(len(day))]
    return table(day, [number % 50 for number in range(len(day))], fraud)


def hourly(days: int) -> Table:
    """Make a table with a row each hour, every second one a fraud, whose labels are known 7 days later."""
    data = table([0] * 24 * days, [0] * 24 * days, [number % 2 for number in range(24 * days)])
    data.occurred_ms[:] = np.arange(24 * days) * HOUR_MS
    data.labelled_ms[:] = data.occurred_ms + 7 * DAY_MS
    return data


FOUR = FeatureSet((card("count", "1h"), card("amount_sum", "1d"), card("merchants", "30d"), own("is_night")))
"""A feature set with as many columns as `learnable` has."""


def learnable(days: int = 120, per_day: int = 60, seed: int = 0) -> Table:
    """Make a table of four columns, of which the first three say something of fraud, and the second has gaps."""
    random = np.random.default_rng(seed)
    rows = days * per_day
    data = table(np.repeat(np.arange(days), per_day).tolist(), random.integers(0, 500, rows).tolist(), [0] * rows)
    matrix = random.normal(size=(rows, 4))
    odds = -4 + matrix[:, 0] + np.maximum(matrix[:, 1], 0) * 1.5 + (np.abs(matrix[:, 2]) > 1.5) * 2
    data.fraud[:] = random.random(rows) < 1 / (1 + np.exp(-odds))
    matrix[random.random(rows) < 0.1, 1] = np.nan
    data.matrix = matrix
    return data
