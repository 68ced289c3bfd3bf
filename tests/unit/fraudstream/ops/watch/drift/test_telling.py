"""Alarms on `incidents`: opened once and closed once, by whichever guard, with and without a checkpoint."""

from pathlib import Path

import msgspec
import pytest

from fraudstream.ops.watch.drift.checkpoint import DriftCheckpoint, StoredPartition, StoredWatch, stored_pairs
from fraudstream.ops.watch.drift.fold import LATENESS_MS, DriftFold, DriftNews
from fraudstream.ops.watch.drift.gauges import DriftGauges
from fraudstream.ops.watch.drift.scores import ScoreFilter
from fraudstream.ops.watch.drift.telling import record_of
from fraudstream.ops.watch.incidents.commands import AcceptedCommands
from fraudstream.ops.watch.incidents.resume import new_state
from fraudstream.ops.watch.incidents.told import Told
from fraudstream_client.incidents import Incident, IncidentKind, IncidentRule
from models.training_reference import DAY_MS
from stream.readers import read_scores
from stream.settings import Settings
from support.drift_cases import DIGEST, FIRST_DAY, TERMS, DriftRecord, new_fold, payments, record
from support.drift_cases import reference as reference_of

SETTINGS = Settings(worker_id="guard-1")
REFERENCE = reference_of(payments(range(FIRST_DAY - 28, FIRST_DAY), seed=7))
DRAWN = [
    *payments(range(FIRST_DAY, FIRST_DAY + 3), seed=11),
    *payments(range(FIRST_DAY + 3, FIRST_DAY + 8), seed=11, moved=2.0),
    *payments(range(FIRST_DAY + 8, FIRST_DAY + 12), seed=11),
]
RECORDS = [record(one, at) for at, one in enumerate(DRAWN)]
END_DAY = FIRST_DAY + 12


class Writer:
    """A guard that tells of what its fold says, on a topic that others write to as well."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.written: list[Incident] = []

    def tell(self, news: list[DriftNews]) -> None:
        for one in news:
            found = record_of(one, self.told.incidents, SETTINGS, TERMS)
            if found is not None:
                assert self.told.add(msgspec.convert(msgspec.to_builtins(found), Incident))
                self.written.append(found)


def daily(fold: DriftFold, read: ScoreFilter, records: list[DriftRecord], days: range) -> list[DriftNews]:
    """Read the records of some days, day by day."""
    news = []
    for day in days:
        fold.add(read.of(read_scores([one for one in records if one.timestamp // DAY_MS == day])))  # type: ignore[arg-type]
        news += fold.advance((day + 1) * DAY_MS + LATENESS_MS)
    return news


@pytest.fixture
def told() -> Told:
    return Told(SETTINGS.deployment)


def test_an_alarm_is_told_of_when_it_opens_and_when_it_closes(told: Told) -> None:
    writer = Writer(told)
    writer.tell(daily(new_fold(REFERENCE), ScoreFilter("default"), RECORDS, range(FIRST_DAY, END_DAY)))
    opened, closed = writer.written
    assert (opened.kind, closed.kind) == (IncidentKind.OPENED, IncidentKind.CLOSED)
    assert (opened.rule, opened.incident_id) == (IncidentRule.DRIFT, closed.incident_id)
    assert opened.since == closed.since == "2026-01-08T00:00:00.000Z"
    assert opened.at == "2026-01-10T06:00:00.000Z"  # after two windows in a row, six hours after the second
    assert opened.events == 400
    assert "amount (" in opened.text
    assert "`fraudstream train FILE --name NAME`" in opened.text
    assert f"fraudstream model watch {DIGEST[:12]}" in opened.text
    assert (closed.until, closed.events) == ("2026-01-12T23:59:59.999Z", 1_000)


def test_a_second_guard_and_one_that_reads_all_again_tell_nothing_twice(told: Told) -> None:
    first, second = Writer(told), Writer(told)
    news = daily(new_fold(REFERENCE), ScoreFilter("default"), RECORDS, range(FIRST_DAY, FIRST_DAY + 7))
    first.tell(news)
    second.tell(news)
    again = Writer(told)
    again.tell(daily(new_fold(REFERENCE), ScoreFilter("default"), RECORDS, range(FIRST_DAY, END_DAY)))
    assert [len(one.written) for one in (first, second, again)] == [1, 0, 1]
    later = Writer(told)
    later.tell(daily(new_fold(REFERENCE), ScoreFilter("default"), RECORDS, range(FIRST_DAY + 4, END_DAY)))
    assert later.written == []  # it begins within the drift, so that its alarm begins later, and it is over


@pytest.mark.parametrize("stop", [1, 4, 9])
async def test_a_guard_that_restarts_from_its_checkpoint_goes_on_as_if_it_had_not(stop: int, tmp_path: Path) -> None:
    days = range(FIRST_DAY, END_DAY)
    whole = daily(new_fold(REFERENCE), ScoreFilter("default"), RECORDS, days)
    fold, read = new_fold(REFERENCE), ScoreFilter("default")
    before = daily(fold, read, RECORDS, days[:stop])
    half = [one for one in RECORDS if one.timestamp // DAY_MS == days[stop]][:90]
    fold.add(read.of(read_scores(half)))  # type: ignore[arg-type]
    kept = DriftCheckpoint(tmp_path / "guard.gz")
    partitions = {0: StoredPartition(90, *read.valid.standings[0])}
    assert await kept.save(StoredWatch("default", "", "id", partitions, stored_pairs(fold), fold.late, fold.looked_to))
    stored = kept.load(SETTINGS)
    assert stored is not None
    assert (stored.topic_id, stored.partitions) == ("id", partitions)
    again = stored.fold(TERMS)
    again.manifests = fold.manifests
    seen = {one.value for one in half}
    rest = [one for one in RECORDS if one.value not in seen]
    after = daily(again, ScoreFilter("default", stored.standings()), rest, days[stop:])
    assert [*before, *after] == whole


async def test_the_first_days_of_a_model_without_a_reference_survive_a_restart(tmp_path: Path) -> None:
    days = range(FIRST_DAY, END_DAY)
    whole = daily(new_fold(None), ScoreFilter("default"), RECORDS, days)
    fold, read = new_fold(None), ScoreFilter("default")
    before = daily(fold, read, RECORDS, days[:4])
    kept = DriftCheckpoint(tmp_path / "guard.gz")
    await kept.save(StoredWatch("default", "", pairs=stored_pairs(fold)))
    stored = kept.load(SETTINGS)
    assert stored is not None
    again = stored.fold(TERMS)
    again.manifests = fold.manifests
    assert [*before, *daily(again, read, RECORDS, days[4:])] == whole
    assert whole


async def test_a_checkpoint_of_another_deployment_or_a_damaged_one_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = DriftCheckpoint(tmp_path / "guard.gz")
    await kept.save(StoredWatch("default", ""))
    assert kept.load(Settings(deployment="other")) is None
    await kept.save(StoredWatch("default", "", pairs=stored_pairs(new_fold(REFERENCE)), version=1))
    assert kept.load(SETTINGS) is None
    (tmp_path / "guard.gz.drift").write_bytes(b"no gzip")
    assert kept.load(SETTINGS) is None
    assert caplog.text.count("is not used") == 3
    assert caplog.text.count("it is of another version, deployment or topic prefix") == 2


def test_the_fold_of_seconds_passes_over_an_open_alarm(told: Told) -> None:
    writer = Writer(told)
    writer.tell(daily(new_fold(REFERENCE), ScoreFilter("default"), RECORDS, range(FIRST_DAY, FIRST_DAY + 7)))
    assert new_state(writer.written, AcceptedCommands(), END_DAY * DAY_MS).episodes == {}


def test_gauges_show_the_last_window_the_worst_features_and_the_alarm() -> None:
    fold, gauges = new_fold(REFERENCE), DriftGauges()
    daily(fold, ScoreFilter("default"), RECORDS, range(FIRST_DAY, FIRST_DAY + 7))
    gauges.show(fold, 1)
    read = {name: dict(value()) for name, value in gauges.gauges().items()}
    label = (DIGEST[:12], "live")
    assert read["fraudstream.drift.alarm"] == {label: 1}
    assert read["fraudstream.drift.over"][label] >= 1
    assert {key[2] for key in read["fraudstream.drift.index"]} == {"amount", "night", "gap", "(score)"}
    assert read["fraudstream.drift.index"][*label, "amount"] > 1
    assert {key[2] for key in read["fraudstream.drift.share"]} == {"alerts", "declines"}
    assert 0 < read["fraudstream.drift.estimated_precision"][label] < 1
