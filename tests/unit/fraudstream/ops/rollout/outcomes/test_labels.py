"""Labels as columns: which one counts, whatever order and however often they come, and what is no label."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.rollout.outcomes.labels import (
    NO_TIME,
    LabelCollector,
    card_hash,
    is_sampled,
    latest_labels,
    payment_hash,
)
from models.times import parse_time_ms
from support.outcome_cases import label_rows, outcome_value

LABELS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 5), st.booleans()), max_size=30)


@given(LABELS, st.randoms(use_true_random=False))
def test_the_latest_label_wins_and_of_equal_ones_the_last_to_arrive(labels: Any, shuffler: Any) -> None:
    lines = [("card", name, 0.0, known, place, fraud) for place, (name, known, _, fraud) in enumerate(labels)]
    expected: dict[int, tuple[int, int, bool]] = {}
    for place, (name, known, _, fraud) in enumerate(labels):
        best = expected.get(payment_hash("card", name))
        if best is None or (known, place) >= best[:2]:
            expected[payment_hash("card", name)] = (known, place, fraud)
    again = lines + shuffler.sample(lines, len(lines) // 2)
    shuffler.shuffle(again)
    found = latest_labels(label_rows(again))
    assert found["payment"].tolist() == sorted(expected)
    assert found["fraud"].tolist() == [expected[one][2] for one in sorted(expected)]


def test_a_label_is_read_whatever_its_status_and_with_or_without_the_time_of_its_payment() -> None:
    collector = LabelCollector("default", 10_000)
    collector.add(
        [
            outcome_value(),
            outcome_value(transaction_id="t-2", status="unknown_transaction", occurred_at=None, fraud=False),
            outcome_value(transaction_id="t-3", deployment=""),
        ]
    )
    rows = {int(row["payment"]): row for row in collector.rows()}
    known = rows[payment_hash("card-1", "t-1")]
    assert (known["fraud"], known["card"]) == (1, card_hash("card-1"))
    assert known["labelled_ms"] == parse_time_ms("2026-02-10T12:00:00Z").epoch_ms
    assert known["occurred_ms"] == parse_time_ms("2026-01-31T12:00:00Z").epoch_ms
    unknown = rows[payment_hash("card-1", "t-2")]
    assert (unknown["fraud"], unknown["occurred_ms"]) == (0, NO_TIME)
    assert collector.read == len(rows) == 3


def test_what_is_no_label_of_the_deployment_is_skipped() -> None:
    collector = LabelCollector("default", 10_000)
    collector.add(
        [
            None, b"", b"{}", b"\xff", b"[" * 100_000,
            outcome_value(deployment="green"), outcome_value(kind="prediction"),
            outcome_value(labelled_at="yesterday"), outcome_value(occurred_at="2026-02-31T00:00:00Z"),
            outcome_value(fraud="yes"), outcome_value(source={"topic": "labels", "partition": 0, "offset": -1}),
        ]
    )  # fmt: skip
    assert len(collector.rows()) == 0


def test_a_later_log_of_the_labels_comes_after_an_earlier_one() -> None:
    collector = LabelCollector("default", 10_000)
    source = {"topic": "labels", "partition": 0}
    collector.add(
        [
            outcome_value(fraud=False, source=source | {"offset": 0, "log": 1}),
            outcome_value(fraud=True, source=source | {"offset": 7}),
        ]
    )
    assert collector.rows()["fraud"].tolist() == [0]


@given(st.integers(0, 2**64 - 1), st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_larger_share_of_the_cards_only_adds_cards(card: int, one: int, other: int) -> None:
    assert is_sampled(card, 10_000)
    assert not is_sampled(card, 0)
    assert is_sampled(card, min(one, other)) <= is_sampled(card, max(one, other))


def test_a_share_of_the_cards_is_about_that_share() -> None:
    taken = sum(is_sampled(card_hash(f"card-{at}"), 2_500) for at in range(4_000))
    assert 850 < taken < 1_150
