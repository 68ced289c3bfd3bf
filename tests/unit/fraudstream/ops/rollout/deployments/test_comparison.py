"""The comparison of two deployments: what is joined, what differs in events and money, and how scores shift."""

from typing import Any

import msgspec
import numpy as np
import pytest

from fraudstream.ops.rollout.deployments.comparison import Comparison, TimeSpan, comparison_of, join, score_shift
from fraudstream.ops.rollout.deployments.decision_columns import DECISIONS, ROW, Rows
from metrics.drift import stability_of_scores

APPROVE, REVIEW, DECLINE = (DECISIONS.index(one) for one in ("approve", "review", "decline"))
SPAN = TimeSpan(0, 3_600_000)


def rows(*lines: tuple[int, int], **columns: Any) -> Rows:
    """Return decisions about (partition, place), approvals of 100 of the first currency by a score of 0.5."""
    found = np.zeros(len(lines), ROW)
    found["partition"], found["place"] = zip(*lines, strict=True)
    found["amount_minor"], found["score"] = 100, 0.5
    for name, values in columns.items():
        found[name] = values
    return found


def compared(published: Rows, silent: Rows) -> Comparison:
    return comparison_of(join(published, silent), ["EUR", "JPY"], ("blue", "green"), SPAN, 0)


def test_decisions_are_joined_by_partition_and_place_where_both_sides_have_decided() -> None:
    published = rows((0, 1), (0, 2), (0, 3), (0, 5), (0, 9), (1, 2))
    silent = rows((0, 2), (0, 4), (0, 5), (2, 2))
    joined = join(published, silent)
    assert joined.published["place"].tolist() == joined.silent["place"].tolist() == [2, 5]
    assert (joined.only_published, joined.only_silent) == (1, 1)
    assert (joined.published["partition"] == 0).all()


def test_the_same_offset_of_another_partition_is_another_payment() -> None:
    found = compared(rows((0, 1), (1, 1)), rows((0, 1), (1, 1), decision=[APPROVE, DECLINE]))
    assert (found.compared, found.changed) == (2, 1)


def test_what_differs_is_counted_in_events_and_in_money_by_currency_the_most_frequent_first() -> None:
    places = [(0, at) for at in range(6)]
    published = rows(
        *places, decision=[APPROVE, APPROVE, APPROVE, DECLINE, REVIEW, APPROVE], currency=[0, 1, 1, 0, 0, 0]
    )
    silent = rows(*places, decision=[REVIEW, REVIEW, REVIEW, APPROVE, REVIEW, APPROVE], currency=[0, 1, 1, 0, 0, 0])
    found = compared(published, silent)
    assert (found.compared, found.changed) == (6, 4)
    assert [(one.before, one.after, one.events) for one in found.changes] == [
        ("approve", "review", 3),
        ("decline", "approve", 1),
    ]
    assert found.changes[0].amounts == {"EUR": 100, "JPY": 200}
    assert found.amounts == {"EUR": 400, "JPY": 200}
    assert found.changed_amounts == {"EUR": 200, "JPY": 200}


def test_sums_of_money_do_not_overflow() -> None:
    places = [(0, at) for at in range(10)]
    amounts = rows(*places, amount_minor=2**62)
    assert compared(amounts, amounts).amounts == {"EUR": 10 * 2**62}


def test_without_a_common_payment_all_figures_are_empty() -> None:
    found = compared(rows((0, 1)), rows((1, 1)))
    assert (found.compared, found.only_published, found.only_silent, found.changed) == (0, 0, 0, 0)
    assert (found.scores.scores, found.scores.mean, found.latency_silent.p99) == (0, None, None)
    assert msgspec.json.encode(found.short())


def test_latencies_are_those_of_the_payments_that_both_decided() -> None:
    places = [(0, at) for at in range(101)]
    found = compared(rows(*places, latency_ms=range(101)), rows(*places, latency_ms=7))
    assert (found.latency_published.p50, found.latency_published.p99) == (50.0, 99.0)
    assert (found.latency_silent.p50, found.latency_silent.p99) == (7.0, 7.0)


def test_a_shift_of_scores_leaves_out_payments_without_a_score_on_both_sides() -> None:
    found = score_shift(np.array([0.1, 0.2, np.nan, 0.4]), np.array([0.2, 0.1, 0.5, np.nan]))
    assert found.scores == 2
    assert found.mean == pytest.approx(0.0)
    assert (found.mean_absolute, found.largest) == (pytest.approx(0.1), pytest.approx(0.1))
    assert found.stability_index == stability_of_scores(np.array([0.1, 0.2]), np.array([0.2, 0.1]))
