"""Which records are alerts: as a reader of the whole partition by `ValidScores` would say, wherever one begins."""

from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.watch.explanations.alerts import CommittedProgress, PartitionReader, ReadProgress, read_commit
from fraudstream_client.outputs import Decision, Score, Source
from fraudstream_client.validity import Standing, ValidScores
from stream.engine.unpacking import FetchedRecord
from support.explanations.alerts import record, scored


@dataclass(frozen=True)
class Given:
    """What a record of the scores topic is made of."""

    epoch: int
    offset: int
    decision: Decision
    deployment: str
    damaged: bool


GIVEN = st.builds(
    Given,
    st.integers(1, 3),
    st.integers(0, 12),
    st.sampled_from(Decision),
    st.sampled_from(["", "default", "green"]),
    st.sampled_from([False, False, False, True]),
)


def records(given: list[Given]) -> list[FetchedRecord]:
    made = []
    for at, one in enumerate(given):
        source = Source("transactions", 0, one.offset)
        score = scored(None, at, epoch=one.epoch, source=source, decision=one.decision, deployment=one.deployment)
        made.append(record(score, 10 + at))
        if one.damaged:
            made[-1].value = b'{"schema": "score/1"' if at % 2 else None
    return made


def expected(some: list[FetchedRecord]) -> list[Score]:
    """Recount with the consumers' own helper."""
    found = [score for _, score in ValidScores[FetchedRecord]().of(some)]
    return [one for one in found if one.decision is not Decision.APPROVE and one.deployment in ("", "default")]


@given(st.lists(GIVEN, max_size=30), st.integers(1, 5))
def test_alerts_are_the_valid_scores_that_are_not_approved(made: list[Given], step: int) -> None:
    some = records(made)
    reader, found = PartitionReader(ReadProgress(10), "default"), list[Score]()
    for at in range(0, len(some), step):
        found += [alert.score for alert in reader.read(some[at : at + step]).alerts]
    assert found == expected(some)
    judged = ValidScores[FetchedRecord]()
    list(judged.of(some))
    assert reader.void == judged.void
    assert reader.progress.standing == judged.standings.get(0, Standing())


@given(st.lists(GIVEN, max_size=30), st.data())
def test_who_goes_on_at_a_commit_finds_what_is_left(made: list[Given], data: st.DataObject) -> None:
    some = records(made)
    part = PartitionReader(ReadProgress(10), "default").read(some)
    places = [*(alert.before for alert in part.alerts), part.after]
    at = data.draw(st.integers(0, len(places) - 1))
    committed = places[at]
    restored = ReadProgress(committed.offset, read_commit(committed.note("id")).standing or Standing(9, 9))
    rest = PartitionReader(restored, "default").read(some[restored.offset - 10 :])
    assert [alert.score for alert in rest.alerts] == [alert.score for alert in part.alerts[at:]]
    assert rest.after == part.after


def test_records_before_the_first_to_explain_count_for_validity_alone() -> None:
    some = [
        record(scored(None, 0, epoch=2, source=Source("transactions", 0, 5)), 10),
        record(scored(None, 1, epoch=1, source=Source("transactions", 0, 6)), 11),
        record(scored(None, 2, epoch=2, source=Source("transactions", 0, 6)), 12),
    ]
    reader = PartitionReader(ReadProgress(10), "default", first=11)
    assert [alert.before.offset for alert in reader.read(some).alerts] == [12]
    assert reader.void == 1


@pytest.mark.parametrize("metadata", [None, "", "by another program", "[1,2]", '[1,"a",2,"id"]', "[" * 5_000])
def test_a_commit_of_another_program_says_nothing(metadata: str | None) -> None:
    assert read_commit(metadata) == CommittedProgress(None, "")


def test_a_commit_of_a_later_version_keeps_its_topic_and_tells_no_standing() -> None:
    assert read_commit(msgspec.json.encode([2, 5, 6, "id"]).decode()) == CommittedProgress(None, "id")


def test_a_commit_says_the_standing_and_the_topic() -> None:
    assert read_commit(ReadProgress(7, Standing(3, 2**45)).note("id")) == CommittedProgress(Standing(3, 2**45), "id")
