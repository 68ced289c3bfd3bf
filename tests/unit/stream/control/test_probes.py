"""A probe of what a transaction saw at a merchant whose history was folded gives the same vector elsewhere."""

import asyncio

import pytest

from features.declaration import HOUR_MS
from features.history import compaction
from features.memory_store import MemoryStore
from features.vector.sets import FeatureSets
from features.vector.vectorise import vectorise
from stream.control.probes import probe_vectorisers, write_probe
from support.features.paned_sets import HOURLY
from support.features.recount import transaction, transactions


def test_a_probe_with_panes_is_read_as_it_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "is_worthwhile", lambda *_: True)
    store = MemoryStore(HOURLY)
    rows = [transaction(i, card=f"c{i}", amount=10**12 - i, ms=1_700_000_000_000 + i * HOUR_MS) for i in range(9)]
    store.observe_now(transactions(rows[:8]))
    asyncio.run(store.compact())
    batch = transactions(rows[8:])
    observed = store.observe_now(batch)
    probe = write_probe(batch, observed, 0)
    again = probe_vectorisers(FeatureSets((HOURLY,)))[HOURLY.fingerprint]([probe])
    assert again.tobytes() == vectorise(HOURLY, batch, observed).tobytes()
