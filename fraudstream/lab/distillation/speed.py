"""Row times of models that are measured in one run, in turn, so that whatever else the machine does hits all alike.

A worker scores one payment where the stream is quiet and batches where it is not, on one thread; so both are measured,
in processor time of the thread, as the worker measures its own models (`models.loading`).
"""

from collections.abc import Callable, Sequence
from statistics import median
from time import thread_time_ns
from typing import NamedTuple

import numpy as np

from features.history.store import Ints
from fraudstream.lab.distillation.report import RowTime
from models.policy import Floats

BATCH_ROWS = 64
_SINGLE_ROUNDS, _BATCH_ROUNDS, _WARM_ROUNDS = 1_000, 200, 20
_SAMPLE_ROWS = 4_096


class TimedCall(NamedTuple):
    """A model's function, and rows of shape (n, its features) to call it with."""

    score: Callable[[Floats], Floats]
    matrix: Floats


class TimedModel(NamedTuple):
    """What is measured together: one model, or all models of an ensemble."""

    calls: tuple[TimedCall, ...]


def sample_rows(rows: Ints) -> Ints:
    """Return rows spread evenly over some rows: at least a batch of them, so that few rows are repeated."""
    count = max(BATCH_ROWS, min(_SAMPLE_ROWS, len(rows)))
    return rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]


def measure_times(models: Sequence[TimedModel]) -> tuple[RowTime, ...]:
    """Return the row times of models, in their order; each has at least `BATCH_ROWS` rows."""
    _medians(models, BATCH_ROWS, _WARM_ROUNDS)
    single, batch = _medians(models, 1, _SINGLE_ROUNDS), _medians(models, BATCH_ROWS, _BATCH_ROUNDS)
    return tuple(RowTime(single_us=one, batch_us=many) for one, many in zip(single, batch, strict=True))


def _medians(models: Sequence[TimedModel], rows: int, rounds: int) -> list[float]:
    """Return the median of each model's microseconds a row; in each round all models are called."""
    spent: list[list[float]] = [[] for _ in models]
    for place in range(rounds):
        for model, times in zip(models, spent, strict=True):
            times.append(_call_us(model, place * rows, rows))
    return [median(times) for times in spent]


def _call_us(model: TimedModel, place: int, rows: int) -> float:
    began = thread_time_ns()
    for score, matrix in model.calls:
        start = place % (len(matrix) - rows + 1)
        score(matrix[start : start + rows])
    return (thread_time_ns() - began) / 1_000 / rows


def on_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Tell which points (time, loss) no other point dominates: none is at most as slow and as bad, and one better."""
    return [not any(other != one and other[0] <= one[0] and other[1] <= one[1] for other in points) for one in points]
