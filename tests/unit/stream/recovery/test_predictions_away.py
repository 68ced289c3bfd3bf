"""Predictions from storage while Redis is away: decisions read what is cached, and new ones wait as labels do."""

from collections.abc import Sequence

import pytest

from features.errors import StoreUnavailableError
from features.history.history import History
from features.history.store import Entity, Observed, Prediction, PredictionResult, Transactions
from features.memory_store import MemoryStore
from features.vector.vectorise import vectorise
from fraudstream_client.outputs import PredictionStatus
from stream.recovery.outage import DegradingStore
from support.features.prediction_recount import HOUR_MS, READING, START_MS, made
from support.features.recount import transaction, transactions


class AwayHistories(MemoryStore):
    """A store that can be away, whose histories are all cached."""

    def __init__(self) -> None:
        super().__init__(READING)
        self.away = False

    def _require(self) -> None:
        if self.away:
            raise StoreUnavailableError("away")

    async def observe(self, transactions: Transactions) -> Observed:
        self._require()
        return await super().observe(transactions)

    async def predict(self, predictions: Sequence[Prediction]) -> Sequence[PredictionResult]:
        self._require()
        return await super().predict(predictions)

    def cached_copy(self, kind: Entity, entity: int) -> History | None:
        known = self._histories[kind].get(entity)
        if known is None:
            return None
        copy = History(entity, known.entity_id, known.columns)
        copy.replace(known.base, known.rows)
        return copy


async def test_decisions_read_cached_predictions_and_new_ones_wait() -> None:
    redis = AwayHistories()
    store = DegradingStore(redis, lambda: MemoryStore(READING, redis.cached_copy))
    await store.predict([made(0, START_MS, 0.25)])
    redis.away = True
    batch = transactions([transaction(1, ms=START_MS + 2 * HOUR_MS)])
    observed = await store.observe(batch)
    assert observed.stopgap
    assert vectorise(READING, batch, observed)[0, 1] == 0.25
    with pytest.raises(StoreUnavailableError, match="predictions wait until Redis is back"):
        await store.predict([made(2, START_MS + 1, 0.5)])
    redis.away = False
    await store.catch_up()
    (done,) = await store.predict([made(2, START_MS + 1, 0.5)])
    assert (done.status, done.position) == (PredictionStatus.APPLIED, 1)
