"""The demo from beginning to end; read this module first.

It starts a broker, a Redis and a worker, simulates cards, and trains two models, each on the history as it was known on
its day. `live` then publishes the last days of the history and a live stream with a challenger, a promotion, perhaps a
kill of the worker, a roll-back, and a bad model that a guard ends; or, in place of that, with a second fleet.
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

from rich.console import Console, Group, RenderableType
from rich.terminal_theme import DIMMED_MONOKAI

from features.declaration import DAY_MS
from features.declaration import load as load_features
from fraudstream.demo.blue_green import BUDGET
from fraudstream.demo.canary import BAD, put_bad_model
from fraudstream.demo.live import LiveRun
from fraudstream.demo.panel import panel
from fraudstream.demo.plan import BETTER, PLAIN, DemoPlan, ModelSpec
from fraudstream.demo.presenter import Presenter
from fraudstream.demo.report import report
from fraudstream.demo.stack import FIRST, GREEN, DemoStack, demo_stack, joined
from fraudstream.demo.summary import RunFacts, Summary, summarise
from fraudstream.demo.traffic import Traffic, as_of, simulate_plan
from fraudstream.demo.verdict import write_verdict
from fraudstream.demo.world.world import World
from fraudstream.demo.world.writing import write_history
from fraudstream.lab.training.request import DEFAULT_SIZES, TrainingReport, TrainingRequest
from fraudstream.lab.training.run import train
from models.repository import Repository
from stream.clock import now_ms
from stream.kafka.topics import apply as apply_topics
from stream.settings import PREFIX

COLUMNS = 116
FONTS = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
# rich's own format, without the font that it would fetch
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


class SvgRecorder:
    """Records what a terminal would show, as an SVG that fetches no font; `title` is the window's."""

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

    def record(self, what: RenderableType) -> None:
        """Draw something."""
        self._console.print(what)

    def save(self, path: Path) -> None:
        """Write everything that was recorded."""
        drawn = self._console.export_svg(title=self._title, theme=DIMMED_MONOKAI, code_format=FORMAT, unique_id="demo")
        path.write_text(drawn, encoding="utf-8")


def train_model(world: World, spec: ModelSpec, plan: DemoPlan, folder: Path, presenter: Presenter) -> TrainingReport:
    """Write the history up to the model's day, train the model, and put it into the repository in `folder`.

    Raises:
        TrainingError: the history is too short to train on.
    """
    history = folder / f"history-{spec.version}.parquet"
    request = TrainingRequest(
        file=history,
        name=NAME,
        version=spec.version,
        feature_set=load_features(None),
        seed=plan.seed,
        trees=spec.trees,
        leaves=spec.leaves,
        learning_rate=spec.learning_rate,
        patience=0,  # the models differ by their numbers of trees
        sizes=DEFAULT_SIZES._replace(gap_ms=2 * DAY_MS),  # by the label delay, too little of 39 days would be left
        review_share=plan.review_share,
        decline_share=plan.decline_share,
        threads=1,  # on a busy machine two threads take four times as long as one, waiting for each other
    )
    with presenter.step(f"train model {NAME} {spec.version}") as step:
        write_history(as_of(world, spec.days_old), history)
        report = train(
            request,
            Repository(str(folder / "models")),
            lambda stage, done, total: step.advance(STAGES.get(stage, stage), done, total),
        )
        step.result = (
            f"{spec.trees} trees, {report.rows:,} transactions, {report.frauds} known frauds; "
            f"average precision {report.metrics['average_precision']:.2f}"
        )
    return report


class DemoOutput(NamedTuple):
    """Where the demo prints to, and the SVG file and the page of a verdict to write, if any."""

    presenter: Presenter
    picture: Path | None = None
    page: Path | None = None


def run_demo(plan: DemoPlan, output: DemoOutput) -> Summary:
    """Run everything in a temporary folder; at the end the folder is deleted and every process is stopped.

    Raises:
        StreamError, EmbeddedError, KafkaError: the demo cannot go on, and why.
    """
    began, presenter = time.monotonic(), output.presenter
    with tempfile.TemporaryDirectory(prefix="fraudstream-demo-") as folder, ExitStack() as exits:
        # log lines of the clients would disturb the panel that is redrawn in place
        logging.basicConfig(filename=f"{folder}/demo.log", level=logging.WARNING, force=True)
        exits.callback(logging.basicConfig, handlers=[logging.NullHandler()], force=True)  # the folder will be gone
        with presenter.step("start a Kafka-compatible broker and a Redis") as step:
            services = exits.enter_context(demo_stack(Path(folder), plan.session_seconds))
            step.result = f"{services.settings.brokers} and {services.settings.redis_url}"
        _apply_topics(services, plan)
        services.worker.start()  # joining takes some seconds, in which the models are trained
        world = _simulate(plan, presenter)
        models = {
            train_model(world, spec, plan, services.folder, presenter).digest: spec.version for spec in (PLAIN, BETTER)
        }
        models[put_bad_model(Repository(str(services.folder / "models")), next(iter(models)))] = BAD
        with presenter.step("wait for the worker to join its group") as step:
            services.await_worker(joined)
            step.result = f"process {services.worker.pid}, http://{services.settings.http}/health/ready"
        live = LiveRun(services, plan, Traffic(world, plan, services.settings), models)
        summary = _run_live(live, plan, output, began)
        if output.page is not None:
            model = (live.second, models[live.second])
            presenter.say(write_verdict(services.settings, model, output.page, presenter))
        if plan.keep:
            _keep(live, services, presenter)
        return summary


def _apply_topics(services: DemoStack, plan: DemoPlan) -> None:
    """Create all topics, those of a second fleet too: the embedded broker would create one that is asked for anyhow."""
    for settings in (services.settings, *([services.green.settings] if plan.blue_green else [])):
        asyncio.run(apply_topics(settings, plan.partitions, 1))


def _simulate(plan: DemoPlan, presenter: Presenter) -> World:
    with presenter.step(f"simulate {plan.cards:,} cards and their frauds") as step:
        world = simulate_plan(plan, now_ms())
        step.result = f"{world.cut:,} transactions in {plan.history_days} days of history"
    return world


def _run_live(live: LiveRun, plan: DemoPlan, output: DemoOutput, began: float) -> Summary:
    result = asyncio.run(live.run(output.presenter))
    run = RunFacts(
        view=result.view,
        unreadable=result.unreadable,
        rate=plan.live_count / result.injected.seconds,
        worst_lag_ms=result.injected.worst_lag_ms,
        seconds=time.monotonic() - began,
    )
    summary = summarise(run)
    output.presenter.say(report(run, summary))
    if output.picture is not None:
        options = f"{' --chaos' if plan.chaos else ''}{' --blue-green' if plan.blue_green else ''}"
        recorder = SvgRecorder(f"fraudstream demo{options}")
        recorder.record(Group(panel(result.view), report(run, summary)))
        recorder.save(output.picture)
    return summary


def _second_fleet_lines(services: DemoStack) -> tuple[str, ...]:
    """Return how to look at the second fleet, with its settings, and to let it take over once more."""
    named = ("DEPLOYMENT", "GROUP", "HTTP")
    settings = " ".join(f"{PREFIX}{name}={services.green.environment[PREFIX + name]}" for name in named)
    options = f"--group {FIRST}={FIRST} --budget {BUDGET} --reproduced"
    return (
        f"  {settings} fraudstream deployment status {GREEN} {options}",
        f"  {settings} fraudstream deployment cut-over {GREEN} {options}",
    )


def _keep(live: LiveRun, services: DemoStack, presenter: Presenter) -> None:
    """Leave everything running, payments included, until Ctrl-C."""
    for text in (
        "",
        "still running, traffic included, until Ctrl-C; in another terminal:",
        *(f"  {export}" for export in services.exports),
        "  fraudstream model list          # which model is live",
        f"  fraudstream model promote {live.second[:8]}   # promote the second model again, while payments are decided",
        f"  curl http://{services.settings.http}/health/ready",
        *(_second_fleet_lines(services) if live.has_second_fleet else ()),
        f"logs, models and histories to train on are in {services.folder}, until this ends",
    ):
        presenter.say(text)
    try:
        asyncio.run(live.continue_live())
    except KeyboardInterrupt:
        presenter.say("stopping")
