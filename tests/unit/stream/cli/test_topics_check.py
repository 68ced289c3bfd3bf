"""What `fraudstream topics check` prints, and its exit code."""

import json

import pytest
from click.testing import CliRunner, Result

from stream.cli import topics
from stream.cli.main import main
from stream.kafka.partitioners import PARTITIONERS, KeySample, Placement
from stream.settings import Settings

HASH = {one.name: one.hash for one in PARTITIONERS}
CARDS = [f"card-{number}".encode() for number in range(300)]


def placed(name: str, partitions: int) -> set[Placement]:
    return {(card, HASH[name](card) % partitions) for card in CARDS}


def check(monkeypatch: pytest.MonkeyPatch, samples: dict[str, KeySample], *arguments: str) -> Result:
    async def sample_keys(_settings: Settings, topic: str, _records: int, _seconds: float) -> KeySample:
        return samples[topic]

    monkeypatch.setattr(topics, "sample_keys", sample_keys)
    return CliRunner().invoke(main, ["topics", "check", *arguments], prog_name="fraudstream")


def test_a_topic_that_grew_is_told_apart_and_ends_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = KeySample("labels", 12, 3000, 4, placed("murmur2", 6) | placed("murmur2", 12))
    done = check(monkeypatch, {"labels": sample}, "--topic", "labels")
    first, now, before, without = done.stdout.splitlines()
    assert done.exit_code == 0
    assert first == "labels: one partitioner (3,000 records of 300 cards read, on 12 partitions)"
    assert now.startswith("  murmur2: 300 cards; Java's client")
    assert before.startswith("  murmur2 when there were 6 partitions: ")
    assert without.startswith("  4 records have no key")


def test_cards_on_several_partitions_end_with_1_as_text_and_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    scattered = {(card, (at + turn) % 12) for turn in range(3) for at, card in enumerate(CARDS)}
    samples = {"transactions": KeySample("transactions", 12, 900, 0, scattered)}
    samples["labels"] = KeySample("labels", 12, 300, 0, placed("crc32", 12))
    done = check(monkeypatch, samples)
    assert done.exit_code == 1
    assert "transactions: cards are on several partitions" in done.stdout
    assert f"  another or none: {len(scattered)} cards" in done.stdout
    assert "  on two partitions or more: 300 cards, 100.0% of those read" in done.stdout
    assert "labels: one partitioner" in done.stdout
    told = check(monkeypatch, samples, "--json")
    assert told.exit_code == 1
    assert [(one["topic"], one["verdict"]) for one in json.loads(told.stdout)["topics"]] == [
        ("transactions", "scattered"),
        ("labels", "one"),
    ]
