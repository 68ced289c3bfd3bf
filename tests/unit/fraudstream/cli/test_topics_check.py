"""What `fraudstream topics check` prints, and its exit code."""

import json
from collections.abc import Mapping, Sequence

import pytest
from click.testing import CliRunner, Result

from features.declaration import DAY_MS
from features.history.store import Entity
from fraudstream.cli import topics
from fraudstream.cli.main import main
from fraudstream.ops.repair.id_sample import IdCount, IdReport
from fraudstream.ops.repair.partitioners import PARTITIONERS, KeySample, Placement
from stream.kafka.topic_settings import Deviation, Findings
from stream.settings import Settings

HASH = {one.name: one.hash for one in PARTITIONERS}
CARDS = [f"card-{number}".encode() for number in range(300)]


def placed(name: str, partitions: int) -> set[Placement]:
    return {(card, HASH[name](card) % partitions) for card in CARDS}


def check(
    monkeypatch: pytest.MonkeyPatch, samples: dict[str, KeySample], *arguments: str, short: Sequence[Deviation] = ()
) -> Result:
    async def sample_keys(_settings: Settings, topic: str, _records: int, _seconds: float) -> KeySample:
        return samples[topic]

    async def losing_settings(_settings: Settings, horizons_ms: Mapping[Entity, int]) -> Findings:
        assert horizons_ms[Entity.MERCHANT] == 44 * DAY_MS
        return Findings(tuple(short), ())

    monkeypatch.setattr(topics, "sample_keys", sample_keys)
    monkeypatch.setattr(topics, "losing_settings", losing_settings)
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


def test_a_topic_that_kafka_deletes_before_features_need_it_no_more_ends_with_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample = KeySample("labels", 12, 3000, 0, placed("murmur2", 12))
    short = [Deviation(one, "retention.ms", "604800000", "3888000000") for one in ("transactions", "labels")]
    done = check(monkeypatch, {"labels": sample}, "--topic", "labels", short=short)
    assert done.exit_code == 1
    assert "labels: one partitioner" in done.stdout
    assert "labels: retention.ms is 604800000 instead of 3888000000, so records that are needed will be" in done.stdout
    assert "transactions:" not in done.stdout, "only the topic that was asked for"
    listed = json.loads(check(monkeypatch, {"labels": sample}, "--topic", "labels", "--json", short=short).stdout)
    assert [(one["topic"], one["wanted"]) for one in listed["short"]] == [("labels", "3888000000")]


@pytest.mark.parametrize(("refused", "code"), [(0, 0), (3, 1)])
def test_ids_are_counted_by_field_with_what_could_be_declared(
    monkeypatch: pytest.MonkeyPatch, refused: int, code: int
) -> None:
    async def sample_ids(_settings: Settings, topic: str, *_: object) -> IdReport:
        counts = [IdCount("card_id", 900, refused, ["digits:16"]), IdCount("device_id", 10, 2, [])]
        return IdReport(topic, 1_000, 4, counts, is_whole=False)

    monkeypatch.setattr(topics, "sample_ids", sample_ids)
    arguments = ["topics", "check", "--ids", "--topic", "transactions"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == code
    lines = done.stdout.splitlines()
    assert lines[0].startswith("transactions: 1,000 records read, of which 4 cannot be read or are too large; the time")
    assert f"  card_id: {refused:,} of 900 are card numbers by their digits" in lines[1]
    assert (
        "    all have the form digits:16; if they are tokens: FRAUDSTREAM_ID_SHAPES=card_id=digits:16" in lines
    ) is (refused > 0)
    assert lines[-1] == "  device_id: 2 of 10 are card numbers by their digits, each dropped"
    found = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert found["topics"][0]["counts"][0] == {
        "field": "card_id",
        "records": 900,
        "refused": refused,
        "shapes": ["digits:16"],
    }
