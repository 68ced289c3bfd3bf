"""Paths of the checkout and of data beside it; the only place in the tests that counts parent folders."""

from pathlib import Path

HOUSE = Path(__file__).parents[2]
SUPPORT = HOUSE / "tests" / "support"
HANDBOOK = HOUSE.parent / "shared" / "data" / "handbook"
"""The public handbook stream; a test that reads it is skipped if it is missing."""
