"""The watch beside the guard: what it counts of a fetch, all of it or nothing, and what it tells."""

from pathlib import Path

import msgspec
import pytest
from aiokafka import TopicPartition

from fraudstream.ops.folds.topics import FetchedPart
from fraudstream.ops.watch.beside import watches
from fraudstream.ops.watch.drift import process
from fraudstream.ops.watch.drift.checkpoint import DriftCheckpoint
from fraudstream.ops.watch.drift.fold import LATENESS_MS
from fraudstream.ops.watch.drift.process import DriftWatcher, read_until
from fraudstream.ops.watch.incidents.told import Told as ToldIncidents
from fraudstream_client.incidents import Incident, IncidentRule
from models.errors import MissingArtifactError, RepositoryUnavailableError
from models.repository import StoredManifest
from models.training_reference import DAY_MS
from stream.settings import Settings
from support.drift_cases import DIGEST, FIRST_DAY, DriftRecord, label, manifest, payments, record
from support.fetched import fetched_part
from support.outcome_cases import outcome_value

SETTINGS = Settings(worker_id="guard-1")
SCORES, OUTCOMES = TopicPartition("scores", 0), TopicPartition("outcomes", 0)
DRAWN = payments([FIRST_DAY], cards=600)
PART = fetched_part(
    {
        SCORES: [record(one, at) for at, one in enumerate(DRAWN)],
        OUTCOMES: [label(one, at, 0, fraud=True, days=1) for at, one in enumerate(DRAWN)],
    },
    {SCORES: 600, OUTCOMES: 600},
    {SCORES: 5, OUTCOMES: 7},
)


class Models:
    """Takes the place of the repository."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def manifest(self, _digest: str) -> StoredManifest:
        if self.error is not None:
            raise self.error
        return StoredManifest(msgspec.json.encode(manifest(None)), 0)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Models:
    found = Models()
    monkeypatch.setattr(process, "Repository", lambda _url: found)
    return found


def counted(watcher: DriftWatcher) -> int:
    return sum(counts.payments for state in watcher._fold.pairs.values() for counts in state.days.values())


async def test_what_was_fetched_is_counted_once_the_repository_responds(models: Models) -> None:
    watcher = DriftWatcher(SETTINGS, None)
    models.error = RepositoryUnavailableError("away")
    for _ in range(2):
        with pytest.raises(RepositoryUnavailableError):
            await watcher._count(PART)
    assert counted(watcher) == 0
    models.error = None
    await watcher._count(PART)
    assert counted(watcher) == 600
    assert watcher._filter.valid.all_void == 0
    (pair,) = watcher._fold.pairs
    assert len(watcher._book.rows(pair)) > 0


async def test_a_restarted_watch_reads_the_manifests_of_what_it_knows_before_any_new_score(
    models: Models, tmp_path: Path
) -> None:
    assert models.error is None
    kept = DriftCheckpoint(tmp_path / "guard.gz")
    first = DriftWatcher(SETTINGS, kept)
    await first._count(PART)
    await first.keep()
    again = DriftWatcher(SETTINGS, kept)
    assert counted(again) == 600
    await again._count(FetchedPart((), {}, {}, {}, {}))
    assert again._fold.advance((FIRST_DAY + 1) * DAY_MS + LATENESS_MS) == []
    assert counted(again) == 0
    (state,) = again._fold.pairs.values()
    assert state.window is not None
    assert state.window.payments == 600


async def test_a_model_that_the_repository_does_not_have_is_warned_of(models: Models) -> None:
    watcher = DriftWatcher(SETTINGS, None)
    models.error = MissingArtifactError("gone")
    await watcher._count(PART)
    assert counted(watcher) == 0
    (warning,) = [one for one in watches(watcher).warnings() if "FRAUDSTREAM_MODELS" in one]
    assert DIGEST[:12] in warning


class Topics:
    """Takes the place of the topics: each fetch is one part."""

    def __init__(self, parts: list[FetchedPart]) -> None:
        self.parts, self.topic_ids = parts, {"scores": "", "outcomes": ""}
        self.positions: dict[TopicPartition, int] = {}

    async def fetch(self) -> FetchedPart:
        return self.parts.pop(0)


class Told:
    """Takes the place of a reader of `incidents` and of a producer of it."""

    def __init__(self) -> None:
        self.told, self.sent = ToldIncidents("default"), list[Incident]()

    async def read_to_end(self) -> None:
        for one in self.sent:
            self.told.add(one)

    async def send_and_wait(self, topic: str, value: bytes, *, key: bytes, headers: list[tuple[str, bytes]]) -> None:
        assert (topic, key, headers) == ("incidents", b"default", [])
        self.sent.append(msgspec.json.decode(value, type=Incident))


def outcomes_until(day: int, values: list[bytes]) -> FetchedPart:
    at_ms = day * DAY_MS + DAY_MS // 2
    found = [DriftRecord(0, at, at_ms, value) for at, value in enumerate(values)]
    until = {SCORES: at_ms, OUTCOMES: (day + 1) * DAY_MS + process.MARGIN_MS}
    return fetched_part({OUTCOMES: found}, {SCORES: 0, OUTCOMES: 0}, until)


async def test_labels_that_stop_are_told_of_at_the_end_of_the_second_day_once_and_survive_a_restart(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert models.error is None
    monkeypatch.setattr(process, "_TURN_SECONDS", 0.0)
    by_customer = [outcome_value(card_id=f"c-{at}", reported_by="customer") for at in range(20)]
    parts = [outcomes_until(FIRST_DAY + day, by_customer if day < 21 else []) for day in range(24)]
    kept, told = DriftCheckpoint(tmp_path / "guard.gz"), Told()
    watcher = DriftWatcher(SETTINGS, kept)
    said = []
    for day, part in enumerate(parts):
        if day == 22:  # a restart within the alarm's two days
            await watcher.keep()
            watcher = DriftWatcher(SETTINGS, kept)
        watcher._topics = Topics([part])  # type: ignore[assignment]
        await watcher.turn((told, told))  # type: ignore[arg-type]
        said.append(len(told.sent))
    assert said == [0] * 22 + [1, 1]
    (incident,) = told.sent
    assert (incident.rule, incident.since[:10]) == (IncidentRule.LABELS_MISSING, "2026-01-26")
    gauges = watcher.gauges.gauges()
    assert gauges["fraudstream.labels.missing"]() == {(): 1}
    assert gauges["fraudstream.labels.ratio"]()["labels",] == 0
    assert gauges["fraudstream.labels.age"]().keys() == {("labels",), ("cards with fraud",)}


def test_scores_are_read_up_to_the_least_of_their_partitions_once_each_was_read() -> None:
    other = TopicPartition("scores", 1)
    assert read_until(PART, "scores") == 5
    assert read_until(PART._replace(positions={SCORES: 1, other: 1, OUTCOMES: 1}), "scores") is None
    both = PART._replace(positions={SCORES: 1, other: 1}, until_ms={SCORES: 9, other: 4})
    assert read_until(both, "scores") == 4
