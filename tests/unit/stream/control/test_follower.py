"""A worker folds the log of events: in time that is proportional to the number of commands, however many there were."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from models.commands import CommandKind, Event, EventKind, encode
from stream.control.follower import Follower
from stream.settings import Settings

WORKERS = ("w-1", "w-2")


class Fetched:
    """A record of `model-events`."""

    headers: tuple[tuple[str, bytes], ...] = ()

    def __init__(self, offset: int, event: Event) -> None:
        self.offset, self.value = offset, encode(event)


def log_of(commands: int) -> Iterator[Event]:
    """Yield a log: promotions that workers answer, some of them refused, roll-backs and demotions."""
    revision = 0
    for number in range(commands):
        kind = {7: CommandKind.ROLL_BACK, 8: CommandKind.DEMOTE}.get(number % 11, CommandKind.PROMOTE)
        # Each promotion is of another model than the two before it, so that no event is void.
        model = f"{number % 97:064x}" if kind is CommandKind.PROMOTE else None
        event = partial(
            Event,
            event_id="e",
            deployment="default",
            at="2026-01-01T00:00:00.000Z",
            command_id=f"c-{number}",
            command=kind,
            model=model,
        )
        if model is not None:
            yield event(kind=EventKind.CANDIDATE, revision=revision, worker="judge")
            yield from (event(kind=EventKind.READY, revision=revision, worker=worker) for worker in WORKERS)
        refused = number % 11 == 9
        revision += not refused
        yield event(kind=EventKind.REFUSED if refused else EventKind.ACCEPTED, revision=revision, worker="judge")


async def seconds_to_fold(commands: int) -> float:
    records: Any = [Fetched(offset, event) for offset, event in enumerate(log_of(commands))]
    follower = Follower(Settings())
    start = time.process_time()
    await follower._apply(records, len(records))
    took = time.process_time() - start
    assert follower.caught_up
    assert len(follower.lineup.answers) == commands
    assert follower.lineup.revision > commands * 0.8
    assert follower.candidates.pending == {}
    return took


async def test_folding_ten_times_as_many_commands_takes_about_ten_times_as_long() -> None:
    few = min([await seconds_to_fold(200) for _ in range(3)])
    many = min([await seconds_to_fold(2_000) for _ in range(2)])
    assert many / few < 30, f"{few:.3f} s for 200 commands, {many:.3f} s for 2,000"
