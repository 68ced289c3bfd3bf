"""Splits rows by time: train | gap | calibrate | gap | validate | gap | test, never shuffled.

Trees are grown on `train`. The number of trees and the parameters are chosen on `validate`, the calibration and the
thresholds on `calibrate`. `test` is measured, and nothing is chosen by it: every label used before it was known when it
begins, as if the model had been made on that day and used from then on.

Where one of these parts would have fewer than `ENOUGH_FRAUDS`, all rows before the test are one part, and *folds of
time* choose: trees that are fitted to what was before a fold score it, and the scores of all folds together choose what
`calibrate` and `validate` choose elsewhere.

A gap is as long as labels take. It needs no time for what features look back on: a vector is that of its payment's
moment whichever part it is in, so windows that reach into an earlier part see what a worker sees.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from features.declaration import DAY_MS
from features.history.store import Ints
from fraudstream.lab.training.request import DEFAULT_SIZES, PartSize, SplitSizes, TrainingDataError
from fraudstream.lab.training.vectors import Table
from models.times import format_time

FEWEST_FRAUDS = 10
"""The least in each part: with fewer, neither trees nor thresholds are meaningful."""
ENOUGH_FRAUDS = 30
"""In each part, for parts without folds: with fewer, what a part chooses is chance."""
FEWEST_BEFORE = 20
"""Before the test, for folds of time: half of them are scored by trees that have seen the other half."""
FOLD_STARTS = (0.4, 0.6, 0.8)
"""Folds begin where such shares of the frauds have been, so that each fold has as many frauds."""
TEST_SHARES = (0.25, 0.35, 0.5)
"""Of the time without gaps that a test beside folds takes: the first with enough frauds on both sides."""
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


class Fold(NamedTuple):
    """Row numbers of one fold, each in order of time: what trees are fitted to, and later rows, which they score."""

    fit: Ints
    scored: Ints


class SingleFit(NamedTuple):
    """Row numbers of the three parts of a model that is fitted once, each in order of time.

    Attributes:
        train: trees are fitted to these.
        calibrate: the calibration and the thresholds are chosen on them.
        held_back: everything is measured on these, and nothing is chosen by them.
    """

    train: Ints
    calibrate: Ints
    held_back: Ints


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of the four parts, each in order of time.

    `gaps_ms` are the three gaps: before `calibrate`, `validate` and `test`. With `folds`, `train` is all that is before
    the test, and `calibrate` and `validate` are the rows of it that the folds score. `known` are all rows with labels
    of the time that is split, to which the stored model is fitted. `choices` say what each way to split leaves.
    """

    train: Ints
    calibrate: Ints
    validate: Ints
    test: Ints
    gaps_ms: tuple[int, int, int]
    folds: tuple[Fold, ...] = ()
    known: Ints | None = None
    choices: tuple[str, ...] = ()

    @property
    def before_test(self) -> Ints:
        """Return the rows by which anything is chosen."""
        return self.train if self.folds else np.concatenate((self.train, self.calibrate, self.validate))

    @property
    def single_fit(self) -> SingleFit:
        """Return the parts of a model that is fitted once, so that no fold of it scores another.

        Of folds of time it is fitted to what is before the second last, and calibrated on what follows.
        """
        if not self.folds:
            return SingleFit(self.train, self.calibrate, self.test)
        later = self.folds[-2:]
        return SingleFit(later[0].fit, np.concatenate([fold.scored for fold in later]), self.test)


class _Times(NamedTuple):
    """Where each part begins and ends, in epoch milliseconds; the last ends with the rows."""

    train: tuple[int, int]
    calibrate: tuple[int, int]
    validate: tuple[int, int]
    test: tuple[int, int]
    gaps_ms: tuple[int, int, int]


class _Usable(NamedTuple):
    """The labelled rows that are split, in `[begin_ms, end_ms)`, and the gap before the test."""

    table: Table
    rows: Ints
    begin_ms: int
    end_ms: int
    gap_ms: int

    def inner_gap_ms(self, sizes: SplitSizes) -> int:
        """Return the gaps that only keep parts apart: the stated one, else a small part of the time at most."""
        return min(self.gap_ms, (self.end_ms - self.begin_ms) // _INNER_GAPS) if sizes.gap_ms is None else self.gap_ms


class _Choice(NamedTuple):
    """One way to split: its name, the split, and the parts that have to have frauds, with the least in each."""

    name: str
    split: Split
    parts: Mapping[str, Ints]
    least: Mapping[str, int]

    def short_of(self, table: Table, least: int = 0) -> list[str]:
        """Return the parts with too few frauds, or without genuine payments; `least` may ask for more frauds."""
        frauds = {name: int(table.fraud[rows].sum()) for name, rows in self.parts.items()}
        return [
            name
            for name, rows in self.parts.items()
            if frauds[name] < max(least, self.least[name]) or frauds[name] == len(rows)
        ]

    def text(self, table: Table) -> str:
        """Return what it leaves."""
        left = (
            f"{name} {len(rows):,} rows, {int(table.fraud[rows].sum()):,} frauds" for name, rows in self.parts.items()
        )
        return f"{self.name}: {'; '.join(left)}"


def split(table: Table, reach_ms: int, sizes: SplitSizes = DEFAULT_SIZES) -> Split:
    """Split the rows whose labels are known.

    The first `reach_ms`, as far as the features look back, are left out because histories are incomplete there; at most
    a quarter of the time. Where `sizes` states no gap, the one before `test` is the label delay of the table, at most a
    third of the time, and the two others are that or a twenty-fourth of the time, whichever is shorter. The last
    payments, as many days as that gap has, are left out: of them only the labels that came early are known.

    Parts are used where each has `ENOUGH_FRAUDS`, or where `sizes` states their sizes; else folds of time.

    Raises:
        TrainingDataError: the time is too short, or a part has too few frauds, or only frauds; the message says what
            each way to split leaves.
    """
    usable = _usable(table, reach_ms, sizes)
    wishes_parts = (sizes.calibrate, sizes.validate) != (DEFAULT_SIZES.calibrate, DEFAULT_SIZES.validate)
    parts = _by_parts(usable, sizes)
    folds = [_by_folds(usable, sizes, test) for test in _test_sizes(sizes)]
    taken = parts if not parts.short_of(table, 0 if wishes_parts else ENOUGH_FRAUDS) else None
    if taken is None and not wishes_parts:
        taken = next((one for one in folds if not one.short_of(table)), None)
    texts = tuple(one.text(table) for one in (parts, *folds))
    if taken is None:
        possible = next((one.name for one in folds if not one.short_of(table)), None)
        raise TrainingDataError(_refusal(usable, texts, possible))
    return replace(
        taken.split, choices=(f"taken: {taken.text(table)}", *(one for one in texts if one != taken.text(table)))
    )


def _usable(table: Table, reach_ms: int, sizes: SplitSizes) -> _Usable:
    known = np.flatnonzero(table.known)
    check_labels(int((table.fraud >= 0).sum()), len(known), table.last_ms)
    begin_ms, last_ms = int(table.occurred_ms[0]), int(table.occurred_ms[known[-1]])
    warm_ms = begin_ms + min(reach_ms, (last_ms - begin_ms) // _WARM_SHARE)
    gap_ms = min(label_delay_ms(table), (last_ms - begin_ms) // 3) if sizes.gap_ms is None else sizes.gap_ms
    end_ms = min(last_ms, table.last_ms - gap_ms) + 1
    return _Usable(table, _within(table, known, (warm_ms, end_ms)), warm_ms, end_ms, gap_ms)


def _by_parts(usable: _Usable, sizes: SplitSizes) -> _Choice:
    """Return the split into four parts; without rows, where the time is too short for them."""
    table, times = usable.table, _lay_out(usable, sizes)
    before = usable.rows[table.labelled_ms[usable.rows] <= times.test[0]]
    train, calibrate, validate = (_within(table, before, one) for one in times[:3])
    test = _within(table, usable.rows, times.test)
    parts = {"train": train, "calibrate": calibrate, "validate": validate, "test": test}
    found = Split(train, calibrate, validate, test, times.gaps_ms, known=usable.rows)
    gaps = ", ".join(_days(gap) for gap in times.gaps_ms)
    name = f"parts by time with gaps of {gaps} between them"
    if times.train[1] <= times.train[0]:
        name = f"{name}, for which {_days(usable.end_ms - usable.begin_ms)} with labels and histories are too short"
    return _Choice(name, found, parts, dict.fromkeys(parts, FEWEST_FRAUDS))


def _test_sizes(sizes: SplitSizes) -> Iterator[PartSize]:
    if sizes.test != DEFAULT_SIZES.test:
        yield sizes.test
        return
    for share in TEST_SHARES:
        yield PartSize(share, sizes.test.length_ms)


def _by_folds(usable: _Usable, sizes: SplitSizes, test: PartSize) -> _Choice:
    """Return the split into what is before a test, with folds of time in it, and the test."""
    table, inner = usable.table, usable.inner_gap_ms(sizes)
    length = test.of(usable.end_ms - usable.begin_ms - usable.gap_ms)
    test_ms = usable.end_ms - length
    before = _within(table, usable.rows, (usable.begin_ms, test_ms - usable.gap_ms))
    before = before[table.labelled_ms[before] <= test_ms]
    tested = _within(table, usable.rows, (test_ms, usable.end_ms))
    folds = time_folds(table, before, inner)
    scored = np.concatenate([before[:0], *(fold.scored for fold in folds)])
    found = Split(before, scored, scored, tested, (inner, inner, usable.gap_ms), folds, usable.rows)
    parts = {"before the test": before, "scored by folds": scored, "test": tested}
    least = {"before the test": FEWEST_BEFORE, "scored by folds": FEWEST_FRAUDS, "test": FEWEST_FRAUDS}
    return _Choice(
        f"folds of time, and a test of {_days(length)} after a gap of {_days(usable.gap_ms)}", found, parts, least
    )


def time_folds(table: Table, rows: Ints, gap_ms: int) -> tuple[Fold, ...]:
    """Return folds of some labelled rows, in order of time: each is scored by what was `gap_ms` before it.

    A fold that would have fewer than `FEWEST_FRAUDS` to be fitted to is left out.
    """
    times, frauds = table.occurred_ms[rows], rows[table.fraud[rows] == 1]
    if not len(frauds):
        return ()
    begins = [int(table.occurred_ms[frauds[int(len(frauds) * share)]]) for share in FOLD_STARTS]
    folds = list[Fold]()
    for begin_ms, end_ms in pairwise([*begins, int(times[-1]) + 1]):
        fit, scored = rows[times < begin_ms - gap_ms], rows[(times >= begin_ms) & (times < end_ms)]
        if FEWEST_FRAUDS <= int(table.fraud[fit].sum()) < len(fit) and len(scored):
            folds.append(Fold(fit, scored))
    return tuple(folds)


def _refusal(usable: _Usable, choices: tuple[str, ...], possible: str | None) -> str:
    """Return that no split is possible, what each leaves, and what to do."""
    table, (_, rows, begin_ms, end_ms, gap_ms) = usable.table, usable
    frauds, days = int(table.fraud[rows].sum()), max(end_ms - begin_ms, 0) / DAY_MS
    wanted = FEWEST_BEFORE + 2 * FEWEST_FRAUDS
    if possible is not None:
        advice = f"leave out --calibrate and --validate: possible are {possible}"
    elif frauds == len(rows):
        advice = "all labelled payments are frauds: label genuine ones, or say after how many days a payment without a "
        advice += "label is genuine, by --maturity-days"
    elif frauds:
        more = (wanted * days / frauds + gap_ms / DAY_MS - days) / (1 - 1 / _WARM_SHARE)
        longer = (
            f"add about {max(1, round(more)):,} days at {frauds / days:.1f} labelled frauds a day, or " if days else ""
        )
        advice = f"{longer}label more frauds, or set a shorter --gap or another --test"
    else:
        advice = "add days, or label frauds"
    span = (table.last_ms - int(table.occurred_ms[0])) // DAY_MS
    head = (
        f"no split leaves enough frauds with a known label: each part needs at least {FEWEST_FRAUDS} frauds and some "
        f"genuine payments, folds of time at least {FEWEST_BEFORE} before the test. The file spans {span} days; labels "
        f"are known, and histories complete, for {_days(end_ms - begin_ms)}: {len(rows):,} rows, {frauds:,} frauds"
    )
    return "\n".join((head, *(f"  {one}" for one in choices), advice))


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


def _lay_out(usable: _Usable, sizes: SplitSizes) -> _Times:
    """Place the parts in [begin, end), from the end; `train` is what is left, if anything is."""
    begin_ms, end_ms, last = usable.begin_ms, usable.end_ms, usable.gap_ms
    inner = usable.inner_gap_ms(sizes)
    shared = end_ms - begin_ms - last - 2 * inner
    validate, calibrate, test = (size.of(shared) for size in (sizes.validate, sizes.calibrate, sizes.test))
    test_ms = end_ms - test
    validate_end = test_ms - last
    calibrate_end = validate_end - validate - inner
    train_end = calibrate_end - calibrate - inner
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


def _check_parts(table: Table, parts: Mapping[str, Ints], note: str) -> None:
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
        )


def _days(length_ms: int) -> str:
    return f"{max(length_ms, 0) / DAY_MS:.1f} days"
