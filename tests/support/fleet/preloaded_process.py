"""Imports the product once, then forks itself for each command that `preloaded` asks for.

A worker's imports take longer than what most tests ask of it. A fork is one from before any command ran: it has no
threads, no event loop and no settings of others. `preloaded_process.py FD PARENT` reads requests from the socket at FD,
and dies with the process PARENT.
"""

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from fraudstream.cli.main import COMMANDS, main
from fraudstream.demo.services.die_with_parent import die_with

REQUEST_BYTES = 1 << 18
LONG_RUNNING = (
    "stream.worker.main",
    "fraudstream.ops.rollout.guard.main",
    "fraudstream.ops.watch.explanations.main",
    "stream.control.announcements",
)
NOT_HERE = {"bench", "demo"}


def preload() -> None:
    """Import what commands import, also what they import late."""
    for name in [source.place.partition(":")[0] for name, source in COMMANDS.items() if name not in NOT_HERE]:
        import_module(name)
    for name in LONG_RUNNING:
        import_module(name)


def serve(requests: socket.socket) -> list[str]:
    """Fork for each request until the other end is closed; return the command's arguments in each fork."""
    wake, woken = socket.socketpair()
    for end in (wake, woken):
        end.setblocking(False)  # noqa: FBT003 - the standard library's
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    statuses: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if woken in ready:
                woken.recv(REQUEST_BYTES)
                reap(statuses)
            if requests not in ready:
                continue
            text, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 3)
            if not text:
                sys.exit(0)
            request = json.loads(text)
            parent = os.getpid()
            if pid := os.fork():
                output, errors, status = descriptors
                os.close(output)
                os.close(errors)
                statuses[pid] = status
            else:
                os.setsid()
                die_with(parent)
                requests.sendall(struct.pack("=q", os.getpid()))
                become(request, descriptors)
                return list(request["arguments"])


def reap(statuses: dict[int, int]) -> None:
    """Tell how each ended fork ended, as `waitpid` says it."""
    while statuses:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        descriptor = statuses.pop(pid)
        os.write(descriptor, struct.pack("=q", status))
        os.close(descriptor)


def become(request: dict[str, object], descriptors: list[int]) -> None:
    """Take the output, folder, environment, signals and program name of the command."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((nothing, 0), (descriptors[0], 1), (descriptors[1], 2)):
        os.dup2(descriptor, standard)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    os.chdir(str(request["folder"]))
    package = request["package"]
    sys.modules["__main__"].__package__ = package  # type: ignore[assignment] # click names the program by it
    sys.path[0] = str(request["folder"] if package else Path(str(request["program"])).parent)
    sys.argv = [str(request["program"]), *request["arguments"]]  # type: ignore[misc]
    if "PYTHONUNBUFFERED" in os.environ:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(write_through=True)  # type: ignore[union-attr]


def run() -> NoReturn:
    """Run the command and end as the interpreter does, except that what was imported is not taken apart."""
    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code or 0))  # type: ignore[call-overload]


if __name__ == "__main__":
    die_with(int(sys.argv[2]))
    preload()
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    run()
