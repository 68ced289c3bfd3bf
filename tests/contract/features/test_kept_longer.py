"""Histories kept for longer because another feature set needs it, on every store."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings

from features.declaration import FeatureSet
from features.history.store import Fate
from features.memory_store import MemoryStore
from features.rows import card, device
from features.vector.sets import FeatureSets
from support.examples import examples
from support.features.stores import STORES, Servers, opened
from support.features.streams import Stream, outcomes, streams

SHORT = FeatureSet((card("count", "1h"), card("seconds_since_last")))
LONG = FeatureSet((card("count", "60d"), device("cards", "7d")))
TOGETHER = FeatureSets((SHORT, LONG))


@pytest.mark.parametrize("kind", STORES[:5])
@given(stream=streams)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_retention_for_another_feature_set_changes_no_value_of_a_decided_transaction(
    servers: Servers, kind: str, stream: list
) -> None:
    async def shared() -> list:
        async with opened(kind, servers, SHORT, TOGETHER) as pick:
            return await outcomes(Stream(stream), SHORT, pick)

    store = MemoryStore(SHORT)
    alone, beside = asyncio.run(outcomes(Stream(stream), SHORT, lambda: store)), asyncio.run(shared())
    assert len(alone) == len(beside)
    for one, other in zip(alone, beside, strict=True):
        if one[0] is Fate.DECIDE:
            assert other == one


@pytest.mark.parametrize("kind", STORES[:5])
@given(stream=streams)
@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fates_with_shared_retention_equal_those_of_the_set_with_the_longest_horizon(
    servers: Servers, kind: str, stream: list
) -> None:
    async def shared(feature_set: FeatureSet) -> list:
        async with opened(kind, servers, feature_set, TOGETHER) as pick:
            return [fate for fate, _ in await outcomes(Stream(stream), feature_set, pick)]

    assert asyncio.run(shared(SHORT)) == asyncio.run(shared(LONG))
