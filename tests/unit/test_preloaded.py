"""A command in a fork answers, ends and is ended as in a process of its own."""

import os
import signal
import sys
from pathlib import Path

import pytest

from support.fleet.preloaded import COMMAND_LINE, OFF, SCRIPT, PreloadedChild, can_fork, run

pytestmark = pytest.mark.acceptance  # these processes are those of the tests, not of the product

COMMANDS = {
    "version": (*COMMAND_LINE, "--version"),
    "help of a group": (*SCRIPT, "topics", "--help"),
    "unknown option": (*COMMAND_LINE, "topics", "check", "--colour"),
    "refused setting": (*SCRIPT, "worker"),
    "no broker": (*SCRIPT, "topics", "check"),
}
SETTINGS = {
    "refused setting": {"FRAUDSTREAM_SESSION_TIMEOUT": "soon"},
    "no broker": {"FRAUDSTREAM_BROKERS": "127.0.0.1:1"},
}


@pytest.mark.parametrize("name", COMMANDS)
def test_it_says_the_same_and_ends_with_the_same_code(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = os.environ | {"COLUMNS": "80"} | SETTINGS.get(name, {})
    forked = run(COMMANDS[name], environment, 60, tmp_path)
    monkeypatch.setenv(OFF, "no")
    started = run(COMMANDS[name], environment, 60, tmp_path)
    answers = [(one.returncode, one.stdout, one.stderr.split("aiokafka")[0]) for one in (forked, started)]
    assert answers[0] == answers[1]
    assert answers[0][1] + answers[0][2]


def test_a_worker_in_a_fork_is_killed_and_stopped_by_its_id(tmp_path: Path) -> None:
    settings = {"FRAUDSTREAM_BROKERS": "127.0.0.1:1", "FRAUDSTREAM_REDIS_URL": "redis://127.0.0.1:1"}
    worker = PreloadedChild((*COMMAND_LINE, "worker"), tmp_path / "log", settings)
    worker.start()
    assert worker.running
    assert os.getsid(worker.pid) == worker.pid
    assert {link.name for link in Path(f"/proc/{worker.pid}/fd").iterdir()} >= {"0", "1", "2"}
    worker.signal(signal.SIGKILL)
    assert worker.wait(10) == -signal.SIGKILL
    worker.start()
    worker.kill()
    assert worker.exit_code == -signal.SIGKILL
    assert not Path(f"/proc/{worker.pid}").exists()


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ((sys.executable, "-m", "hatchling"), {}),
        (("env", "LD_PRELOAD=clock", *COMMAND_LINE), {}),
        (COMMAND_LINE, {"PYTHONPATH": "elsewhere"}),
        (COMMAND_LINE, {"OMP_NUM_THREADS": "1"}),
    ],
)
def test_what_changes_a_start_begins_in_a_process_of_its_own(
    command: tuple[str, ...], settings: dict[str, str]
) -> None:
    assert can_fork(COMMAND_LINE, dict(os.environ))
    assert not can_fork(command, os.environ | settings)
