"""The age of histories, as the workers of a deployment share it."""

from typing import Any, cast

import numpy as np
import pytest

from features.declaration import DAY_MS
from features.errors import StoreUnavailableError
from features.history.store import Fate, Ints
from features.redis.age import REREAD_MS, HistoryAge
from features.redis.keys import SINGLE_SERVER_SHARDS, KeyLayout
from support.features.stored_hashes import HashConnection

LAYOUT = KeyLayout("fraudstream:", "default", SINGLE_SERVER_SHARDS)
NOW_MS = 20_000 * DAY_MS


class Clock:
    now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


def age(connection: HashConnection, clock: Clock | None = None) -> HistoryAge:
    return HistoryAge(cast("Any", connection), LAYOUT, clock or Clock())


def on(*days: int) -> Ints:
    return np.array([day * DAY_MS + 5 for day in days], np.int64)


def note(one: HistoryAge, *days: int) -> None:
    one.note(on(*days), [Fate.DECIDE] * len(days))


def known_age(age: HistoryAge) -> int | None:
    return None if age.known is None else age.known.age


async def test_the_age_is_not_known_until_it_was_read_and_0_without_payments() -> None:
    one = age(HashConnection())
    assert (one.known, one.at(on(20_000))) == (None, None)
    await one.sync(1)
    assert known_age(one) == 0
    assert one.at(on(20_000, 19_999)).tolist() == [0, 0]  # type: ignore[union-attr]


async def test_a_payment_counts_at_once_and_is_written_at_the_next_sync() -> None:
    connection = HashConnection()
    one = age(connection)
    await one.sync(1)
    note(one, 19_990, 19_991, 19_992)
    assert known_age(one) == 2
    assert one.at(on(19_992, 19_991, 19_992)).tolist() == [2, 1, 2]  # type: ignore[union-attr]
    assert connection.hashes == {LAYOUT.payment_days: {}}
    await one.sync(1)
    assert connection.hashes == {LAYOUT.payment_days: {b"19990": b"1", b"19991": b"1", b"19992": b"1"}}
    before = len(connection.calls)
    note(one, 19_991, 19_992)
    await one.sync(1)
    assert len(connection.calls) == before


async def test_a_worker_learns_within_a_minute_what_others_wrote() -> None:
    connection, clock = HashConnection(), Clock()
    here, there = age(connection, clock), age(connection, clock)
    await here.sync(1)
    await there.sync(1)
    note(there, *range(19_960, 20_000))
    await there.sync(1)
    clock.now_ms += REREAD_MS - 1
    await here.sync(1)
    assert known_age(here) == 0
    clock.now_ms += 1
    await here.sync(1)
    assert known_age(here) == 39


async def test_after_a_loss_only_what_is_stored_or_applied_again_counts() -> None:
    connection = HashConnection()
    one = age(connection)
    await one.sync(1)
    note(one, *range(19_960, 20_000))
    await one.sync(1)
    connection.hashes.clear()
    await one.sync(2)
    assert known_age(one) == 0
    note(one, *range(19_970, 20_000))
    assert known_age(one) == 29
    await one.sync(2)
    assert len(connection.hashes[LAYOUT.payment_days]) == 30


async def test_days_that_could_not_be_written_are_written_later() -> None:
    connection = HashConnection()
    one = age(connection)
    note(one, 19_999)
    connection.fails = StoreUnavailableError("away")
    with pytest.raises(StoreUnavailableError, match="away"):
        await one.sync(1)
    connection.fails = None
    await one.sync(1)
    assert connection.hashes[LAYOUT.payment_days] == {b"19999": b"1"}


async def test_fields_that_are_no_days_are_left_out() -> None:
    connection = HashConnection()
    connection.hashes[LAYOUT.payment_days] = {
        b"19999": b"1",
        b"x": b"1",
        b"-1": b"1",
        b"9" * 7: b"1",
        "٣".encode(): b"",
    }
    one = age(connection)
    await one.sync(1)
    assert one.at(on(20_000)).tolist() == [1]  # type: ignore[union-attr]
