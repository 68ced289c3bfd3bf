"""Notes of commits are kept one for each part, whatever the key held before, and expire."""

import pytest
from redis import asyncio as redis_asyncio

from features.declaration import DAY_MS
from features.redis.progress import CommitNotes, LogPart, parse_part
from features.redis.store import DEFAULT, open_connection

pytestmark = pytest.mark.integration

PAID, LABELLED = LogPart(of_labels=False, partition=3), LogPart(of_labels=True, partition=3)
PREDICTED = LogPart(of_labels=False, partition=3, of_predictions=True)
KEY = "fraudstream:noted:epoch:commits"


async def test_the_last_note_of_each_part_is_read_and_nothing_else(server: str, client: redis_asyncio.Redis) -> None:
    connection, layout = open_connection(server, "noted", DEFAULT)
    await connection.check_server()
    notes = CommitNotes(connection, layout)
    try:
        assert await notes.read() == {}
        await notes.write({})
        await client.set(KEY, "another client's")
        assert await notes.read() == {}
        await notes.write({PAID: b"first", LABELLED: b"\xff\x00"})
        await notes.write({PAID: b"second", PREDICTED: b"third"})
        await client.hset(KEY, "what:ever", "x")
        assert await notes.read() == {PAID: b"second", LABELLED: b"\xff\x00", PREDICTED: b"third"}
        known_before = {parse_part(field.decode()) for field in await client.hkeys(KEY)}
        assert known_before - {None} == {PAID, LABELLED}, "the version before would take predictions for transactions"
        assert 44 * DAY_MS < await client.pttl(KEY) <= 45 * DAY_MS
    finally:
        await connection.close()
