"""The door to DuckDB: databases in a folder that takes what does not fit into memory.

Nothing here knows what is in a database.
"""

from pathlib import Path
from typing import Any

from stream.transactions_file.errors import MissingExtraError

MEMORY_MB = 2_048


def connect(path: Path, threads: int, memory_mb: int = MEMORY_MB) -> Any:  # noqa: ANN401 - of a module that may not be there
    """Open or make the database of a file; what does not fit into `memory_mb` goes to its folder.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    return _opened(str(path), threads, memory_mb, path.parent)


def connect_memory(folder: Path, memory_mb: int) -> Any:  # noqa: ANN401 - likewise
    """Open a database in memory, for one thread; what does not fit goes to a folder.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    return _opened(":memory:", 1, memory_mb, folder)


def _opened(name: str, threads: int, memory_mb: int, folder: Path) -> Any:  # noqa: ANN401 - likewise
    """Open a database that draws no bar: it would be on standard output, which may be somebody's JSON.

    It does where it takes the process for somebody at a prompt, as it does with those of a pool.
    """
    options = {"threads": threads, "memory_limit": f"{memory_mb}MiB", "temp_directory": str(folder / "overflow")}
    connection = import_duckdb().connect(name, config=options)
    connection.execute("SET enable_progress_bar = false")
    return connection


def import_duckdb() -> Any:  # noqa: ANN401 - the module, which may not be there
    """Return the module.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    try:
        import duckdb  # noqa: PLC0415 - of the extra `train`; a worker runs without it
    except ImportError as error:
        raise MissingExtraError("transactions files need DuckDB: install the extra, pip install '.[train]'") from error
    return duckdb


def quoted(text: object) -> str:
    """Write a text, or a path, as a literal of SQL."""
    return "'" + str(text).replace("'", "''") + "'"
