"""What is in its card's history was accepted: a worker that would refuse it now decides it."""

from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest

from features.memory_store import MemoryStore
from features.vector.sets import load_sets
from models.loading import Model, RowTimes
from stream.contract.codes import DeadLetterCode
from stream.control.model_cache import ServingModels
from stream.errors import ClockBehindError
from stream.pipeline import DecisionTerms, Outputs, Pipeline
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from support.bare_model import BareModel
from support.stream_records import LATEST_MS, Told, text

FEATURES = load_sets("")
HOUR_MS = 3_600_000
RIGHT, BEHIND = LATEST_MS, LATEST_MS - 70 * HOUR_MS


class Flat(BareModel):
    """A live model that gives every payment the same score."""

    fingerprint, name, version, digest = FEATURES.newest.fingerprint, "card", "1", "d" * 64
    row_times = RowTimes()

    def score(self, matrix: Any) -> Any:
        return matrix[:, 0] * 0 + 0.1


SERVING = ServingModels(1, cast("Model", Flat()), None)


def payment(number: int, **changes: Any) -> Told:
    return Told(text(transaction_id=f"t-{number}", occurred_at="2027-01-15T07:00:00Z", **changes), offset=number)


async def decide(pipeline: Pipeline, records: Sequence[Any], at_ms: int, **terms: Any) -> Outputs:
    return await pipeline.decide(records, DecisionTerms(SERVING, {0: 1}, NoTracing().headers, **terms), lambda: at_ms)


def decided(outputs: Outputs) -> list[tuple[int, float]]:
    scores = [msgspec.json.decode(one.value or b"") for one in outputs.scored.outgoing]
    return [(score["source"]["offset"], score["features"]["card_count_30d"]) for score in scores]


async def test_what_a_worker_appended_and_could_not_publish_is_decided_whatever_the_clock_says_later() -> None:
    pipeline = Pipeline(Settings(), FEATURES, MemoryStore(FEATURES))
    await decide(pipeline, [payment(0), payment(1)], RIGHT)
    again = await decide(pipeline, [payment(at) for at in range(4)], BEHIND)
    assert decided(again) == [(0, 1.0), (1, 2.0)]
    assert [(one.record.offset, one.code) for one in again.dead] == [
        (2, DeadLetterCode.AHEAD_OF_CLOCK),
        (3, DeadLetterCode.AHEAD_OF_CLOCK),
    ]


async def test_it_does_not_set_its_partition_aside_where_brokers_check_clocks() -> None:
    pipeline = Pipeline(Settings(), FEATURES, MemoryStore(FEATURES))
    await decide(pipeline, [payment(0)], RIGHT)
    assert decided(await decide(pipeline, [payment(0)], BEHIND, clock_is_checked=True)) == [(0, 1.0)]
    with pytest.raises(ClockBehindError):
        await decide(pipeline, [payment(0), payment(1)], BEHIND, clock_is_checked=True)


async def test_the_same_payment_at_another_offset_or_in_another_log_is_judged() -> None:
    pipeline = Pipeline(Settings(), FEATURES, MemoryStore(FEATURES))
    await decide(pipeline, [payment(0)], RIGHT)
    elsewhere = Told(payment(0).value, offset=7)
    assert [one.record.offset for one in (await decide(pipeline, [elsewhere], BEHIND)).dead] == [7]
    assert [one.record.offset for one in (await decide(pipeline, [payment(0)], BEHIND, log=1)).dead] == [0]
