"""What is told before a rollout starts: how long its rungs wait for evidence, and what may be chosen instead."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fraudstream.ops.rollout.guard.forecast import NOTHING, PresentRates, forecast, read_rates, wait_for
from guards.ladder import Ladder
from guards.specs import NO_CLIMB, ClimbSpec, GuardKind
from stream.settings import Settings
from support.outcome_cases import score_value
from support.stream_records import Told

LADDER = Ladder.parse("1% 10min, 5% 1h, 25% 1h, 100%")
ALIKE = PresentRates(100_000, 10_000.0, {GuardKind.DECLINED: 100, GuardKind.REVIEWED: 1_000})


def test_ten_times_as_many_declines_need_a_tenth_of_the_payments() -> None:
    rare, often = (wait_for(LADDER, ClimbSpec(), ALIKE, kind) for kind in (GuardKind.DECLINED, GuardKind.REVIEWED))
    assert rare is not None
    assert often is not None
    assert rare.median is not None
    assert often.median is not None
    assert 6 < rare.median / often.median < 14
    assert (rare.p90 or 0) > rare.median


def test_what_will_never_be_is_said_so() -> None:
    none = PresentRates(100_000, 10_000.0, {GuardKind.DECLINED: 100})
    assert "  reviews: for ever, for there are none now" in list(forecast(LADDER, ClimbSpec(), none))
    assert list(forecast(LADDER, ClimbSpec(), NOTHING))[1] == (
        "  how long that takes is not known: nothing was decided in the last day"
    )
    for climb, ladder in ((NO_CLIMB, LADDER), (ClimbSpec(from_bp=10_000), Ladder.parse("30% 1h, 50% 1h, 100%"))):
        asked = "evidence to climb: none is asked for; a rung is left by time and decisions alone"
        assert (list(forecast(ladder, climb, ALIKE)) == [asked]) is (climb == NO_CLIMB)


class Scan:
    """A topic of one partition."""

    def __init__(self, values: Sequence[bytes]) -> None:
        self.first = {0: 0}
        self.values = values
        self.begin = 0

    async def ends(self) -> dict[int, int]:
        return {0: len(self.values)}

    def start_at(self, firsts: dict[int, int]) -> None:
        self.begin = firsts[0]

    async def read(self) -> AsyncIterator[tuple[list[Any], float]]:
        yield [Told(value) for value in self.values[self.begin :]], 1.0


async def test_the_rates_are_those_of_the_latest_decisions_of_the_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(at: int, card: int, decision: str, deployment: str = "default") -> bytes:
        return score_value(
            transaction_id=f"t{at}",
            card_id=f"c{card}",
            source={"topic": "transactions", "partition": 0, "offset": at},
            scored_at=f"2026-01-01T00:00:{at:02}.000Z",
            decision=decision,
            deployment=deployment,
        )

    values = [score(at, at % 4, "decline" if at % 4 == 1 else "approve") for at in range(20)]
    values += [score(20, 9, "review"), score(21, 9, "review", "green"), b"no score"]

    @asynccontextmanager
    async def scanned(*_: object) -> AsyncIterator[Scan]:
        yield Scan(values)

    monkeypatch.setattr("fraudstream.ops.rollout.guard.forecast.scan_topic", scanned)
    found = await read_rates(Settings())
    assert found == PresentRates(21, 20.0, {GuardKind.DECLINED: 1, GuardKind.REVIEWED: 1})
    assert (await read_rates(Settings(), most=8)).payments == 6
