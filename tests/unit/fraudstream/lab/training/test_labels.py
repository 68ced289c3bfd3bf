"""Which outcomes count: without a label a payment is genuine once it is old, and few labels are refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.declaration import DAY_MS
from fraudstream.lab.training.labels import chosen_labels, label_terms
from fraudstream.lab.training.request import TrainingDataError, TrainingRequest
from fraudstream.lab.training.split import label_delay_ms, split
from fraudstream.lab.training.vectors import Table
from support.tables import FOUR, spread


def request_for(**changes: Any) -> TrainingRequest:
    return replace(TrainingRequest(file=Path("a.csv"), name="card", feature_set=FOUR), **changes)


def labelled(share: float, days: int = 100) -> Table:
    """Return rows of which each tenth is a fraud, labelled 12 days later; of the others some have a label."""
    data = spread(days, fraud_every=10)
    data.labelled_ms[:] = data.occurred_ms + 12 * DAY_MS
    data.fraud[(data.fraud == 0) & (np.random.default_rng(1).random(len(data.fraud)) >= share)] = -1
    return data


def test_of_chargebacks_alone_the_others_are_genuine_once_they_are_as_old_as_chargebacks_take() -> None:
    data = labelled(0.0)
    terms = label_terms(data, request_for())
    assert terms.maturity_days == 12
    assert "one without a label counts as genuine when it is 12 days old" in terms.notes[0]
    found = terms.apply(data)
    old = found.occurred_ms <= found.last_ms - 12 * DAY_MS
    assert (found.fraud[~old] == -1).all(), "of young payments those with a label are frauds"
    assert (found.fraud[old] == (np.arange(len(old))[old] % 10 == 0)).all()
    assert (found.labelled_ms[old] == found.occurred_ms[old] + 12 * DAY_MS).all()
    assert label_delay_ms(found) == 12 * DAY_MS
    parts = split(found, 0)
    assert found.fraud[parts.train].mean() == pytest.approx(0.1, abs=0.01)
    assert found.matrix is data.matrix


def test_a_stated_maturity_counts_and_one_that_is_shorter_than_labels_take_is_warned_of() -> None:
    data = labelled(0.3)
    terms = label_terms(data, request_for(maturity_days=20.0))
    assert (terms.maturity_days, terms.notes) == (20.0, ())
    late = label_terms(data, request_for(maturity_days=5.0))
    assert "100% of the labelled frauds were known later than 5 days after their payment" in late.notes[0]
    with pytest.raises(ValueError, match="maturity_days: expected a number of at least 0, got -1"):
        request_for(maturity_days=-1)


def test_where_most_payments_have_no_label_training_is_refused_or_called_weak() -> None:
    data = labelled(0.02)
    with pytest.raises(TrainingDataError, match=r"1\d\.\d% of the payments .* have a label, and 8\d\.\d% .* frauds"):
        label_terms(data, request_for())
    with pytest.raises(TrainingDataError, match=r"\(--maturity-days\), or label more .* accept it \(--accept-weak\)"):
        label_terms(data, request_for())
    terms = label_terms(data, request_for(accept_weak=True))
    assert terms.maturity_days is None
    assert "times too high" in terms.weaknesses[0]
    assert terms.apply(data) is data


def test_labels_that_end_long_before_the_file_are_no_small_share() -> None:
    data = labelled(1.0)
    data.fraud[len(data.fraud) // 4 :] = -1
    assert label_terms(data, request_for()).weaknesses == ()
    assert label_terms(labelled(0.6), request_for()).weaknesses == ()


def test_alerts_that_have_a_label_more_often_than_other_payments_are_told() -> None:
    data = labelled(0.6)
    rows = np.arange(1_500)
    random = np.random.default_rng(2)
    alerts = random.random(1_500) < 0.1
    assert chosen_labels(data, rows, alerts) == []
    alerts |= data.fraud[rows] == 1
    (text,) = chosen_labels(data, rows, alerts)
    assert text.startswith("84% of the alerts have a label and 59% of the other payments: precision, recall and prob")
    assert chosen_labels(data, rows[:50], alerts[:50]) == []
