"""The loop of a fold: it connects again after a trouble, says it once, and keeps what it knows at its time."""

import asyncio
import logging
from contextlib import AsyncExitStack

import pytest
from aiokafka.errors import KafkaConnectionError

from fraudstream.ops.folds.run import LoopTerms, run_fold
from stream.errors import ControlLogError
from stream.settings import Settings
from stream.tasks import end_tasks

LOG = logging.getLogger("fraudstream.tests")
TERMS = LoopTerms(LOG, "it is not told", "it is told again", 0.0, 0.0, (ControlLogError,))


class Fold:
    """Fails as it is told to, turn by turn; then goes on."""

    def __init__(self, *faults: Exception | None) -> None:
        self.trouble: str | None = "it has not begun"
        self.faults = list(faults)
        self.connected = self.disconnected = self.kept = 0
        self.done = asyncio.Event()

    async def connect(self, stack: AsyncExitStack) -> str:
        self.connected += 1
        stack.callback(self._disconnect)
        return "connection"

    def _disconnect(self) -> None:
        self.disconnected += 1

    async def turn(self, connection: str) -> bool:
        assert connection == "connection"
        await asyncio.sleep(0)
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        if not self.faults:
            self.done.set()
        return True

    async def keep(self) -> None:
        self.kept += 1


async def run(fold: Fold) -> None:
    running = asyncio.create_task(run_fold(Settings(brokers="127.0.0.1:1"), fold, TERMS))
    async with asyncio.timeout(20):
        await asyncio.wait({running, asyncio.create_task(fold.done.wait())}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0.01)
    if running.done():
        await running
    await end_tasks(running)


async def test_after_each_trouble_it_connects_again_and_says_what_is_missing_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    fold = Fold(ControlLogError("lost"), ControlLogError("lost"), None)
    await run(fold)
    assert (fold.connected, fold.disconnected, fold.trouble) == (3, 3, None)
    assert [line.message for line in caplog.records] == ["it is not told, retrying: lost", "it is told again"]
    assert fold.kept > 0


async def test_what_the_brokers_refuse_is_said_in_words_and_tried_again() -> None:
    fold = Fold(KafkaConnectionError("away"), None)
    await run(fold)
    assert (fold.connected, fold.trouble) == (2, None)


async def test_one_that_is_told_to_stop_ends_after_its_turn_and_keeps_what_it_knows_while_it_is_connected() -> None:
    fold = Fold(None, None, None)
    terms = TERMS._replace(keep_seconds=3_600.0)
    await run_fold(Settings(), fold, terms, lambda: len(fold.faults) < 2)
    assert (fold.faults, fold.kept, fold.disconnected) == ([None], 1, 1)


async def test_a_defect_ends_it() -> None:
    fold = Fold(TypeError("a defect"))
    with pytest.raises(TypeError, match="a defect"):
        await run(fold)
    assert fold.disconnected == 1
