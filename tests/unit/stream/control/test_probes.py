"""Probe histories: a decoded probe gives the same vector, and every process encodes it to the same bytes."""

import asyncio
import json

import pytest

from features.declaration import HOUR_MS, load
from features.history import compaction
from features.memory_store import MemoryStore
from features.vector.sets import FeatureSets
from features.vector.vectorise import vectorise
from stream.control.probes import probe_vectorisers, write_probe
from support.features.paned_sets import HOURLY
from support.features.recount import transaction, transactions


def test_a_probe_with_panes_gives_the_vector_of_the_observed_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_probe_lists_the_kinds_with_its_own_record_in_the_order_of_the_histories() -> None:
    """A set of texts is encoded in another order by each process; the artifact's digest must not depend on that."""
    default = load(None)
    batch = transactions([transaction(0, card="c", merchant="m", device="d")])
    probe = json.loads(write_probe(batch, MemoryStore(default).observe_now(batch), 0))
    assert len(probe["told"]) > 1
    assert probe["told"] == [kind for kind in probe["histories"] if kind in probe["told"]]
