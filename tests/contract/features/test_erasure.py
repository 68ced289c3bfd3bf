"""An erasure of a card in every history store: the same answers, wherever the records are."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.history import records
from features.history.store import Entity, HistoryStore, Prediction
from features.memory_store import MemoryStore
from features.redis.labels import Originals, Place
from features.redis.store import DEFAULT as UNLIMITED
from support.examples import examples
from support.features.erasures import erasure_of, joined
from support.features.prediction_recount import HOUR_MS, READING, START_MS
from support.features.recount import Row, label, transaction, transactions
from support.features.stores import STORES, Servers, opened

acts = st.lists(
    st.tuples(
        st.sampled_from(("pay", "pay", "pay", "again", "erase", "label", "predict", "beside")),
        st.sampled_from(("card-1", "card-2")),
        st.integers(0, 4),
    ),
    min_size=3,
    max_size=20,
)


async def told(story: list[Any], pick: Callable[[], HistoryStore], sent: dict[int, Row]) -> list[Any]:
    """Return what the stores answer to payments, erasures, labels and predictions; note what is `sent` by offset."""
    found: list[Any] = []
    paid: list[Row] = []
    for offset, (what, card, hours) in enumerate(story):
        at_ms = START_MS + hours * HOUR_MS
        own = transaction(offset, card=card, ms=at_ms)
        if what == "predict":
            (done,) = await pick().predict([Prediction(card, "teacher", 0.5, at_ms, at_ms, 0, offset)])
            found.append(done)
        elif what == "label":
            if paid:
                about = paid[(offset + hours) % len(paid)]
                found += await pick().label([label(offset, about, True, at_ms)])  # noqa: FBT003 - the verdict
        else:
            if what == "again" and paid:
                first = paid[(offset + hours) % len(paid)]
                own = {**first, "offset": offset, "amount": int(str(first["amount"])) + hours % 2}
            batch = transactions([own])
            if what == "erase":
                batch = erasure_of(offset, at_ms, card)
            elif what == "beside":
                batch = joined(erasure_of(offset, at_ms, card), batch)
            sent[offset] = own
            paid += [own] if what in {"pay", "beside"} else []
            found.append(seen_by(await pick().observe(batch)))
    return found


def seen_by(observed: Any) -> list[Any]:
    """Return fates, positions, and what those that are decided see of each history."""
    found: list[Any] = [observed.fates]
    for kind in (Entity.CARD, Entity.MERCHANT, Entity.PREDICTION):
        histories = observed.histories[kind]
        found += [histories.positions.tolist(), histories.lengths.tolist()]
        found.append(histories.rows[:, [records.OFFSET, records.AMOUNT, records.TIME, records.FLAGS]].tolist())
    return found


@pytest.mark.parametrize("kind", STORES[1:])
@given(story=acts)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_store_answers_as_the_one_in_memory(servers: Servers, kind: str, story: list) -> None:
    async def originals(places: Collection[Place]) -> Originals:
        rows = {place: records.card_rows(transactions([sent[place.offset]]))[0] for place in places}
        return dict(rows)

    async def of_servers() -> list[Any]:
        async with opened(kind, servers, READING, options=UNLIMITED._replace(originals=originals)) as pick:
            return await told(story, pick, sent)

    async def in_memory() -> list[Any]:
        store = MemoryStore(READING)
        return await told(story, lambda: store, {})

    sent: dict[int, Row] = {}
    assert without_epochs(asyncio.run(of_servers())) == without_epochs(asyncio.run(in_memory()))


def without_epochs(found: list[Any]) -> list[Any]:
    """Leave out under which epoch labels and predictions were appended."""
    return [one._replace(history_epoch=0) if hasattr(one, "history_epoch") else one for one in found]
