"""Which rows a model is fitted to, calibrated on and judged by: apart in time, and by what was known when.

Everything that a model is made of has a label that was known when its validation begins, as if it had been trained on
that day and used from then on. Nothing here looks at a vector.
"""

from dataclasses import dataclass

import numpy as np

from features.history.store import Ints
from models.times import format_time
from stream.dataset.file import DAY_MS
from stream.training.errors import TrainingDataError
from stream.training.vectors import Table

VALIDATE_SHARE = 0.3
CALIBRATE_SHARE = 0.2
FEWEST_FRAUDS = 10
"""In each part: with fewer, neither a tree nor a threshold means anything."""


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of the three parts, each by time."""

    train: Ints
    calibrate: Ints
    validate: Ints


def split(table: Table, reach_ms: int) -> Split:
    """Split the rows whose labels are known.

    The first rows are left out while histories grow: `reach_ms`, how far the features look back, or a quarter of the
    time if the file is short. The last 30 % of the time is for validation; of the rows before whose labels were known
    by its beginning, the last 20 % are for calibration.

    Raises:
        TrainingDataError: a part holds too few frauds, or nothing but frauds.
    """
    known = np.flatnonzero(table.known)
    _check_labels(table, known)
    begin_ms, end_ms = int(table.occurred_ms[0]), int(table.occurred_ms[known[-1]])
    grown_ms = begin_ms + min(reach_ms, (end_ms - begin_ms) // 4)
    validate_ms = end_ms - int((end_ms - grown_ms) * VALIDATE_SHARE)
    occurred, grown = table.occurred_ms[known], known[table.occurred_ms[known] >= grown_ms]
    before = grown[(table.labelled_ms[grown] <= validate_ms) & (table.occurred_ms[grown] < validate_ms)]
    cut = len(before) - int(len(before) * CALIBRATE_SHARE)
    parts = Split(before[:cut], before[cut:], known[occurred >= validate_ms])
    _check_parts(table, parts)
    return parts


def _check_labels(table: Table, known: Ints) -> None:
    if len(known):
        return
    if not (table.fraud >= 0).any():
        raise TrainingDataError("no transaction is labelled: fill the column fraud with true and false")
    raise TrainingDataError(
        f"no label was known by {format_time(table.last_ms)}, the file's last transaction (without labelled_at a "
        "label counts as known 7 days after its transaction): bring more days, or labelled_at"
    )


def _check_parts(table: Table, parts: Split) -> None:
    problems = []
    for name, rows in (("train", parts.train), ("calibrate", parts.calibrate), ("validate", parts.validate)):
        frauds = int(table.fraud[rows].sum())
        if frauds < FEWEST_FRAUDS or frauds == len(rows):
            problems.append(f"the part to {name} on has {frauds} frauds in {len(rows)} transactions")
    if problems:
        days = (table.last_ms - int(table.occurred_ms[0])) // DAY_MS
        raise TrainingDataError(
            f"{'; '.join(problems)}: each part needs at least {FEWEST_FRAUDS} frauds and some genuine ones. The file "
            f"spans {days} days, and only labels known by the end of a part count: bring more days or more labels"
        )
