"""Payments of a new assignment wait for the predictions that were there before it, and not for ever."""

import asyncio
import logging
from typing import NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from stream.settings import Settings
from stream.worker import prediction_catch_up as module
from stream.worker.prediction_catch_up import PredictionCatchUp

PAYMENTS = [TopicPartition("transactions", number) for number in range(3)]
PREDICTIONS = [TopicPartition("predictions", number) for number in range(3)]


class Consumer:
    """A consumer in the place of the transport's."""

    def __init__(self, ranges: dict[int, tuple[int, int]], finished: dict[int, int]) -> None:
        self.ranges, self.finished = ranges, finished
        self.answers = asyncio.Event()
        self.answers.set()
        self.error: Exception | None = None

    async def offset_ranges(self, topic: str) -> dict[int, tuple[int, int]]:
        assert topic == "predictions"
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        return self.ranges

    def finished_offsets(self, topic: str) -> dict[int, int]:
        assert topic == "predictions"
        return dict(self.finished)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.0)


class Losses(NamedTuple):
    held: set[TopicPartition]


def catch_up(consumer: Consumer, *, reads_predictions: bool = True) -> PredictionCatchUp:
    return PredictionCatchUp(Settings(), lambda: consumer, Losses(set()), reads_predictions=reads_predictions)


def held(made: PredictionCatchUp) -> list[int]:
    return [tp.partition for tp in PAYMENTS if tp in made.held]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_payments_wait_until_the_predictions_of_their_partition_are_applied() -> None:
    consumer = Consumer({0: (0, 10), 1: (0, 5), 2: (7, 7)}, {0: 4, 1: 5, 2: 0})
    made = catch_up(consumer)
    made.assigned(PAYMENTS + PREDICTIONS)
    assert held(made) == [0, 1, 2]
    assert not made.held & set(PREDICTIONS)
    await settle()
    assert held(made) == [0]
    consumer.finished[0] = 9
    await settle()
    assert held(made) == [0]
    consumer.finished[0] = 10
    await settle()
    assert held(made) == []


async def test_payments_wait_while_it_is_not_known_where_the_predictions_of_their_partition_are_read_on() -> None:
    consumer, unplaced = Consumer({0: (0, 10), 1: (0, 5)}, {0: 10, 1: 5}), {PREDICTIONS[0]}
    made = PredictionCatchUp(Settings(), lambda: consumer, Losses(unplaced), reads_predictions=True)
    made.assigned(PAYMENTS[:2] + PREDICTIONS[:2])
    await settle()
    assert held(made) == [0], "what counts as finished may be a commit that no worker has made"
    consumer.finished[0] = 4
    unplaced.clear()
    await settle()
    assert held(made) == [0]
    consumer.finished[0] = 10
    await settle()
    assert held(made) == []


async def test_nothing_waits_where_no_feature_reads_predictions_or_another_worker_applies_them() -> None:
    consumer = Consumer({0: (0, 10)}, {0: 0})
    made = catch_up(consumer, reads_predictions=False)
    made.assigned(PAYMENTS + PREDICTIONS)
    assert held(made) == []
    made = catch_up(consumer)
    made.assigned([*PAYMENTS, PREDICTIONS[0]])
    assert held(made) == [0]
    made.revoked()
    assert held(made) == []
    await settle()


async def test_after_a_revocation_the_last_assignment_releases_nothing() -> None:
    consumer = Consumer({0: (0, 0)}, {0: 0})
    consumer.answers.clear()
    made = catch_up(consumer)
    made.assigned([PAYMENTS[0], PREDICTIONS[0]])
    await settle()
    consumer.ranges = {0: (0, 10)}
    made.assigned([PAYMENTS[0], PREDICTIONS[0]])
    consumer.answers.set()
    await settle()
    assert held(made) == [0]
    made.revoked()
    await settle()


@pytest.mark.parametrize(
    ("limit", "why"), [("STILL_SECONDS", "they do not go on"), ("LONGEST_SECONDS", "0 s have passed")]
)
async def test_payments_go_on_after_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: str, why: str
) -> None:
    monkeypatch.setattr(module, limit, 0.0)
    made = catch_up(Consumer({0: (0, 10)}, {0: 4}))
    made.assigned([PAYMENTS[0], PREDICTIONS[0]])
    with caplog.at_level(logging.WARNING, "fraudstream.predictions"):
        await asyncio.sleep(0.05)
    assert held(made) == []
    assert f"payments of partitions 0 are decided before all predictions that came earlier: {why}" in caplog.text


async def test_payments_go_on_if_the_brokers_do_not_tell_what_is_left(caplog: pytest.LogCaptureFixture) -> None:
    consumer = Consumer({}, {})
    consumer.error = KafkaConnectionError("no broker")
    made = catch_up(consumer)
    made.assigned([PAYMENTS[0], PREDICTIONS[0]])
    await settle()
    assert held(made) == []
    assert "no broker" in caplog.text
