"""The error of the demo.

DemoError           the demo cannot go on: the message names the step, and ends with the worker's log where that helps
"""

from __future__ import annotations

from stream.errors import StreamError


class DemoError(StreamError):
    """The demo cannot go on; a failed check is not an error but a result."""
