"""The demo from beginning to end; read this module first, and `script` for what it shows.

It starts a broker, a Redis and a worker, simulates cards, and trains two models, each on the history as it was known on
its day. `live` then publishes the last days of the history and a live stream with a challenger, a promotion, perhaps a
kill of the worker, a roll-back, and a bad model that a guard ends; or, in place of that, with a second fleet.

What a command of fraudstream can do is done by that command. At the end `topics audit` and `guard replay` check it.
"""

from __future__ import annotations

import asyncio
import io
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from fraudstream.demo.canary import BAD, bad_threshold
from fraudstream.demo.errors import DemoError
from fraudstream.demo.live import LiveResult, LiveRun
from fraudstream.demo.panel import panel
from fraudstream.demo.plan import BETTER, PLAIN, Action, DemoPlan, ModelSpec
from fraudstream.demo.presenter import Presenter, command_line
from fraudstream.demo.report import report
from fraudstream.demo.script import (
    GREEN_STATUS,
    Act,
    bad_policy_command,
    script,
    topics_command,
    train_command,
    verdict_command,
)
from fraudstream.demo.shell import Command, CommandRun, Shell, typed
from fraudstream.demo.stack import DemoStack, demo_stack, joined
from fraudstream.demo.summary import RunFacts, Summary, summarise
from fraudstream.demo.traffic import Traffic, as_of, simulate_plan
from fraudstream.demo.world.world import World
from fraudstream.demo.world.writing import write_history
from models.commands import CommandKind
from models.repository import Repository
from stream.clock import now_ms

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
INTRODUCTION = """\
Simulated cards pay on this machine, by a Kafka-compatible broker, a Redis and workers of the demo.
For about two and a half minutes a model is promoted while payments flow, and rolled back;
{last}. Each payment is checked.
A line with a $ is a command that the demo runs. Type it, or any other, in a second terminal after
  {source}"""
LAST = {False: "a bad one is ended by its guard", True: "a second fleet takes over, and hands back"}
"""The last act, without and with `--blue-green`."""


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


def run_step(shell: Shell, name: str, commands: Sequence[Command], presenter: Presenter) -> list[dict[str, Any]]:
    """Run commands of fraudstream beside each other as one step of the demo, and return what each has printed.

    Raises:
        DemoError: one failed, and why.
    """
    with presenter.step(name, *map(typed, commands)) as step:
        printed = [required(run) for run in asyncio.run(_run_beside(shell, commands))]
        step.result = "; ".join(RESULTS[command[0]](facts) for command, facts in zip(commands, printed, strict=True))
    return printed


async def _run_beside(shell: Shell, commands: Sequence[Command]) -> list[CommandRun]:
    return await asyncio.gather(*map(shell.run, commands))


def required(run: CommandRun) -> dict[str, Any]:
    """Return what a command printed, unless it printed nothing of use; raises DemoError then."""
    if run.problem or not run.facts:
        raise DemoError(f"`{typed(run.command)}`: {run.problem or 'it printed nothing'}")
    return run.facts


RESULTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "topics": lambda facts: f"{len(facts['created'])} topics",
    "train": lambda facts: (
        f"{facts['version']}: {facts['trees']} trees, {facts['rows']:,} transactions, {facts['frauds']} known frauds, "
        f"average precision {facts['metrics']['average_precision']:.2f}"
    ),
    "model": lambda facts: f"it declines from a score of {facts['policy']['decline_at']:.2g} on",
}
"""What is said of a step, by the first word of its command."""


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
        services = exits.enter_context(demo_stack(Path(folder), plan.session_seconds))
        presenter.say(INTRODUCTION.format(last=LAST[plan.blue_green], source=services.shell.source))
        _create_topics(services, plan, presenter)
        services.worker.start()  # joining takes some seconds, in which the models are trained
        world = _simulate(plan, presenter)
        models = _make_models(world, plan, services, presenter)
        with presenter.step("wait for the worker to join its group", typed(("worker",))) as step:
            services.await_worker(joined)
            step.result = f"process {services.worker.pid}, http://{services.settings.http}/health/ready"
        live = LiveRun(services, plan, Traffic(world, plan, services.settings), models)
        summary = _run_live(live, services, plan, output, began)
        if output.page is not None:
            presenter.say(_judge(services, live.second, output.page, presenter))
        if plan.keep:
            _keep(live, services, script(*models), presenter)
        return summary


def _create_topics(services: DemoStack, plan: DemoPlan, presenter: Presenter) -> None:
    """Create all topics, those of a second fleet too: the embedded broker would create one that is asked for anyhow."""
    for shell in (services.shell, *([services.green.shell] if plan.blue_green else [])):
        run_step(shell, "create the topics", [topics_command(plan)], presenter)


def _make_models(world: World, plan: DemoPlan, services: DemoStack, presenter: Presenter) -> dict[str, str]:
    """Train two models, and derive a bad one of the first; return their names by digest, in this order."""
    commands = [train_command(_write_history(world, spec, services.folder), spec, plan) for spec in (PLAIN, BETTER)]
    trained = run_step(services.shell, "train two models", commands, presenter)
    first, second = (str(facts["digest"]) for facts in trained)
    command = bad_policy_command(first, bad_threshold(Repository(services.settings.models), first))
    (bad,) = run_step(services.shell, "make a bad model of the first", [command], presenter)
    return {first: PLAIN.version, second: BETTER.version, bad["digest"]: BAD}


def _write_history(world: World, spec: ModelSpec, folder: Path) -> Path:
    """Write the history as it was known on the model's day."""
    history = folder / f"history-{spec.version}.parquet"
    write_history(as_of(world, spec.days_old), history)
    return history


def _simulate(plan: DemoPlan, presenter: Presenter) -> World:
    with presenter.step(f"simulate {plan.cards:,} cards and their frauds") as step:
        world = simulate_plan(plan, now_ms())
        step.result = f"{world.cut:,} transactions in {plan.history_days} days of history"
    return world


def _run_live(live: LiveRun, services: DemoStack, plan: DemoPlan, output: DemoOutput, began: float) -> Summary:
    result = asyncio.run(live.run(output.presenter))
    audit, replay = _checked(services, result, output.presenter)
    run = RunFacts(
        view=result.view,
        unreadable=result.unreadable,
        rate=plan.live_count / result.injected.seconds,
        worst_lag_ms=result.injected.worst_lag_ms,
        seconds=time.monotonic() - began,
        audit=audit,
        replay=replay,
    )
    summary = summarise(run)
    output.presenter.say(report(run, summary))
    if output.picture is not None:
        options = f"{' --chaos' if plan.chaos else ''}{' --blue-green' if plan.blue_green else ''}"
        recorder = SvgRecorder(f"fraudstream demo{options}")
        recorder.record(Group(panel(result.view), report(run, summary)))
        recorder.save(output.picture)
    return summary


def _checked(services: DemoStack, result: LiveResult, presenter: Presenter) -> tuple[CommandRun, CommandRun | None]:
    """Run `topics audit`, and `guard replay` if a guard has ended the bad model."""
    end = result.view.commands.last(CommandKind.END_CANARY)
    commands: list[Command] = [("topics", "audit")]
    if end is not None and end.accepted:
        commands.append(("guard", "replay", end.command_id))
    runs = []
    for command in commands:
        with presenter.step("check what the topics say", typed(command)) as step:
            runs.append(asyncio.run(services.shell.run(command)))
            step.result = runs[-1].problem or "nothing is wrong"
    return runs[0], runs[1] if len(runs) > 1 else None


def _judge(services: DemoStack, digest: str, page: Path, presenter: Presenter) -> RenderableType:
    """Write the verdict on the second model, as a page for a risk committee, and return the last line of the report.

    It was in the shadow for a few simulated days, of which no label has matured, so the verdict is HOLD: an example of
    how such a page looks, and of what it refuses to say too early.
    """
    command = verdict_command(digest, page)
    with presenter.step(f"write the verdict to {page}", typed(command)) as step:
        run = asyncio.run(services.shell.run(command))
        if "verdict" not in run.facts:
            raise DemoError(f"`{typed(command)}`: {run.problem}")
        step.result = f"{run.facts['verdict']}, decided by the gate {run.facts['gate']}"
    return Text(f"verdict: {step.result}; the page is {page}")


def _keep(live: LiveRun, services: DemoStack, acts: Mapping[Action, Act], presenter: Presenter) -> None:
    """Leave everything running, payments included, until Ctrl-C."""
    presenter.say("", "still running, traffic included, until Ctrl-C; in another terminal:")
    looks = [typed(act.look) for act in acts.values() if act.look != GREEN_STATUS and not act.in_green]
    commands = (
        services.shell.source,
        *dict.fromkeys(looks),
        typed(acts[Action.PROMOTE].commands[-1]),
        f"curl http://{services.settings.http}/health/ready",
    )
    if live.has_second_fleet:
        commands = (*commands, services.green.shell.source, typed(GREEN_STATUS))
    presenter.say(*(command_line(command) for command in commands))
    presenter.say(f"logs, models and histories to train on are in {services.folder}, until this ends")
    try:
        asyncio.run(live.continue_live())
    except KeyboardInterrupt:
        presenter.say("stopping")
