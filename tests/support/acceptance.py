"""Marks for slow tests: `make acceptance` runs them in full, `make test` a short case or a smaller size of them.

- A test or a case that is marked `acceptance` runs in `make acceptance` only.
- A test that is marked `full_size` runs in both, in `make acceptance` with the full size that `sized` was given.
- A Hypothesis test runs in both, in `make acceptance` with all its examples.
"""

import os
from collections.abc import Collection, Iterable
from typing import Any

import pytest

FULL = os.environ.get("FRAUDSTREAM_TEST_SIZE") == "full"


def sized(short: int, full: int) -> int:
    """Return the size of a test that is marked `full_size`: `full` in `make acceptance`, else `short`."""
    return full if FULL else short


def cases(every: Iterable[Any], short: Collection[Any]) -> list[Any]:
    """Mark all cases for `make acceptance`, except the `short` ones, which always run.

    Raises:
        ValueError: a short case is not a case of the test.
    """
    listed = list(every)
    if unknown := [one for one in short if one not in listed]:
        raise ValueError(f"{unknown} are no cases of this test: {listed}")
    return [one if one in short else _marked(one) for one in listed]


def _marked(one: Any) -> Any:
    values = one if isinstance(one, tuple) else (one,)
    return pytest.param(*values, marks=pytest.mark.acceptance)
