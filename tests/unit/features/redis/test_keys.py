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
