"""Blocks of the output: each is joined from the shards' vectors, scored, and written as a part of the output file."""

from typing import Any, NamedTuple

import numpy as np

from features.history.frames import Floats
from models.loading import Model
from models.policy import bands
from stream.dataset.columns import UNPACKED
from stream.dataset.database import connect_memory, quoted
from stream.dataset.output import Columns, matrix_columns, read_parts, write_part
from stream.rescoring.history_pass import Flags
from stream.rescoring.rescore import usable_model
from stream.rescoring.shard_output import block_vectors
from stream.rescoring.tasks import DECIDE, FATES
from stream.rescoring.workdir import Workdir

FATE_NAMES = np.array([fate.value for fate in FATES], object)


class Block(NamedTuple):
    """The rows of a block: their columns in the base, which are to be decided, and their vectors (NaN: undecided)."""

    base: Columns
    decided: Flags
    matrix: Floats


def score_block(url: str, digest: str, workdir: Workdir, block: int) -> None:
    """Score a block with one model and write it."""
    model = usable_model(url, digest, workdir.sets)
    rows = read_block(workdir, block, model.fingerprint)
    columns = rows.base | score_columns(model, rows) | matrix_columns(model.manifest.feature_names, rows.matrix)
    write_block(workdir, block, columns)
    workdir.progress()[block] = len(rows.decided)


def read_block(workdir: Workdir, block: int, fingerprint: str) -> Block:
    """Read a block, with its vectors by one feature set."""
    base = read_base(workdir, block)
    codes = workdir.fates()[base.pop("number")]
    matrix = block_vectors(workdir, block, fingerprint)
    decided = codes == DECIDE
    matrix[~decided] = np.nan
    return Block(base | {"fate": FATE_NAMES[codes]}, decided, matrix)


def read_base(workdir: Workdir, block: int) -> Columns:
    """Return the columns of the base for a block's rows, their numbers included."""
    start, end = workdir.span(block)
    with connect_memory(workdir.folder, workdir.memory_mb) as connection:
        base: Columns = connection.execute(
            f"SELECT * EXCLUDE (row) FROM read_parquet({quoted(workdir.base)}) WHERE row >= ? AND row < ? ORDER BY row",
            [start, end],
        ).fetchnumpy()
    return base


def score_columns(model: Model, rows: Block) -> Columns:
    """Return score, band and decision; NULL in rows that are not to be decided."""
    scores, decisions = np.full(len(rows.decided), np.nan), np.full(len(rows.decided), None, object)
    scores[rows.decided] = model.score(rows.matrix[rows.decided])
    decisions[rows.decided] = [decision.value for decision in model.policy.decide(scores[rows.decided])]
    band = np.ma.masked_array(bands(scores).astype(np.int32), ~rows.decided)
    return {"score": scores, "band": band, "decision": decisions}


def write_block(workdir: Workdir, block: int, columns: Columns) -> None:
    """Write a block's columns as a part of the output."""
    write_part(columns, workdir.part(block), workdir.memory_mb)


def optional_columns() -> str:
    """Return the columns of the output that a transactions file may have, so that the output can be read as one."""
    return ", ".join(f"{expression} AS {name}" for name, expression in UNPACKED.items())


def count_values(connection: Any, workdir: Workdir, values: str) -> dict[str, int]:  # noqa: ANN401 - a connection of a module without types
    """Count the values of a column, or of an expression, over the parts."""
    found = connection.execute(
        f"SELECT value, count(*) FROM (SELECT {values} AS value FROM {all_parts(workdir)}) "
        "WHERE value IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    return dict(found.fetchall())


def all_parts(workdir: Workdir) -> str:
    """Return what SQL selects from to read all parts, in their order."""
    return read_parts(workdir.parts)
