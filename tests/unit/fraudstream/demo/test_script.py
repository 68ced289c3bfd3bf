"""The script of the demo names commands that fraudstream has, and its settings let another terminal type them."""

import asyncio
import subprocess
import sys
from pathlib import Path

import click
import pytest

from fraudstream.cli.main import main
from fraudstream.demo.plan import BETTER, Action, DemoPlan
from fraudstream.demo.script import (
    Act,
    bad_policy_command,
    script,
    topics_command,
    train_command,
    verdict_command,
)
from fraudstream.demo.shell import Command, CommandRun, Shell, typed
from fraudstream.demo.timeline import act_lines
from fraudstream.demo.view import QUIET, QUIET_COMMAND, QUIET_PAGE
from stream.clock import now_ms
from support.paths import HOUSE

FIRST, SECOND, BAD = "a" * 64, "b" * 64, "c" * 64
ACTS = script(FIRST, SECOND, BAD)
PLACES = {"FRAUDSTREAM_BROKERS": "127.0.0.1:1", "FRAUDSTREAM_DEPLOYMENT": "demo's"}


def parsed(command: Command) -> dict[str, object]:
    """Return the values of a command's parameters; raises UsageError if there is no such command or option."""
    words, context = list(command), click.Context(main, **main.context_settings)  # it names the option of help
    while True:
        assert isinstance(context.command, click.Group)
        found = context.command.get_command(context, words.pop(0))
        assert found is not None, command
        if not (isinstance(found, click.Group) and words):
            return dict(found.make_context(command[0], words, parent=context).params)
        context = click.Context(found, parent=context)


def test_the_script_has_an_act_for_each_action() -> None:
    assert list(ACTS) == list(Action)


@pytest.mark.parametrize("act", ACTS.values(), ids=lambda act: act.action.name)
def test_every_command_of_an_act_is_one_that_fraudstream_has(act: Act) -> None:
    for command in (*act.commands, act.look):
        parsed(command)
    assert act.shows


def test_the_commands_of_the_preparation_are_ones_that_fraudstream_has(tmp_path: Path) -> None:
    history = tmp_path / "history.parquet"
    history.touch()
    plan = DemoPlan(seed=3)
    assert parsed(topics_command(plan))["partitions"] == plan.partitions
    training = parsed(train_command(history, BETTER, plan))
    assert (training["model_version"], training["trees"], training["seed"]) == ("better", BETTER.trees, 3)
    assert training["gap"] == 2 * 86_400
    policy = parsed(bad_policy_command(FIRST, 0.001234567891))
    assert policy["review_at"] == policy["decline_at"] == 0.00123457
    assert parsed(verdict_command(SECOND, tmp_path / "page.html"))["digest"] == SECOND[:8]


def test_a_quoted_command_is_typed_as_one_argument() -> None:
    assert typed(ACTS[Action.CANARY].commands[-1]) == "fraudstream rollout start cccccccc --ladder '10% 1h, 100%'"


def test_the_lines_of_an_act_have_its_commands_and_where_to_look() -> None:
    assert list(act_lines(ACTS[Action.ROLL_BACK])) == [
        "the promotion is rolled back: the model before decides again; it was kept loaded",
        "  $ fraudstream model rollback",
        "  look: fraudstream model history",
    ]
    assert "with the settings of green" in next(act_lines(ACTS[Action.CUT_OVER]))


def test_the_settings_give_another_shell_the_command_and_the_places_but_not_the_port_of_the_worker(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    shell = Shell(folder, "settings", PLACES | {"FRAUDSTREAM_HTTP": "127.0.0.1:2", "FRAUDSTREAM_WORKER_ID": "w"})
    shell.write_settings()
    script_text = f'{shell.source}; command -v fraudstream; echo "$FRAUDSTREAM_DEPLOYMENT"; echo "[$FRAUDSTREAM_HTTP]"'
    done = subprocess.run(
        ["bash", "-c", script_text], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert done.stdout.splitlines() == [str(Path(sys.executable).with_name("fraudstream")), "demo's", "[]"]


def test_a_command_is_run_with_json_and_its_exit_code_output_and_error_are_kept(tmp_path: Path) -> None:
    shell = Shell(tmp_path, "settings", {"FRAUDSTREAM_DEPLOYMENT": "demo"})
    run = CommandRun(("config", "show"), now_ms())
    shown = asyncio.run(shell.finish(run))
    assert (shown.exit_code, shown.problem, [run]) == (0, "", [shown])
    assert shown.facts
    assert (shown.took_ms or 0) > 0
    wrong = asyncio.run(shell.run(("topics", "apply")))
    assert (wrong.exit_code, wrong.facts) == (2, {})
    assert "--partitions" in wrong.problem


def test_the_figures_of_a_quiet_machine_are_those_of_the_page_that_is_named() -> None:
    path, section = QUIET_PAGE.split(", ")
    text = (HOUSE / path).read_text().split(f"## {section.strip(chr(39))}\n")[1].split("\n## ")[0]
    lines = text.splitlines()
    before = next(number for number, one in enumerate(lines) if one.startswith("| 100 | before"))
    cells = [cell.strip() for cell in lines[before + 1].split("|")]
    assert (cells[4].split(", ")[0], cells[5].split(", ")[0]) == (f"{QUIET.p50:.0f}", f"{QUIET.p99:.0f}")
    assert "fraudstream bench load --model 3f9a02c1 --rate 10,100,1000" in text
    values = parsed(tuple(QUIET_COMMAND.replace("DIGEST", "3f9a02c1").split()[1:]))
    assert (values["rates"], values["seconds"]) == ((100.0,), 15.0)
