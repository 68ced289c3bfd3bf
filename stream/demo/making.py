"""The demo's two models: each trained on the simulated history as it was known on its day."""

from __future__ import annotations

from pathlib import Path

from features.declaration import load as load_features
from models.repository import Repository
from stream.demo.presenting import Presenter
from stream.demo.script import Recipe, Script
from stream.demo.traffic import as_of
from stream.demo.world.world import World
from stream.demo.world.writing import write_history
from stream.training.request import TrainingReport, TrainingRequest
from stream.training.run import train

NAME = "cards"
STAGES = {"read": "reading", "features": "computing features", "fit": "growing trees", "evaluate": "measuring"}


def make_model(world: World, recipe: Recipe, script: Script, folder: Path, presenter: Presenter) -> TrainingReport:
    """Write the history that the recipe's model knows, train it, and put it into the repository in `folder`.

    Raises:
        TrainingError: the script's history is too short to train on.
    """
    history = folder / f"history-{recipe.version}.parquet"
    request = TrainingRequest(
        file=history,
        name=NAME,
        version=recipe.version,
        feature_set=load_features(None),
        seed=script.seed,
        trees=recipe.trees,
        leaves=recipe.leaves,
        learning_rate=recipe.learning_rate,
        review_share=script.review_share,
        decline_share=script.decline_share,
        threads=1,  # on a busy machine two wait for each other four times as long as one works
    )
    with presenter.step(f"train model {NAME} {recipe.version}") as step:
        write_history(as_of(world, recipe.days_old), history)
        report = train(
            request,
            Repository(str(folder / "models")),
            lambda stage, done, total: step.advance(STAGES.get(stage, stage), done, total),
        )
        step.result = (
            f"{recipe.trees} trees, {report.rows:,} transactions, {report.frauds} known frauds; "
            f"average precision {report.metrics['average_precision']:.2f}"
        )
    return report
