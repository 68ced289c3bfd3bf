"""A worker warns of the reviews of the models that decide, and a card that cannot be read costs it nothing."""

import logging
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.card import CardVersion, StatedCard, store_card
from models.repository import Repository
from stream.control.reviews import ReviewDates

LIVE, ARM = "a" * 64, "b" * 64
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
NOW_MS = 20_000 * DAY_MS  # 2024-10-04


def model(digest: str, name: str) -> Any:
    return SimpleNamespace(digest=digest, name=name, version="1")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(str(tmp_path))


def dates(repository: Repository, serving: Any) -> ReviewDates:
    return ReviewDates(SimpleNamespace(), SimpleNamespace(serving=lambda: serving), repository)  # type: ignore[arg-type]


def record(repository: Repository, digest: str, by: date | None, at: str = "2024-10-01T00:00:00.000Z") -> None:
    card = StatedCard(owner="desk", review_by=by)
    store_card(repository, digest, CardVersion(recorded_at=at, recorded_by="ann", card=card))


def serving(*arms: Any) -> Any:
    split = SimpleNamespace(models={one.name: one for one in arms}) if arms else None
    return SimpleNamespace(live=model(LIVE, "cards"), arms=split)


async def test_the_live_model_and_those_of_arms_have_days_and_a_near_review_is_warned_of_once(
    repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    record(repository, LIVE, date(2024, 10, 14))
    record(repository, ARM, date(2025, 10, 4))
    found = dates(repository, serving(model(ARM, "new")))
    with caplog.at_level(logging.WARNING):
        for hours in (0, 0.5, 1, 2):
            await found.read_due(NOW_MS + int(hours * HOUR_MS))
    assert found.days(NOW_MS) == {(LIVE[:12], "cards", "1"): 11.0, (ARM[:12], "new", "1"): 366.0}
    (warning,) = (one.getMessage() for one in caplog.records)
    assert warning.startswith(f"model cards 1 ({LIVE[:12]}): review due by 2024-10-14, in 10 days; record it by ")


async def test_a_new_version_of_the_card_is_seen_within_the_hour(repository: Repository) -> None:
    found = dates(repository, serving())
    await found.read_due(NOW_MS)
    assert found.days(NOW_MS) == {}
    record(repository, LIVE, date(2024, 10, 4))
    await found.read_due(NOW_MS + HOUR_MS - 1)
    assert found.days(NOW_MS) == {}
    await found.read_due(NOW_MS + HOUR_MS)
    assert found.days(NOW_MS) == {(LIVE[:12], "cards", "1"): 1.0}
    record(repository, LIVE, None, "2024-10-02T00:00:00.000Z")
    await found.read_due(NOW_MS + 2 * HOUR_MS)
    assert found.days(NOW_MS) == {}


async def test_an_overdue_review_counts_below_0(repository: Repository, caplog: pytest.LogCaptureFixture) -> None:
    record(repository, LIVE, date(2024, 10, 1))
    found = dates(repository, serving())
    await found.read_due(NOW_MS)
    assert found.days(NOW_MS) == {(LIVE[:12], "cards", "1"): -2.0}
    assert "review overdue by 3 days, since 2024-10-01" in caplog.text


async def test_a_card_that_cannot_be_read_is_warned_of_and_the_last_date_stays(
    repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    record(repository, LIVE, date(2024, 12, 1))
    found = dates(repository, serving())
    await found.read_due(NOW_MS)
    repository.write(f"cards/{LIVE}/{10**14}-00000000.json", b"{")
    for hours in (1, 2):
        await found.read_due(NOW_MS + hours * HOUR_MS)
    assert found.days(NOW_MS) == {(LIVE[:12], "cards", "1"): 59.0}
    assert caplog.text.count("review date unknown, since its card cannot be read: cards/") == 1
