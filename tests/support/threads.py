"""The same work in several threads at a time."""

import threading
from collections.abc import Callable

COUNT = 4


def in_threads(work: Callable[[], object]) -> None:
    """Do some work in four threads at a time, and wait for all of them."""
    threads = [threading.Thread(target=work) for _ in range(COUNT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
