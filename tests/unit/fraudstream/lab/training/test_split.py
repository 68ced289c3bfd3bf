"""The split by time: every label that chooses anything was known before the test part begins."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from features.declaration import DAY_MS, HOUR_MS
from fraudstream.lab.training.request import DEFAULT_SIZES, PartSize, SplitSizes, TrainingDataError
from fraudstream.lab.training.split import Split, label_delay_ms, split, split_unseen
from fraudstream.lab.training.vectors import Table
from support.tables import hourly, spread, table

PARTS = ("train", "calibrate", "validate", "test")


def days_of(data: Table, rows: np.ndarray) -> tuple[float, float]:
    """Return when the first and the last of some rows occurred, in days since the table's first row."""
    since = (data.occurred_ms[rows] - data.occurred_ms[0]) / DAY_MS
    return float(since[0]), float(since[-1])


def test_the_parts_lie_one_after_the_other_with_gaps_as_long_as_labels_take() -> None:
    data = hourly(365)
    parts = split(data, 37 * DAY_MS)
    assert parts.gaps_ms == (7 * DAY_MS,) * 3
    # labels are known until day 358: 28 days of test, 21 of each of the two parts before it, and 7 between all of them
    found = {name: days_of(data, getattr(parts, name)) for name in PARTS}
    ends = {"train": (37, 267), "calibrate": (274, 295), "validate": (302, 323), "test": (330, 358)}
    for name, (begin, end) in ends.items():
        assert found[name] == (pytest.approx(begin, abs=0.1), pytest.approx(end, abs=0.1))


def test_a_short_file_has_shorter_gaps_before_calibration_and_validation_but_not_before_the_test() -> None:
    data = hourly(60)
    parts = split(data, 37 * DAY_MS)
    first, second, last = (gap / DAY_MS for gap in parts.gaps_ms)
    # labels are known until day 53; a quarter of that is left out, so 39.75 days are split
    assert (first, second, last) == (pytest.approx(39.75 / 24, abs=0.01), first, 7)
    shared = 39.75 - 7 - 2 * first
    begin, end = days_of(data, parts.test)
    assert end - begin == pytest.approx(shared / 4, abs=0.1)
    begin, end = days_of(data, parts.validate)
    assert end - begin == pytest.approx(shared * 0.15, abs=0.1)


def test_sizes_and_the_gap_are_those_that_are_asked_for() -> None:
    data = hourly(200)
    sizes = SplitSizes(PartSize(length_ms=10 * DAY_MS), PartSize(0.1), PartSize(length_ms=30 * DAY_MS), 5 * DAY_MS)
    parts = split(data, 0, sizes)
    assert parts.gaps_ms == (5 * DAY_MS,) * 3
    lengths = {name: np.diff(days_of(data, getattr(parts, name)))[0] for name in PARTS}
    assert lengths["calibrate"] == pytest.approx(10, abs=0.1)
    # the labels of its last two days are not known when the test begins
    assert lengths["validate"] == pytest.approx((193 - 15) / 10 - 2, abs=0.1)
    assert lengths["test"] == pytest.approx(30, abs=0.1)
    assert lengths["train"] == pytest.approx(193 - 15 - 10 - 17.8 - 30, abs=0.1)


def test_the_label_delay_is_that_of_nineteen_of_twenty_labels() -> None:
    data = spread(40)
    assert label_delay_ms(data) == 7 * DAY_MS
    data.labelled_ms[::31] += 100 * DAY_MS
    assert label_delay_ms(data) == 7 * DAY_MS
    data.labelled_ms[::9] += 100 * DAY_MS
    assert label_delay_ms(data) == 107 * DAY_MS
    assert label_delay_ms(_unlabelled(data)) == 0


def test_the_delay_of_rare_frauds_counts_and_is_not_that_of_a_few_late_ones() -> None:
    data = spread(600, fraud_every=30)
    frauds = np.flatnonzero(data.fraud == 1)
    data.labelled_ms[frauds] = data.occurred_ms[frauds] + 40 * DAY_MS
    assert label_delay_ms(data) == 40 * DAY_MS
    assert split(data, 0).gaps_ms[-1] == 40 * DAY_MS
    data.labelled_ms[frauds[10:]] = data.occurred_ms[frauds[10:]] + DAY_MS
    assert label_delay_ms(data) == 7 * DAY_MS, "genuine payments take longer, and 10 of 400 frauds are late"
    few = spread(40, fraud_every=30)
    late = np.flatnonzero(few.fraud == 1)
    few.labelled_ms[late] += 40 * DAY_MS
    assert label_delay_ms(few) == 7 * DAY_MS, "27 frauds tell no quantile"


@given(
    st.integers(0, 10_000), st.integers(20, 200), st.sampled_from([0, 1, 7, 20]), st.sampled_from([None, 3 * HOUR_MS])
)
def test_no_part_overlaps_another_and_no_label_of_later_is_used(
    seed: int, days: int, delay: int, gap_ms: int | None
) -> None:
    random = np.random.default_rng(seed)
    rows = days * 15
    data = table(np.sort(random.integers(0, days, rows)).tolist(), [0] * rows, random.integers(0, 2, rows).tolist())
    data.labelled_ms[:] = data.occurred_ms + random.integers(0, 2 * delay * DAY_MS + 1, rows)
    data.fraud[random.random(rows) < 0.1] = -1
    data.decided[random.random(rows) < 0.05] = False
    try:
        parts = split(data, 10 * DAY_MS, DEFAULT_SIZES._replace(gap_ms=gap_ms))
    except TrainingDataError:
        assume(condition=False)
        return
    _check(data, parts)


def _check(data: Table, parts: Split) -> None:
    between = (("train", "test"),) if parts.folds else pairwise(PARTS)
    gaps = parts.gaps_ms[-1:] if parts.folds else parts.gaps_ms
    for (before, after), gap in zip(between, gaps, strict=True):
        last, first = getattr(parts, before)[-1], getattr(parts, after)[0]
        assert data.occurred_ms[first] - data.occurred_ms[last] > gap
    assert (data.labelled_ms[parts.before_test] <= data.occurred_ms[parts.test[0]]).all()
    assert (data.labelled_ms[parts.test] <= data.last_ms).all()
    for rows in (parts.before_test, parts.test):
        assert data.decided[rows].all()
        assert (data.fraud[rows] >= 0).all()
        assert (np.diff(rows) > 0).all()
    for fold in parts.folds:
        assert set(fold.fit) | set(fold.scored) <= set(parts.train)
        assert data.occurred_ms[fold.scored[0]] - data.occurred_ms[fold.fit[-1]] > parts.gaps_ms[0]
    assert parts.known is not None
    assert set(parts.before_test) | set(parts.test) <= set(parts.known)


def test_where_a_part_would_have_few_frauds_folds_of_time_choose_and_more_is_trained_on() -> None:
    data = spread(60, fraud_every=10)
    parts = split(data, 0)
    assert parts.choices[0].startswith("taken: folds of time, and a test of 11.3 days after a gap of 7.0 days: before")
    assert "parts by time with gaps of" in parts.choices[1]
    assert len(parts.folds) == 3
    frauds = [int(data.fraud[fold.scored].sum()) for fold in parts.folds]
    assert max(frauds) - min(frauds) <= 2
    asked = DEFAULT_SIZES._replace(calibrate=PartSize(0.2), validate=PartSize(0.2))
    whole = split(data, 0, asked)
    assert whole.folds == ()
    assert len(parts.train) > 1.5 * len(whole.train)
    assert int(data.fraud[whole.calibrate].sum()) in range(10, 30)
    more = split(spread(60, fraud_every=3), 0)
    assert (more.folds, more.choices[0][:20]) == ((), "taken: parts by time")


def test_a_model_that_is_fitted_once_is_calibrated_on_rows_that_no_fold_of_it_has_seen() -> None:
    by_parts, data = split(hourly(365), 37 * DAY_MS), spread(60, fraud_every=10)
    once = by_parts.single_fit
    assert [rows.tolist() for rows in once] == [
        rows.tolist() for rows in (by_parts.train, by_parts.calibrate, by_parts.test)
    ]
    folded = split(data, 0)
    assert len(folded.folds) == 3
    once = folded.single_fit
    assert once.train.tolist() == folded.folds[1].fit.tolist()
    assert once.calibrate.tolist() == [*folded.folds[1].scored.tolist(), *folded.folds[2].scored.tolist()]
    assert data.occurred_ms[once.train[-1]] < data.occurred_ms[once.calibrate[0]]
    assert once.held_back.tolist() == folded.test.tolist()


def test_a_test_with_few_frauds_takes_more_of_the_time() -> None:
    data = spread(60, fraud_every=27)
    found = split(data, 0)
    assert "a test of 15.8 days" in found.choices[0]
    assert any("a test of 11.3 days" in choice for choice in found.choices[1:])
    assert int(data.fraud[found.train].sum()) >= 20
    assert int(data.fraud[found.test].sum()) >= 10


def test_a_time_that_is_too_short_for_gaps_and_parts_is_refused_with_what_to_set() -> None:
    with pytest.raises(TrainingDataError, match=r"gaps of 35.0 days, 35.0 days, 35.0 days .* are too short") as short:
        split(spread(60), 0, DEFAULT_SIZES._replace(gap_ms=35 * DAY_MS))
    assert "before the test 0 rows, 0 frauds" in str(short.value)
    assert str(short.value).splitlines()[-1].startswith("add about ")
    with pytest.raises(TrainingDataError, match="set a shorter --gap or another --test"):
        split(spread(60), 0, DEFAULT_SIZES._replace(test=PartSize(length_ms=90 * DAY_MS)))


def test_insufficient_training_data_raises_an_error_with_the_reason() -> None:
    with pytest.raises(TrainingDataError, match="no transaction is labelled"):
        split(_unlabelled(spread(50)), 0)
    with pytest.raises(TrainingDataError, match="add more days, or the column labelled_at"):
        split(spread(5), 0)
    with pytest.raises(
        TrainingDataError, match=r"(?s)at least 10 frauds and some genuine .*add about \d+ days at 5\.0"
    ):
        split(spread(12), 0)
    with pytest.raises(TrainingDataError, match=r"all labelled payments are frauds: .* by --maturity-days"):
        split(spread(60, fraud_every=1), 0)


def test_an_imported_model_is_calibrated_on_later_rows_whose_labels_were_known_in_time() -> None:
    data = spread(100)
    until = int(data.occurred_ms[0]) + 30 * DAY_MS
    parts = split_unseen(data, 0, until)
    assert (data.occurred_ms[np.concatenate((parts.calibrate, parts.test))] > until).all()
    assert parts.calibrate[-1] < parts.test[0]
    begin = data.occurred_ms[parts.test[0]]
    assert (data.labelled_ms[parts.calibrate] <= begin).all()
    assert (data.occurred_ms[parts.calibrate] > begin - 8 * DAY_MS).any()
    assert (data.labelled_ms[parts.test] <= data.last_ms).all()
    assert begin == pytest.approx(int(data.occurred_ms[0]) + (30 + 93) / 2 * DAY_MS, abs=DAY_MS)
    assert parts.trained_on == (data.occurred_ms <= until).sum()
    assert split_unseen(data, 0, None).trained_on == 0


def test_rows_with_incomplete_histories_are_left_out_for_at_most_a_quarter_of_the_time() -> None:
    data = spread(100)
    begin = int(data.occurred_ms[0])

    def first_day(complete_day: int, trained_until_ms: int | None = None) -> int:
        row = split_unseen(data, begin + complete_day * DAY_MS, trained_until_ms).calibrate[0]
        return int(data.occurred_ms[row] - begin) // DAY_MS

    assert first_day(10) == 10
    assert first_day(90) == 93 // 4
    assert first_day(10, begin + 20 * DAY_MS) == 20
    assert first_day(25, begin + 20 * DAY_MS) == 25


def test_too_few_later_rows_are_refused_with_the_end_of_the_training() -> None:
    data = spread(60)
    begin = int(data.occurred_ms[0])
    with pytest.raises(TrainingDataError, match="no labelled transaction is later than 1970-02-24"):
        split_unseen(data, 0, begin + 54 * DAY_MS)
    with pytest.raises(
        TrainingDataError, match=r"the calibrate part has \d frauds .*; those until 1970-02-16T.* left out"
    ):
        split_unseen(data, 0, begin + 46 * DAY_MS)


def _unlabelled(data: Table) -> Table:
    data.fraud[:] = -1
    return data
