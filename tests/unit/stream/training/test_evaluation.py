import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.declaration import DAY_MS
from models.calibration import Calibrator
from models.policy import Policy
from stream.training.evaluation import (
    ALERTS_A_DAY,
    BLOCKED_DAYS,
    Split,
    calibrate,
    choose_policy,
    measure,
    split,
    split_unseen,
)
from stream.training.request import TrainingDataError, UnusableModelError
from stream.training.vectors import Table


def table(day: list[int], card: list[int], fraud: list[int], labelled_day: list[int] | None = None) -> Table:
    occurred = np.array(day, np.int64) * DAY_MS + np.arange(len(day))
    labelled = occurred + 7 * DAY_MS if labelled_day is None else np.array(labelled_day, np.int64) * DAY_MS
    return Table(
        matrix=np.zeros((len(day), 1)),
        occurred_ms=occurred,
        labelled_ms=labelled,
        fraud=np.array(fraud, np.int8),
        card=np.array(card, np.int64),
        decided=np.ones(len(day), np.bool_),
    )


def recounted_precision(days: list[int], cards: list[int], frauds: list[int], scores: list[float]) -> float:
    """Compute card precision with dictionaries; a card is blocked only by having been found, not by a label."""
    found: dict[int, int] = {}
    precisions = []
    for day in sorted(set(days)):
        best: dict[int, float] = {}
        hit: set[int] = set()
        for its_day, card, fraud, score in zip(days, cards, frauds, scores, strict=True):
            if its_day == day and (card not in found or day - found[card] >= BLOCKED_DAYS):
                best[card] = max(best.get(card, -1.0), score)
                hit |= {card} if fraud else set()
        top = sorted(best, key=lambda card: (-best[card], card))[:ALERTS_A_DAY]
        found |= {card: day for card in top if card in hit}
        precisions.append(len(hit & set(top)) / ALERTS_A_DAY)
    return sum(precisions) / len(precisions)


@given(st.integers(0, 10_000))
def test_card_precision_equals_a_recount(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = 600
    days = np.sort(random.integers(0, 30, rows)).tolist()
    cards = random.integers(0, 130, rows).tolist()
    frauds = (random.random(rows) < 0.2).astype(int).tolist()
    scores = random.permutation(rows) / rows
    known_later = [1_000] * rows
    metrics = measure(table(days, cards, frauds, known_later), np.arange(rows), scores, Policy(0.5, 0.9))
    expected = recounted_precision(days, cards, frauds, scores.tolist())
    assert metrics["card_precision_at_100"] == pytest.approx(expected)


def test_a_card_with_a_known_fraud_is_blocked_for_two_weeks() -> None:
    data = table([0, 10, 10, 11, 23, 24, 24], [1, 1, 2, 1, 1, 1, 3], [1, 1, 1, 1, 1, 1, 0], [10, *[99] * 6])
    rows = np.arange(1, 7)
    scores = np.full(6, 0.5)
    # The label is known as day 10 begins, so the card is blocked on days 10 to 23.
    metrics = measure(data, rows, scores, Policy(0.1, 0.9))
    assert metrics["card_precision_at_100"] == pytest.approx((1 + 1) / 2 / ALERTS_A_DAY)


def test_the_measures_of_a_drawn_table_are_those_of_the_first_version() -> None:
    random = np.random.default_rng(1)
    rows = 4_000
    occurred = np.sort(random.integers(19_000 * DAY_MS, 19_040 * DAY_MS, rows))
    card = random.integers(0, 400, rows)
    compromised = random.random(400) < 0.08
    fraud = ((random.random(rows) < 0.5) & compromised[card]).astype(np.int8)
    labelled = occurred + random.integers(0, 10 * DAY_MS, rows)
    scores = np.clip(np.round(0.3 * fraud + random.random(rows) * 0.7, 3), 0, 1)
    decided = random.random(rows) < 0.98
    data = Table(np.zeros((rows, 1)), occurred, labelled, fraud, card, decided)
    expected = {
        "auc": 0.9414020988310308,
        "average_precision": 0.8172568395312362,
        "card_precision_at_100": 0.004285714285714286,
        "alert_rate": 0.0155,
        "decline_rate": 0.0045,
        "fraud_rate": 0.031,
        "recall_at_review": 0.4838709677419355,
        "precision_at_review": 0.967741935483871,
        "brier": 0.1560599165,
    }
    found = measure(data, np.arange(2_000, rows), scores[2_000:], Policy(0.7, 0.9))
    assert found == pytest.approx(expected, rel=1e-12)


def test_calibration_is_within_0_05_of_platts_sigmoid() -> None:
    random = np.random.default_rng(0)
    margins = random.normal(-4, 2, 20_000)
    truth = 1 / (1 + np.exp(-(0.8 * margins + 0.5)))
    calibration = calibrate(margins, (random.random(20_000) < truth).astype(np.int8))
    assert len(calibration.margins) == 128
    found = Calibrator.of(calibration).probabilities(margins)
    assert np.max(np.abs(found - truth)) < 0.05
    assert calibration.margins[0] < margins.min() - 1
    assert calibration.margins[-1] > margins.max() + 1


def test_margins_that_do_not_predict_the_labels_are_rejected() -> None:
    with pytest.raises(UnusableModelError, match="do not predict the labels"):
        calibrate(np.array([2.0, 1.0, 0.0, -1.0]), np.array([0, 0, 1, 1], np.int8))


def test_thresholds_select_the_requested_shares() -> None:
    scores = np.random.default_rng(1).permutation(10_000) / 10_000
    policy = choose_policy(scores, 0.005, 0.001)
    assert np.mean(scores >= policy.review_at) == pytest.approx(0.005, abs=2e-4)
    assert np.mean(scores >= policy.decline_at) == pytest.approx(0.001, abs=2e-4)


def spread(days: int, *, fraud_every: int = 5, per_day: int = 20) -> Table:
    day = [number // per_day for number in range(days * per_day)]
    fraud = [int(number % fraud_every == 0) for number in range(len(day))]
    return table(day, [number % 50 for number in range(len(day))], fraud)


def test_the_parts_are_consecutive_and_use_only_labels_that_were_known_in_time() -> None:
    data = spread(100)
    parts = split(data, 30 * DAY_MS)
    assert isinstance(parts, Split)
    assert data.occurred_ms[parts.train[0]] >= data.occurred_ms[0] + 23 * DAY_MS
    assert parts.train[-1] < parts.calibrate[0] <= parts.calibrate[-1] < parts.validate[0]
    begin = data.occurred_ms[parts.validate[0]]
    assert (data.labelled_ms[np.concatenate((parts.train, parts.calibrate))] <= begin).all()
    assert (data.labelled_ms[parts.validate] <= data.last_ms).all()


def test_insufficient_training_data_raises_an_error_with_the_reason() -> None:
    with pytest.raises(TrainingDataError, match="no transaction is labelled"):
        split(_unlabelled(spread(50)), 0)
    with pytest.raises(TrainingDataError, match="add more days, or the column labelled_at"):
        split(spread(5), 0)
    with pytest.raises(TrainingDataError, match="the train part has 0 frauds in 0 transactions"):
        split(spread(12), 0)
    with pytest.raises(TrainingDataError, match="at least 10 frauds and some genuine"):
        split(spread(60, fraud_every=1), 0)


def test_an_imported_model_is_calibrated_on_later_rows_whose_labels_were_known_in_time() -> None:
    data = spread(100)
    until = int(data.occurred_ms[0]) + 30 * DAY_MS
    parts = split_unseen(data, 0, until)
    assert (data.occurred_ms[np.concatenate((parts.calibrate, parts.validate))] > until).all()
    assert parts.calibrate[-1] < parts.validate[0]
    begin = data.occurred_ms[parts.validate[0]]
    assert (data.labelled_ms[parts.calibrate] <= begin).all()
    assert (data.occurred_ms[parts.calibrate] > begin - 8 * DAY_MS).any()
    assert (data.labelled_ms[parts.validate] <= data.last_ms).all()
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
