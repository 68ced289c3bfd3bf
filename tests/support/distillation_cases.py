"""Distillation for tests: a small file with channels, countries and new cards, its teachers, and requests."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from features.declaration import load as load_features
from features.vector.sets import FeatureSets
from fraudstream.lab.distillation.report import DistillationReport
from fraudstream.lab.distillation.request import DistillationRequest, NamedTeacher, StudentSize
from fraudstream.lab.distillation.run import distil
from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.run import train
from models.repository import Repository
from models.times import format_time, parse_time_ms
from support.training_files import DAY_MS, silent, transactions, write

SET = "support.features.small_set"
"""The module of the features of students, and of teachers unless others are asked for."""
FEATURES = load_features(SET)
SETS = FeatureSets((FEATURES,))
ROWS = 6_000
SMALL = StudentSize(10, 4)


@cache
def payments() -> dict[str, list[Any]]:
    """Make payments of three channels and eight countries, with labels that a model can learn, known a day later."""
    random = np.random.default_rng(11)
    columns = transactions(ROWS)
    known = (parse_time_ms(time).epoch_ms + DAY_MS for time in columns["occurred_at"])
    columns["labelled_at"] = [format_time(time) for time in known]
    columns["channel"] = random.choice(["pos", "ecommerce", "atm"], ROWS).tolist()
    columns["merchant_country"] = random.choice(["DE", "FR", "US", "GB", "IT", "ES", "NL", "BE"], ROWS).tolist()
    return columns


class DistillationCase:
    """A folder with a file and a repository; teachers are trained on the file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = write(folder / "payments.parquet", payments())
        self.repository = Repository(str(folder / "models"))

    def teacher(self, **changes: Any) -> str:
        """Train a teacher on the file, and return its digest."""
        given: dict[str, Any] = {"trees": 40, "leaves": 8, "learning_rate": 0.15, "feature_set": FEATURES}
        given |= {"refit": False, "accept_weak": True, "review_share": 0.1, "decline_share": 0.05}
        wanted = TrainingRequest(**({"file": self.file, "name": "teacher", "threads": 1} | given | changes))
        return train(wanted, self.repository, silent).digest

    def request(self, *teachers: str, **changes: Any) -> DistillationRequest:
        """Ask for a student of the file."""
        given: dict[str, Any] = {"teachers": tuple(map(NamedTeacher, teachers)), "size": SMALL, "sets": SETS}
        return DistillationRequest(**({"file": self.file, "name": "student", "threads": 1} | given | changes))

    def distil(self, *teachers: str, **changes: Any) -> DistillationReport:
        """Distil, and return the report."""
        return distil(self.request(*teachers, **changes), self.repository, silent)

    def rows(self) -> list[dict[str, Any]]:
        """Return the file's rows."""
        found: list[dict[str, Any]] = pq.read_table(self.file).to_pylist()
        return found
