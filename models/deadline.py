"""Run blocking calls with a deadline: many file systems have none of their own, and no thread can be stopped.

A call that is overdue goes on in its thread, whose result is discarded. The threads are daemons, so that none of them
delays the end of the process, and they are not those of a pool, so that none of them takes the place of other work.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from models.type_info import build_type_info

_T = TypeVar("_T")
_MOST_OVERDUE = 4
"""More are not started: a file system that hangs would otherwise cost a thread for each retry."""
_GIVEN_UP_SECONDS = 600.0
"""After so long an overdue call is taken for lost, and another may be tried: the file system may have recovered."""


def in_thread(work: Callable[[], _T]) -> "Future[_T]":
    """Start `work` in a daemon thread of its own."""
    answer: Future[_T] = Future()
    build_type_info()
    answer.set_running_or_notify_cancel()  # from here on, it cannot be cancelled
    threading.Thread(target=_run, args=(work, answer), name="fraudstream-blocking", daemon=True).start()
    return answer


def _run(work: Callable[[], _T], answer: "Future[_T]") -> None:
    try:
        answer.set_result(work())
    except BaseException as error:  # noqa: BLE001 - the caller's to handle
        answer.set_exception(error)


class Deadline:
    """Limits the time of calls to one dependency, and how many overdue ones there may be. Thread-safe."""

    def __init__(self) -> None:
        self._overdue: dict[Future[Any], float] = {}

    def call(self, work: Callable[[], _T], seconds: float) -> _T:
        """Return what `work` returns, or raise what it raises.

        Raises:
            TimeoutError: it takes longer than `seconds`, or too many earlier calls have not returned yet.
        """
        now = time.monotonic()
        overdue = [call for call, since in list(self._overdue.items()) if now - since < _GIVEN_UP_SECONDS]
        if len(overdue) >= _MOST_OVERDUE:
            raise TimeoutError(f"{len(overdue)} earlier requests have not returned yet")
        answer = in_thread(work)
        try:
            return answer.result(seconds)
        except TimeoutError:
            if answer.done():  # just in time, or the call's own timeout
                return answer.result()
        self._overdue[answer] = now
        answer.add_done_callback(self._overdue.pop)
        raise TimeoutError(f"no answer within {seconds:g} s")
