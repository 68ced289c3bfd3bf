"""Blocks of the output: each is joined from the shards' vectors, scored, and written as a part of the output file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from features.history.frames import Floats
from models.loading import Model
from models.policy import bands
from stream.dataset.columns import UNPACKED, time_text
from stream.dataset.database import connect_memory, quoted
from stream.rescoring.history_pass import Flags
from stream.rescoring.request import OUT_FORMATS
from stream.rescoring.rescore import usable_model
from stream.rescoring.shard_output import block_vectors
from stream.rescoring.tasks import DECIDE, FATES
from stream.rescoring.workdir import Workdir

Columns = dict[str, Any]
"""Arrays of one length; NaN, None and masked values become NULL."""
FATE_NAMES = np.array([fate.value for fate in FATES], object)


_ZONED = "TIMESTAMP WITH TIME ZONE"


class Block(NamedTuple):
    """The rows of a block: their columns in the base, which are to be decided, and their vectors (NaN: undecided)."""

    base: Columns
    decided: Flags
    matrix: Floats


def score_block(url: str, digest: str, workdir: Workdir, block: int) -> None:
    """Score a block with one model and write it."""
    model = usable_model(url, digest, workdir.sets)
    rows = read_block(workdir, block, model.fingerprint)
    columns = rows.base | score_columns(model, rows) | feature_columns(model.manifest.feature_names, rows.matrix)
    write_part(workdir, block, columns)
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


def feature_columns(names: Sequence[str], matrix: Floats) -> Columns:
    """Return the columns of a matrix by name."""
    return {name: np.ascontiguousarray(matrix[:, at]) for at, name in enumerate(names)}


def write_part(workdir: Workdir, block: int, columns: Columns) -> None:
    """Write a block's columns in this order; columns of text are VARCHAR even if a block has only NULLs.

    Times are in UTC, and written as such: arrays of NumPy have no time zone.
    """
    typed = ", ".join(f'{_typed(name, values)} AS "{name}"' for name, values in columns.items())
    with connect_memory(workdir.folder, workdir.memory_mb) as connection:
        connection.register("columns", columns)
        connection.execute(
            f"COPY (SELECT {typed} FROM columns) TO {quoted(workdir.part(block))} (FORMAT parquet, COMPRESSION lz4_raw)"
        )


def _typed(name: str, values: Any) -> str:  # noqa: ANN401 - an array of NumPy
    match values.dtype.kind:
        case "O":
            return f'CAST("{name}" AS VARCHAR)'
        case "M":
            return f'make_timestamptz(epoch_us("{name}"))'
        case _:
            return f'"{name}"'


def optional_columns() -> str:
    """Return the columns of the output that a transactions file may have, so that the output can be read as one."""
    return ", ".join(f"{expression} AS {name}" for name, expression in UNPACKED.items())


def join_parts(connection: Any, workdir: Workdir, out: Path) -> None:  # noqa: ANN401 - a connection of a module without types
    """Concatenate the parts into the output file, which appears whole or not at all.

    Its format is that of its ending. In CSV, times are RFC 3339 text, `occurred_at` with its own UTC offset.
    """
    draft = out.with_name(f".{out.name}.{workdir.folder.name}")
    try:
        connection.execute(
            f"COPY (SELECT {_chosen(connection, workdir, out)} FROM {all_parts(workdir)}) "
            f"TO {quoted(draft)} ({OUT_FORMATS[out.suffix.lower()]})"
        )
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def _chosen(connection: Any, workdir: Workdir, out: Path) -> str:  # noqa: ANN401 - a connection of a module without types
    """Return the columns to write, as SQL."""
    if out.suffix.lower() != ".csv":
        return "*"
    described = connection.execute(f"DESCRIBE SELECT * FROM {all_parts(workdir)}").fetchall()
    kinds = {name: kind for name, kind, *_ in described}
    offsets = {"occurred_at": "utc_offset_minutes"} if "utc_offset_minutes" in kinds else {}
    texts = [f"{time_text(name, offsets.get(name, '0'))} AS {name}" for name, kind in kinds.items() if kind == _ZONED]
    return f"* REPLACE ({', '.join(texts)})" if texts else "*"


def count_values(connection: Any, workdir: Workdir, values: str) -> dict[str, int]:  # noqa: ANN401 - a connection of a module without types
    """Count the values of a column, or of an expression, over the parts."""
    found = connection.execute(
        f"SELECT value, count(*) FROM (SELECT {values} AS value FROM {all_parts(workdir)}) "
        "WHERE value IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    return dict(found.fetchall())


def all_parts(workdir: Workdir) -> str:
    """Return what SQL selects from to read all parts, in their order."""
    parts = ", ".join(quoted(workdir.part(block)) for block in range(workdir.blocks))
    return f"read_parquet([{parts}])"
