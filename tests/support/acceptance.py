"""What takes long: `make acceptance` runs it, and `make test` runs a short case or a smaller size of the same test.

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
    """Return how much a test does: `full` in `make acceptance`; the test is marked `full_size`."""
    return full if FULL else short


def cases(every: Iterable[Any], short: Collection[Any]) -> list[Any]:
    """Mark all cases for `make acceptance`, except those that every run has time for.

    Raises:
        ValueError: a short case is none of the test's.
    """
    listed = list(every)
    if unknown := [one for one in short if one not in listed]:
        raise ValueError(f"{unknown} are no cases of this test: {listed}")
    return [one if one in short else _marked(one) for one in listed]


def _marked(one: Any) -> Any:
    values = one if isinstance(one, tuple) else (one,)
    return pytest.param(*values, marks=pytest.mark.acceptance)
