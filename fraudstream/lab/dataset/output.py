"""Writes an output file: its columns come in parts, which are joined to a file that appears whole or not at all.

The ending of its name chooses the format. Parts are parquet files beside it, in a folder that is removed at the end.
Files of payments are for their owner alone. In CSV, a text that a spreadsheet would compute begins with an apostrophe.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from features.history.frames import Floats
from fraudstream.lab.dataset.columns import time_text
from fraudstream.lab.dataset.database import connect_memory, import_duckdb, quoted
from stream.errors import StreamError

OUT_FORMATS: Mapping[str, str] = {
    ".parquet": "FORMAT parquet, COMPRESSION zstd",
    ".pq": "FORMAT parquet, COMPRESSION zstd",
    ".csv": "FORMAT csv, HEADER",
}
"""The endings that an output file may have, and how it is then written."""
_PARQUET = frozenset({".parquet", ".pq"})
Columns = dict[str, Any]
"""Arrays of one length; NaN, None and masked values become NULL."""
OWNER_ONLY = 0o600
_FORMULA = r"[=+\-@\t\r]"
"""How a text begins that spreadsheets take for a formula."""
_TEXT, _ZONED = "VARCHAR", "TIMESTAMP WITH TIME ZONE"
_NO_METADATA: Mapping[str, str] = MappingProxyType({})


@contextmanager
def temporary_folder(beside: Path | None, purpose: str, failure: type[StreamError]) -> Iterator[Path]:
    """Create a folder for a run, removed at its end; beside the output, where there has to be room for it anyway.

    Where there is no output, it is the system's. What goes wrong with it is raised as `failure`.
    """
    duckdb = import_duckdb()
    try:
        with tempfile.TemporaryDirectory(prefix=f".fraudstream-{purpose}-", dir=beside) as folder:
            yield Path(folder)
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise failure(f"{beside or tempfile.gettempdir()}: {str(error).splitlines()[0]}") from error


def is_parquet(path: Path) -> bool:
    """Tell whether a file of this name is parquet."""
    return path.suffix.lower() in _PARQUET


def ending_problem(out: Path) -> str | None:
    """Return what is wrong with the ending of an output file's name, if anything."""
    if out.suffix.lower() in OUT_FORMATS:
        return None
    return f"--out {out} ends in {out.suffix!r}: name a file that ends in {', '.join(OUT_FORMATS)}"


def matrix_columns(names: Sequence[str], matrix: Floats) -> Columns:
    """Return the columns of a matrix of shape (n, names) by name."""
    return {name: np.ascontiguousarray(matrix[:, at]) for at, name in enumerate(names)}


def write_part(columns: Columns, part: Path, memory_mb: int) -> None:
    """Write columns in this order as one part; columns of text are VARCHAR even if a part has only NULLs.

    Times are in UTC, and written as such: arrays of NumPy have no time zone.
    """
    typed = ", ".join(f'{_typed(name, values)} AS "{name}"' for name, values in columns.items())
    with connect_memory(part.parent, memory_mb) as connection:
        connection.register("columns", columns)
        connection.execute(
            f"COPY (SELECT {typed} FROM columns) TO {quoted(part)} (FORMAT parquet, COMPRESSION lz4_raw)"  # noqa: S608 - our own
        )


def _typed(name: str, values: Any) -> str:  # noqa: ANN401 - an array of NumPy
    match values.dtype.kind:
        case "O":
            return f'CAST("{name}" AS VARCHAR)'
        case "M":
            return f'make_timestamptz(epoch_us("{name}"))'
        case _:
            return f'"{name}"'


def read_parts(parts: Sequence[Path]) -> str:
    """Return what SQL selects from to read all parts, in their order."""
    return f"read_parquet([{', '.join(map(quoted, parts))}])"


def join_parts(
    connection: Any,  # noqa: ANN401 - a connection of a module without types
    parts: Sequence[Path],
    out: Path,
    metadata: Mapping[str, str] = _NO_METADATA,
) -> None:
    """Concatenate parts into the output file, in the format of its ending; parquet also gets the metadata.

    In CSV, times are RFC 3339 text, `occurred_at` with its own UTC offset if there is one beside it. The file can be
    read by its owner alone.
    """
    draft = parts[0].parent / f".{out.name}"  # in a folder that nobody else can read
    options = OUT_FORMATS[out.suffix.lower()]
    if metadata and is_parquet(out):
        options += f", KV_METADATA {{{', '.join(f'{quoted(key)}: {quoted(text)}' for key, text in metadata.items())}}}"
    # Where statistics show that a column has no NULL, DuckDB declares it as required; but files must have one schema.
    connection.execute("SET disabled_optimizers = 'statistics_propagation'")
    try:
        connection.execute(
            f"COPY (SELECT {_chosen(connection, parts, out)} FROM {read_parts(parts)}) TO {quoted(draft)} ({options})"  # noqa: S608 - our own
        )
        draft.chmod(OWNER_ONLY)
        draft.replace(out)
    finally:
        connection.execute("RESET disabled_optimizers")
        draft.unlink(missing_ok=True)


def _chosen(connection: Any, parts: Sequence[Path], out: Path) -> str:  # noqa: ANN401 - a connection of a module without types
    """Return the columns to write, as SQL."""
    if is_parquet(out):
        return "*"
    described = connection.execute(f"DESCRIBE SELECT * FROM {read_parts(parts)}").fetchall()  # noqa: S608 - our own
    kinds = {name: kind for name, kind, *_ in described}
    offsets = {"occurred_at": "utc_offset_minutes"} if "utc_offset_minutes" in kinds else {}
    changed = [f"{time_text(name, offsets.get(name, '0'))} AS {name}" for name, kind in kinds.items() if kind == _ZONED]
    changed += [f'{_harmless(name)} AS "{name}"' for name, kind in kinds.items() if kind == _TEXT]
    return f"* REPLACE ({', '.join(changed)})" if changed else "*"


def without_apostrophe(expression: str) -> str:
    """Return SQL for a text as it was before it was made harmless in CSV."""
    return rf"regexp_replace({expression}, '^''({_FORMULA})', '\1')"


def _harmless(name: str) -> str:
    """Return SQL for a column of texts of which none is a formula."""
    apostrophe = quoted("'")
    return (
        f'CASE WHEN regexp_matches("{name}", {quoted(f"^{_FORMULA}")}) THEN {apostrophe} || "{name}" ELSE "{name}" END'
    )
