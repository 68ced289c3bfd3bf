"""A teacher's scores from a file, as `fraudstream score --out` writes it: matched with all payments, or refused."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.history.frames import Floats
from features.history.store import Ints
from fraudstream.lab.dataset.columns import ANY_TEXT, DECISION, PROBABILITY
from fraudstream.lab.dataset.database import connect_memory, quoted
from fraudstream.lab.dataset.errors import InputFileError
from fraudstream.lab.dataset.file import DATABASE
from fraudstream.lab.dataset.input_table import Column, ColumnCheck, Need, TableLayout, read_table
from fraudstream.lab.dataset.output import is_parquet, without_apostrophe
from fraudstream.lab.distillation.request import ScoresFileError
from fraudstream_client.outputs import Decision

_MEMORY_MB = 1_024
_LAYOUT = TableLayout(
    item="score",
    columns=(
        Column("transaction_id", ANY_TEXT),
        Column("card_id", ANY_TEXT, Need.NOTHING),
        Column("score", PROBABILITY, Need.COLUMN),
        Column("decision", DECISION, Need.NOTHING),
    ),
    checks=(ColumnCheck("decision", "is missing", "decision IS NULL"),),
    unique=("transaction_id", "card_id"),
    only_with="score",
    from_output=True,
)
_AGAIN = "score the transactions file itself: `fraudstream score FILE --model MODEL --out SCORES`"


class FileScores(NamedTuple):
    """A score from 0 to 1 for each of n payments, in their order; their decisions, or None if the file has none."""

    digest: str
    scores: Floats
    decisions: NDArray[np.object_] | None


def read_scores(path: Path, wanted: Ints, folder: Path) -> FileScores:
    """Read one score for each payment; a payment is found by its id, and by its card where the file has cards.

    Rows without a score are left out: those that the stream would not decide have none.

    Args:
        path: the file of scores.
        wanted: the numbers by time of the payments that need a score.
        folder: has the database of the transactions file that was read.

    Raises:
        ScoresFileError: columns are missing, a score is none, or not each payment has one and each score a payment.
        MissingExtraError: DuckDB is not installed.
    """
    with connect_memory(folder, _MEMORY_MB) as connection:
        try:
            with read_table(connection, path, _LAYOUT) as table:
                key = ", ".join(name for name in _LAYOUT.unique if name in table.kinds)
                _load(connection, path, wanted, folder)
                found = _matched(connection, path, key)
        except InputFileError as error:
            raise ScoresFileError(str(error)) from error
    decisions = np.asarray(found["decision"].tolist(), object) if "decision" in table.kinds else None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileScores(digest, np.asarray(found["score"], np.float64), decisions)


def _load(connection: Any, path: Path, wanted: Ints, folder: Path) -> None:  # noqa: ANN401 - of a module without types
    """Create the tables `given`, with the file's scores, and `payments`."""
    connection.execute(
        "CREATE TABLE given AS SELECT read_transaction_id AS transaction_id, read_card_id AS card_id, "
        "read_score AS score, read_decision AS decision FROM read"
    )
    connection.execute(f"ATTACH {quoted(folder / DATABASE)} AS file (READ_ONLY)")
    connection.register("wanted", {"number": wanted})
    names = ["transaction_id", "card_id"]
    if not is_parquet(path):  # a transactions file keeps the apostrophes of a CSV file that it is
        names = [f"{without_apostrophe(name)} AS {name}" for name in names]
    connection.execute(
        f"CREATE TABLE payments AS SELECT number, {', '.join(names)} FROM wanted "  # noqa: S608 - our own names
        "JOIN file.transactions AS transactions ON transactions.rowid = number"
    )


def _matched(connection: Any, path: Path, key: str) -> dict[str, Any]:  # noqa: ANN401 - likewise
    """Return the scores and the decisions in the order of the payments; refuse what does not match one by one."""
    counts = {
        "payments of the transactions file have no score": _without(connection, "payments", "given", key),
        "scores are of no payment of the transactions file": _without(connection, "given", "payments", key),
        "payments share their id: write the scores with the column card_id": _shared(connection, key),
    }
    problems = [f"{count:,} {what}" for what, count in counts.items() if count]
    if problems:
        rows, total = _count(connection, "given"), _count(connection, "payments")
        problems.append(f"has {rows:,} scores for {total:,} payments that are to have one; {_AGAIN}")
        raise InputFileError(str(path), tuple(problems))
    found: dict[str, Any] = connection.execute(
        f"SELECT score, decision FROM payments JOIN given USING ({key}) ORDER BY number"  # noqa: S608 - our own names
    ).fetchnumpy()
    return found


def _without(connection: Any, these: str, those: str, key: str) -> int:  # noqa: ANN401 - likewise
    return _count(connection, f"{these} ANTI JOIN {those} USING ({key})")


def _shared(connection: Any, key: str) -> int:  # noqa: ANN401 - likewise
    return _count(connection, "payments") - _count(connection, f"(SELECT DISTINCT {key} FROM payments)")  # noqa: S608 - our own names


def _count(connection: Any, rows: str) -> int:  # noqa: ANN401 - likewise
    return int(connection.execute(f"SELECT count(*) FROM {rows}").fetchall()[0][0])  # noqa: S608 - our own names


def decided_shares(decisions: NDArray[np.object_], rows: Ints) -> tuple[float, float]:
    """Return the shares of some payments that were at least reviewed, and that were declined."""
    chosen = decisions[rows]
    return float((chosen != Decision.APPROVE.value).mean()), float((chosen == Decision.DECLINE.value).mean())
