"""Splits rows by time: train | gap | calibrate | gap | validate | gap | test, never shuffled.

Trees are grown on `train`. The number of trees and the parameters are chosen on `validate`, the calibration and the
thresholds on `calibrate`. `test` is measured, and nothing is chosen by it: every label used before it was known when it
begins, as if the model had been made on that day and used from then on.

A gap is as long as labels take. It needs no time for what features look back on: a vector is that of its payment's
moment whichever part it is in, so windows that reach into an earlier part see what a worker sees.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from features.declaration import DAY_MS
from features.history.store import Ints
from models.times import format_time
from stream.training.request import DEFAULT_SIZES, PartSize, SplitSizes, TrainingDataError
from stream.training.vectors import Table

FEWEST_FRAUDS = 10
"""The least in each part: with fewer, neither trees nor thresholds are meaningful."""
DELAY_QUANTILE = 0.95
"""A label delay that a few late labels do not stretch: 19 of 20 labels are known after it."""
_FEWEST_LABELS = 50
"""Of frauds, and of genuine payments, for a delay of their own: with fewer, the quantile is that of the latest ones."""
_WARM_SHARE = 4
"""Rows without complete histories are left out for at most this part of the time of a file that is not split."""
_INNER_GAPS = 24
"""Without `--gap`, the gaps before `calibrate` and `validate` take at most this part of the time each."""
UNSEEN_TEST = PartSize(share=0.5)
"""The test part of rows on which a model is calibrated that was trained elsewhere."""


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of the four parts, each in order of time.

    `gaps_ms` are the three gaps: before `calibrate`, `validate` and `test`.
    """

    train: Ints
    calibrate: Ints
    validate: Ints
    test: Ints
    gaps_ms: tuple[int, int, int]

    @property
    def before_test(self) -> Ints:
        """Return the rows by which anything is chosen."""
        return np.concatenate((self.train, self.calibrate, self.validate))


class _Times(NamedTuple):
    """Where each part begins and ends, in epoch milliseconds; the last ends with the rows."""

    train: tuple[int, int]
    calibrate: tuple[int, int]
    validate: tuple[int, int]
    test: tuple[int, int]
    gaps_ms: tuple[int, int, int]


def split(table: Table, reach_ms: int, sizes: SplitSizes = DEFAULT_SIZES) -> Split:
    """Split the rows whose labels are known.

    The first `reach_ms`, as far as the features look back, are left out because histories are incomplete there; at most
    a quarter of the time. Where `sizes` states no gap, the one before `test` is the label delay of the table, at most a
    third of the time, and the two others are that or a twenty-fourth of the time, whichever is shorter. The last
    payments, as many days as that gap has, are left out: of them only the labels that came early are known.

    Raises:
        TrainingDataError: the time is too short, or a part has too few frauds, or only frauds.
    """
    known = np.flatnonzero(table.known)
    check_labels(int((table.fraud >= 0).sum()), len(known), table.last_ms)
    begin_ms, last_ms = int(table.occurred_ms[0]), int(table.occurred_ms[known[-1]])
    warm_ms = begin_ms + min(reach_ms, (last_ms - begin_ms) // 4)
    gap_ms = min(label_delay_ms(table), (last_ms - begin_ms) // 3) if sizes.gap_ms is None else sizes.gap_ms
    end_ms = min(last_ms, table.last_ms - gap_ms) + 1
    times = _lay_out((warm_ms, end_ms), sizes, gap_ms)
    used = known[table.occurred_ms[known] >= warm_ms]
    before = used[table.labelled_ms[used] <= times.test[0]]
    parts = Split(
        train=_within(table, before, times.train),
        calibrate=_within(table, before, times.calibrate),
        validate=_within(table, before, times.validate),
        test=_within(table, used, times.test),
        gaps_ms=times.gaps_ms,
    )
    named = {name: getattr(parts, name) for name in ("train", "calibrate", "validate", "test")}
    gaps = ", ".join(_days(gap) for gap in times.gaps_ms)
    _check_parts(table, named, f"; between the parts are gaps of {gaps}", "shorten --gap, or size the parts anew")
    return parts


class UnseenSplit(NamedTuple):
    """Row numbers of two parts, each in order of time, and how many rows were left out as seen in training."""

    calibrate: Ints
    test: Ints
    trained_on: int


def split_unseen(table: Table, complete_ms: int, trained_until_ms: int | None) -> UnseenSplit:
    """Split the rows whose labels are known and which a model that was trained elsewhere has not seen.

    Rows up to `trained_until_ms` are left out, and of the others those before `complete_ms`, where histories are
    incomplete; the latter at most for a quarter of the time. The last half of the time is for the test. Of the rows
    before it, those are for calibration whose labels are known when it begins.

    Raises:
        TrainingDataError: a part has too few frauds, or only frauds.
    """
    known = np.flatnonzero(table.known)
    check_labels(int((table.fraud >= 0).sum()), len(known), table.last_ms)
    unseen = known if trained_until_ms is None else known[table.occurred_ms[known] > trained_until_ms]
    until = "" if trained_until_ms is None else format_time(trained_until_ms)
    if not len(unseen):
        raise TrainingDataError(
            f"no labelled transaction is later than {until}, until when the model was trained (--trained-until): "
            "compute vectors of later days"
        )
    begin_ms, end_ms = int(table.occurred_ms[unseen[0]]), int(table.occurred_ms[unseen[-1]])
    warm_ms = warm_since_ms(begin_ms, end_ms, complete_ms)
    test_ms = end_ms - UNSEEN_TEST.of(end_ms - warm_ms)
    warm = unseen[table.occurred_ms[unseen] >= warm_ms]
    calibrate = warm[(table.labelled_ms[warm] <= test_ms) & (table.occurred_ms[warm] < test_ms)]
    test = warm[table.occurred_ms[warm] >= test_ms]
    left_out = f"; those until {until} were left out, because the model was trained on them" if until else ""
    _check_parts(table, {"calibrate": calibrate, "test": test}, left_out)
    return UnseenSplit(calibrate, test, len(known) - len(unseen))


def warm_since_ms(begin_ms: int, end_ms: int, complete_ms: int) -> int:
    """Return from when on rows of a time count: histories are complete then, or a quarter of the time is over."""
    return max(begin_ms, min(complete_ms, begin_ms + (end_ms - begin_ms) // _WARM_SHARE))


def label_delay_ms(table: Table) -> int:
    """Return after how long 19 of 20 labels of a table were known, and 19 of 20 of its frauds; 0 without labels.

    Frauds are too few to move the quantile of all labels, and theirs often come later: a dispute takes its time.
    """
    labelled = np.flatnonzero((table.fraud >= 0) & table.decided)
    if not len(labelled):
        return 0
    outcomes, delays = table.fraud[labelled], table.labelled_ms[labelled] - table.occurred_ms[labelled]
    alike = (delays[outcomes == outcome] for outcome in (0, 1))
    groups = (delays, *(group for group in alike if len(group) >= _FEWEST_LABELS))
    return max(int(np.quantile(group, DELAY_QUANTILE, method="higher")) for group in groups)


def check_labels(labelled: int, known: int, last_ms: int) -> None:
    """Check that some transactions are labelled, and that some of the labels were known at the file's end.

    Raises:
        TrainingDataError: none is.
    """
    if known:
        return
    if not labelled:
        raise TrainingDataError("no transaction is labelled: fill the column fraud with true and false")
    raise TrainingDataError(
        f"no label was known by {format_time(last_ms)}, the file's last transaction (without labelled_at a "
        "label counts as known 7 days after its transaction): add more days, or the column labelled_at"
    )


def _lay_out(span_ms: tuple[int, int], sizes: SplitSizes, last: int) -> _Times:
    """Place the parts in [begin, end), from the end, with a gap of `last` ms before `test`; `train` is what is left.

    Raises:
        TrainingDataError: nothing is left.
    """
    begin_ms, end_ms = span_ms
    total = end_ms - begin_ms
    inner = min(last, total // _INNER_GAPS) if sizes.gap_ms is None else last
    shared = total - last - 2 * inner
    validate, calibrate, test = (size.of(shared) for size in (sizes.validate, sizes.calibrate, sizes.test))
    test_ms = end_ms - test
    validate_end = test_ms - last
    calibrate_end = validate_end - validate - inner
    train_end = calibrate_end - calibrate - inner
    if train_end <= begin_ms:
        raise TrainingDataError(
            f"labels are known for {_days(total)} with complete histories, too short for the gaps of {_days(inner)}, "
            f"{_days(inner)} and {_days(last)} and the parts calibrate, validate and test of {_days(calibrate)}, "
            f"{_days(validate)} and {_days(test)}: add more days, or set --gap, --calibrate, --validate and --test"
        )
    return _Times(
        (begin_ms, train_end),
        (train_end + inner, calibrate_end),
        (calibrate_end + inner, validate_end),
        (test_ms, end_ms),
        (inner, inner, last),
    )


def _within(table: Table, rows: Ints, times: tuple[int, int]) -> Ints:
    """Return the rows that occurred in [begin, end)."""
    occurred = table.occurred_ms[rows]
    return rows[(occurred >= times[0]) & (occurred < times[1])]


def _check_parts(table: Table, parts: Mapping[str, Ints], note: str, advice: str = "") -> None:
    problems = []
    for name, rows in parts.items():
        frauds = int(table.fraud[rows].sum())
        if frauds < FEWEST_FRAUDS or frauds == len(rows):
            problems.append(f"the {name} part has {frauds} frauds in {len(rows)} transactions")
    if problems:
        days = (table.last_ms - int(table.occurred_ms[0])) // DAY_MS
        raise TrainingDataError(
            f"{'; '.join(problems)}: each part needs at least {FEWEST_FRAUDS} frauds and some genuine ones. The file "
            f"spans {days} days, and only labels known by the end of a part count{note}: add more days or more labels"
            f"{advice and ', '}{advice}"
        )


def _days(length_ms: int) -> str:
    return f"{max(length_ms, 0) / DAY_MS:.1f} days"
