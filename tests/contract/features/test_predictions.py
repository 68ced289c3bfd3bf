"""Predictions from storage in every history store: appended once, seen by payments, counted by positions."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.history.store import Entity, HistoryStore, Prediction
from features.memory_store import MemoryStore
from features.vector.vectorise import vectorise
from fraudstream_client.outputs import PredictionStatus
from support.examples import examples
from support.features.prediction_recount import HOUR_MS, READING, START_MS, made
from support.features.recount import label, transaction, transactions
from support.features.stores import STORES, Servers, opened

acts = st.lists(
    st.tuples(
        st.sampled_from(("predict", "pay", "label")),
        st.sampled_from(("card-1", "card-2")),
        st.integers(0, 3),
        st.sampled_from((None, 0.25, 1.0)),
        st.sampled_from((0, HOUR_MS, 2 * HOUR_MS)),
    ),
    min_size=1,
    max_size=15,
)


async def told(story: list[Any], pick: Callable[[], HistoryStore]) -> list[Any]:
    """Return what the stores answer to predictions, payments and labels."""
    found: list[Any] = []
    for offset, (what, card, hours, value, took_ms) in enumerate(story):
        if what == "predict":
            computed_ms = START_MS + hours * HOUR_MS
            one = Prediction(card, "teacher", value, computed_ms, computed_ms + took_ms, 0, offset)
            (done,) = await pick().predict([one])
            found.append((done.status, done.position))
            continue
        row = transaction(offset, card=card, ms=START_MS + 5 * HOUR_MS + hours)
        batch = transactions([row])
        observed = await pick().observe(batch)
        positions = observed.histories[Entity.PREDICTION].positions.tolist()
        found.append((observed.fates, positions, vectorise(READING, batch, observed).view(np.int64).tolist()))
        if what == "label":
            await pick().label([label(offset, row, True, START_MS + 6 * HOUR_MS)])  # noqa: FBT003 - the verdict
    return found


@pytest.mark.parametrize("kind", STORES[1:])
@given(story=acts)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_store_answers_as_the_one_in_memory(servers: Servers, kind: str, story: list) -> None:
    async def of_servers() -> list[Any]:
        async with opened(kind, servers, READING) as pick:
            return await told(story, pick)

    async def in_memory() -> list[Any]:
        store = MemoryStore(READING)
        return await told(story, lambda: store)

    assert asyncio.run(of_servers()) == asyncio.run(in_memory())


@pytest.mark.parametrize("kind", STORES)
async def test_a_batch_of_predictions_is_appended_once_however_often_it_is_sent(servers: Servers, kind: str) -> None:
    async with opened(kind, servers, READING) as pick:
        some = [made(0, START_MS), made(1, START_MS), made(2, START_MS + 1, None), made(3, START_MS, card_id="card-2")]
        for _ in range(2):
            done = await pick().predict(some)
            assert [one.position for one in done] == [0, 0, 1, 0]
            statuses = [PredictionStatus.APPLIED, PredictionStatus.REPEATED, *[PredictionStatus.APPLIED] * 2]
            assert [one.status for one in done] == statuses
