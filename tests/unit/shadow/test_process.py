import sys
import textwrap
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow import process
from shadow.errors import ChallengerProcessError
from shadow.process import Backoff, ChallengerProcess, HeldModel, QueueSlots
from shadow.protocol import Compare, Setup

SETUP = Setup("models", "", 512)
ASKED = Compare("a" * 64, 1, bytes(8), (b"{}",))


@given(st.integers(1, 50), st.lists(st.integers(0, 40)))
def test_queue_slots_admit_up_to_their_bound_and_return_how_many_they_admitted(bound: Any, offers: Any) -> None:
    room, admitted = QueueSlots(bound), 0
    for offer in offers:
        room, taken = room.admit(offer)
        assert 0 <= taken <= offer
        assert taken == offer or room.used == bound
        admitted += taken
        assert room.used == admitted <= bound
    assert room.release(admitted) == QueueSlots(bound)


def test_the_backoff_doubles_from_a_second_to_a_minute() -> None:
    rests = [reduce(lambda rest, _: rest.after_fault(), range(faults), Backoff()).seconds for faults in range(9)]
    assert rests == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def challenger(program: str) -> ChallengerProcess:
    """A challenger process of a few lines of Python, with `read` and `write` for messages."""
    head = """
        import os, sys, time
        from shadow.protocol import frame, read_frame
        from shadow.protocol import *
        def read():
            return decode_request(read_frame(sys.stdin.buffer.read))
        def write(message):
            sys.stdout.buffer.write(frame(encode(message)))
            sys.stdout.buffer.flush()
        setup = read()
    """
    text = textwrap.dedent(head) + textwrap.dedent(program)
    return ChallengerProcess((sys.executable, "-c", text), SETUP, {"PYTHONPATH": ":".join(filter(None, sys.path))})


async def test_a_process_is_set_up_loads_and_compares() -> None:
    tried = challenger("""
        write(Loaded(setup.models + read().digest[:1]))
        asked = read()
        write(CompareResult((b"x",), (0.5,), ("approve",), 1, 2))
    """)
    assert tried.pid is None
    loaded = await tried.load("a" * 64)
    assert loaded.probe_hash == "modelsa"
    assert tried.loaded == {"a" * 64: HeldModel("modelsa", "")}
    assert (await tried.compare(ASKED, 10)).records == (b"x",)
    await tried.close()
    assert (tried.pid, tried.loaded) == (None, {})
    await tried.close()


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("sys.exit(3)", "it ended with exit code 3"),
        ("os.close(1); time.sleep(0.1); os._exit(4)", "it ended with exit code 4"),
        ("os.close(1); time.sleep(600)", "it closed a pipe, but still runs"),
        ("os.kill(os.getpid(), 9)", "it ended with exit code -9"),
        ("read(); time.sleep(600)", "it did not answer within 0.2 s"),
        ("read(); print('hello, hello')", "something else was printed to the pipe"),
        ("read(); sys.stdout.buffer.write(frame(b'nonsense'))", "a frame holds no reply"),
        (r"read(); sys.stdout.buffer.write(frame(b'\x81\xa4type\xa1\xe6'))", "a frame holds no reply"),
        ("read(); write(Loaded('h'))", "it did not reply to each of 1 decisions"),
        ("read(); write(CompareResult((), (), (), 1, 2))", "it did not reply to each of 1 decisions"),
    ],
)
async def test_any_fault_of_the_process_raises_and_discards_it(
    program: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "exit code" in why:
        monkeypatch.setattr(process, "_EXIT_SECONDS", 60.0)  # on a busy machine it may exit late
    tried = challenger(f"read(); write(Loaded('h')); {program}; sys.stdout.flush(); time.sleep(0.2)")
    await tried.load("a" * 64)
    with pytest.raises(ChallengerProcessError, match=why):
        await tried.compare(ASKED, 0.2 if "within" in why else 60)
    assert (tried.pid, tried.loaded) == (None, {})


async def test_a_missing_program_raises_a_challenger_process_error() -> None:
    with pytest.raises(ChallengerProcessError, match="could not be started"):
        await ChallengerProcess(("no-such-program-here",), SETUP, {}).load("a" * 64)


async def test_a_process_that_exited_while_idle_is_detected_once() -> None:
    tried = challenger("read(); write(Loaded('h'))")
    await tried.load("a" * 64)
    child = tried._process
    assert child is not None
    await child.wait()
    with pytest.raises(ChallengerProcessError, match="it ended with exit code 0"):
        await tried.check()
    await tried.check()


async def test_close_kills_a_process_that_does_not_exit() -> None:
    tried = challenger("read(); write(Loaded('h')); time.sleep(600)")
    await tried.load("a" * 64)
    child = tried._process
    assert child is not None
    await tried.close()
    assert child.returncode == -9
