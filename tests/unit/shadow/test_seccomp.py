"""What a challenger does not need is denied by the kernel, and what it does goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from shadow import seccomp
from shadow.errors import NoSeccompError
from shadow.seccomp import restrict

PRELUDE = """
import os, socket, subprocess, sys, threading, ctypes
from shadow.seccomp import restrict
folder = sys.argv[1]
waiting, done = threading.Event(), threading.Event()
seen = []
def other():
    waiting.wait()
    try:
        os.fork()
    except OSError as error:
        seen.append(type(error).__name__)
    done.set()
early = threading.Thread(target=other); early.start()
restrict(connections=CONNECTIONS)
def attempt(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"
"""
DENIED = {
    "a program": "subprocess.run(['true'])",
    "a process": "os.fork()",
    "a signal": "os.kill(os.getppid(), 0)",
    "a new file": "open(folder + '/new', 'w')",
    "a changed file": "open(folder + '/old', 'r+')",
    "a removed file": "os.unlink(folder + '/old')",
    "a renamed file": "os.rename(folder + '/old', folder + '/new')",
    "a folder": "os.mkdir(folder + '/folder')",
    "a right": "os.chmod(folder + '/old', 0o777)",
}
ALLOWED = {
    "reading": "open(folder + '/old').read()",
    "listing": "os.listdir(folder)",
    "a thread": "threading.Thread(target=lambda: None).start()",
    "what is open": "os.write(2, b'')",
    "a library": "__import__('lightgbm')",
}


def results(tmp_path: Path, actions: dict[str, str], *, connections: bool = False) -> dict[str, str]:
    (tmp_path / "old").write_text("x")
    lines = [f"print({name!r}, attempt(lambda: {action}), sep='=')" for name, action in actions.items()]
    ending = "waiting.set(); done.wait(); print('an earlier thread', *seen, sep='=')"
    program = PRELUDE.replace("CONNECTIONS", str(connections)) + "\n".join((*lines, ending))
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"old"}
    return dict(line.split("=", 1) for line in done.stdout.splitlines())  # type: ignore[misc]


@pytest.fixture(autouse=True)
def _has_seccomp() -> None:
    program = "from shadow.seccomp import restrict; restrict(connections=False)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        pytest.skip(f"no seccomp here: {done.stderr.splitlines()[-1]}")


def test_what_a_challenger_does_not_need_is_denied_to_all_threads(tmp_path: Path) -> None:
    connect = {"a connection": "socket.socket()"}
    found = results(tmp_path, DENIED | ALLOWED | connect)
    assert {found[name] for name in (*DENIED, *connect, "an earlier thread")} == {"PermissionError"}
    assert {found[name] for name in ALLOWED} == {"done"}


def test_connections_are_allowed_where_models_come_by_one(tmp_path: Path) -> None:
    found = results(
        tmp_path,
        {"a connection": "socket.socket().close()", "a program": "os.execv('/bin/true', ['x'])"},
        connections=True,
    )
    assert found == {"a connection": "done", "a program": "PermissionError", "an earlier thread": "PermissionError"}


def test_on_another_machine_it_says_so_and_denies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp.platform, "machine", lambda: "riscv64")
    with pytest.raises(NoSeccompError, match="riscv64 is not supported"):
        restrict(connections=False)


def test_the_machines_deny_the_same_uses() -> None:
    machines = seccomp._MACHINES.values()
    assert {len(one.connections) for one in machines} == {8}
    assert all(len(set(one.always)) == len(one.always) for one in machines)
    for one in machines:
        assert all(len(step) == 8 for step in seccomp._program(one, connections=False))
