"""Several feature sets at once: each gives the values that it gives alone."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings

from features.declaration import DAY_MS, FeatureSet, load
from features.errors import DeclarationError
from features.history.store import Entity, Fate, Label
from features.memory_store import MemoryStore
from features.rows import card, device
from features.vector.sets import FeatureSets, Vectors, load_sets
from support.examples import examples
from support.features.recount import transactions
from support.features.streams import Stream, bits, outcomes, streams

DEFAULT = load(None)
SHORT = FeatureSet((card("count", "1h"), card("seconds_since_last")))
LONG = FeatureSet((card("count", "60d"), device("cards", "7d")))
TOGETHER = FeatureSets((SHORT, DEFAULT, LONG))


def test_histories_are_kept_for_the_longest_horizon_of_each_kind() -> None:
    assert TOGETHER.horizons_ms == {
        Entity.CARD: 67 * DAY_MS,
        Entity.MERCHANT: 44 * DAY_MS,
        Entity.DEVICE: 14 * DAY_MS,
    }
    assert TOGETHER.newest is LONG


@pytest.mark.parametrize("sets", [(), (DEFAULT, SHORT, DEFAULT)])
def test_no_set_and_the_same_set_twice_are_refused(sets: tuple[FeatureSet, ...]) -> None:
    with pytest.raises(DeclarationError, match=r"at least one feature set|are the same: name each once"):
        FeatureSets(sets)


def test_modules_are_separated_by_commas_and_no_module_means_both_default_sets() -> None:
    assert load_sets("").sets == (DEFAULT, load("features.default_set_2"))
    assert load_sets("").retentions == load_sets("features.default_set").retentions, "an update needs no other history"
    assert load_sets(" features.default_set ,").sets == (DEFAULT,)
    with pytest.raises(DeclarationError, match="there is no module 'no_such_module'"):
        load_sets("features.default_set,no_such_module")


@given(stream=streams)
@settings(max_examples=examples(60), deadline=None)
def test_a_set_gives_the_same_values_alone_and_beside_others(stream: list) -> None:
    """Too late transactions are not compared: together, the longest horizon of a card applies."""
    store = MemoryStore(SHORT)
    alone = asyncio.run(outcomes(Stream(stream), SHORT, lambda: store))
    together = side_by_side(Stream(stream))
    assert len(alone) == len(together)
    for (fate, vector), (fate_together, vectors) in zip(alone, together, strict=True):
        if fate is Fate.DECIDE:
            assert (fate_together, vectors[0]) == (fate, vector)


def side_by_side(stream: Stream) -> list:
    """Return fates, and the vectors' bits of all three sets."""
    store, result = MemoryStore(TOGETHER), []
    for part in stream.parts:
        if isinstance(part, Label):
            store.label_now([part])
        elif part is not None:
            batch = transactions(part)
            observed = store.observe_now(batch)
            vectors = Vectors(TOGETHER, batch, observed, np.ones(len(part), np.bool_)).all().values()
            rows = zip(*(matrix.tolist() for matrix in vectors), strict=True)
            result += [(fate, tuple(map(bits, row))) for fate, row in zip(observed.fates, rows, strict=True)]
    return result
