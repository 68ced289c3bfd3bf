"""`fraudstream erase`: where the record goes, what is refused before it is sent, and what is said to be left."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from features.declaration import DAY_MS
from features.history.store import Entity
from fraudstream.cli.main import main
from fraudstream.ops.repair import erasing, remains
from fraudstream.ops.repair.erasing import partition_of
from fraudstream.ops.repair.partitioners import HASHES, KeySample
from fraudstream.ops.repair.remains import Remain, remains_of
from models.times import format_time
from stream.errors import UnsentCommandError
from stream.kafka.topic_settings import TopicConfiguration
from stream.kafka.topics import LAYOUTS, UNLIMITED
from stream.settings import Settings

NOW_MS = 1_700_000_000_000
CARDS = [f"card-{number}".encode() for number in range(60)]


def sampled(monkeypatch: pytest.MonkeyPatch, placements: set[tuple[bytes, int]], partitions: int = 4) -> None:
    """Let the last records of the topic have these keys on these partitions."""

    async def sample(_settings: Settings, topic: str, _records: int, _seconds: float) -> KeySample:
        return KeySample(topic, partitions, len(placements), 0, placements)

    monkeypatch.setattr(erasing, "sample_keys", sample)


def placed(partitioner: str, partitions: int = 4) -> set[tuple[bytes, int]]:
    """Return where a partitioner puts the cards."""
    return {(card, HASHES[partitioner](card) % partitions) for card in CARDS}


@pytest.mark.parametrize("partitioner", ["murmur2", "crc32", "fnv1a"])
def test_the_record_goes_where_the_producers_partitioner_puts_the_card(
    monkeypatch: pytest.MonkeyPatch, partitioner: str
) -> None:
    sampled(monkeypatch, placed(partitioner))
    found = asyncio.run(partition_of(Settings(), "another"))
    assert found == HASHES[partitioner](b"another") % 4


def test_the_cards_own_records_come_before_any_partitioner(monkeypatch: pytest.MonkeyPatch) -> None:
    own = next(number for number in range(4) if HASHES["crc32"](b"another") % 4 != number)
    sampled(monkeypatch, {*placed("crc32"), (b"another", own)})
    assert asyncio.run(partition_of(Settings(), "another")) == own


def test_an_empty_topic_is_taken_for_one_of_javas_client(monkeypatch: pytest.MonkeyPatch) -> None:
    sampled(monkeypatch, set())
    assert asyncio.run(partition_of(Settings(), "another")) == HASHES["murmur2"](b"another") % 4


@pytest.mark.parametrize(
    "placements",
    [
        placed("murmur2") | placed("crc32"),
        {(card, len(card) % 4) for card in CARDS},
        {(b"another", 0), (b"another", 1)},
    ],
    ids=["two partitioners", "none that is known", "the card on two partitions"],
)
def test_a_partition_that_cannot_be_told_has_to_be_named(
    monkeypatch: pytest.MonkeyPatch, placements: set[tuple[bytes, int]]
) -> None:
    sampled(monkeypatch, placements)
    with pytest.raises(UnsentCommandError, match="--partition"):
        asyncio.run(partition_of(Settings(), "another"))


class Admin:
    """Knows which topics there are."""

    def __init__(self, *names: str) -> None:
        self._names = names

    async def list_topics(self) -> list[str]:
        """Return their names."""
        return list(self._names)


def left(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, Mapping[str, str]], *more: str) -> dict[str, Remain]:
    """Return what is left where topics have these settings."""

    async def configurations(_settings: Settings, _admin: Any) -> dict[str, TopicConfiguration]:
        return {topic: TopicConfiguration(found, frozenset()) for topic, found in values.items()}

    monkeypatch.setattr(remains, "read_configurations", configurations)
    horizons = {Entity.CARD: 37 * DAY_MS, Entity.MERCHANT: 37 * DAY_MS, Entity.DEVICE: 9 * DAY_MS}
    found = asyncio.run(remains_of(Settings(), Admin(*values, *more), horizons, NOW_MS))  # type: ignore[arg-type]
    return {one.where: one for one in found}


def test_what_is_left_has_the_retention_that_topics_have(monkeypatch: pytest.MonkeyPatch) -> None:
    found = left(monkeypatch, {"transactions": {"retention.ms": str(10 * DAY_MS)}, "scores": {}}, "scores-default")
    assert found["topic transactions"].until == format_time(NOW_MS + 10 * DAY_MS)
    assert found["topic scores"].until == format_time(NOW_MS + 400 * DAY_MS), "as applied, if nothing else is known"
    assert found["topic scores-default"].until == format_time(NOW_MS + 90 * DAY_MS)
    assert "topic labels" not in found, "there is none"
    assert found["Redis, the card's history"].until == format_time(NOW_MS + 37 * DAY_MS)
    assert found["Redis, histories of devices"].until == format_time(NOW_MS + 9 * DAY_MS)


def test_what_never_ends_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    found = left(monkeypatch, {"scores": {"retention.ms": str(UNLIMITED)}})
    assert (found["topic scores"].until, "-1" in found["topic scores"].why) == (None, True)
    assert all(one.until or one.why for one in found.values())


def test_every_topic_that_is_about_cards_is_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    about_no_card = {"model-control", "model-events", "incidents"}
    found = left(monkeypatch, {layout.name: {} for layout in LAYOUTS})
    named = {where.removeprefix("topic ") for where in found if where.startswith("topic ")}
    assert named == {layout.name for layout in LAYOUTS} - about_no_card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["card-1"], "--reason is needed"),
        (["card-1", "--reason", "asked", "--up-to", "2999-01-01T00:00:00Z"], "it has not come yet"),
        (["card-1", "--reason", "asked"], "FRAUDSTREAM_SIGNING_KEY"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], message: str
) -> None:
    monkeypatch.setenv("FRAUDSTREAM_MODELS", str(tmp_path))
    found: Result = CliRunner().invoke(main, ["erase", *arguments])
    assert found.exit_code == 2, found.output
    assert message in found.output
