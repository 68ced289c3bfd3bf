"""A child process ends with its parent, and `NotReady` explains why it does not answer."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fraudstream.demo.services.errors import NotReady
from fraudstream.demo.services.processes import Child

SLEEPER = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""
OWNER = """
import sys, time
from pathlib import Path
from fraudstream.demo.services.processes import Child
child = Child((sys.executable, "-S", "-c", "import time; time.sleep(600)"), Path(sys.argv[1]))
child.start()
print(child.pid, flush=True)
time.sleep(600)
"""


def gone(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        assert psutil.pid_exists(child)
        owner.kill()
    assert gone(child)


async def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    child = Child(SLEEPER, tmp_path / "log")
    await asyncio.to_thread(child.start)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert child.running
    child.kill()
    assert gone(child.pid)


def test_the_error_for_a_child_that_exits_early_has_its_exit_code_and_log(tmp_path: Path) -> None:
    child = Child((sys.executable, "-S", "-c", "import sys; sys.exit('no room at the inn')"), tmp_path / "log")
    child.start()
    with pytest.raises(NotReady, match=r"ended with 1; (.|\n)*no room at the inn"):
        child.await_ready(lambda: False, 30)


def test_a_child_that_does_not_answer_in_time_is_ended(tmp_path: Path) -> None:
    child = Child(SLEEPER, tmp_path / "log")
    child.start()
    with pytest.raises(NotReady, match="no answer within"):
        child.await_ready(lambda: False, 0.1)
    assert gone(child.pid)


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    child = Child((sys.executable, "-c", IGNORES_SIGTERM), tmp_path / "log")
    child.start()
    child.await_ready(lambda: "deaf" in child.tail(), 30)
    child.stop(seconds=0.2)
    assert child.exit_code == -9


def test_a_child_that_was_never_started_can_be_stopped_and_has_no_pid(tmp_path: Path) -> None:
    child = Child(("nothing",), tmp_path / "log")
    child.stop()
    with pytest.raises(NotReady, match="nothing was never started"):
        _ = child.pid
