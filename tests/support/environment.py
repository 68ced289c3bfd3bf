"""The variables with which tests run commands as a person would: without settings of whoever runs the tests."""

import os

FOREIGN = ("FRAUDSTREAM_", "OTEL_", "FORCE_COLOR", "TTY_")
"""Beginnings of variables that change what commands do or print, those of colours among them."""


def without_settings() -> dict[str, str]:
    """Return this process's variables without those that change answers."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
