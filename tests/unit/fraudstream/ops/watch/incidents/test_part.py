"""Incidents beside the guard: a defect ends the part that has it, is said, and harms nothing else."""

import asyncio
import logging
from pathlib import Path

import pytest

from fraudstream.ops.watch.incidents.part import IncidentPart
from stream.settings import Settings

SETTINGS = Settings(deployment="bank", worker_id="guard-1", incident_webhook="http://127.0.0.1:1/hook")


async def broken() -> None:
    raise TypeError("a defect")


@pytest.fixture
def part(tmp_path: Path) -> IncidentPart:
    return IncidentPart(SETTINGS, tmp_path / "guard.json.gz")


async def run_until_said(part: IncidentPart) -> list[str]:
    """Run a part until it warns of something, and return that."""
    running = asyncio.create_task(part.run())
    async with asyncio.timeout(20):
        while not part.warnings():  # noqa: ASYNC110 - set by the part's own tasks
            await asyncio.sleep(0.01)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return part.warnings()


async def test_a_defect_of_one_half_is_said_and_ends_neither_the_other_nor_the_guard(
    part: IncidentPart, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(part._teller, "run", broken)
    monkeypatch.setattr(part._deliveries, "run", asyncio.Event().wait)
    (said,) = await run_until_said(part)
    assert said.startswith("incidents are not told of any more, until the guard is restarted")
    assert "a defect" in caplog.text


async def test_what_cannot_be_kept_is_logged_and_ends_as_usual(
    part: IncidentPart, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(part._teller, "close", broken)
    await part.close()
    assert [line.levelno for line in caplog.records] == [logging.ERROR]


async def test_nothing_is_sent_without_a_webhook_and_no_metric_speaks_of_one() -> None:
    alone = IncidentPart(Settings(deployment="bank"), None)
    assert alone._deliveries is None
    assert {name for name in alone.gauges() if "webhook" in name} == set()
    assert alone.warnings() == []
    await alone.close()
