"""Marks for slow tests: `make acceptance` runs them in full, `make test` a short case or a smaller size of them.

- A test or a case that is marked `acceptance` runs in `make acceptance` only.
- A test that is marked `full_size` runs in both, in `make acceptance` with the full size that `sized` was given.
- A Hypothesis test runs in both, in `make acceptance` with all its examples.
- Some tests have a third size, whose figures the documentation states; `FRAUDSTREAM_TEST_SIZE=published` takes it.
"""

import os
from collections.abc import Collection, Iterable
from typing import Any

import pytest

SIZE = os.environ.get("FRAUDSTREAM_TEST_SIZE", "short")
FULL = SIZE != "short"


def sized(short: int, full: int, published: int | None = None) -> int:
    """Return the size of a test: `full` in `make acceptance`, `published` where figures are renewed, else `short`."""
    sizes = {"short": short, "full": full, "published": full if published is None else published}
    return sizes[SIZE]


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
