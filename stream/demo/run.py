"""The demo itself, from beginning to end: this is the page to read first.

Services, cards, two models, a worker; then the history's last days, and the live stream: a challenger in its shadow, a
promotion, perhaps the death of the worker, and a roll-back.

The demo's two models: each trained on the simulated history as it was known on its day.

A picture of the demo's terminal, as an SVG that needs nothing from anywhere: no font is fetched.
"""

from __future__ import annotations

import asyncio
import io
import logging
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rich.console import Console, RenderableType
from rich.terminal_theme import DIMMED_MONOKAI

from features.declaration import load as load_features
from models.repository import Repository
from stream.clock import now_ms
from stream.demo.presenter import Presenter
from stream.demo.report import report
from stream.demo.script import BETTER, PLAIN, Recipe, Script
from stream.demo.show import Show
from stream.demo.stage import DemoStack, joined, services
from stream.demo.summary import Run, Summary, summarise
from stream.demo.traffic import Traffic, as_of, invent
from stream.demo.world.world import World
from stream.demo.world.writing import write_history
from stream.kafka.topics import apply as apply_topics
from stream.training.request import TrainingReport, TrainingRequest
from stream.training.run import train

COLUMNS = 116
FONTS = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
# rich's own format, without the typeface that it would fetch
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: %FONTS%; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
""".replace("%FONTS%", FONTS)
NAME = "cards"
STAGES = {"read": "reading", "features": "computing features", "fit": "growing trees", "evaluate": "measuring"}


class Camera:
    """Keeps what it is shown, in order, as a terminal would have it; `title` is the window's."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(
            record=True,
            width=COLUMNS,
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
            highlight=False,
        )

    def take(self, what: RenderableType) -> None:
        """Draw something now: what it shows may change later."""
        self._console.print(what)

    def save(self, path: Path) -> None:
        """Write all that was taken."""
        drawn = self._console.export_svg(title=self._title, theme=DIMMED_MONOKAI, code_format=FORMAT, unique_id="demo")
        path.write_text(drawn, encoding="utf-8")


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


class Audience(NamedTuple):
    """Who looks on: somebody at a terminal or a log, and a camera where a picture is wanted."""

    presenter: Presenter
    picture: Path | None = None


def run_demo(script: Script, audience: Audience) -> Summary:
    """Show everything in a temporary folder, which is gone at the end, like every process that was started.

    Raises:
        StreamError, EmbeddedError, KafkaError: the demo cannot go on, and why.
    """
    began, presenter = time.monotonic(), audience.presenter
    with tempfile.TemporaryDirectory(prefix="fraudstream-demo-") as folder, ExitStack() as stack:
        # clients of ours may complain; on a screen that is redrawn they would tear holes
        logging.basicConfig(filename=f"{folder}/demo.log", level=logging.WARNING, force=True)
        with presenter.step("start a Kafka-compatible broker and a Redis") as step:
            stage = stack.enter_context(services(Path(folder), script.session_seconds))
            step.result = f"{stage.settings.brokers} and {stage.settings.redis_url}"
        asyncio.run(apply_topics(stage.settings, script.partitions, 1))
        stage.worker.start()  # it takes some seconds to join, while models are trained
        world = _invent(script, presenter)
        models = {
            make_model(world, recipe, script, stage.folder, presenter).digest: recipe.version
            for recipe in (PLAIN, BETTER)
        }
        with presenter.step("wait for the worker to join its group") as step:
            stage.await_worker(joined)
            step.result = f"process {stage.worker.pid}, http://{stage.settings.http}/health/ready"
        show = Show(stage, script, Traffic(world, script, stage.settings), models)
        return _show(show, script, audience, (stage, began))


def _invent(script: Script, presenter: Presenter) -> World:
    with presenter.step(f"simulate {script.cards:,} cards and their frauds") as step:
        world = invent(script, now_ms())
        step.result = f"{world.cut:,} transactions in {script.history_days} days of history"
    return world


def _show(show: Show, script: Script, audience: Audience, at: tuple[DemoStack, float]) -> Summary:
    (stage, began), camera = at, Camera(f"fraudstream demo{' --chaos' if script.chaos else ''}")
    shown = asyncio.run(show.run(audience.presenter, camera.take))
    run = Run(
        view=shown.view,
        unreadable=shown.unreadable,
        rate=script.live_count / shown.injected.seconds,
        worst_lag_ms=shown.injected.worst_lag_ms,
        seconds=time.monotonic() - began,
    )
    summary = summarise(run)
    audience.presenter.say(report(run, summary))
    if audience.picture is not None:
        camera.take(report(run, summary))
        camera.save(audience.picture)
    if script.keep:
        _keep(show, stage, audience.presenter)
    return summary


def _keep(show: Show, stage: DemoStack, presenter: Presenter) -> None:
    """Leave everything running, traffic included, until Ctrl-C."""
    for text in (
        "",
        "still running, traffic included, until Ctrl-C; in another terminal:",
        *(f"  {export}" for export in stage.exports),
        "  fraudstream model list          # who is live",
        f"  fraudstream model promote {show.second[:8]}   # the second model once more, in mid-stream",
        f"  curl http://{stage.settings.http}/health/ready",
        f"logs, models and histories to train on are in {stage.folder}, until this ends",
    ):
        presenter.say(text)
    try:
        asyncio.run(show.keep_on())
    except KeyboardInterrupt:
        presenter.say("stopping")
