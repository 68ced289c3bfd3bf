"""Payments as columns: which decisions are read, what a row holds, and how labels join."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.rollout.outcomes.columns import BY_RULES, ColumnNames, PaymentCollector, joined, last_of_each
from fraudstream.ops.rollout.outcomes.labels import UNLABELLED, card_hash, payment_hash
from fraudstream_client.validity import ValidScores
from metrics.money import DecisionCode
from stream.errors import ReportError
from stream.readers import read_scores
from support.handmade_scores import handmade_scores
from support.outcome_cases import LIVE_DIGEST, Payment, at_ms, label_rows, payment_rows, score_value
from support.stream_records import Told


def collected(values: list[bytes | None], *, first: int = 0, **options: Any) -> PaymentCollector:
    collector = PaymentCollector("default", ColumnNames(), **({"cards_bp": 10_000} | options))
    records = read_scores(Told(value, offset=at) for at, value in enumerate(values))  # type: ignore[misc]
    collector.keep(collector.valid(records, first))
    return collector


@pytest.mark.parametrize("seed", range(5))
def test_the_valid_decisions_are_those_of_the_rule_for_consumers(seed: int) -> None:
    sent = handmade_scores(seed)
    records = [Told(value, partition=partition, offset=at) for at, (partition, value) in enumerate(sent)]
    rule = ValidScores[Any]()
    expected = [(record.partition, score.transaction_id) for record, score in rule.of(records)]
    collector = PaymentCollector("", ColumnNames(), 10_000)
    found = collector.valid(read_scores(records), 0)  # type: ignore[arg-type]
    assert [(one.partition, one.score.transaction_id) for one in found] == expected
    assert (len(expected) > 100, collector.void) == (True, rule.void)


def test_a_row_holds_what_the_model_said_and_what_was_decided() -> None:
    collector = collected(
        [
            score_value(decision="approve", overruled={"by": "let_through", "from": "decline"}, propensity=0.01),
            score_value(
                transaction_id="t-2",
                source={"topic": "transactions", "partition": 0, "offset": 1},
                decision="review",
                decided_by="rules",
                model=None,
                score=None,
                band=None,
                arm=None,
                currency="JPY",
            ),
        ]
    )
    first, second = collector.rows()
    assert (first["said"], first["decided"]) == (DecisionCode.DECLINE, DecisionCode.APPROVE)
    assert (first["propensity"], first["stood_in"], first["fraud"]) == (0.01, 0, UNLABELLED)
    assert (first["card"], first["payment"]) == (card_hash("card-1"), payment_hash("card-1", "t-1"))
    assert first["occurred_ms"] == at_ms(30.5)
    assert first["decided_ms"] == at_ms(30.5) + 4
    assert (second["said"], second["decided"], second["model"]) == (DecisionCode.REVIEW, DecisionCode.REVIEW, BY_RULES)
    assert math.isnan(second["score"])
    assert math.isnan(second["propensity"])
    assert second["stood_in"] == 1
    names = collector.names
    assert [names.currencies[row["currency"]] for row in (first, second)] == ["EUR", "JPY"]
    assert (names.models, [names.arms[row["arm"]] for row in (first, second)]) == ([LIVE_DIGEST], ["live", ""])


def test_scores_before_the_stretch_decide_on_validity_and_other_deployments_are_not_read() -> None:
    place = {"topic": "transactions", "partition": 0}
    collector = collected(
        [
            score_value(epoch=2, source=place | {"offset": 5}),
            score_value(epoch=1, source=place | {"offset": 6}, transaction_id="void"),
            score_value(epoch=2, source=place | {"offset": 7}, transaction_id="other", deployment="green"),
            score_value(epoch=2, source=place | {"offset": 7}, transaction_id="again"),
            score_value(epoch=2, source=place | {"offset": 8}, transaction_id="read"),
        ],
        first=1,
    )
    assert collector.rows()["payment"].tolist() == [payment_hash("card-1", "read")]
    assert collector.void == 2


def test_more_payments_than_fit_are_refused_with_what_to_do() -> None:
    values: list[bytes | None] = [
        score_value(transaction_id=f"t-{at}", source={"topic": "t", "partition": 0, "offset": at}) for at in range(4)
    ]
    assert collected(values, most=4).kept == 4
    with pytest.raises(ReportError, match=r"more than 3 payments.*--since.*--cards 10%"):
        collected(values, most=3)
    assert collected(values, most=3, cards_bp=0).kept == 0


PAYMENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 4), st.integers(0, 9)).map(
        lambda one: Payment(one[0], one[2], name=f"t-{one[1]}")
    ),
    max_size=25,
)


@given(PAYMENTS)
def test_a_payment_that_was_decided_twice_counts_as_the_last_says(payments: list[Payment]) -> None:
    expected = {(one.card, one.name): one.day for one in payments}
    rows = last_of_each(payment_rows(payments))
    assert {int(row["payment"]): int(row["occurred_ms"]) for row in rows} == {
        payment_hash(card, name): at_ms(day) for (card, name), day in expected.items()
    }
    keys = [(row["card"], row["occurred_ms"], row["payment"]) for row in rows]
    assert keys == sorted(keys)


@given(PAYMENTS, st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 6), st.booleans())))
def test_labels_join_by_card_and_transaction(payments: list[Payment], labels: Any) -> None:
    known = {(card, f"t-{at}"): fraud for card, at, fraud in labels}
    lines = [(card, name, None, 40.0, 0, fraud) for (card, name), fraud in known.items()]
    found = label_rows(lines)
    before = payment_rows(payments)
    rows = joined(before, found[np.argsort(found["payment"])])
    assert [int(one) for one in rows["fraud"]] == [known.get((one.card, one.name), UNLABELLED) for one in payments]
    assert all((row["labelled_ms"] == at_ms(40)) == (row["fraud"] != UNLABELLED) for row in rows)
    assert (before["fraud"] == UNLABELLED).all()
