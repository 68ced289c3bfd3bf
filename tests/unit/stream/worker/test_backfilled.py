"""Backfilled payments are applied to the histories and never decided, in whatever company they come."""

from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest

from features.errors import HistoryDamagedError
from features.memory_store import MemoryStore
from features.vector.sets import load_sets
from models.loading import Model
from stream.contract.codes import DeadLetterCode
from stream.contract.transaction import BackfillMark
from stream.control.model_cache import ServingModels
from stream.pipeline import DecisionTerms, Outputs, Pipeline
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from stream.worker.isolation import decide_isolating
from support.bare_model import CountingModel
from support.stream_records import LATEST_MS, Told, text

FEATURES = load_sets("")
DAY_MS = 86_400_000
AT_MS = LATEST_MS - 400 * DAY_MS


SERVING = ServingModels(1, cast("Model", CountingModel()), None)


def payment(number: int, offset: int | None = None, *, at_ms: int = AT_MS, **changes: Any) -> Told:
    """Make payment `number` of a card, an hour apart."""
    value = text(**{"transaction_id": f"t-{number}", "occurred_at": at_ms + number * 3_600_000} | changes)
    return Told(value, offset=number if offset is None else offset)


def filled(number: int, offset: int | None = None, *, at_ms: int = AT_MS, **changes: Any) -> Told:
    """Make a payment that only fills histories."""
    one = payment(number, offset, at_ms=at_ms, **changes)
    one.headers = [BackfillMark("0" * 16, number).header()]
    return one


class Worker:
    """Decides batches over histories of its own."""

    def __init__(self) -> None:
        self.store = MemoryStore(FEATURES)
        self._pipeline = Pipeline(Settings(), FEATURES, self.store)

    async def decide(self, *records: Told) -> Outputs:
        return await decide_isolating(self._pipeline, records, DecisionTerms(SERVING, {0: 1}, NoTracing().headers))


def counts(outputs: Outputs) -> dict[int, float]:
    """Return how many of the card's payments each decided one saw within a day, by offset."""
    lot = outputs.scored.by_partition().get(0, [])
    return {one.source_offset: msgspec.json.decode(one.value or b"")["features"]["card_count_1d"] for one in lot}


async def test_payments_behind_backfilled_ones_in_a_batch_are_decided_and_see_them() -> None:
    outputs = await Worker().decide(filled(0), payment(1), filled(2), payment(3))
    assert counts(outputs) == {1: 2.0, 3: 4.0}
    assert (outputs.backfilled, outputs.repeated, outputs.dead) == (2, 0, [])


async def test_a_backfilled_payment_that_is_delivered_again_is_neither_decided_nor_counted_twice() -> None:
    worker = Worker()
    await worker.decide(filled(0), filled(1))
    again = await worker.decide(filled(0), filled(1), payment(2))
    assert counts(again) == {2: 3.0}
    assert again.backfilled == 2


async def test_a_payment_that_was_filled_in_is_repeated_when_it_is_sent_for_a_decision() -> None:
    worker = Worker()
    await worker.decide(filled(0))
    outputs = await worker.decide(payment(0, offset=9), payment(1, offset=10))
    assert counts(outputs) == {10: 2.0}
    assert (outputs.repeated, outputs.backfilled) == (1, 0)


async def test_a_payment_that_was_decided_is_repeated_when_it_is_filled_in() -> None:
    worker = Worker()
    await worker.decide(payment(0))
    outputs = await worker.decide(filled(0, offset=9), payment(1, offset=10))
    assert counts(outputs) == {10: 2.0}
    assert (outputs.repeated, outputs.backfilled) == (1, 0)


async def test_a_backfilled_payment_with_other_content_is_a_dead_letter_and_a_late_one_is_none() -> None:
    worker = Worker()
    await worker.decide(filled(0), filled(1, at_ms=AT_MS + 60 * DAY_MS))
    conflict = filled(1, offset=2, at_ms=AT_MS + 60 * DAY_MS, amount_minor=1)
    outputs = await worker.decide(conflict, filled(3, offset=3), payment(4, offset=4))
    assert [(one.record.offset, one.code) for one in outputs.dead] == [
        (2, DeadLetterCode.TRANSACTION_CONFLICT),
        (4, DeadLetterCode.TOO_LATE),
    ]
    assert (len(outputs.scored), outputs.backfilled) == (0, 0)


async def test_an_error_of_ours_in_a_batch_leaves_backfilled_payments_undecided() -> None:
    class BrokenModel(CountingModel):
        def score(self, _matrix: Any) -> Any:
            raise ZeroDivisionError

    pipeline = Pipeline(Settings(), FEATURES, MemoryStore(FEATURES))
    terms = DecisionTerms(ServingModels(1, cast("Model", BrokenModel()), None), {0: 1}, NoTracing().headers)
    outputs = await decide_isolating(pipeline, [filled(0), payment(1), filled(2)], terms)
    assert counts(outputs) == {1: 2.0}
    assert (outputs.backfilled, outputs.dead) == (2, [])


async def test_a_damaged_history_holds_up_no_backfilled_payment() -> None:
    class Damaged(MemoryStore):
        async def observe(self, transactions: Any) -> Any:
            observed = await super().observe(transactions)
            return replace(observed, damaged=dict.fromkeys(range(len(observed.fates)), "card"))

    pipeline = Pipeline(Settings(), FEATURES, Damaged(FEATURES))
    terms = DecisionTerms(SERVING, {0: 1}, NoTracing().headers)
    outputs = await pipeline.decide([filled(0), filled(1)], terms, lambda: LATEST_MS)
    assert outputs.backfilled == 2
    with pytest.raises(HistoryDamagedError) as raised:
        await pipeline.decide([filled(2), payment(3)], terms, lambda: LATEST_MS)
    assert list(raised.value.places) == [1]
