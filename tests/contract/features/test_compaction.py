"""Compaction on every store on Redis: fates and feature values equal a recount of the whole log."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.history import compaction
from features.history.retention import UNCOMPACTED_MS
from features.redis import session
from support.examples import examples
from support.features.paned_sets import FINER, HOURLY
from support.features.stores import STORES, Servers, opened
from support.features.streams import Stream, dense_streams, outcomes, recounted, streams

SETS = {"hourly": HOURLY, "finer": FINER}


@pytest.mark.parametrize("kind", STORES[1:5])
@pytest.mark.parametrize("name", SETS)
@given(stream=st.one_of(streams, dense_streams))
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_compaction_changes_no_feature_value(servers: Servers, kind: str, name: str, stream: list) -> None:
    async def compacted() -> list:
        async with opened(kind, servers, SETS[name]) as pick:
            return await outcomes(Stream(stream, UNCOMPACTED_MS), SETS[name], pick)

    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(compaction, "is_worthwhile", lambda *_: True)
        patching.setattr(session, "TRIM_LEAST", 1)
        assert asyncio.run(compacted()) == recounted(Stream(stream, UNCOMPACTED_MS), SETS[name])
