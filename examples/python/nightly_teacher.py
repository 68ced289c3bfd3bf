"""A slow teacher runs each night, and its score is a feature in the morning: measures what that gains.

    python examples/python/nightly_teacher.py payments.parquet

Of a labelled transactions file, the teacher (many trees, all features) is trained on the first part alone. Each night
after that it tells the highest score that it gave to a card's payments of the last fortnight. Two models whose features
need a day of history are trained on the second part, one that reads what it told and one that does not; their average
precision on that part's last days is compared.
Nothing is published: `fraudstream predictions publish` would send the same file to the stream.
"""

import sys
import tempfile
from pathlib import Path

import duckdb

from features.vector.sets import FeatureSets
from fraudstream.features import FeatureSet, load, prediction, prediction_age
from fraudstream.lab.rescoring.file_run import score_file
from fraudstream.lab.rescoring.request import FileRequest
from fraudstream.lab.training.request import TrainingReport, TrainingRequest
from fraudstream.lab.training.run import train
from models.repository import Repository

TEACHERS_PART = 0.45
"""The share of the time of which the teacher has seen the labels."""
TEACHER = {"trees": 600, "leaves": 63, "learning_rate": 0.03}
STUDENT = {"trees": 150, "leaves": 31}
DAY_MS = 86_400_000
SLOW = load(None)
FAST = FeatureSet(tuple(row for row in SLOW.rows if row.reach_ms <= DAY_MS))
"""The live model's features: those that need no more than a day of history."""
WITH_TEACHER = FeatureSet((*FAST.rows, prediction("teacher", "6h", "2d"), prediction_age("teacher", "6h", "2d")))
CUT = "SELECT CAST(min(ms) + {share} * (max(ms) - min(ms)) AS BIGINT) FROM (SELECT {ms} AS ms FROM {file})"
TEXT = "CAST(occurred_at AS VARCHAR)"
MS = f"coalesce(TRY_CAST({TEXT} AS BIGINT), epoch_ms(TRY_CAST({TEXT} AS TIMESTAMPTZ)))"
PART = "COPY (SELECT * FROM {file} WHERE {ms} {condition}) TO '{target}' (FORMAT parquet)"
# Each night at half past one: what the teacher says of the fortnight before midnight.
NIGHTS = """
COPY (
    SELECT card_id, 'teacher' AS name, max(score) AS value, night * {day} + 5400000 AS computed_at, 'slow' AS model
    FROM (SELECT card_id, score, {ms} AS ms FROM {scored} WHERE score IS NOT NULL)
    JOIN (SELECT unnest(range({first}, {last})) AS night) ON ms < night * {day} AND ms >= (night - 14) * {day}
    GROUP BY card_id, night
) TO '{target}' (FORMAT parquet)
"""


def silent(_stage: str, _done: int, _total: int) -> None:
    """Show no progress."""


def trained(file: Path, folder: Path, features: FeatureSet, **options: object) -> TrainingReport:
    """Train a model into a repository in a folder."""
    request = TrainingRequest(file=file, name="card", feature_set=features, **options)  # type: ignore[arg-type]
    return train(request, Repository(str(folder / "models")), silent)


def nightly(file: Path, folder: Path, digest: str, since_ms: int) -> Path:
    """Score all payments as they occurred, and write what the teacher tells each night from a time on."""
    scored, target = folder / "scored.parquet", folder / "predictions.parquet"
    score_file(FileRequest(file, digest, scored, str(folder / "models"), FeatureSets((SLOW,)), 2), silent)
    source = f"read_parquet('{scored}')"
    last_ms = one(f"SELECT max({MS}) FROM {source}")  # noqa: S608 - our own file
    nights = {"first": since_ms // DAY_MS, "last": int(last_ms) // DAY_MS + 1, "day": DAY_MS}
    duckdb.execute(NIGHTS.format(scored=source, ms=MS, target=target, **nights))
    return target


def one(query: str) -> float:
    """Return the only value of a query."""
    value: float = duckdb.execute(query).fetchall()[0][0]
    return value


def run(file: Path, folder: Path) -> dict[str, float]:
    """Return the average precision without and with the teacher, and the number of its predictions."""
    duckdb.execute("SET TimeZone = 'UTC'")
    source = f"read_parquet('{file}')"
    cut_ms = int(one(CUT.format(share=TEACHERS_PART, file=source, ms=MS)))
    first, second = folder / "first.parquet", folder / "second.parquet"
    for target, condition in ((first, f"< {cut_ms}"), (second, f">= {cut_ms}")):
        duckdb.execute(PART.format(file=source, ms=MS, condition=condition, target=target))
    teacher = trained(first, folder, SLOW, **TEACHER)
    told = nightly(file, folder, teacher.digest, cut_ms)
    alone = trained(second, folder, FAST, **STUDENT)
    taught = trained(second, folder, WITH_TEACHER, predictions=told, **STUDENT)
    return {
        "predictions": one(f"SELECT count(*) FROM '{told}'"),  # noqa: S608 - our own file
        "teacher": teacher.metrics["average_precision"],
        "without": alone.metrics["average_precision"],
        "with": taught.metrics["average_precision"],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="nightly-teacher-") as place:
        for what, value in run(Path(sys.argv[1]), Path(place)).items():
            print(f"{what:>12}  {value:,.4f}")
