"""How far a long computation is, as whoever waits for it is told."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Told, now and then, the name of the stage, how much of it is done, and of how much."""
