"""A block of the output: vectors put together, scored by a model, and written as one part of the file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from features.history.frames import Floats
from models.loading import Model
from models.policy import bands
from stream.dataset.database import connect_memory, quoted
from stream.rescoring.ledgers import assemble
from stream.rescoring.passes import Flags
from stream.rescoring.rescore import model_of
from stream.rescoring.tasks import DECIDE, FATES
from stream.rescoring.workdir import Workdir

Columns = dict[str, Any]
"""Arrays of one length; NaN, None and what is masked become NULL."""
_FATE_NAMES = np.array([fate.value for fate in FATES], object)


class Block(NamedTuple):
    """The rows of a block: what the base says of them, which are to be decided, and their vectors (NaN: undecided)."""

    base: Columns
    decided: Flags
    matrix: Floats


def score_block(url: str, digest: str, place: Workdir, block: int) -> None:
    """Score a block by one model and write it."""
    model = model_of(url, digest, place.sets)
    rows = read_block(place, block, model.fingerprint)
    columns = rows.base | judged(model, rows) | features(model.manifest.feature_names, rows.matrix)
    write_part(place, block, columns)
    place.progress()[block] = len(rows.decided)


def read_block(place: Workdir, block: int, fingerprint: str) -> Block:
    """Put a block together, with the vectors of one feature set."""
    base = read_base(place, block)
    codes = place.fates()[base.pop("number")]
    matrix = assemble(place, block, fingerprint)
    decided = codes == DECIDE
    matrix[~decided] = np.nan
    return Block(base | {"fate": _FATE_NAMES[codes]}, decided, matrix)


def read_base(place: Workdir, block: int) -> Columns:
    """Return what the base says of a block's rows, their numbers among it."""
    start, end = place.span(block)
    with connect_memory(place.folder, place.memory_mb) as connection:
        base: Columns = connection.execute(
            f"SELECT * EXCLUDE (row) FROM read_parquet({quoted(place.base)}) WHERE row >= ? AND row < ? ORDER BY row",
            [start, end],
        ).fetchnumpy()
    return base


def judged(model: Model, rows: Block) -> Columns:
    """Return score, band and decision; NULL where nothing is to be decided."""
    scores, decisions = np.full(len(rows.decided), np.nan), np.full(len(rows.decided), None, object)
    scores[rows.decided] = model.score(rows.matrix[rows.decided])
    decisions[rows.decided] = [decision.value for decision in model.policy.decide(scores[rows.decided])]
    band = np.ma.masked_array(bands(scores).astype(np.int32), ~rows.decided)
    return {"score": scores, "band": band, "decision": decisions}


def features(names: Sequence[str], matrix: Floats) -> Columns:
    """Return the vectors by their columns' names."""
    return {name: np.ascontiguousarray(matrix[:, at]) for at, name in enumerate(names)}


def write_part(place: Workdir, block: int, columns: Columns) -> None:
    """Write a block's columns, in their order; texts are texts even where all of a block are NULL."""
    typed = ", ".join(
        f'CAST("{name}" AS VARCHAR) AS "{name}"' if values.dtype == object else f'"{name}"'
        for name, values in columns.items()
    )
    with connect_memory(place.folder, place.memory_mb) as connection:
        connection.register("columns", columns)
        connection.execute(
            f"COPY (SELECT {typed} FROM columns) TO {quoted(place.part(block))} (FORMAT parquet, COMPRESSION lz4_raw)"
        )


def join_parts(connection: Any, place: Workdir, out: Path) -> None:  # noqa: ANN401 - a connection of a module without types
    """Write the parts, one behind the other, as one file that appears whole or not at all."""
    draft = out.with_name(f".{out.name}.{place.folder.name}")
    parts = ", ".join(quoted(place.part(block)) for block in range(place.blocks))
    try:
        connection.execute(
            f"COPY (SELECT * FROM read_parquet([{parts}])) TO {quoted(draft)} (FORMAT parquet, COMPRESSION zstd)"
        )
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
