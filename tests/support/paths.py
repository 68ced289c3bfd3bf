"""Where the checkout is, and what stands beside it: the one place in the tests that counts folders upwards."""

from pathlib import Path

HOUSE = Path(__file__).parents[2]
SUPPORT = HOUSE / "tests" / "support"
HANDBOOK = HOUSE.parent / "shared" / "data" / "handbook"
"""The public handbook stream; a test that reads it is skipped where it is missing."""
