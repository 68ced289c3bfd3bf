"""The collections of a lineup equal plain ones after any changes, and a change leaves the value before it as it was."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.persistent import GrowingMap, LiveBefore

KEYS = st.sampled_from([str(number) for number in range(8)])


@given(st.lists(st.tuples(st.integers(0, 40), KEYS, st.integers())))
def test_a_map_grown_from_any_earlier_one_equals_a_copied_dict(steps: list[tuple[int, str, int]]) -> None:
    maps: list[tuple[GrowingMap[int], dict[str, int]]] = [(GrowingMap({"a": 1}), {"a": 1})]
    for back, key, value in steps:
        grown, plain = maps[max(0, len(maps) - 1 - back)]
        if key not in plain:
            maps.append((grown.with_added(key, value), {**plain, key: value}))
    for grown, plain in maps:
        assert (dict(grown), len(grown), list(grown)) == (plain, len(plain), list(plain))
        assert all((key in grown) is (key in plain) for key in map(str, range(8)))
        assert grown == plain
        assert GrowingMap.of(grown) is grown


def removed(digest: str, digests: tuple[str, ...], live: str) -> tuple[str, ...]:
    """Remove a digest, and neighbours that become equal."""
    kept = [one for one in digests if one != digest]
    return tuple(one for one, after in pairwise([*kept, live]) if one != after)


def changed(digests: Any, live: str, model: str, operation: str, now: int) -> tuple[Any, str]:
    """Change a stack, or a plain tuple, as a promotion, a roll-back or a demotion does."""
    plain = isinstance(digests, tuple)
    if operation == "promote" and model != live:
        return ((*digests, live) if plain else digests.with_added(live, now)), model
    if operation == "promote" or not digests:
        return digests, live
    before, target = (digests[:-1] if plain else digests.without_last()), digests[-1]
    if operation == "roll back":
        return before, target
    return (removed(live, before, target) if plain else before.without(live, now, target)), target


@given(st.lists(st.tuples(st.integers(0, 3), KEYS, st.sampled_from(["promote", "promote", "roll back", "demote"]))))
def test_the_models_that_were_live_before_equal_a_recount_in_a_tuple(steps: list[tuple[int, str, str]]) -> None:
    start = ("7", "6", "7")
    states: list[tuple[LiveBefore, str, tuple[str, ...], str]] = [(LiveBefore(start), "0", start, "0")]
    for now, (back, model, operation) in enumerate(steps):
        stack, live, plain, plain_live = states[max(0, len(states) - 1 - back)]
        after = (*changed(stack, live, model, operation, now), *changed(plain, plain_live, model, operation, now))
        states.append(after)
    for stack, live, plain, plain_live in states:
        assert (tuple(stack), live) == (plain, plain_live)
        assert stack == plain
        assert (bool(stack), len(stack), stack[-1:]) == (bool(plain), len(plain), plain[-1:])
        assert not plain or stack[-1] == plain[-1]
        assert hash(stack) == hash(plain)


def test_nothing_can_be_taken_from_an_empty_stack() -> None:
    with pytest.raises(IndexError):
        LiveBefore().without_last()
    with pytest.raises(IndexError):
        LiveBefore()[-1]
