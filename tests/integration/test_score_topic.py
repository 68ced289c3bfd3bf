"""`fraudstream score --topic` on real Kafka and Redis: what a worker decided comes out again, to the last bit."""

import json
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet
from handbook import label, needs_handbook, rows, transaction, weeks
from training_files import transactions, write

from features.declaration import load as load_features
from models.repository import Repository
from stream.training.request import TrainingRequest
from stream.training.run import train

FEATURES = load_features(None)
COUNT = 6_000


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A model that was trained, so that its scores depend on many features."""
    folder = tmp_path_factory.mktemp("training")
    file = write(folder / "train.parquet", transactions())
    request = TrainingRequest(file=file, name="card", feature_set=FEATURES, trees=20, threads=1, review_share=0.1)
    repository = Repository(str(folder / "models"))
    return repository.fetch(train(request, repository, lambda _stage, _done, _total: None).digest)


def run_through(fleet: Fleet, stream: list[dict[str, Any]], contents: dict[str, bytes], workers: int = 2) -> str:
    """Let workers decide a stream, each week's labels behind it; return the model's digest."""
    fleet.go_live(workers)
    digest = Repository(fleet.models).put(contents)
    fleet.promote(digest)
    decided = 0
    for stretch in weeks(stream):
        fleet.publish(transaction(row) for row in stretch)
        decided += len(stretch)
        fleet.await_scores(decided, seconds=90)
        fleet.publish((label(row) for row in stretch), topic="labels")
        fleet.await_records("outcomes", decided, seconds=90)
    return digest


def compared(fleet: Fleet, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
    done = fleet.cli("score", "--topic", "--diff", "--json", "--threads", "1", *arguments)
    assert done.returncode == exit_code, done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@needs_handbook
def test_every_decision_comes_out_again(fleet: Fleet, contents: dict[str, bytes], tmp_path: Path) -> None:
    stream = rows(terminals=100, most=COUNT)
    digest = run_through(fleet, stream, contents)
    found = compared(fleet, "--out", str(tmp_path / "out.parquet"))
    assert found["examples"] == []
    assert (found["compared"], found["equal"], found["unexplained"]) == (COUNT, COUNT, 0)
    assert found["models"] == {digest: COUNT}
