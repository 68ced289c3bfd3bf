"""The demo itself, from beginning to end: this is the page to read first.

Services, cards, two models, a worker; then the history's last days, the live stream, and a promotion in its middle.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from stream.clock import now_ms
from stream.demo.making import NAME, make_model
from stream.demo.presenting import Presenter
from stream.demo.script import BETTER, PLAIN, Script
from stream.demo.showing import Show
from stream.demo.stage import Stage, joined, services
from stream.demo.summary import Run, Summary, report, summarise
from stream.demo.traffic import Traffic, invent
from stream.simulation.world import World
from stream.topics import apply as apply_topics


def run_demo(script: Script, presenter: Presenter) -> Summary:
    """Show everything in a temporary folder, which is gone at the end, like every process that was started.

    Raises:
        StreamError, EmbeddedError, KafkaError: the demo cannot go on, and why.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fraudstream-demo-") as folder, ExitStack() as stack:
        # clients of ours may complain; on a screen that is redrawn they would tear holes
        logging.basicConfig(filename=f"{folder}/demo.log", level=logging.WARNING, force=True)
        with presenter.step("start a Kafka-compatible broker and a Redis") as step:
            stage = stack.enter_context(services(Path(folder)))
            step.result = f"{stage.settings.brokers} and {stage.settings.redis_url}"
        asyncio.run(apply_topics(stage.settings, script.partitions, 1))
        stage.worker.start()  # it takes some seconds to join, while models are trained
        world = _invent(script, presenter)
        models = {
            make_model(world, recipe, script, stage.folder, presenter).digest: f"{NAME} {recipe.version}"
            for recipe in (PLAIN, BETTER)
        }
        with presenter.step("wait for the worker to join its group") as step:
            stage.await_worker(joined)
            step.result = f"process {stage.worker.pid}, http://{stage.settings.http}/health/ready"
        show = Show(stage, script, Traffic(world, script, stage.settings), models)
        return _show(show, script, presenter, (stage, began))


def _invent(script: Script, presenter: Presenter) -> World:
    with presenter.step(f"simulate {script.cards:,} cards and their frauds") as step:
        world = invent(script, now_ms())
        step.result = f"{world.cut:,} transactions in {script.history_days} days of history"
    return world


def _show(show: Show, script: Script, presenter: Presenter, at: tuple[Stage, float]) -> Summary:
    stage, began = at
    view, injected, events, unreadable = asyncio.run(show.run(presenter))
    run = Run(
        view=view,
        events=events,
        unreadable=unreadable,
        rate=script.live_count / injected.seconds,
        worst_lag_ms=injected.worst_lag_ms,
        seconds=time.monotonic() - began,
    )
    summary = summarise(run)
    presenter.say(report(run, summary))
    if script.keep:
        _keep(show, stage, presenter)
    return summary


def _keep(show: Show, stage: Stage, presenter: Presenter) -> None:
    """Leave everything running, traffic included, until Ctrl-C."""
    for text in (
        "",
        "still running, traffic included, until Ctrl-C; in another terminal:",
        *(f"  {export}" for export in stage.exports),
        "  fraudstream model list          # who is live",
        "  fraudstream model rollback      # back to the first model, in mid-stream",
        f"  curl http://{stage.settings.http}/health/ready",
        f"logs, models and histories to train on are in {stage.folder}, until this ends",
    ):
        presenter.say(text)
    try:
        asyncio.run(show.keep_on())
    except KeyboardInterrupt:
        presenter.say("stopping")
