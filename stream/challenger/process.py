"""The challenger's process: `python -m stream.challenger.process`, started by a worker, ended with its input.

It knows no broker, no Redis and no password. Whatever goes wrong here, it ends, and its worker counts.
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
from models.problems import Problem
from models.repository import Repository
from shadow.protocol import Request, Setup, decode_request, encode, frame, read_frame
from shadow.sandbox import die_with_parent, disable_core_dumps, limit_memory, lower_priority, raise_oom_score
from shadow.server import ChallengerServer, Score
from stream.clock import now_ns
from stream.control.probes import probe_vectorisers

log = logging.getLogger("fraudstream.shadow")


def run(score: Score = Model.score) -> None:
    """Answer until the input ends, and end with 1 at a fault; `score` is how a model scores: a bench makes it fail.

    At a fault the interpreter is not wound up: the thread that holds the input would have it abort, with a signal.
    """
    try:
        _serve(score)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the worker must learn that this was the end
        _complain(error)
    finally:
        os._exit(1)


def _serve(score: Score) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    out = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not get between the frames
    die_with_parent()
    disable_core_dumps()
    lower_priority()
    raise_oom_score()
    requests: SimpleQueue[Request] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True, name="listen").start()
    setup = requests.get()
    if not isinstance(setup, Setup):
        raise TypeError(type(setup).__name__)  # the first request must be a setup
    limit_memory(setup.memory_mb)
    _answer(ChallengerServer(_loader(setup), now_ns, score), requests, out)


def _answer(answerer: ChallengerServer, requests: "SimpleQueue[Request]", out: int) -> None:
    with os.fdopen(out, "wb", closefd=False) as replies:  # the pipe must not end before the process
        while True:
            reply = answerer.answer(requests.get())
            if reply is not None:
                replies.write(frame(encode(reply)))
                replies.flush()


def _complain(error: BaseException) -> None:
    """Log where it failed; not the error's text, which may quote a payment."""
    where = "".join(traceback.format_tb(error.__traceback__))
    log.critical("the challenger's process ends: %s\n%s", type(error).__name__, where)


def _loader(setup: Setup) -> Callable[[str], Model | tuple[Problem, ...]]:
    """Return how a model is loaded here: as a worker does it, with the same checks."""
    repository, computed = Repository(setup.models), probe_vectorisers(load_sets(setup.features))
    return lambda digest: load(repository, digest, computed)


def _listen(requests: "SimpleQueue[Request]") -> None:
    """Take requests in; at the end of the input end the process, even one that is busy or hangs."""
    code = 1
    try:
        while (payload := read_frame(sys.stdin.buffer.read)) is not None:
            requests.put(decode_request(payload))
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    run()
