"""The stages that scoring a file and scoring a range have in common, and the folder in which they work.

Nothing here knows where transactions come from or what becomes of a block.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from stream.backscoring.errors import ComputationError
from stream.backscoring.pool import Pool
from stream.backscoring.progress import Progress
from stream.backscoring.searching import search
from stream.backscoring.tasks import judge_cards, take_in
from stream.backscoring.workplace import Workplace
from stream.transactions_file.database import import_duckdb, quoted

PROCESS_MEMORY_MB = 512
"""What the database of one process may take."""


@contextmanager
def workfolder(beside: Path | None) -> Iterator[Path]:
    """Make a folder to work in beside the output, where there must be room anyway; it is gone afterwards."""
    duckdb = import_duckdb()
    try:
        with tempfile.TemporaryDirectory(prefix=".fraudstream-score-", dir=beside) as folder:
            yield Path(folder)
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise ComputationError(f"{beside or tempfile.gettempdir()}: {str(error).splitlines()[0]}") from error


def run_passes(place: Workplace, pool: Pool, progress: Progress) -> None:
    """Run through all histories: cards first, for they judge."""
    place.fates(new=True)
    stage(place, pool, judge_cards, ("cards", place.shards, place.numbers), progress)
    for entity in place.others:
        stage(place, pool, partial(take_in, entity), (f"{entity.value}s", place.shards, place.numbers), progress)


def run_searches(place: Workplace, pool: Pool, progress: Progress) -> None:
    """Look for what a repair may have displaced in the histories of other parties."""
    for entity in place.others:
        size = (f"{entity.value}s again", place.shards, place.numbers)
        stage(place, pool, partial(search, entity), size, progress)


def stage(
    place: Workplace, pool: Pool, task: Callable[[Workplace, int], None], size: tuple[str, int, int], progress: Progress
) -> None:
    """Run the tasks of one stage: its name, how many they are, and how many transactions in all."""
    name, count, total = size
    done = place.progress(new=True)
    pool.run(partial(task, place), count, lambda: progress(name, int(done.sum()), total))
    progress(name, total, total)


def counted(connection: Any, place: Workplace, values: str) -> dict[str, int]:  # noqa: ANN401 - a connection of a module without types
    """Count the values of a column, or of an expression, over the parts."""
    parts = ", ".join(quoted(place.part(block)) for block in range(place.blocks))
    found = connection.execute(
        f"SELECT value, count(*) FROM (SELECT {values} AS value FROM read_parquet([{parts}])) "
        "WHERE value IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    return dict(found.fetchall())
