"""The loop: each alert is written once it can be explained, commits follow writes, and repeats say the same."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from features.reason_codes import VERSION
from features.reasons import ReasonTable
from fraudstream.ops.watch.explanations import writes
from fraudstream.ops.watch.explanations.alerts import PartitionReader, ReadPart, ReadProgress
from fraudstream.ops.watch.explanations.process import AlertExplainer
from fraudstream.ops.watch.explanations.reader import Membership
from fraudstream_client.outputs import AlertExplanation, Score
from models.loading import Model
from models.repository import Repository
from stream.engine.publisher import Destination, Outgoing, Published
from stream.engine.tracing import NoOperationTracing
from stream.engine.unpacking import FetchedRecord
from stream.errors import PublishError, SettingsError
from stream.scoring.facts import AlertsExplained, ExplanationOutcome, Fact, VoidFound
from stream.settings import Settings
from support.explanations.alerts import model_in, record, scored
from support.model_artifacts import artifact


class Topic:
    """The partitions of `scores` as one process reads them: two records a fetch."""

    def __init__(self, partitions: Mapping[int, Sequence[FetchedRecord]]) -> None:
        self.partitions = partitions
        self.membership = Membership()
        self.number, self.lag, self.lost, self.unreadable, self.is_settled = 1, 0, 0, 3, True
        self.membership.on_partitions_assigned([TopicPartition("scores", one) for one in partitions])
        self.commits: dict[int, ReadProgress] = {}
        self.readers = {number: PartitionReader(ReadProgress(0), "default") for number in partitions}

    async def look_ahead(self) -> list[Score]:
        readers = [PartitionReader(ReadProgress(0), "default") for _ in self.partitions]
        parts = [one.read(some) for one, some in zip(readers, self.partitions.values(), strict=True)]
        return [alert.score for part in parts for alert in part.alerts]

    async def fetch(self, _wait_ms: int, busy: Collection[int]) -> dict[int, ReadPart]:
        await asyncio.sleep(0)
        found = {}
        for number in self.partitions.keys() - set(busy):
            at = self.readers[number].progress.offset
            if some := self.partitions[number][at : at + 2]:
                found[number] = self.readers[number].read(some)
        return found

    def take_void(self) -> dict[int, int]:
        found = {number: one.void for number, one in self.readers.items() if one.void}
        for one in self.readers.values():
            one.void = 0
        return found

    async def commit(self, progress: Mapping[int, ReadProgress]) -> None:
        self.commits |= progress

    def reassign(self) -> None:
        """Take the partitions away, and give them back where the commits are."""
        self.number += 1
        self.readers = {
            number: PartitionReader(self.commits.get(number, ReadProgress(0)), "default") for number in self.partitions
        }


class Writes:
    """The topic `explanations`; a partition's write may fail, before it or after it, or go on after the call."""

    def __init__(self) -> None:
        self.written: dict[int, list[Outgoing]] = {}
        self.faults: dict[int, list[str]] = {}
        self.released = asyncio.Event()

    async def publish_each(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> Published:
        result = Published({}, {}, {})
        for (topic, number), some in outputs.items():
            assert topic == "explanations"
            faults = self.faults.get(number)
            fault = faults.pop(0) if faults else ""
            if fault != "before":
                self.written.setdefault(number, []).extend(some)
            if fault.startswith("slow"):
                result.pending[topic, number] = asyncio.create_task(self._acknowledge(fault))
            elif fault:
                result.failures[topic, number] = f"{topic} {number} does not acknowledge"
            else:
                result.ends[topic, number] = len(self.written[number])
        return result

    async def _acknowledge(self, fault: str) -> int:
        await self.released.wait()
        if fault == "slow failure":
            raise PublishError("not acknowledged in time")
        return 1

    def explanations(self, number: int) -> list[AlertExplanation]:
        return [msgspec.json.decode(one.value or b"", type=AlertExplanation) for one in self.written.get(number, ())]


class World:
    """An explainer with its topics."""

    def __init__(self, folder: Path, partitions: Mapping[int, Sequence[FetchedRecord]]) -> None:
        self.topic, self.writes, self.facts = Topic(partitions), Writes(), list[Fact]()
        settings = Settings(models=str(folder), commit_interval=1e-9)
        self.explainer = AlertExplainer(settings, ReasonTable(), None, self.facts.append, NoOperationTracing())
        self.explainer._writes._publisher = self.writes  # type: ignore[assignment]
        self.explainer._reader = self.topic  # type: ignore[assignment]

    async def turn(self, times: int = 1) -> None:
        for _ in range(times):
            if await self.explainer.turn(self.topic):  # type: ignore[arg-type]
                self.explainer.trouble = None
            await self.explainer.keep()

    @property
    def outcomes(self) -> list[str]:
        return [one for fact in self.facts if isinstance(fact, AlertsExplained) for one in fact.outcomes]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "RETRY_SECONDS", 0.0)


def partition(model: Model | None, count: int = 6, **changes: Any) -> list[FetchedRecord]:
    """Return records of which every second one is an alert."""
    decided = ["approve", "review"]
    return [record(scored(model, at, decision=decided[at % 2], **changes), at) for at in range(count)]


async def test_each_alert_is_written_to_its_partition_in_order_and_then_committed(tmp_path: Path) -> None:
    some = partition(model_in(tmp_path))
    world = World(tmp_path, {0: some, 3: some})
    await world.turn(8)
    for number in (0, 3):
        assert [one.source.offset for one in world.writes.explanations(number)] == [1, 3, 5]
        assert world.topic.commits[number].offset == 6
        assert [one.key for one in world.writes.written[number]] == [b"card-1", b"card-3", b"card-5"]
    assert world.outcomes == [ExplanationOutcome.EXPLAINED] * 6
    assert world.explainer.reasons() == []
    assert {header for one in world.writes.written[0] for header in one.headers} == {
        ("reason-codes", str(VERSION).encode())
    }


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_what_is_not_acknowledged_is_written_again_and_says_the_same(tmp_path: Path, fault: str) -> None:
    world = World(tmp_path, {0: partition(model_in(tmp_path))})
    world.writes.faults = {0: [fault]}
    await world.turn(2)
    assert world.topic.commits == {0: ReadProgress(0)} or world.topic.commits[0].offset <= 1
    assert world.explainer.reasons() == ["explanations 0 does not acknowledge"]
    await world.turn(8)
    contents: dict[int, set[bytes]] = {}
    for one in world.writes.explanations(0):
        same = msgspec.structs.replace(one, explained_at="2026-01-01T00:00:00.000Z")
        contents.setdefault(one.source.offset, set()).add(msgspec.json.encode(same))
    assert {offset: len(some) for offset, some in contents.items()} == {1: 1, 3: 1, 5: 1}
    assert world.topic.commits[0].offset == 6
    assert world.explainer.reasons() == []


async def test_a_partition_that_no_broker_takes_holds_up_no_other_and_has_none_written_again(tmp_path: Path) -> None:
    some = partition(model_in(tmp_path))
    world = World(tmp_path, {0: some, 1: some})
    world.writes.faults = {1: ["before"] * 1_000}
    await world.turn(12)
    assert [one.source.offset for one in world.writes.explanations(0)] == [1, 3, 5]
    assert (world.topic.commits[0].offset, world.topic.commits[1].offset) == (6, 1)
    assert world.explainer.reasons() == ["explanations 1 does not acknowledge"]
    world.writes.faults = {}
    await world.turn(8)
    assert [one.source.offset for one in world.writes.explanations(1)] == [1, 3, 5]
    assert world.topic.commits[1].offset == 6
    assert world.explainer.reasons() == []


@pytest.mark.parametrize("fault", ["slow", "slow failure"])
async def test_a_write_that_takes_long_is_awaited_beside_the_others(tmp_path: Path, fault: str) -> None:
    some = partition(model_in(tmp_path))
    world = World(tmp_path, {0: some, 1: some})
    world.writes.faults = {1: [fault]}
    await world.turn(12)
    assert len(world.writes.explanations(0)) == 3
    assert len(world.writes.explanations(1)) == 1
    assert world.topic.commits[1].offset == 1
    world.writes.released.set()
    await world.turn(12)
    repeated = fault == "slow failure"
    assert [one.source.offset for one in world.writes.explanations(1)] == [1, 1, 3, 5] if repeated else [1, 3, 5]
    assert world.topic.commits[1].offset == 6
    assert len(world.outcomes) == 6


async def test_after_a_rebalance_a_write_in_progress_advances_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, {0: partition(model_in(tmp_path))})
    world.writes.faults = {0: ["slow"]}
    await world.turn(3)
    world.topic.reassign()
    world.writes.released.set()
    await world.turn(12)
    assert [one.source.offset for one in world.writes.explanations(0)] == [1, 1, 3, 5]
    assert world.topic.commits[0].offset == 6


async def test_a_partition_waits_for_its_missing_model_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraudstream.ops.watch.explanations.models._RETRY_MS", 0)
    there = model_in(tmp_path / "there")
    gone = model_in(tmp_path / "elsewhere", seed=5)
    mixed = [*partition(there, 4), *[record(scored(gone, at), at) for at in (4, 5)]]
    world = World(tmp_path / "there", {0: mixed, 1: partition(there)})
    await world.turn(12)
    assert [one.source.offset for one in world.writes.explanations(0)] == [1, 3]
    assert [one.source.offset for one in world.writes.explanations(1)] == [1, 3, 5]
    assert world.topic.commits[0].offset == 4
    (reason,) = world.explainer.reasons()
    assert reason.startswith(f"alerts of model {gone.digest[:12]} wait: ")
    assert world.explainer.gauges.gauges()["fraudstream.explanations.waiting"]() == {(): 2}
    assert world.explainer.gauges.gauges()["fraudstream.explanations.unreadable"]() == {(): 3}
    Repository(str(tmp_path / "there")).put(artifact(gone.manifest.feature_names, seed=5))
    await world.turn(4)
    assert [one.source.offset for one in world.writes.explanations(0)] == [1, 3, 4, 5]
    assert world.explainer.reasons() == []


async def test_after_a_rebalance_it_goes_on_at_the_commits(tmp_path: Path) -> None:
    world = World(tmp_path, {0: partition(model_in(tmp_path), 12)})
    await world.turn(3)
    committed = world.topic.commits[0].offset
    world.topic.reassign()
    await world.turn(12)
    offsets = [one.source.offset for one in world.writes.explanations(0)]
    assert set(offsets) == {1, 3, 5, 7, 9, 11}
    assert 0 < committed < 12
    assert world.topic.commits[0].offset == 12


async def test_void_scores_are_counted_and_never_explained(tmp_path: Path) -> None:
    model = model_in(tmp_path)
    some = [record(scored(model, at, epoch=epoch), at) for at, epoch in enumerate((2, 2, 1, 2))]
    world = World(tmp_path, {0: some})
    await world.turn(6)
    assert [one.source.offset for one in world.writes.explanations(0)] == [0, 1, 3]
    assert [fact for fact in world.facts if isinstance(fact, VoidFound)] == [VoidFound(0, 1)]


async def test_a_deployment_whose_newest_alert_has_no_features_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, {0: partition(model_in(tmp_path), features=None)})
    with pytest.raises(SettingsError, match="carries no features: set FRAUDSTREAM_SCORE_FEATURES=alerts"):
        await world.turn()
    assert world.writes.written == {}


async def test_alerts_without_features_before_one_that_has_some_are_written_without_reasons(tmp_path: Path) -> None:
    model = model_in(tmp_path)
    bare, whole = scored(model, 0, features=None), scored(model, 1, scored_at="2026-03-01T11:00:00.000Z")
    world = World(tmp_path, {0: [record(bare, 0), record(whole, 1)]})
    await world.turn(3)
    assert world.outcomes == [ExplanationOutcome.NO_FEATURES, ExplanationOutcome.EXPLAINED]
    first, second = world.writes.explanations(0)
    assert first.reasons == ()
    assert second.base is not None
