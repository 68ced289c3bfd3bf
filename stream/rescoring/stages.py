"""The stages that scoring a file and scoring a range have in common, and the folder in which they work.

Nothing here knows where transactions come from or what becomes of a block.

Runs the tasks of one stage on several processes, and tells how far they are.

Nothing here knows what a task does.
"""

import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from pickle import PicklingError
from types import TracebackType
from typing import Any, Self

from stream.dataset.database import import_duckdb, quoted
from stream.rescoring.request import ComputationError, Progress
from stream.rescoring.search import search
from stream.rescoring.tasks import judge_cards, take_in
from stream.rescoring.workdir import Workdir

LOOK_SECONDS = 0.2
Task = Callable[[int], None]
PROCESS_MEMORY_MB = 512
"""What the database of one process may take."""


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


@contextmanager
def workfolder(beside: Path | None) -> Iterator[Path]:
    """Make a folder to work in beside the output, where there must be room anyway; it is gone afterwards."""
    duckdb = import_duckdb()
    try:
        with tempfile.TemporaryDirectory(prefix=".fraudstream-score-", dir=beside) as folder:
            yield Path(folder)
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise ComputationError(f"{beside or tempfile.gettempdir()}: {str(error).splitlines()[0]}") from error


def run_passes(place: Workdir, pool: Pool, progress: Progress) -> None:
    """Run through all histories: cards first, for they judge."""
    place.fates(new=True)
    stage(place, pool, judge_cards, ("cards", place.shards, place.numbers), progress)
    for entity in place.others:
        stage(place, pool, partial(take_in, entity), (f"{entity.value}s", place.shards, place.numbers), progress)


def run_searches(place: Workdir, pool: Pool, progress: Progress) -> None:
    """Look for what a repair may have displaced in the histories of other parties."""
    for entity in place.others:
        size = (f"{entity.value}s again", place.shards, place.numbers)
        stage(place, pool, partial(search, entity), size, progress)


def stage(
    place: Workdir, pool: Pool, task: Callable[[Workdir, int], None], size: tuple[str, int, int], progress: Progress
) -> None:
    """Run the tasks of one stage: its name, how many they are, and how many transactions in all."""
    name, count, total = size
    done = place.progress(new=True)
    pool.run(partial(task, place), count, lambda: progress(name, int(done.sum()), total))
    progress(name, total, total)


def counted(connection: Any, place: Workdir, values: str) -> dict[str, int]:  # noqa: ANN401 - a connection of a module without types
    """Count the values of a column, or of an expression, over the parts."""
    parts = ", ".join(quoted(place.part(block)) for block in range(place.blocks))
    found = connection.execute(
        f"SELECT value, count(*) FROM (SELECT {values} AS value FROM read_parquet([{parts}])) "
        "WHERE value IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    return dict(found.fetchall())
