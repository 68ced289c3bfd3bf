"""Everything that reads bytes from outside, given genuine bytes, damaged ones, and any others."""

from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import examples
from support.fuzz.targets import TARGETS
from support.mutated_bytes import mutated


@cache
def genuine(name: str) -> Sequence[bytes]:
    return tuple(TARGETS[name].seeds())


@pytest.mark.parametrize("name", TARGETS)
def test_genuine_bytes_are_read_and_what_was_written_is_read_back(name: str) -> None:
    for value in genuine(name):
        TARGETS[name].check(value)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@settings(max_examples=examples(300, in_ci=25))
def test_damaged_bytes_are_read_or_refused(name: str, data: st.DataObject) -> None:
    TARGETS[name].check(data.draw(mutated(genuine(name))))
