"""How many examples Hypothesis draws: all in the profile `thorough`, a part of them in `ci`, which is the default."""

from hypothesis import HealthCheck, settings

PART = 4
LEAST = 10
ORDINARY = 100
"""Examples of a property that does not say how many; Hypothesis's own default."""


def register_profiles() -> None:
    """Make the two profiles known and load `ci`; `pytest --hypothesis-profile thorough` loads the other afterwards.

    The machine is shared, and a fresh checkout builds its tables of characters in the first draw: neither is a failure.
    """
    slow = [HealthCheck.too_slow]
    settings.register_profile("thorough", deadline=None, max_examples=ORDINARY, suppress_health_check=slow)
    settings.register_profile("ci", deadline=None, max_examples=part_of(ORDINARY), suppress_health_check=slow)
    settings.load_profile("ci")


def examples(count: int) -> int:
    """Return `count` in the profile `thorough`, else the part of it that is drawn in every run of the tests."""
    return count if settings.get_current_profile_name() == "thorough" else part_of(count)


def part_of(count: int) -> int:
    return min(count, max(LEAST, count // PART))
