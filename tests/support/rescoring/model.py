"""A model with features of cards, merchants and devices, and worlds in which it is live."""

from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import msgspec
import pytest

from features.declaration import FeatureSet, load
from features.rows import device, merchant
from features.vector.sets import FeatureSets
from fraudstream.lab.rescoring.request import DiffReport, Range, ScoreReport, TopicRequest
from fraudstream.lab.rescoring.topic_run import compare_topic, score_topic
from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.run import train
from fraudstream_client.outputs import Score
from models.loading import Model
from models.loading import load as load_model
from models.repository import Repository
from stream.control.probes import probe_vectorisers
from stream.settings import Settings
from support.rescoring.faults import Act, Play
from support.rescoring.world import World, opened
from support.training_files import START_MS, transactions, write

FEATURES = FeatureSet(
    (
        *load(None).rows,
        merchant("cards", "1d"),
        merchant("fraud_share", "30d"),
        device("cards", "30d"),
        device("fraud_share", "7d"),
    )
)
SETS = FeatureSets((FEATURES,))


class Trained(NamedTuple):
    """A model that depends on many features, and the repository that it is in."""

    model: Model
    folder: Path

    def world(self, **settings: Any) -> World:
        """Return a world in which it is live, with empty topics."""
        return World(Settings(**{"models": str(self.folder)} | settings), self.model, SETS, START_MS)


def trained(folder: Path) -> Trained:
    """Train such a model."""
    file = write(folder / "train.parquet", transactions())
    request = TrainingRequest(
        file=file,
        name="card",
        feature_set=FEATURES,
        trees=10,
        threads=1,
        patience=0,
        review_share=0.1,
        accept_weak=True,
    )
    repository = Repository(str(folder))
    model = load_model(repository, train(request, repository, lambda _s, _d, _t: None).digest, probe_vectorisers(SETS))
    assert isinstance(model, Model)
    return Trained(model, folder)


def compared(
    world: World, wanted: Range | None = None, out: Path | None = None, sets: FeatureSets = SETS
) -> DiffReport:
    """Rescore a world's decisions and compare."""
    with pytest.MonkeyPatch.context() as patch:
        opened(world, patch)
        request = TopicRequest(world.settings, wanted or Range(), out, sets, 1)
        return compare_topic(request, lambda _stage, _done, _total: None)


def assert_explained(world: World, stream: list[Act], *more: str) -> DiffReport | None:
    """Play a stream of acts, and assert that each decision is made again or its difference explained.

    `more` are reasons beside the ordinary ones. None if nothing was decided.
    """
    play = Play(world)
    if not play.run(stream):
        return None
    found = compared(world)
    assert found.examples == ()
    assert found.compared == play.decided == found.equal + found.explained
    assert set(found.reasons) <= {"degraded", "order_unknown", "history_epoch_changed", *more}
    return found


def scored(world: World, out: Path, wanted: Range | None = None) -> ScoreReport:
    """Score a world's transactions."""
    with pytest.MonkeyPatch.context() as patch:
        opened(world, patch)
        request = TopicRequest(world.settings, wanted or Range(), out, SETS, 1)
        return score_topic(request, world.model.digest, lambda _stage, _done, _total: None)


def lines(out: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of an output by transaction, the first of each."""
    found = duckdb.connect().execute(f"SELECT * EXCLUDE (occurred_at) FROM '{out}'")  # noqa: S608
    names = [column[0] for column in found.description]
    rows = found.fetchall()
    return {row[names.index("transaction_id")]: dict(zip(names, row, strict=True)) for row in reversed(rows)}


def alter(world: World, transaction_id: str, /, topic: str = "scores", **changes: Any) -> None:
    """Change the record of a decision; `features` are merged, `rescored` recomputes the outputs from them."""
    for log in world.topics[topic].values():
        for record in log:
            score = msgspec.json.decode(record.value, type=Score)  # type: ignore[arg-type]
            if score.transaction_id == transaction_id:
                record.value = msgspec.json.encode(_altered(world, score, **changes))


def _altered(world: World, recorded: Score, /, *, rescored: bool = False, **changes: Any) -> Score:
    if changes.get("features"):
        changes["features"] = (recorded.features or {}) | changes["features"]
    changed = msgspec.structs.replace(recorded, **changes)
    return world.rescored(changed) if rescored else changed
