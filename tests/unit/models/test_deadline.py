"""A blocking call that takes too long is given up; too many of them are not even started."""

import threading
from collections.abc import Callable

import pytest

import models.deadline as deadline_module
from models.deadline import _MOST_OVERDUE, Deadline, in_thread


def fail() -> None:
    raise KeyError("its own")


def time_out() -> None:
    raise TimeoutError("its own")


@pytest.mark.parametrize(("work", "error"), [(fail, KeyError), (time_out, TimeoutError)])
def test_a_call_returns_and_raises_what_it_would_without_a_deadline(
    work: Callable[[], None], error: type[Exception]
) -> None:
    assert Deadline().call(lambda: 5, 10.0) == 5
    with pytest.raises(error, match="its own"):
        Deadline().call(work, 10.0)


def test_a_call_that_hangs_is_given_up_and_only_a_few_of_them_are_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released, deadline, before = threading.Event(), Deadline(), threading.active_count()
    try:
        for _ in range(_MOST_OVERDUE):
            with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
                deadline.call(released.wait, 0.01)
        for _ in range(3):
            with pytest.raises(TimeoutError, match="4 earlier requests have not returned yet"):
                deadline.call(released.wait, 0.01)
        assert threading.active_count() <= before + _MOST_OVERDUE
        monkeypatch.setattr(deadline_module, "_GIVEN_UP_SECONDS", 0.0)
        assert deadline.call(lambda: 5, 10.0) == 5, "after a long time it is tried again"
        monkeypatch.undo()
    finally:
        released.set()
    for thread in threading.enumerate():
        if thread.name == "fraudstream-blocking":
            assert thread.daemon
            thread.join(10)
    assert deadline.call(released.is_set, 10.0)


def test_a_call_in_a_thread_cannot_be_cancelled() -> None:
    answer = in_thread(lambda: 5)
    assert not answer.cancel()
    assert answer.result(10) == 5
