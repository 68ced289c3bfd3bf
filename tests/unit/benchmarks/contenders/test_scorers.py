"""What contenders compute: equal to ours from the same histories, and by hand where an author writes features."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.contenders.model import make_model
from benchmarks.contenders.scorers import ContenderScore, Payment, SameFeatures, Scorer, decoded, load_model
from benchmarks.contenders.simple_features import COLUMNS, SimpleFeatures
from features.declaration import load
from features.memory_store import MemoryStore
from features.vector.vectorise import vectorise
from fraudstream.bench.payments import payments
from models.repository import Repository
from stream.errors import MeasurementError

FEATURES = load(None)
DAY_S = 86_400


class FakePipeline:
    """Sorted sets and hashes of a Redis server, as far as contenders use them; commands run as they are queued."""

    def __init__(self) -> None:
        self.sets: dict[str, dict[Any, float]] = {}
        self.hashes: dict[str, dict[bytes, bytes]] = {}
        self.replies: list[Any] = []

    def zrange(self, name: str, start: float | str, end: float | str, *, byscore: bool) -> None:
        assert byscore
        low = float(str(start).removeprefix("("))
        high = float(end)
        found = sorted((score, member) for member, score in self.sets.get(name, {}).items())
        is_open = str(start).startswith("(")
        self.replies.append(
            [member for score, member in found if (score > low if is_open else score >= low) and score <= high]
        )

    def zadd(self, name: str, mapping: dict[Any, float]) -> None:
        encoded = {key.encode() if isinstance(key, str) else key: score for key, score in mapping.items()}
        self.sets.setdefault(name, {}).update(encoded)
        self.replies.append(1)

    def zremrangebyscore(self, name: str, _low: str, high: float) -> None:
        self.sets[name] = {member: score for member, score in self.sets.get(name, {}).items() if score > high}
        self.replies.append(0)

    def hgetall(self, name: str) -> None:
        self.replies.append(dict(self.hashes.get(name, {})))

    def hincrby(self, name: str, field: str, by: int) -> None:
        counts = self.hashes.setdefault(name, {})
        counts[field.encode()] = str(int(counts.get(field.encode(), b"0")) + by).encode()
        self.replies.append(1)

    def taken(self) -> list[Any]:
        replies, self.replies = self.replies, []
        return replies


def some_payments(count: int) -> list[Payment]:
    return [Payment(one.key, one.value) for one in payments(count, seed=5)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A repository with a model, and its digest."""
    folder = str(tmp_path_factory.mktemp("models"))
    return folder, make_model(Repository(folder), FEATURES, some_payments(1_000))


@pytest.mark.parametrize("size", [1, 64])
def test_contenders_with_our_features_have_our_scores_to_the_bit(kept: tuple[str, str], size: int) -> None:
    model, some, pipeline = load_model(*kept), some_payments(300), FakePipeline()
    scorer = Scorer(SameFeatures(FEATURES, "k"), model)
    answers: list[bytes] = []
    for first in range(0, len(some), size):
        asked = scorer.ask(pipeline, some[first : first + size])
        answers += scorer.answer(asked, pipeline.taken())
    columns = decoded(some)
    expected = model.score(vectorise(FEATURES, columns, MemoryStore(FEATURES).observe_now(columns)))
    scores = [msgspec.json.decode(one, type=ContenderScore) for one in answers]
    assert [one.transaction_id for one in scores] == list(columns.transaction_ids)
    assert [one.score for one in scores] == expected.tolist()
    assert [one.decision for one in scores] == model.decide(expected)


def test_the_measurements_model_tells_payments_apart(kept: tuple[str, str]) -> None:
    columns = decoded(some_payments(300))
    scores = load_model(*kept).score(vectorise(FEATURES, columns, MemoryStore(FEATURES).observe_now(columns)))
    assert len(set(scores.tolist())) > 250
    assert np.ptp(scores) > 0.05


def test_a_model_that_is_not_there_is_told_of(kept: tuple[str, str]) -> None:
    with pytest.raises(MeasurementError, match=r"model f{64} cannot be used: "):
        load_model(kept[0], "f" * 64)


def by_hand(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the columns of the last payment."""
    features, pipeline = SimpleFeatures(FEATURES.names, "k"), FakePipeline()
    for row in rows:
        asked = features.ask(pipeline, [Payment(b"", msgspec.json.encode(row))])
        names, matrix = features.read(asked, pipeline.taken())
    assert names == [(rows[-1]["transaction_id"], rows[-1]["card_id"])]
    columns = dict(zip(FEATURES.names, matrix[0].tolist(), strict=True))
    assert {name for name, value in columns.items() if not np.isnan(value)} <= set(COLUMNS)
    return {name: columns[name] for name in COLUMNS}


def at(time: str, name: str, amount: int, merchant: str = "m1", card: str = "c") -> dict[str, Any]:
    return {
        "transaction_id": name,
        "card_id": card,
        "merchant_id": merchant,
        "amount_minor": amount,
        "occurred_at": time,
    }


def test_features_by_hand_are_what_their_names_say() -> None:
    rows = [
        at("2026-01-01T10:00:00Z", "a", 1_000),
        at("2026-02-06T03:00:00Z", "b", 2_000, "m2"),
        at("2026-02-07T02:30:00Z", "other card", 100, "m1", "d"),
        at("2026-02-07T02:55:00Z", "c", 4_000, "m2"),
        at("2026-02-07T03:00:00Z", "d", 6_000),
    ]
    found = by_hand(rows)
    assert (found["card_count_10m"], found["card_count_1d"], found["card_count_30d"]) == (2, 2, 3)
    assert (found["card_amount_sum_10m"], found["card_amount_mean_10m"], found["card_amount_max_30d"]) == (100, 50, 60)
    assert (found["card_seconds_since_last"], found["card_merchants_30d"]) == (300, 2)
    assert (found["merchant_count_delayed_1d"], found["merchant_count_delayed_30d"]) == (0, 0)
    assert (found["is_night"], found["is_weekend"]) == (1, 1)
    later = by_hand([*rows, at("2026-02-08T12:00:00Z", "e", 100)])
    assert (later["merchant_count_delayed_1d"], later["merchant_count_delayed_30d"]) == (2, 2)
    assert later["is_night"] == 0
    assert later["card_seconds_since_last"] == DAY_S + 9 * 3600
