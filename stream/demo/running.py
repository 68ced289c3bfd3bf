"""The demo itself, from beginning to end: this is the page to read first.

Services, cards, two models, a worker; then the history's last days, and the live stream: a challenger in its shadow, a
promotion, perhaps the death of the worker, and a roll-back.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from stream.clock import now_ms
from stream.demo.camera import Camera
from stream.demo.making import make_model
from stream.demo.presenting import Presenter
from stream.demo.report import report
from stream.demo.script import BETTER, PLAIN, Script
from stream.demo.showing import Show
from stream.demo.stage import Stage, joined, services
from stream.demo.summary import Run, Summary, summarise
from stream.demo.traffic import Traffic, invent
from stream.demo.world.world import World
from stream.topics import apply as apply_topics


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


def _show(show: Show, script: Script, audience: Audience, at: tuple[Stage, float]) -> Summary:
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


def _keep(show: Show, stage: Stage, presenter: Presenter) -> None:
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
