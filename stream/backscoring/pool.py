"""Runs the tasks of one stage on several processes, and tells how far they are.

Nothing here knows what a task does.
"""

import signal
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from multiprocessing import get_context
from pickle import PicklingError
from types import TracebackType
from typing import Self

from stream.backscoring.errors import ComputationError

LOOK_SECONDS = 0.2
Task = Callable[[int], None]


class Pool(AbstractContextManager["Pool"]):
    """As many processes as there are `threads`; a single one is a thread of this process."""

    def __init__(self, threads: int) -> None:
        self._executor: Executor
        if threads == 1:
            self._executor = ThreadPoolExecutor(1)
        else:
            self._executor = ProcessPoolExecutor(threads, get_context("spawn"), _deaf_to_signals)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)

    def run(self, task: Task, count: int, look: Callable[[], None]) -> None:
        """Do a task for each number below `count`; `look` is called now and then.

        Raises:
            ComputationError: a process ended.
        """
        left = {self._executor.submit(task, number) for number in range(count)}
        try:
            while left:
                done, left = wait(left, LOOK_SECONDS, FIRST_COMPLETED)
                look()
                for one in done:
                    one.result()
        except BrokenProcessPool as error:
            raise ComputationError(
                "a process ended in the middle of its work, most likely for want of memory: "
                "take fewer --threads, or a machine with more"
            ) from error
        except PicklingError as error:
            raise ComputationError(
                f"{error}: a formula that is no function of a module cannot go to another process; take --threads 1"
            ) from error
        finally:
            for one in left:
                one.cancel()


def _deaf_to_signals() -> None:
    """Leave Ctrl-C to the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
