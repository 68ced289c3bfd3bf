"""The stages of a rescoring run, each run as tasks on a pool of processes, and the temporary folder that they work in.

Rescoring a file and rescoring a range of the topics share these stages.
"""

import signal
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from functools import partial
from multiprocessing import get_context
from pickle import PicklingError
from types import TracebackType
from typing import Self

from fraudstream.lab.rescoring.displaced_search import search_displaced
from fraudstream.lab.rescoring.request import ComputationError, Progress
from fraudstream.lab.rescoring.tasks import run_card_shard, run_other_shard
from fraudstream.lab.rescoring.workdir import Workdir

PROCESS_MEMORY_MB = 512
"""Memory that the database of one process may take."""
POLL_SECONDS = 0.2
Task = Callable[[int], None]


def run_passes(workdir: Workdir, pool: "TaskPool", progress: Progress) -> None:
    """Run all transactions through the histories: cards first, because their pass decides the fates."""
    workdir.fates(new=True)
    run_stage(workdir, pool, run_card_shard, ("cards", workdir.shards, workdir.transactions), progress)
    for entity in workdir.others:
        size = (f"{entity.value}s", workdir.shards, workdir.transactions)
        run_stage(workdir, pool, partial(run_other_shard, entity), size, progress)


def run_searches(workdir: Workdir, pool: "TaskPool", progress: Progress) -> None:
    """Search the histories of the other parties for records that a repair may have displaced."""
    for entity in workdir.others:
        size = (f"{entity.value}s again", workdir.shards, workdir.transactions)
        run_stage(workdir, pool, partial(search_displaced, entity), size, progress)


def run_stage(
    workdir: Workdir,
    pool: "TaskPool",
    task: Callable[[Workdir, int], None],
    size: tuple[str, int, int],
    progress: Progress,
) -> None:
    """Run the tasks of one stage; `size` is its name, the number of tasks, and that of transactions in all of them."""
    name, count, total = size
    done = workdir.progress(new=True)
    pool.run(partial(task, workdir), count, lambda: progress(name, int(done.sum()), total))
    progress(name, total, total)


class TaskPool(AbstractContextManager["TaskPool"]):
    """A pool of `threads` processes; with one, a thread of this process."""

    def __init__(self, threads: int) -> None:
        self._executor: Executor
        if threads == 1:
            self._executor = ThreadPoolExecutor(1)
        else:
            self._executor = ProcessPoolExecutor(threads, get_context("spawn"), _ignore_interrupts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)

    def run(self, task: Task, count: int, on_poll: Callable[[], None]) -> None:
        """Run a task for each number below `count`; `on_poll` is called at least every POLL_SECONDS.

        Raises:
            ComputationError: a process ended unexpectedly, or a task cannot be sent to another process.
        """
        left = {self._executor.submit(task, number) for number in range(count)}
        try:
            while left:
                done, left = wait(left, POLL_SECONDS, FIRST_COMPLETED)
                on_poll()
                for one in done:
                    one.result()
        except BrokenProcessPool as error:
            raise ComputationError(
                "a process ended before its work was done, most likely because memory ran out: "
                "use fewer --threads, or a machine with more memory"
            ) from error
        except PicklingError as error:
            raise ComputationError(
                f"{error}: a formula that is not a module's function cannot be sent to another process; use --threads 1"
            ) from error
        finally:
            for one in left:
                one.cancel()


def _ignore_interrupts() -> None:
    """Ignore Ctrl-C in a pool process: the parent handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
