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
    options = {"threads": threads, "memory_limit": f"{memory_mb}MiB", "temp_directory": str(path.parent / "overflow")}
    return import_duckdb().connect(str(path), config=options)


def connect_memory(folder: Path, memory_mb: int) -> Any:  # noqa: ANN401 - likewise
    """Open a database in memory, for one thread; what does not fit goes to a folder.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    options = {"threads": 1, "memory_limit": f"{memory_mb}MiB", "temp_directory": str(folder / "overflow")}
    return import_duckdb().connect(":memory:", config=options)


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
