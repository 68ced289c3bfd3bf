"""What can go wrong with a demo.

DemoError           the demo cannot go on: the message says at what, and has the end of the worker's log where it helps
"""

from __future__ import annotations

from stream.errors import StreamError


class DemoError(StreamError):
    """The demo cannot go on; a finding of its checks is no error but a result."""
