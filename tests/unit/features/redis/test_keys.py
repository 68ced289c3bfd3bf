"""The slots of keys, and the calls by which a batch is appended."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from features.history import records
from features.history.store import Entity
from features.redis.append import AppendContext, ShardAppend, append_calls, append_steps
from features.redis.cache import CachedHistory
from features.redis.keys import CLUSTER_SHARDS, HOME_SHARD, SINGLE_SERVER_SHARDS, SLOTS, KeyLayout

NOW = 1_700_000_000_000
HORIZONS = dict.fromkeys((Entity.CARD, Entity.MERCHANT, Entity.DEVICE), 1)
hashes = st.integers(-(1 << 63), (1 << 63) - 1)
deployments = st.text("abcXYZ019._-", min_size=1, max_size=64)
numbers = st.sampled_from((2, 3, 16, CLUSTER_SHARDS))


def history(entity: int, kind: Entity, shards: KeyLayout, drafts: int = 1, settled: int = 0) -> CachedHistory:
    made = CachedHistory(kind, entity, "x", shards.key(kind, entity))
    made.replace(0, np.ones((settled, made.columns), np.int64))
    for number in range(drafts):
        made.append(np.full(made.columns, 2 + number, np.int64), NOW)
    return made


@given(deployment=deployments, number=numbers, entities=st.lists(hashes, min_size=1))
def test_all_keys_of_a_shard_have_its_slot_by_the_rule_of_redis_py(
    deployment: str, number: int, entities: list[int]
) -> None:
    shards = KeyLayout("fraudstream:", deployment, number)
    for kind in HORIZONS:
        for entity in entities:
            shard = shards.shard_of(entity)
            assert key_slot(shards.key(kind, entity)) == key_slot(shards.epochs[shard]) == shards.slots[shard]
    assert key_slot(shards.complete) == shards.slots[HOME_SHARD]


@given(deployment=deployments, number=numbers)
def test_the_slot_of_each_shard_is_in_its_own_equal_part_of_all_slots(deployment: str, number: int) -> None:
    bounds = [part * SLOTS // number for part in range(number + 1)]
    shards = KeyLayout("fraudstream:", deployment, number)
    assert all(first <= slot < behind for slot, (first, behind) in zip(shards.slots, pairwise(bounds), strict=True))


@given(one=deployments, ending=deployments, entities=st.lists(hashes, max_size=5))
@pytest.mark.parametrize("number", [SINGLE_SERVER_SHARDS, 16])
def test_two_deployments_share_no_key_and_recognise_only_their_own_histories(
    number: int, one: str, ending: str, entities: list[int]
) -> None:
    for other in {ending, one + ending} - {one}:
        layouts = [KeyLayout("fraudstream:", deployment, number) for deployment in (one, other)]
        histories = [{layout.key(kind, entity) for kind in HORIZONS for entity in entities} for layout in layouts]
        keys = [all_keys(layout) | found for layout, found in zip(layouts, histories, strict=True)]
        assert not keys[0] & keys[1]
        for layout, found in zip(layouts, histories, strict=True):
            assert {key for key in keys[0] | keys[1] if layout.is_history(key)} == found


@pytest.mark.parametrize("ending", [b"\xff" * 16, b"0" * 15, b"0" * 17, b"", b"0" * 15 + b"g"])
def test_a_key_that_only_begins_like_a_history_is_none(ending: bytes) -> None:
    layout = KeyLayout("fraudstream:", "default", SINGLE_SERVER_SHARDS)
    assert layout.is_history(b"fraudstream:default:c:" + b"0" * 16)
    assert not layout.is_history(b"fraudstream:default:c:" + ending)


def all_keys(layout: KeyLayout) -> set[bytes]:
    """Return all keys of a deployment except its histories."""
    checkpoints = {layout.checkpoints(shard, epoch) for shard in range(layout.shard_count) for epoch in (0, 7)}
    return {*layout.epochs, *layout.retention, layout.complete, layout.servers, layout.commits, *checkpoints}


def test_keys_on_a_single_server_have_no_hash_tag() -> None:
    shards = KeyLayout("fraudstream:", "default", SINGLE_SERVER_SHARDS)
    assert shards.epochs == (b"fraudstream:default:epoch",)
    assert shards.complete == b"fraudstream:default:epoch:whole"
    assert shards.key(Entity.DEVICE, -1) == b"fraudstream:default:d:ffffffffffffffff"
    assert shards.shard_of(-1) == HOME_SHARD


def test_keys_on_a_cluster_are_the_same_in_every_version() -> None:
    shards = KeyLayout("fraudstream:", "default", CLUSTER_SHARDS)
    assert shards.epochs[:2] == (b"fraudstream:{default/60}:epoch", b"fraudstream:{default/68}:epoch")
    assert shards.key(Entity.CARD, 65) == b"fraudstream:{default/68}:c:0000000000000041"
    assert shards.epochs[-1] == b"fraudstream:{default/30}:epoch"


def test_entities_are_spread_evenly_over_shards() -> None:
    shards = KeyLayout("fraudstream:", "default", CLUSTER_SHARDS)
    counts = Counter(shards.shard_of(records.card_hash(f"card-{number}")) for number in range(CLUSTER_SHARDS * 500))
    assert set(counts) == set(range(CLUSTER_SHARDS))
    assert 380 < min(counts.values()) <= max(counts.values()) < 620


@st.composite
def batches(draw: st.DrawFn) -> tuple[KeyLayout, dict[Entity, list[CachedHistory]]]:
    shards = KeyLayout("p:", draw(deployments), draw(st.sampled_from((SINGLE_SERVER_SHARDS, 2, 3, 16))))
    return shards, {
        kind: [
            history(entity, kind, shards, draw(st.integers(0, 2)), draw(st.integers(0, 2)))
            for entity in draw(st.lists(hashes, unique=True, max_size=12, min_size=kind is Entity.CARD))
        ]
        for kind in HORIZONS
    }


@given(batch=batches())
def test_a_batch_is_one_call_on_a_single_server_and_one_call_per_shard_and_step_on_a_cluster(
    batch: tuple[KeyLayout, dict[Entity, list[CachedHistory]]],
) -> None:
    shards, touched = batch
    in_turn = append_steps(touched, shards)
    all_entries = [entry for group in touched.values() for entry in group]
    appended = [part for step in in_turn[:2] for part in step]
    assert sorted(map(id, (entry for part in appended for entry in part.entries))) == sorted(map(id, all_entries))
    for step in in_turn:
        assert len({part.shard for part in step}) == len(step)
        assert all(shards.shard_of(entry.entity) == part.shard for part in step for entry in part.entries)
    if shards.shard_count == SINGLE_SERVER_SHARDS:
        assert [len(step) for step in in_turn] == [1]
    else:
        assert {kind for part in in_turn[0] for kind in part.groups} == {Entity.CARD}
        assert Entity.CARD not in {kind for part in in_turn[1] for kind in part.groups}
        begins = any(
            not entry.committed and entry.length
            for kind in touched
            if kind is not Entity.CARD
            for entry in touched[kind]
        )
        assert in_turn[2:] == ([in_turn[0]] if begins else [])


def test_an_append_call_carries_its_shards_epoch_and_describes_each_kind_of_history() -> None:
    shards = KeyLayout("p:", "d", 2)
    card, shop = history(2, Entity.CARD, shards), history(4, Entity.MERCHANT, shards, drafts=2, settled=1)
    (call,) = append_calls(
        [ShardAppend(0, {Entity.CARD: [card], Entity.MERCHANT: [shop]})], shards, AppendContext(7, HORIZONS, NOW)
    )
    assert call.shard == 0
    assert call.keys == [shards.epochs[0], card.key, shop.key]
    epoch, asks, drafts, headers, *kinds = call.arguments
    assert (epoch, len(bytes(asks)), headers) == (7, 40, card.header())
    assert drafts == card.uncommitted().tobytes() + shop.uncommitted().tobytes()
    assert kinds == [1, 72, 86_400_001, 0, 1, 48, 86_400_001, 1]
