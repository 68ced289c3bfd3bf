"""How many examples Hypothesis draws: all in the profile `thorough`, a part of them in `ci`, which is the default."""

from hypothesis import HealthCheck, settings

PART = 4
LEAST = 10
ORDINARY = 100
"""Examples of a property that sets no number; Hypothesis's own default."""


def register_profiles() -> None:
    """Register the two profiles and load `ci`; `pytest --hypothesis-profile thorough` loads the other afterwards.

    `ci` draws the same examples each time, so that a change is judged by what it changes; `thorough` draws new ones.

    A slow draw is no failure: machines are shared, and in a fresh checkout the first draw builds tables of characters.
    """
    slow = [HealthCheck.too_slow]
    settings.register_profile("thorough", deadline=None, max_examples=ORDINARY, suppress_health_check=slow)
    settings.register_profile(
        "ci", deadline=None, max_examples=part_of(ORDINARY), suppress_health_check=slow, derandomize=True
    )
    settings.load_profile("ci")


def examples(count: int, in_ci: int | None = None) -> int:
    """Return `count` in the profile `thorough`, else `in_ci`, or where none is stated the part that `ci` draws."""
    if settings.get_current_profile_name() == "thorough":
        return count
    return part_of(count) if in_ci is None else in_ci


def part_of(count: int) -> int:
    return min(count, max(LEAST, count // PART))
