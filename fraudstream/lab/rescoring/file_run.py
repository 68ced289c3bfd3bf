"""Score a transactions file: read, shard, decide fates, append, score, join. This is the page to read first.

The file is sorted by time, and that is the order of every log; a label comes before the first transaction that occurred
when it was known, or later. Each kind of entity runs in a pass of its own over shards that fit into memory, on as many
processes as wanted; the output depends on neither shards nor processes.
"""

from functools import partial
from pathlib import Path
from typing import Any

from features.history.store import PARTIES, Entity
from features.vector.sets import FeatureSets
from fraudstream.lab.dataset.database import CONTENT, connect, quoted
from fraudstream.lab.dataset.file import DATABASE, FileFacts, TransactionsFile
from fraudstream.lab.dataset.output import join_parts, temporary_folder
from fraudstream.lab.dataset.own_columns import NO_OWN_COLUMNS, OwnColumns
from fraudstream.lab.dataset.predictions_file import DATABASE as PREDICTIONS
from fraudstream.lab.dataset.predictions_file import open_needed
from fraudstream.lab.rescoring.blocks import count_values, optional_columns, score_block
from fraudstream.lab.rescoring.predictions import FILE_ASKED, FILE_EVENTS, reads_predictions, write_predictions
from fraudstream.lab.rescoring.request import ComputationError, FileRequest, Progress, ScoreReport
from fraudstream.lab.rescoring.rescore import resolve, usable_model
from fraudstream.lab.rescoring.shards import write_shards
from fraudstream.lab.rescoring.stages import PROCESS_MEMORY_MB, TaskPool, run_passes, run_stage
from fraudstream.lab.rescoring.workdir import Workdir, shard_count
from models.loading import Model

MEMORY_MB = 512
"""Memory of the database that reads the file: no more than a process with a shard, so a larger file needs no more."""
BASE = """
CREATE TEMP VIEW base AS SELECT row, number, transaction_id, card_id, merchant_id,
    make_timestamptz(occurred_ms * 1000) AS occurred_at, amount_minor, currency, {optional},
    CASE fraud WHEN 1 THEN true WHEN 0 THEN false END AS fraud,
    CASE WHEN fraud >= 0 THEN make_timestamptz(labelled_ms * 1000) END AS labelled_at
FROM rows
"""
ROWS = """
CREATE TEMP VIEW rows AS
SELECT *, number AS row, hash({content}) AS content, 0 AS partition, number AS "offset", {sort_keys}
FROM (SELECT * EXCLUDE (row), rowid AS number FROM transactions)
"""
# Labels of a transaction that no label calls fraud change no feature.
LABELS = """
CREATE TEMP VIEW labels AS
SELECT rowid AS number, transaction_id, card_id, merchant_id, fraud = 1 AS fraud, labelled_ms,
    'chargeback' AS reported_by, occurred_ms, 0 AS partition, rowid AS "offset",
    labelled_ms AS published_ms, {sort_keys}
FROM transactions SEMI JOIN frauds USING (card_id, transaction_id)
WHERE fraud >= 0
"""


def score_file(request: FileRequest, progress: Progress) -> ScoreReport:
    """Score every row of a file.

    Raises:
        FileError: what is wrong with the file, and what to do about it.
        RescoringError: what is wrong with the model, or with this machine.
    """
    digest = resolve(request.models, request.model)
    sets = feature_set_of(usable_model(request.models, digest, request.sets), request.sets)
    with temporary_folder(request.out.parent, "score", ComputationError) as folder:
        progress("read", 0, 1)
        stored = open_needed(request.predictions, sets.prediction_delays_ms, folder, request.threads, MEMORY_MB)
        if stored is not None:
            stored.close()
        facts = read_file(request.file, folder, request.threads, OwnColumns.of(sets))
        progress("read", 1, 1)
        shards = shard_count(facts.rows, request.threads)
        workdir = Workdir(folder, sets, facts.rows, facts.rows, shards, PROCESS_MEMORY_MB)
        with open_file_tables(folder, request.threads) as connection:
            write_shards(connection, workdir)
            if reads_predictions(workdir):
                _write_stored(connection, workdir)
        progress("shard", 1, 1)
        with TaskPool(request.threads) as pool:
            run_passes(workdir, pool, progress)
            size = ("score", workdir.blocks, workdir.rows)
            run_stage(workdir, pool, partial(score_block, request.models, digest), size, progress)
        return write_output(workdir, request, digest)


def _write_stored(connection: Any, workdir: Workdir) -> None:  # noqa: ANN401 - a connection of a module without types
    """Write what each row saw of the predictions of a file that was read."""
    connection.execute(f"ATTACH {quoted(workdir.folder / PREDICTIONS)} AS stored (READ_ONLY)")
    for statement in (FILE_EVENTS, FILE_ASKED):
        connection.execute(statement)
    write_predictions(connection, workdir)


def feature_set_of(model: Model, sets: FeatureSets) -> FeatureSets:
    """Return the one feature set that a model needs, so that histories are kept no longer than it asks."""
    return FeatureSets((sets.by_fingerprint[model.fingerprint],))


def read_file(file: Path, folder: Path, threads: int, own: OwnColumns = NO_OWN_COLUMNS) -> FileFacts:
    """Read and check a file, with fields of one's own; its rows are left in the folder's database.

    Raises:
        MissingExtraError: DuckDB is not installed.
        TransactionsFileError: the file cannot be used, for all the reasons given.
    """
    with TransactionsFile(file, folder, threads, MEMORY_MB, own=own) as source:
        return source.facts


def open_file_tables(folder: Path, threads: int) -> Any:  # noqa: ANN401 - a connection of a module without types
    """Open the database of a file that was read, with the views that `write_shards` takes."""
    connection = connect(folder / DATABASE, threads, MEMORY_MB)
    connection.execute(ROWS.format(content=", ".join(CONTENT), sort_keys=_sort_keys("occurred_ms", tie=1)))
    connection.execute(LABELS.format(sort_keys=_sort_keys("labelled_ms", tie=0)))
    connection.execute(BASE.format(optional=optional_columns()))
    return connection


def _sort_keys(time: str, tie: int) -> str:
    """Return the keys and ties in all logs, as SQL: by a time, and at one time labels (0) before transactions (1)."""
    kinds = (Entity.CARD, *PARTIES)
    return ", ".join(f"{time} AS {kind.value}_key, {tie} AS {kind.value}_tie" for kind in kinds)


def write_output(workdir: Workdir, request: FileRequest, digest: str) -> ScoreReport:
    """Join the parts into the output file, and count what is in them."""
    with open_file_tables(workdir.folder, request.threads) as connection:
        join_parts(connection, workdir.parts, request.out)
        return ScoreReport(
            digest=digest,
            out=str(request.out),
            rows=workdir.rows,
            fates=count_values(connection, workdir, "fate"),
            decisions=count_values(connection, workdir, "decision"),
        )
