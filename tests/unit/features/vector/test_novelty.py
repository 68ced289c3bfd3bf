"""Counts of distinct values, by Python sets and by the hash table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.history.frames import Frame
from features.history.store import Histories
from features.vector import novelty
from features.vector.novelty import representatives

values = st.one_of(
    st.sampled_from((0, 1, -1, 1 << 10, 1 << 20, -(1 << 63), (1 << 63) - 1)), st.integers(-(1 << 63), (1 << 63) - 1)
)


@given(keys=st.lists(values, max_size=60))
def test_one_of_each_key_is_chosen(keys: list[int]) -> None:
    chosen = representatives(np.array(keys, np.int64))
    assert sorted(keys[place] for place in chosen.tolist()) == sorted(set(keys))


def test_keys_that_differ_only_in_their_high_bits_are_distinct() -> None:
    keys = np.arange(300, dtype=np.int64) << 48
    assert len(representatives(np.repeat(keys, 3))) == 300


@pytest.mark.parametrize("few", [0, 10**9])
@given(histories=st.lists(st.lists(st.tuples(values, st.booleans()), min_size=1, max_size=8), min_size=1, max_size=8))
def test_distinct_values_are_counted_by_history(few: int, histories: list[list[tuple[int, bool]]]) -> None:
    lengths = np.array([len(one) for one in histories])
    frame = Frame(Histories(np.zeros((lengths.sum(), 9), np.int64), lengths, lengths), np.zeros(len(lengths), np.int64))
    column, which = (
        np.array([pair[i] for one in histories for pair in one], kind) for i, kind in enumerate((int, bool))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(novelty, "FEW", few)
        counts = novelty.distinct(frame, which, column)
    assert counts.tolist() == [float(len({value for value, counted in one if counted})) for one in histories]
