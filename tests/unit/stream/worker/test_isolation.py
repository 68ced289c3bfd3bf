import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from features.errors import HistoryDamagedError, StoreError, StoreRefusedError, StoreUnavailableError
from features.history.store import Histories, Observed, Transactions
from features.memory_store import MemoryStore
from features.vector import sets
from features.vector.sets import load_sets
from fraudstream_client.arms import LIVE
from models.errors import ScoringError
from models.loading import Model
from stream import pipeline as pipeline_module
from stream.contract.codes import DeadLetterCode
from stream.control.model_cache import ServingModels
from stream.engine.batches import Record
from stream.engine.publisher import Headers
from stream.pipeline import DecisionTerms, Outputs, Pipeline
from stream.scoring import encode
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from stream.worker.isolation import apply_isolating, decide_isolating
from support.bare_model import BareModel, CountingModel
from support.stream_records import LATEST_MS, Told, text

FEATURES = load_sets("")


class NoModel(BareModel):
    """A live model that cannot score, so that the rules decide."""

    fingerprint = FEATURES.newest.fingerprint

    def score(self, _matrix: Any) -> Any:
        raise ScoringError("none here")


SERVING = ServingModels(1, cast("Model", NoModel()), None)


class FailingPipeline(Pipeline):
    """A pipeline that raises the error that `fault` returns for a batch."""

    def __init__(self, fault: Callable[[Sequence[Record]], Exception | None]) -> None:
        super().__init__(Settings(), FEATURES, MemoryStore(FEATURES))
        self._fault = fault
        self.calls: list[int] = []

    async def decide(self, records: Sequence[Record], terms: DecisionTerms, clock: Callable[[], int]) -> Outputs:
        self.calls.append(len(records))
        error = self._fault(records)
        outputs = await super().decide(records, terms, clock)
        if error is not None:
            raise error
        return outputs

    async def apply(self, records: Sequence[Record], log: int) -> None:
        self.calls.append(len(records))
        error = self._fault(records)
        if error is not None:
            raise error
        await super().apply(records, log)


def failing_on(*offsets: int, error: Exception | None = None) -> Callable[[Sequence[Record]], Exception | None]:
    raised = error or ZeroDivisionError("a bug of ours")
    return lambda records: raised if {record.offset for record in records} & set(offsets) else None


def a_batch(count: int = 6) -> list[Told]:
    return [Told(text(transaction_id=f"t-{at}", more=1), partition=at % 2, offset=at) for at in range(count)]


async def decide(pipeline: Pipeline, records: Sequence[Record], serving: ServingModels = SERVING) -> Outputs:
    return await decide_isolating(pipeline, records, DecisionTerms(serving, {0: 1, 1: 1}, NoTracing().headers))


def published(outputs: Outputs) -> dict[int, list[dict[str, Any]]]:
    """Return the scores of each partition without their times."""
    lots = outputs.scored.by_partition()
    scores = {partition: [msgspec.json.decode(one.value or b"") for one in lot] for partition, lot in lots.items()}
    times = ("scored_at", "latency_ms")
    return {
        partition: [{name: value for name, value in score.items() if name not in times} for score in lot]
        for partition, lot in scores.items()
    }


def offsets(outputs: Outputs) -> dict[int, list[int]]:
    return {
        partition: [score.source_offset for score in lot] for partition, lot in outputs.scored.by_partition().items()
    }


async def test_a_failing_record_is_decided_by_rules_and_the_others_as_usual(
    caplog: pytest.LogCaptureFixture,
) -> None:
    records = [*a_batch(), Told(text(transaction_id="t-0", more=1), offset=6), Told(b"x", offset=7)]
    with caplog.at_level(logging.ERROR):
        outputs = await decide(FailingPipeline(failing_on(3)), records)
    assert offsets(outputs) == {0: [0, 2, 4], 1: [1, 3, 5]}
    assert [(letter.record.offset, letter.code) for letter in outputs.dead] == [(7, "not_json")]
    (score,) = [one for one in published(outputs)[1] if one["source"]["offset"] == 3]
    assert (score["decided_by"], score["decision"], score["degraded"]) == ("rules", "approve", ["undecidable"])
    assert (score["score"], score["band"], score["model"]) == (None, None, None)
    assert score["positions"] == {"history_epoch": 1, "card": 3, "merchant": 3, "device": None}
    assert score["features"]["card_count_1d"] == 4
    assert "partition 1 offset 3 cannot be decided: ZeroDivisionError" in caplog.text
    assert "raise error" in caplog.text, "the traceback is logged"
    assert "a bug of ours" not in caplog.text, "the error's text may quote the payment"
    assert (outputs.repeated, outputs.unknown_fields) == (1, 7)


@pytest.mark.parametrize("is_observed", [False, True])
async def test_records_decided_one_by_one_have_the_scores_and_counts_of_a_batch(
    is_observed: bool,  # noqa: FBT001 - a parameter
) -> None:
    """The batch fails before its histories are written, or afterwards."""

    def fault(records: Sequence[Record]) -> Exception | None:
        error = ValueError() if len(records) > 1 else None
        if error and not is_observed:
            raise error
        return error

    serving = ServingModels(1, cast("Model", CountingModel()), None)
    together = await decide(FailingPipeline(failing_on()), a_batch(), serving)
    one_by_one = FailingPipeline(fault)
    alone = await decide(one_by_one, a_batch(), serving)
    assert one_by_one.calls == [6, 1, 1, 1, 1, 1, 1]
    assert [judgement.score for judgement in together.scored.judgements] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert alone.scored.judgements == together.scored.judgements
    assert published(alone) == published(together)
    assert (alone.dead, alone.repeated, alone.unknown_fields) == ([], together.repeated, together.unknown_fields)


async def test_only_the_records_of_damaged_histories_are_decided_alone() -> None:
    def fault(records: Sequence[Record]) -> Exception | None:
        places = [place for place, record in enumerate(records) if record.offset in {2, 3}]
        return HistoryDamagedError({"key"}, places) if places else None

    pipeline = FailingPipeline(fault)
    outputs = await decide(pipeline, a_batch(8))
    assert pipeline.calls == [8, 2, 1, 1, 4]
    assert offsets(outputs) == {0: [0, 2, 4, 6], 1: [1, 3, 5, 7]}
    assert outputs.dead == []
    scores = [one for some in published(outputs).values() for one in some]
    without = {one["source"]["offset"]: one["features"] for one in scores if one["degraded"] == ["undecidable"]}
    assert without == {2: None, 3: None}, "features of a damaged history would be wrong"


async def test_the_records_of_damaged_histories_that_are_due_a_decision_are_named() -> None:
    class Damaged(MemoryStore):
        async def observe(self, transactions: Transactions) -> Observed:
            observed = await super().observe(transactions)
            return replace(observed, damaged={at: f"key-{at}" for at in range(len(transactions)) if at != 1})

    pipeline = Pipeline(Settings(), FEATURES, Damaged(FEATURES))
    records = [Told(b"x", offset=0), Told(text(transaction_id="t-1"), offset=1), Told(text(), offset=2)]
    repeated = [Told(text(), offset=3), Told(text(transaction_id="t-4"), offset=4)]
    terms = DecisionTerms(SERVING, {0: 1}, NoTracing().headers)
    with pytest.raises(HistoryDamagedError) as refused:
        await pipeline.decide([*records, *repeated], terms, lambda: LATEST_MS)
    assert (refused.value.places, refused.value.keys) == ({1, 4}, {"key-0", "key-3"})


async def test_a_batch_that_is_decided_in_parts_has_the_scores_and_counts_of_a_batch() -> None:
    serving = ServingModels(1, cast("Model", CountingModel()), None)
    records = [*a_batch(), Told(text(transaction_id="t-0", more=1), offset=6), Told(b"x", offset=7)]
    whole, cut = (Pipeline(Settings(), FEATURES, MemoryStore(FEATURES, most_bytes=limit)) for limit in (1 << 30, 1))
    together, alone = await decide(whole, records, serving), await decide(cut, records, serving)
    assert published(alone) == published(together)
    assert [(letter.record.offset, letter.code) for letter in alone.dead] == [(7, "not_json")]
    assert (alone.repeated, alone.unknown_fields) == (together.repeated, together.unknown_fields) == (1, 7)
    assert {stage.name for stage in alone.stages} == {stage.name for stage in together.stages}
    assert len(alone.stages) == 1 + 4 * 7


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), StoreRefusedError("may evict")])
@pytest.mark.parametrize("only_alone", [True, False])
async def test_an_error_of_the_store_is_raised_and_makes_no_dead_letter(error: StoreError, only_alone: bool) -> None:  # noqa: FBT001 - a parameter
    def fault(records: Sequence[Record]) -> Exception | None:
        return ValueError() if only_alone and len(records) > 1 else error

    with pytest.raises(type(error)):
        await decide(FailingPipeline(fault), a_batch())


async def test_a_record_that_was_appended_nowhere_becomes_an_undecidable_dead_letter() -> None:
    class Refusing(MemoryStore):
        async def observe(self, transactions: Transactions) -> Observed:
            if "t-1" in transactions.transaction_ids:
                raise ZeroDivisionError("a bug of ours")
            return await super().observe(transactions)

    pipeline = Pipeline(Settings(), FEATURES, Refusing(FEATURES))
    outputs = await decide(pipeline, a_batch(3))
    assert offsets(outputs) == {0: [0, 2]}
    assert [(letter.record.offset, letter.code) for letter in outputs.dead] == [(1, DeadLetterCode.UNDECIDABLE)]
    assert "ZeroDivisionError" in outputs.dead[0].detail


def raise_in_rules(*_: object) -> Any:
    raise ZeroDivisionError("a bug of ours")


def raise_on_content(cards: Histories) -> Any:
    if cards.rows.any():
        raise ZeroDivisionError("a bug of ours")
    return np.zeros(len(cards.positions), np.bool_)


def raise_for_headers(_: Record) -> Headers:
    raise ZeroDivisionError("a bug of ours")


@pytest.mark.parametrize("broken", ["rules beside the model", "the rule policy's features", "marks", "headers"])
async def test_a_payment_that_is_in_its_histories_gets_a_decision_whatever_raises_after_that(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore(FEATURES)
    pipeline, headers = Pipeline(Settings(), FEATURES, store), NoTracing().headers
    if broken == "headers":
        headers = raise_for_headers
    elif broken == "marks":
        monkeypatch.setattr(encode, "on_two_partitions", raise_on_content)
    elif broken == "rules beside the model":
        monkeypatch.setattr(pipeline_module, "score", raise_in_rules)
        monkeypatch.setattr(pipeline_module, "ruled", raise_in_rules)
    else:
        monkeypatch.setattr(sets, "vectorise", raise_in_rules)
    terms = DecisionTerms(SERVING, {0: 1, 1: 1}, headers)
    outputs = await decide_isolating(pipeline, a_batch(3), terms)
    assert (offsets(outputs), outputs.dead) == ({0: [0, 2], 1: [1]}, [])
    scores = [score for lot in published(outputs).values() for score in lot]
    said = {(one["decided_by"], one["decision"], *one["degraded"], one["features"]) for one in scores}
    assert said == {("rules", "approve", "undecidable", None)}
    assert sorted(one["positions"]["card"] for one in scores) == [0, 1, 2]
    sent_again = await decide(pipeline, [Told(text(transaction_id="t-1", more=1), offset=9)])
    assert (len(sent_again.scored), sent_again.repeated, sent_again.dead) == (0, 1, [])


async def test_a_payment_that_is_due_no_decision_gets_none_although_all_raises_after_it_was_appended() -> None:
    pipeline = Pipeline(Settings(), FEATURES, MemoryStore(FEATURES))
    await decide(pipeline, a_batch(1))
    terms = DecisionTerms(SERVING, {0: 1, 1: 1}, raise_for_headers)
    repeated = Told(text(transaction_id="t-0", more=1), offset=1)
    conflict = Told(text(transaction_id="t-0", amount_minor=1), offset=2)
    outputs = await decide_isolating(pipeline, [repeated, conflict, Told(text(transaction_id="t-2"), offset=3)], terms)
    assert (offsets(outputs), outputs.repeated) == ({0: [3]}, 1)
    assert [letter.code for letter in outputs.dead] == [DeadLetterCode.TRANSACTION_CONFLICT]


async def test_a_failing_record_that_is_due_no_decision_gets_none() -> None:
    """Its fate is that of its card's history, also if it fails."""
    records = [*a_batch(1), Told(text(transaction_id="t-0", more=1), offset=1)]
    records += [Told(text(transaction_id="t-0", amount_minor=1), offset=2), Told(b"x", offset=3)]
    outputs = await decide(FailingPipeline(failing_on(1, 2, 3)), records)
    assert (offsets(outputs), outputs.repeated) == ({0: [0]}, 1)
    assert [letter.code for letter in outputs.dead] == [DeadLetterCode.TRANSACTION_CONFLICT, DeadLetterCode.NOT_JSON]


async def test_decisions_by_rules_join_those_of_a_batch_with_a_challenger_but_are_not_offered_to_it() -> None:
    serving = ServingModels(1, cast("Model", CountingModel()), None, "c" * 64)
    scored = (await decide(FailingPipeline(failing_on(2)), a_batch(4), serving)).scored
    assert len(scored) == 4
    assert {name: matrix.shape[0] for name, matrix in scored.vectors.items()} == dict.fromkeys(scored.vectors, 4)
    assert [record.offset for record in scored.comparable(LIVE).records] == [0, 1, 3]


async def test_a_record_that_cannot_be_applied_is_skipped_and_the_others_are_applied(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pipeline = FailingPipeline(failing_on(3))
    await apply_isolating(pipeline, a_batch(), 0)
    assert pipeline.calls == [6, 1, 1, 1, 1, 1, 1]
    assert "partition 1 offset 3 cannot be decided" in caplog.text
    outputs = await decide(pipeline, [Told(text(transaction_id=f"t-{at}", more=1), offset=9 + at) for at in range(6)])
    assert (len(outputs.scored), outputs.repeated) == (1, 5)
