"""Score a transactions file: read, part, judge, take in, score, join. This is the page to read first.

Cards and other parties are run through apart, each in shards that fit into memory, on as many processes as wanted; what
comes out depends on neither. Nothing here reads a clock or prints.

A transactions file as the tables that back-scoring works on: the order of time is the order of every log.

A label comes before the first transaction that occurred when it was known, or later.
"""

from functools import partial
from pathlib import Path
from typing import Any

from features.history.records import COLUMNS
from features.vector.sets import FeatureSets
from models.loading import Model
from stream.dataset.database import CONTENT, connect
from stream.dataset.file import DATABASE, FileFacts, TransactionsFile
from stream.rescoring.blocks import join_parts, score_block
from stream.rescoring.request import FileRequest, Progress, ScoreReport
from stream.rescoring.rescore import model_of, resolve
from stream.rescoring.shards import part
from stream.rescoring.stages import PROCESS_MEMORY_MB, Pool, counted, run_passes, stage, workfolder
from stream.rescoring.workdir import Workdir, shards_for

MEMORY_MB = 512
"""What the database may take: no more than a process that runs through a shard, so that a larger file needs no more."""
BASE = """
CREATE TEMP VIEW base AS SELECT row, number, transaction_id, card_id, merchant_id,
    make_timestamptz(occurred_ms * 1000) AS occurred_at, amount_minor, currency
FROM rows
"""
ROWS = """
CREATE TEMP VIEW rows AS
SELECT *, number AS row, hash({content}) AS content, 0 AS partition, number AS "offset", {places}
FROM (SELECT * EXCLUDE (row), rowid AS number FROM transactions)
"""
# A label that never says fraud, nor takes it back, changes no feature.
LABELS = """
CREATE TEMP VIEW labels AS
SELECT rowid AS number, transaction_id, card_id, merchant_id, fraud = 1 AS fraud, labelled_ms,
    'chargeback' AS reported_by, occurred_ms, 0 AS partition, rowid AS "offset",
    labelled_ms AS told_ms, {places}
FROM transactions SEMI JOIN frauds USING (card_id, transaction_id)
WHERE fraud >= 0
"""


def read_file(file: Path, folder: Path, threads: int) -> FileFacts:
    """Read and check a file, and leave it in the folder's database.

    Raises:
        MissingExtraError: DuckDB is not installed.
        TransactionsFileError: the file cannot be used, for all the reasons given.
    """
    with TransactionsFile(file, folder, threads, MEMORY_MB) as source:
        return source.facts


def open_tables(folder: Path, threads: int) -> Any:  # noqa: ANN401 - a connection of a module without types
    """Open the database of a file that was read."""
    connection = connect(folder / DATABASE, threads, MEMORY_MB)
    connection.execute(ROWS.format(content=", ".join(CONTENT), places=_places("occurred_ms", behind=1)))
    connection.execute(LABELS.format(places=_places("labelled_ms", behind=0)))
    connection.execute(BASE)
    return connection


def _places(time: str, behind: int) -> str:
    """Return the places in all logs: by a time, labels before transactions."""
    return ", ".join(f"{time} AS {kind.value}_key, {behind} AS {kind.value}_tie" for kind in COLUMNS)


def score_file(request: FileRequest, progress: Progress) -> ScoreReport:
    """Score every row of a file.

    Raises:
        FileError: what is wrong with the file, and what to do about it.
        BackscoringError: what is wrong with the model, or with this machine.
    """
    digest = resolve(request.models, request.model)
    sets = sets_of(model_of(request.models, digest, request.sets), request.sets)
    with workfolder(request.out.parent) as folder:
        progress("read", 0, 1)
        facts = read_file(request.file, folder, request.threads)
        progress("read", 1, 1)
        shards = shards_for(facts.rows, request.threads)
        place = Workdir(folder, sets, facts.rows, facts.rows, shards, PROCESS_MEMORY_MB)
        with open_tables(folder, request.threads) as connection:
            part(connection, place)
        progress("part", 1, 1)
        with Pool(request.threads) as pool:
            run_passes(place, pool, progress)
            size = ("score", place.blocks, place.rows)
            stage(place, pool, partial(score_block, request.models, digest), size, progress)
        return write(place, request, digest)


def sets_of(model: Model, sets: FeatureSets) -> FeatureSets:
    """Return the one feature set that a model needs: histories are kept as long as it asks."""
    return FeatureSets((sets.by_fingerprint[model.fingerprint],))


def write(place: Workdir, request: FileRequest, digest: str) -> ScoreReport:
    """Join the parts, and count what is in them."""
    with open_tables(place.folder, request.threads) as connection:
        join_parts(connection, place, request.out)
        return ScoreReport(
            digest=digest,
            out=str(request.out),
            rows=place.rows,
            fates=counted(connection, place, "fate"),
            decisions=counted(connection, place, "decision"),
        )
