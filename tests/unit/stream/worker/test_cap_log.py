"""When the cap on declines begins and ends to hold is logged once for each partition and arm."""

import logging

import pytest

from models.decline_cap import DeclineCap, DeclineWindow
from stream.positions.offsets import Position
from stream.worker.decider import CapLog

CAP = DeclineCap(0.002)
HOLDING, ENDED = DeclineWindow(0b11111, overruled=True), DeclineWindow(0b111, overruled=True)


def position(**arms: DeclineWindow) -> Position:
    return Position(declines=arms)


def test_the_begin_and_the_end_of_a_cap_are_one_line_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watched = CapLog()
    for cap, found in (
        (None, {0: position(live=HOLDING)}),
        (CAP, {0: position(live=ENDED, canary=HOLDING), 1: position(live=HOLDING)}),
        (CAP, {0: position(live=ENDED, canary=HOLDING)}),
        (CAP, {0: position(live=ENDED, canary=ENDED)}),
        (None, {1: position(live=HOLDING)}),
        (None, {0: position(live=HOLDING)}),
    ):
        watched.look(found, cap)
    told = [tuple(getattr(one, name) for name in ("event", "partition", "arm", "declines")) for one in caplog.records]
    assert told == [
        ("decline_cap_begins", 0, "canary", 5),
        ("decline_cap_begins", 1, "live", 5),
        ("decline_cap_ends", 0, "canary", 3),
        ("decline_cap_ends", 1, "live", 5),
    ]
    assert [one.levelno for one in caplog.records] == [logging.WARNING] * 2 + [logging.INFO] * 2
    assert "of the last 2000 decisions of canary, its model declined 5, and the cap is 4" in caplog.messages[0]
