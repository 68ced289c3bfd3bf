"""A worker that stops itself between judging a batch and writing its outputs, as a virtual machine that is paused does.

It does so once, at the first batch with outputs after the file that FRAUDSTREAM_TEST_SLEEP names has been made, and
removes the file. SIGCONT wakes it: it then writes what it has decided.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stream.positions.dead_letters import DeadLetter, LetterOrigin
from stream.worker.outputs import PartitionWriter, TopicOutputs, Written

COMMAND = (sys.executable, str(Path(__file__).resolve()), "worker")
VARIABLE = "FRAUDSTREAM_TEST_SLEEP"

_write = PartitionWriter.write


def _sleep_if_asked(flag: Path) -> None:
    if flag.exists():
        flag.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)


async def _sleeping_write(
    writer: PartitionWriter,
    outputs: TopicOutputs,
    dead: Sequence[DeadLetter],
    may_go_on: Callable[[], bool],
    origin: LetterOrigin,
) -> Written:
    if any(outputs.records.values()) or dead:
        _sleep_if_asked(Path(os.environ[VARIABLE]))
    return await _write(writer, outputs, dead, may_go_on, origin)


if __name__ == "__main__":
    from fraudstream.cli.main import main

    PartitionWriter.write = _sleeping_write  # type: ignore[method-assign]
    main()
