"""What is read of topics made by hand: which decision counts, and how labels reach it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from fraudstream.ops.rollout.outcomes import reader
from fraudstream.ops.rollout.outcomes.labels import UNLABELLED, payment_hash
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS
from fraudstream.ops.rollout.outcomes.reader import ReadingScope, read_payments
from stream.settings import Settings
from support.outcome_cases import at_ms, outcome_value, score_value
from support.scans import GivenScan, give_scans
from support.stream_records import Told

SINCE_MS = at_ms(30)


def place(offset: int) -> dict[str, Any]:
    return {"source": {"topic": "transactions", "partition": 0, "offset": offset}}


def hold(monkeypatch: pytest.MonkeyPatch, topics: Mapping[str, Sequence[bytes | None]]) -> list[Any]:
    """Have topics hold these values; return the list of what is read: topic, time, records before it."""

    async def decisions(_settings: Settings) -> tuple[str, ...]:
        return tuple(sorted((name for name in topics if name.startswith("scores")), reverse=True))

    monkeypatch.setattr(reader, "decision_topics", decisions)
    scans = {
        topic: GivenScan([[Told(value, offset=at) for at, value in enumerate(values)], []])
        for topic, values in topics.items()
    }
    return give_scans(monkeypatch, reader, scans)


async def test_a_published_decision_replaces_the_silent_one_even_where_it_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent = [score_value(transaction_id=f"t-{at}", revision=1, **place(at)) for at in range(3)]
    published = [score_value(transaction_id="t-1", revision=2, **place(1)), b"no score"]
    hold(monkeypatch, {"scores-default": silent, "scores": published, "outcomes": []})
    chosen = await read_payments(Settings(), ReadingScope(SINCE_MS), lambda one: one.score.revision == 1)
    assert {int(row["payment"]) for row in chosen.rows} == {payment_hash("card-1", f"t-{at}") for at in (0, 2)}
    both = await read_payments(Settings(), ReadingScope(SINCE_MS), lambda _: True)
    revisions = {int(row["payment"]): int(row["revision"]) for row in both.rows}
    assert revisions[payment_hash("card-1", "t-1")] == 2
    assert len(both.rows) == 3


async def test_labels_are_read_from_before_the_stretch_and_join(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = [
        outcome_value(labelled_at="2026-02-10T12:00:00.000Z"),
        outcome_value(fraud=False, labelled_at="2026-02-09T12:00:00.000Z", status="stale"),
        outcome_value(transaction_id="other", labelled_at="2026-03-01T00:00:00.000Z"),
        outcome_value(deployment="green", labelled_at="2027-01-01T00:00:00.000Z"),
    ]
    scores = [score_value(), score_value(transaction_id="t-2", **place(1))]
    asked = hold(monkeypatch, {"scores": scores, "outcomes": labels})
    read = await read_payments(Settings(), ReadingScope(SINCE_MS, maturity_days=10), lambda _: True)
    assert [one[:2] for one in asked] == [("scores", SINCE_MS), ("outcomes", SINCE_MS - 20 * DAY_MS)]
    found = {int(row["payment"]): int(row["fraud"]) for row in read.rows}
    assert found == {payment_hash("card-1", "t-1"): 1, payment_hash("card-1", "t-2"): UNLABELLED}
    assert len(read.labels) == 2
    assert read.latest_ms == at_ms(59)


async def test_without_decisions_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hold(monkeypatch, {"scores": [None], "outcomes": [None]})
    read = await read_payments(Settings(), ReadingScope(0), lambda _: True)
    assert (len(read.rows), len(read.labels), read.latest_ms, read.void) == (0, 0, 0, 0)
    assert asked[-1][:2] == ("outcomes", 0)
