"""A child cannot outlive us, and says why it is not ready."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stream.demo.services.errors import NotReady
from stream.demo.services.processes import Child

SLEEPER = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""
OWNER = """
import sys, time
from pathlib import Path
from stream.demo.services.processes import Child
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
def test_a_child_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        assert psutil.pid_exists(child)
        owner.kill()
    assert gone(child)


async def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    child = Child(SLEEPER, tmp_path / "log")
    await asyncio.to_thread(child.start)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert child.running
    child.kill()
    assert gone(child.pid)


def test_a_child_that_ends_before_it_answers_is_explained_by_its_log(tmp_path: Path) -> None:
    child = Child((sys.executable, "-S", "-c", "import sys; sys.exit('no room at the inn')"), tmp_path / "log")
    child.start()
    with pytest.raises(NotReady, match=r"ended with 1; (.|\n)*no room at the inn"):
        child.await_ready(lambda: False, 30)


def test_a_child_that_keeps_silent_is_ended(tmp_path: Path) -> None:
    child = Child(SLEEPER, tmp_path / "log")
    child.start()
    with pytest.raises(NotReady, match="no answer within"):
        child.await_ready(lambda: False, 0.1)
    assert gone(child.pid)


def test_one_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    child = Child((sys.executable, "-c", DEAF), tmp_path / "log")
    child.start()
    child.await_ready(lambda: "deaf" in child.tail(), 30)
    child.stop(seconds=0.2)
    assert child.exit_code == -9


def test_what_was_never_started_says_so(tmp_path: Path) -> None:
    child = Child(("nothing",), tmp_path / "log")
    child.stop()
    with pytest.raises(NotReady, match="nothing was never started"):
        _ = child.pid
