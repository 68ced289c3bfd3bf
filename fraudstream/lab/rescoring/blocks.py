"""Blocks of the output: each is joined from the shards' vectors, scored, and written as a part of the output file."""

from typing import Any, NamedTuple

import numpy as np

from features.history.frames import Floats
from fraudstream.lab.dataset.columns import UNPACKED
from fraudstream.lab.dataset.database import connect_memory, quoted
from fraudstream.lab.dataset.output import Columns, matrix_columns, read_parts, write_part
from fraudstream.lab.rescoring.history_pass import Flags
from fraudstream.lab.rescoring.rescore import Models, payments_of, usable_model
from fraudstream.lab.rescoring.shard_output import block_vectors
from fraudstream.lab.rescoring.tasks import DECIDE, FATES
from fraudstream.lab.rescoring.workdir import Workdir
from fraudstream_client.outputs import Decision
from models.loading import Model
from models.policy import bands

FATE_NAMES = np.array([fate.value for fate in FATES], object)


class Block(NamedTuple):
    """The rows of a block: their columns in the base, which are to be decided, and their vectors (NaN: undecided)."""

    base: Columns
    decided: Flags
    matrix: Floats


def score_block(models: Models, digest: str, workdir: Workdir, block: int) -> None:
    """Score a block with one model and write it."""
    model = usable_model(models, digest, workdir.sets)
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
    """Return score, band and decision, and what overruled the decision; NULL in rows that are not to be decided.

    The decision is that of the model and of the rules beside it. Lots and the cap on declines depend on what a
    deployment has decided before.
    """
    scores, decisions = np.full(len(rows.decided), np.nan), np.full(len(rows.decided), None, object)
    overruled = np.full(len(rows.decided), None, object)
    scores[rows.decided] = model.score(rows.matrix[rows.decided])
    said = _decisions(model, rows, scores[rows.decided])
    decisions[rows.decided] = [decision.value for decision, _ in said]
    overruled[rows.decided] = [by for _, by in said]
    band = np.ma.masked_array(bands(scores).astype(np.int32), ~rows.decided)
    columns = {"score": scores, "band": band, "decision": decisions}
    return columns if model.rules is None else columns | {"overruled_by": overruled}


def _decisions(model: Model, rows: Block, scores: Floats) -> list[tuple[Decision, str | None]]:
    """Return the decision on each payment that is to be decided, and the rule that overruled it."""
    payments = payments_of(rows.base).of(np.flatnonzero(rows.decided)) if model.reads_payments else None
    said = model.decide(scores, payments)
    if model.rules is None or payments is None:
        return [(decision, None) for decision in said]
    rulings = model.rules.rulings(said, payments, rows.matrix[rows.decided])
    return [(rulings[at].decision, rulings[at].by) if at in rulings else (one, None) for at, one in enumerate(said)]


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
