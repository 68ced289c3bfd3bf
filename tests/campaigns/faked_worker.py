"""A worker of a campaign: its clock may be moved by libfaketime, and it may stop itself before it writes dead letters.

It stops once, at the first batch with dead letters after the file that FRAUDSTREAM_TEST_STOP names has been made, and
removes the file: a virtual machine that is paused between judging and writing.
"""

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stream.positions.dead_letters import DeadLetter
from stream.worker.outputs import PartitionWriter

VARIABLE = "FRAUDSTREAM_TEST_STOP"

_write = PartitionWriter.write


def _stop_if_asked(flag: Path) -> None:
    if flag.exists():
        flag.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)


async def _stopping_write(writer: PartitionWriter, *arguments: Any, **named: Any) -> Any:
    values = [*arguments, *named.values()]
    has_letters = any(isinstance(one, Sequence) and one and isinstance(one[0], DeadLetter) for one in values)
    if has_letters:
        _stop_if_asked(Path(os.environ[VARIABLE]))
    return await _write(writer, *arguments, **named)


def _sleep(seconds: float) -> None:
    """Sleep without `clock_nanosleep`, which libfaketime 0.9.10 breaks where it leaves the monotonic clock alone."""
    threading.Event().wait(seconds)


if __name__ == "__main__":
    from fraudstream.cli.main import main

    PartitionWriter.write = _stopping_write  # type: ignore[method-assign]
    time.sleep = _sleep
    main()
