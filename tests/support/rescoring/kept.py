"""Keeps what is needed to look into decisions that differ unexplained, before their topics are gone with the test."""

import gzip
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from support.fleet.fleet import Fleet
from support.paths import HOUSE

TOPICS = ("transactions", "labels", "scores", "outcomes")


def keep_unexplained(fleet: Fleet, examples: Sequence[Mapping[str, Any]]) -> Path | None:
    """Write all records of the cards and merchants of some decisions to a file in build/, with the workers' logs.

    Returns the file; None without examples. Each line is one record: topic, partition, offset, timestamp, value.
    """
    if not examples:
        return None
    folder = HOUSE / "build" / f"unexplained-{time.strftime('%Y%m%d-%H%M%S')}"
    folder.mkdir(parents=True)
    named = {str(one["transaction_id"]) for one in examples}
    records = list(_records(fleet))
    asked = [value for topic, *_, value in records if topic == "transactions" and value["transaction_id"] in named]
    cards, merchants = {one["card_id"] for one in asked}, {one["merchant_id"] for one in asked}
    related = {
        value["transaction_id"]
        for topic, *_, value in records
        if topic == "transactions" and (value["card_id"] in cards or value["merchant_id"] in merchants)
    }
    path = folder / "records.jsonl.gz"
    with gzip.open(path, "wt") as file:
        for record in records:
            if record[-1].get("transaction_id") in related:
                file.write(json.dumps(record) + "\n")
    for log in fleet.folder.glob("worker-*.log"):
        (folder / log.name).write_bytes(log.read_bytes())
    return path


def _records(fleet: Fleet) -> Iterator[tuple[str, int, int, int, dict[str, Any]]]:
    for topic in TOPICS:
        for record in fleet.read(topic):
            yield topic, record.partition, record.offset, record.timestamp, json.loads(record.value or b"{}")
