"""A teacher's scores from a file, as `fraudstream score --out` writes it: matched with all payments, or refused."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from features.history.frames import Floats
from features.history.store import Ints
from fraudstream.lab.dataset.database import connect_memory, import_duckdb
from fraudstream.lab.dataset.errors import TransactionsFileError
from fraudstream.lab.dataset.file import missing_columns, source_of
from fraudstream.lab.distillation.payments import FilePayments, Texts
from fraudstream.lab.distillation.request import ScoresFileError
from models.policy import Decision

_MEMORY_MB = 1_024
_CHUNK_BYTES = 1 << 20
_AGAIN = "score the transactions file itself: `fraudstream score FILE --model MODEL --out SCORES`"


class FileScores(NamedTuple):
    """A score from 0 to 1 for each of n payments, in their order; their decisions, or None if the file has none."""

    digest: str
    scores: Floats
    decisions: Texts | None


def read_scores(path: Path, payments: FilePayments, folder: Path) -> FileScores:
    """Read one score for each payment; a payment is found by its id, and by its card where the file has cards.

    Rows without a score are left out: those that the stream would not decide have none.

    Raises:
        ScoresFileError: columns are missing, a score is none, or not each payment has one and each score a payment.
        MissingExtraError: DuckDB is not installed.
    """
    duckdb = import_duckdb()
    with connect_memory(folder, _MEMORY_MB) as connection:
        try:
            columns = _load(connection, path, payments)
            _check(connection, path, columns)
            found = _matched(connection, columns)
        except (duckdb.Error, TransactionsFileError) as error:
            raise ScoresFileError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    decisions = np.asarray(found["decision"].tolist(), object) if "decision" in columns else None
    return FileScores(_sha256(path), np.asarray(found["score"], np.float64), decisions)


def _load(connection: Any, path: Path, payments: FilePayments) -> dict[str, str]:  # noqa: ANN401 - of a module without types
    """Create the tables `given`, with the file's scores, and `payments`; return the file's columns that are used."""
    source = source_of(path)
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608 - quoted
    kinds = {str(name): str(kind) for name, kind, *_ in described}
    problems = missing_columns(("transaction_id", "score"), tuple(kinds))
    if problems:
        raise ScoresFileError("\n".join(f"{path}: {problem}" for problem in problems))
    columns: dict[str, str] = {name: kinds[name] for name in ("transaction_id", "card_id", "decision") if name in kinds}
    texts = ", ".join(f"CAST({name} AS VARCHAR) AS {name}" for name in columns)
    connection.execute(
        f"CREATE TABLE given AS SELECT {texts}, TRY_CAST(score AS DOUBLE) AS score FROM {source} "  # noqa: S608 - our own
        "WHERE score IS NOT NULL AND CAST(score AS VARCHAR) NOT IN ('', 'nan', 'NaN')"
    )
    numbers = np.arange(len(payments.amounts_minor))
    names = {"transaction_id": payments.transaction_ids, "card_id": payments.card_ids}
    connection.register("columns", {"number": numbers, **names})
    connection.execute("CREATE TABLE payments AS SELECT * FROM columns")
    return columns


def _key(columns: dict[str, str]) -> str:
    return ", ".join(name for name in ("transaction_id", "card_id") if name in columns)


def _check(connection: Any, path: Path, columns: dict[str, str]) -> None:  # noqa: ANN401 - likewise
    """Refuse scores that are none, and payments and scores that do not match one by one."""
    key = _key(columns)
    allowed = ", ".join(f"'{decision}'" for decision in Decision)
    wrong = "decision IS NULL OR decision NOT IN (" + allowed + ")" if "decision" in columns else "false"
    invalid, strange, rows, keys = connection.execute(
        "SELECT count(*) FILTER (score IS NULL OR NOT (score >= 0 AND score <= 1)), "  # noqa: S608 - our own names
        f"count(*) FILTER ({wrong}), count(*), count(DISTINCT ({key})) FROM given"
    ).fetchall()[0]
    counts = {
        "rows have a score that is not from 0 to 1": invalid,
        "rows with a score have a decision that is none": strange,
        "rows have the payment of another row": rows - keys,
        "payments of the transactions file have no score": _without(connection, "payments", "given", key),
        "scores are of no payment of the transactions file": _without(connection, "given", "payments", key),
        "payments share their id: write the scores with the column card_id": _shared(connection, key),
    }
    problems = [f"{path}: {count:,} {what}" for what, count in counts.items() if count]
    if problems:
        total = _count(connection, "payments")
        problems.append(f"{path}: has {rows:,} scores for {total:,} payments that are to have one; {_AGAIN}")
        raise ScoresFileError("\n".join(problems))


def _without(connection: Any, these: str, those: str, key: str) -> int:  # noqa: ANN401 - likewise
    return _count(connection, f"{these} ANTI JOIN {those} USING ({key})")


def _shared(connection: Any, key: str) -> int:  # noqa: ANN401 - likewise
    return _count(connection, "payments") - _count(connection, f"(SELECT DISTINCT {key} FROM payments)")  # noqa: S608 - our own names


def _count(connection: Any, rows: str) -> int:  # noqa: ANN401 - likewise
    return int(connection.execute(f"SELECT count(*) FROM {rows}").fetchall()[0][0])  # noqa: S608 - our own names


def _matched(connection: Any, columns: dict[str, str]) -> dict[str, Any]:  # noqa: ANN401 - likewise
    wanted = "score, decision" if "decision" in columns else "score"
    found: dict[str, Any] = connection.execute(
        f"SELECT {wanted} FROM payments JOIN given USING ({_key(columns)}) ORDER BY number"  # noqa: S608 - our own names
    ).fetchnumpy()
    return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def decided_shares(decisions: Texts, rows: Ints) -> tuple[float, float]:
    """Return the shares of some payments that were at least reviewed, and that were declined."""
    chosen = decisions[rows]
    return float((chosen != Decision.APPROVE.value).mean()), float((chosen == Decision.DECLINE.value).mean())
