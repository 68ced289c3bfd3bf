"""The challenger's process: `python -m stream.challenger.process`, started by a worker; it ends with its input.

It has no access to Kafka, Redis or any password. At any fault it exits, and the worker counts the missed comparisons.
"""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue

from features.vector.sets import load_sets
from models.loading import Model, load
from models.logins import secrets_in
from models.problems import Problem
from models.repository import is_remote, keeps_files
from models.type_info import build_type_info
from shadow.errors import NoSeccompError
from shadow.protocol import Request, Setup, decode_request, framed, read_frame
from shadow.sandbox import die_with_parent, disable_core_dumps, limit_memory, lower_priority, raise_oom_score
from shadow.seccomp import restrict
from shadow.server import ChallengerServer, Score
from stream.clock import now_ns
from stream.control.probes import probe_vectorisers
from stream.control.trusted_models import ModelPlace
from stream.logs import log_service_to_stderr, service_formatter
from stream.settings import read_settings

log = logging.getLogger("fraudstream.shadow")


def run(score: Score = Model.score) -> None:
    """Serve requests until the input ends; exit with 1 at a fault. A benchmark passes a `score` that fails.

    At a fault the interpreter does not shut down: it would abort with a signal, since a thread still reads the input.
    """
    try:
        _serve(score)
    except BaseException as error:  # noqa: BLE001 - every fault ends the process, and the worker must see it
        _log_fault(error)
    finally:
        os._exit(1)


def _serve(score: Score) -> None:
    form = read_settings(os.environ).log_format
    handler = log_service_to_stderr("warning", service_formatter(form))
    out = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not get between the frames
    die_with_parent()
    disable_core_dumps()
    lower_priority()
    raise_oom_score()
    build_type_info()
    requests: SimpleQueue[Request] = SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True, name="read requests").start()
    setup = requests.get()
    if not isinstance(setup, Setup):
        raise TypeError(type(setup).__name__)  # the first request must be a setup
    handler.setFormatter(service_formatter(form, secrets_in(setup.models)))
    limit_memory(setup.memory_mb)
    _restrict(setup.models)
    _reply(ChallengerServer(_loader(setup), now_ns, score), requests, out)


def _restrict(models: str) -> None:
    """Have the kernel deny what is not needed to score with models of a repository; say so if that cannot be."""
    try:
        if keeps_files(models):
            raise NoSeccompError("the repository of models is a chain of file systems, which may keep files")  # noqa: TRY301
        restrict(connections=is_remote(models))
    except NoSeccompError as error:
        log.warning("the challenger's process has no seccomp: %s", error)


def _reply(server: ChallengerServer, requests: "SimpleQueue[Request]", out: int) -> None:
    with os.fdopen(out, "wb", closefd=False) as replies:  # the pipe must stay open until the process has exited
        while True:
            reply = server.answer(requests.get())
            if reply is not None:
                replies.write(framed(reply))
                replies.flush()


def _log_fault(error: BaseException) -> None:
    """Log the error's class and traceback, but not its text, which may quote a payment."""
    where = "".join(traceback.format_tb(error.__traceback__))
    log.critical("the challenger's process ends: %s\n%s", type(error).__name__, where)


def _loader(setup: Setup) -> Callable[[str], Model | tuple[Problem, ...]]:
    """Return the function that loads a model with the same checks as in a worker, but here, not in a trial."""
    repository = ModelPlace(setup.models, setup.model_keys).open_untried()
    computed = probe_vectorisers(load_sets(setup.features))
    return lambda digest: load(repository, digest, computed)


def _read_requests(requests: "SimpleQueue[Request]") -> None:
    """Read requests into the queue; at the end of the input exit, even if the main thread is busy or hangs."""
    code = 1
    try:
        while (payload := read_frame(sys.stdin.buffer.read)) is not None:
            requests.put(decode_request(payload))
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    run()
