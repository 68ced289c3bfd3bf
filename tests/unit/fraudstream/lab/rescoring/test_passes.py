"""Passes over the histories of each kind of entity, in shards, give each row what the store in memory gives it."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.declaration import DAY_MS, FeatureSet, load
from features.history import compaction
from features.history.append import Visibility, visible_histories
from features.history.retention import Retention, exact
from features.history.store import Entity, Fate, Histories
from features.memory_store import MemoryStore
from features.rows import device
from fraudstream.lab.rescoring import history_pass, shards
from support.examples import examples
from support.features.paned_sets import FINER
from support.features.streams import Step, Stream, bits, dense_streams, outcomes, streams
from support.rescoring.tables import lay_out, run_through, without_redeliveries

FEATURES = FeatureSet((*load(None).rows, device("cards", "30d"), device("fraud_share", "7d")))


def in_memory(stream: Stream, feature_set: FeatureSet = FEATURES) -> list[object]:
    store = MemoryStore(feature_set)
    return asyncio.run(outcomes(stream, feature_set, lambda: store))


def in_shards(stream: Stream, parts: int, feature_set: FeatureSet = FEATURES, threads: int = 1) -> list[object]:
    with tempfile.TemporaryDirectory() as folder:
        fates, vectors = run_through(lay_out(stream, Path(folder), feature_set, parts), threads)
    return [
        (fate, bits(vector) if fate is Fate.DECIDE else None)
        for fate, vector in zip(fates, vectors.tolist(), strict=True)
    ]


@given(
    streams.map(Stream).map(without_redeliveries), st.integers(1, 4), st.integers(1, 9), st.sampled_from((1, 7, 10**6))
)
@settings(max_examples=examples(40))
def test_sharded_passes_give_the_fates_and_features_of_the_store_in_memory(
    stream: Stream, parts: int, lot: int, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "READ_ROWS", lot)
        patch.setattr(history_pass, "MAX_RECORDS", most)
        assert in_shards(stream, parts) == in_memory(stream)


@given(stream=st.one_of(streams, dense_streams), parts=st.integers(1, 3), lot=st.integers(1, 5))
@settings(max_examples=examples(40))
def test_compaction_during_a_pass_changes_no_result(stream: list[Step], parts: int, lot: int) -> None:
    told = without_redeliveries(Stream(stream))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "READ_ROWS", lot)
        patch.setattr(compaction, "is_worthwhile", lambda *_: True)
        assert in_shards(told, parts, FINER) == in_memory(told, FINER)


def test_two_processes_give_the_results_of_the_store_in_memory() -> None:
    stream = every_act()
    assert in_shards(stream, 3, threads=2) == in_memory(stream)


def test_a_feature_set_without_merchant_features_gives_the_results_of_the_store_in_memory() -> None:
    alone = FeatureSet(tuple(row for row in FEATURES.rows if row.entity is not Entity.MERCHANT))
    stream = every_act()
    assert in_shards(stream, 2, alone) == in_memory(stream, alone)


def test_with_merchant_features_alone_fates_still_come_from_card_histories() -> None:
    alone = FeatureSet(tuple(row for row in FEATURES.rows if row.entity is Entity.MERCHANT))
    stream = every_act()
    assert in_shards(stream, 2, alone) == in_memory(stream, alone)


def seen_for_a_millisecond(histories: Any, positions: Any, own: Any, _sight: Visibility) -> Histories:
    return visible_histories(histories, positions, own, Visibility(Retention((exact(1),))))


@pytest.mark.parametrize(
    ("place", "bug"),
    [
        ("history_pass.labels_of", lambda *_: {}),
        ("tasks.to_decide", lambda lot, _decided: lot),
        ("history_pass.visible_histories", seen_for_a_millisecond),
        ("tasks.other_labels_before", lambda _due, _places, _last: ()),
    ],
)
def test_a_planted_bug_is_caught(place: str, bug: object, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = every_act()
    monkeypatch.setattr(f"fraudstream.lab.rescoring.{place}", bug)
    assert in_shards(stream, 2) != in_memory(stream)


def every_act() -> Stream:
    """Make a stream with parked and corrected labels, and with repeated, conflicting and late transactions."""
    acts = [
        ("early label", {"fraud": True}),
        ("new", {}),
        ("new", {}),
        ("again", {}),
        ("conflict", {}),
        ("new", {"merchant": 1, "gap_ms": 8 * DAY_MS}),
        ("label", {"fraud": True, "back": 3}),
        ("new", {"gap_ms": DAY_MS}),
        ("label", {"fraud": False, "back": 4}),
        ("new", {"gap_ms": DAY_MS, "late_ms": 2 * DAY_MS}),
        ("new", {"card": 1, "gap_ms": 8 * DAY_MS}),
        ("new", {"gap_ms": 30 * DAY_MS}),
        ("new", {"late_ms": 40 * DAY_MS}),
        ("new", {"card": 1, "late_ms": 5 * DAY_MS}),
    ]
    plain = {
        "card": 0,
        "merchant": 0,
        "gap_ms": 1,
        "late_ms": 0,
        "amount": 999,
        "exponent": 2,
        "back": 0,
        "device": 1,
        "told": {},
    }
    plain |= {"fraud": False, "cut": False}
    return Stream([Step(act=act, **(plain | changes)) for act, changes in acts])  # type: ignore[arg-type]
