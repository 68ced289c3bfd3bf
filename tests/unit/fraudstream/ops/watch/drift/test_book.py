"""The guard's book of alerts: in any order of scores and labels what a recount says, and the same after a restart."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream.ops.rollout.outcomes.labels import LabelCollector
from fraudstream.ops.watch.drift.book import AlertBook, StoredBook
from fraudstream.ops.watch.drift.fold import WatchedPair
from fraudstream.ops.watch.drift.scores import ScoreFilter
from models.training_reference import DAY_MS
from stream.readers import read_scores
from support.drift_cases import DIGEST, FIRST_DAY, POLICY, label, payments, record
from support.examples import examples

PAIR = WatchedPair(DIGEST, "live")
DRAWN = payments(range(FIRST_DAY, FIRST_DAY + 14), seed=5, cards=300)
SCORES = [record(one, at) for at, one in enumerate(DRAWN)]
LABELS = [label(one, at, 0, fraud=at % 3 == 0, days=1) for at, one in enumerate(DRAWN)]
AS_OF_MS = (FIRST_DAY + 20) * DAY_MS


def recount() -> float:
    """Return the precision of the last whole week, without what was declined: every payment is labelled."""
    reviewed = [at for at, one in enumerate(DRAWN) if POLICY.review_at <= one.score < POLICY.decline_at]
    last = [at for at in reviewed if DRAWN[at].day >= FIRST_DAY + 7]
    return sum(at % 3 == 0 for at in last) / len(last)


def labels(records: list[Any]) -> Any:
    collector = LabelCollector("default", 10_000)
    collector.add(one.value for one in records)
    return collector.rows()


@settings(max_examples=examples(100, in_ci=5))
@given(st.randoms(use_true_random=False))
def test_scores_and_labels_in_any_order_and_through_restarts_give_the_precision_of_a_recount(random: Any) -> None:
    book, read, scores, outcomes = AlertBook(), ScoreFilter("default"), list(SCORES), list(LABELS)
    while scores or outcomes:
        if scores and random.random() < 0.5:
            part, scores = scores[:200], scores[200:]
            book.add(score for _, score in read.of(read_scores(part)))  # type: ignore[arg-type]
            book.forget(part[-1].timestamp)
        else:
            part, outcomes = outcomes[:200], outcomes[200:]
            book.add_labels(labels(part))
        if random.random() < 0.2:
            encoded = msgspec.json.encode(book.stored())
            book = AlertBook(msgspec.json.decode(encoded, type=StoredBook))
    assert book.matured(AS_OF_MS) == {PAIR: pytest.approx(recount())}


def test_labels_of_other_payments_and_old_alerts_are_forgotten() -> None:
    book = AlertBook()
    book.add(score for _, score in ScoreFilter("default").of(read_scores(SCORES)))  # type: ignore[arg-type]
    book.add_labels(labels(LABELS))
    alerts = sum(one.score >= POLICY.review_at for one in DRAWN)
    book.forget((FIRST_DAY + 30) * DAY_MS)
    assert len(book.rows(PAIR)) == len(book._labels) == alerts
    assert set(np.unique(book.rows(PAIR)["fraud"])) == {0, 1}
    book.forget((FIRST_DAY + 120) * DAY_MS)
    assert len(book.rows(PAIR)) == len(book._labels) == 0
    assert book.matured(AS_OF_MS) == {}
