"""Score a transactions file: read, part, judge, take in, score, join. This is the page to read first.

Cards and other parties are run through apart, each in shards that fit into memory, on as many processes as wanted; what
comes out depends on neither. Nothing here reads a clock or prints.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from stream.backscoring.blocks import join_parts, score_block
from stream.backscoring.errors import ComputationError
from stream.backscoring.file_source import BASE, open_tables, read_file
from stream.backscoring.loading import model_of, resolve
from stream.backscoring.pool import Pool
from stream.backscoring.request import FileRequest, Progress, ScoreReport
from stream.backscoring.sharding import part
from stream.backscoring.tasks import judge_cards, take_in
from stream.backscoring.workplace import Workplace, shards_for
from stream.transactions_file.database import import_duckdb, quoted

PROCESS_MEMORY_MB = 512


def score_file(request: FileRequest, progress: Progress) -> ScoreReport:
    """Score every row of a file.

    Raises:
        FileError: what is wrong with the file, and what to do about it.
        BackscoringError: what is wrong with the model, or with this machine.
    """
    digest = resolve(request.models, request.model)
    model_of(request.models, digest, request.feature_set)
    with workfolder(request.out) as folder:
        progress("read", 0, 1)
        facts = read_file(request.file, folder, request.threads)
        progress("read", 1, 1)
        place = Workplace(
            folder,
            request.feature_set,
            facts.rows,
            facts.rows,
            shards_for(facts.rows, request.threads),
            PROCESS_MEMORY_MB,
        )
        with open_tables(folder, request.threads) as connection:
            part(connection, place, BASE)
        progress("part", 1, 1)
        with Pool(request.threads) as pool:
            run_passes(place, pool, progress)
            stage(
                place,
                pool,
                partial(score_block, request.models, digest),
                ("score", place.blocks, place.rows),
                progress,
            )
        return write(place, request, digest)


@contextmanager
def workfolder(out: Path) -> Iterator[Path]:
    """Make a folder to work in beside the output, where there must be room for that too; it is gone afterwards."""
    duckdb = import_duckdb()
    try:
        with tempfile.TemporaryDirectory(prefix=".fraudstream-score-", dir=out.parent) as folder:
            yield Path(folder)
    except (OSError, duckdb.Error) as error:
        raise ComputationError(f"{out.parent}: {str(error).splitlines()[0]}") from error


def run_passes(place: Workplace, pool: Pool, progress: Progress) -> None:
    """Run through all histories: cards first, for they judge."""
    place.fates(new=True)
    stage(place, pool, judge_cards, ("cards", place.shards, place.numbers), progress)
    for entity in place.others:
        stage(place, pool, partial(take_in, entity), (f"{entity.value}s", place.shards, place.numbers), progress)


def stage(
    place: Workplace, pool: Pool, task: Callable[[Workplace, int], None], size: tuple[str, int, int], progress: Progress
) -> None:
    """Run the tasks of one stage: its name, how many they are, and how many transactions in all."""
    name, count, total = size
    done = place.progress(new=True)
    pool.run(partial(task, place), count, lambda: progress(name, int(done.sum()), total))
    progress(name, total, total)


def write(place: Workplace, request: FileRequest, digest: str) -> ScoreReport:
    """Join the parts, and count what is in them."""
    with open_tables(place.folder, request.threads) as connection:
        join_parts(connection, place, request.out)
        return ScoreReport(
            digest=digest,
            out=str(request.out),
            rows=place.rows,
            fates=_counted(connection, request.out, "fate"),
            decisions=_counted(connection, request.out, "decision"),
        )


def _counted(connection: Any, out: Path, column: str) -> dict[str, int]:  # noqa: ANN401 - a connection of a module without types
    found = connection.execute(
        f"SELECT {column}, count(*) FROM read_parquet({quoted(out)}) WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    return dict(found.fetchall())
