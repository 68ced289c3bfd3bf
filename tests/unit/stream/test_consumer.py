import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from aiokafka import ConsumerRecord as AiokafkaRecord
from confluent_kafka import KafkaError, Message
from hypothesis import given
from hypothesis import strategies as st

from models.decline_cap import MOST_NOTED_ARMS, DeclineWindow
from stream.consumer import Headers, Standing, ValidScores, trace_of
from stream.positions.offsets import Decision, Position, identity_of, parse_metadata, read_topic_note, topic_note
from stream.positions.score_tails import start_at
from support.handmade_scores import score
from support.stream_records import Told

with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # its import calls what Python will remove
    from kafka.consumer.fetcher import ConsumerRecord as KafkaPythonRecord

PLACES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), max_size=30)


def validity_by_rule(scores: Iterable[tuple[int, int]]) -> list[bool]:
    """Apply the contract's rule to each score and all scores before it, without state in between."""
    seen: list[tuple[int, int]] = []
    verdicts: list[bool] = []
    for epoch, offset in scores:
        highest = max((earlier for earlier, _ in seen), default=-1)
        last = max((earlier for (_, earlier), valid in zip(seen, verdicts, strict=True) if valid), default=-1)
        verdicts.append(epoch >= highest and offset > last)
        seen.append((epoch, offset))
    return verdicts


@given(PLACES)
def test_a_standing_decides_validity_as_the_whole_partition_does(places: list[tuple[int, int]]) -> None:
    standing, found = Standing(), []
    for epoch, offset in places:
        found.append(standing.is_valid(epoch, offset))
        standing = standing.after(epoch, offset)
    assert found == validity_by_rule(places)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 8)), max_size=30))
def test_valid_scores_applies_the_rule_by_partition_and_counts_void_scores(
    scores: list[tuple[int, int, int]],
) -> None:
    valid = ValidScores[Told]()
    passed = [
        (record.partition, one.epoch, one.source.offset)
        for record, one in valid.of(
            Told(score(0, epoch, 0, at), partition=partition) for partition, epoch, at in scores
        )
    ]
    expected: list[tuple[int, int, int]] = []
    for partition in range(3):
        places = [(epoch, at) for of, epoch, at in scores if of == partition]
        good = [place for place, verdict in zip(places, validity_by_rule(places), strict=True) if verdict]
        assert [(epoch, at) for of, epoch, at in passed if of == partition] == good
        expected += [(partition, *place) for place in good]
    assert valid.void == len(scores) - len(expected)


def test_the_epoch_of_a_void_score_raises_the_highest_epoch() -> None:
    standing = Standing().after(1, 5).after(2, 5)
    assert standing == Standing(2, 5)
    assert not standing.is_valid(1, 6)
    assert standing.is_valid(2, 6)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=30),
)
def test_workers_that_each_resume_at_the_standing_they_read_decide_each_offset_once(
    reads: list[int], turns: list[tuple[int, int]]
) -> None:
    """A worker of a higher epoch resumes at the standing it read; each writes without gaps, any number of times."""
    log: list[tuple[int, int]] = []
    standing, next_offset = Standing(), dict[int, int]()
    for worker, count in turns:
        if worker not in next_offset:
            if worker < standing.highest_epoch:
                continue  # a new epoch is not below any epoch that was read
            next_offset[worker] = standing.last_place + 1
        for _ in range(count + reads[0]):
            log.append((worker, next_offset[worker]))
            standing = standing.after(*log[-1])
            next_offset[worker] += 1
    valid = [offset for (_, offset), verdict in zip(log, validity_by_rule(log), strict=True) if verdict]
    assert valid == list(range(len(valid)))


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"x",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"more":' + b"[" * 100_000,
        b"\xff",
        score(0, -1, 0, 0),
        score(0, 1, 0, -1),
    ],
)
def test_an_unreadable_score_is_counted_and_does_not_affect_the_next(value: bytes | None) -> None:
    valid = ValidScores[Told]()
    assert [one.epoch for _, one in valid.of([Told(value), Told(score(0, 0, 0, 0))])] == [0]
    assert (valid.unreadable, valid.void) == (1, 0)


def test_a_consumer_resumes_from_stored_standings() -> None:
    first = ValidScores[Told]()
    assert len(list(first.of([Told(score(0, 1, 0, 0)), Told(score(0, 1, 0, 1))]))) == 2
    second = ValidScores[Told](standings=dict(first.standings))
    assert [one.source.offset for _, one in second.of([Told(score(0, 1, 0, 1)), Told(score(0, 1, 0, 2))])] == [2]


# --- records as the clients return them


def by_aiokafka(value: bytes | None, headers: Headers = ()) -> Any:
    return AiokafkaRecord("scores", 2, 7, 0, 0, b"c", value, None, 1, 0, tuple(headers))


def by_kafka_python(value: bytes | None, headers: Headers = ()) -> Any:
    names = dict.fromkeys(KafkaPythonRecord._fields)
    fields = {"topic": "scores", "partition": 2, "offset": 7, "value": value, "headers": list(headers)}
    return KafkaPythonRecord(**names | fields)


def by_confluent_kafka(value: bytes | None, headers: Headers = ()) -> Any:
    return Message("scores", 2, 7, b"c", value, list(headers) or None)


CLIENTS = [by_aiokafka, by_kafka_python, by_confluent_kafka]


@pytest.mark.parametrize("fetched", CLIENTS)
def test_valid_scores_takes_the_records_of_each_client_as_they_come(fetched: Callable[..., Any]) -> None:
    records = [fetched(value) for value in (score(0, 1, 0, 0), None, score(0, 0, 0, 1), b"no score", score(0, 1, 0, 1))]
    valid: ValidScores[Any] = ValidScores()
    passed = list(valid.of(records))
    assert [one.source.offset for _, one in passed] == [0, 1]
    assert [record for record, _ in passed] == [records[0], records[4]]
    assert (valid.void, valid.unreadable) == (1, 2)
    assert valid.standings == {2: Standing(1, 1)}


@pytest.mark.parametrize("fetched", CLIENTS)
def test_the_trace_of_a_record_of_each_client_is_found(fetched: Callable[..., Any]) -> None:
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = [("other", b"1"), ("traceparent", trace)]
    assert trace_of(fetched(b"", headers)) == {"traceparent": trace.decode()}
    assert trace_of(fetched(b"")) == {}


def test_an_error_of_confluent_kafka_in_place_of_a_record_is_raised_and_nothing_before_it_is_lost() -> None:
    failed = Message("scores", 2, error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    valid: ValidScores[Any] = ValidScores()
    found = valid.of([by_confluent_kafka(score(0, 1, 0, 0)), failed, by_confluent_kafka(score(0, 1, 0, 1))])
    assert next(found)[1].source.offset == 0
    with pytest.raises(ValueError, match=r"in place of a record of partition 2: .*TOPIC_AUTHORIZATION_FAILED"):
        next(found)
    assert (valid.unreadable, valid.standings) == (0, {2: Standing(1, 0)})


# --- the worker's position on the scores topic

COUNTS = st.integers(0, 2**62)


@given(st.integers(-1, 2**62), st.integers(-1, 2**62), COUNTS, COUNTS, st.integers(0, 511))
def test_commit_metadata_round_trips_in_less_than_160_characters(
    epoch: int, offset: int, revision: int, scores_offset: int, log: int
) -> None:
    identity, topic_id = identity_of("card-1", "t-1"), "6b1d1b5c-6c3e-4a44-9a2b-7c0e0a1f2b3c"
    position = Position(Standing(epoch, offset), revision, scores_offset, ((revision, offset),), 0, identity, topic_id)
    position = position._replace(log=log)
    assert parse_metadata(position.to_metadata()) == position._replace(cutovers=())
    assert len(position.to_metadata()) < 160


windows = st.builds(DeclineWindow, st.integers(0, 2**2_000 - 1), st.booleans())


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9._:@-]{1,64}", fullmatch=True), windows, max_size=MOST_NOTED_ARMS - 1))
def test_the_windows_of_the_cap_on_declines_fit_into_a_commit(declines: dict[str, DeclineWindow]) -> None:
    identity, topic_id = identity_of("card-1", "t-1"), "6b1d1b5c-6c3e-4a44-9a2b-7c0e0a1f2b3c"
    position = Position(Standing(2**62, 2**62), 2**62, 2**62, (), 0, identity, topic_id, 511, declines)
    metadata = position.to_metadata(with_declines=True)
    assert parse_metadata(metadata) == position
    assert len(metadata.encode()) <= 4_096


def test_a_commit_without_them_is_one_that_the_version_before_reads() -> None:
    before = Position(Standing(3, 40), 2, 50, identity="i", topic_id="t")
    held = before._replace(declines={"live": DeclineWindow(5, overruled=True)})
    assert held.to_metadata() == before.to_metadata() == '[3,40,2,50,"i","t"]'
    assert parse_metadata(held.to_metadata()) == before


def test_a_commit_names_the_log_beside_the_topic_unless_it_is_the_first() -> None:
    assert (topic_note("id", 0), topic_note("id", 2), topic_note("", 1)) == ("id", "id@2", "@1")
    assert [read_topic_note(one) for one in ("id", "id@2", "@1", "")] == [("id", 0), ("id", 2), ("", 1), ("", 0)]
    for odd in ("id@", "id@0", "id@x", "id@1000", "id@-1", "id@\u0661"):
        assert read_topic_note(odd) == (odd, 0)


def test_commit_metadata_of_the_form_before_identities_is_read() -> None:
    assert parse_metadata("[3,40,2,50]") == Position(Standing(3, 40), 2, 50)


@given(
    st.text() | st.none() | st.sampled_from(["[]", "[1,2,3]", "[1,2,3,4,5]", "[1,2,3,-1]", "[-2,0,0,0]", "[1,2,-3,0]"])
)
def test_foreign_commit_metadata_means_the_beginning_of_the_topic(metadata: str | None) -> None:
    assert parse_metadata(metadata) == Position()


@pytest.mark.parametrize(
    "metadata", ["[1,2,3,true]", "[1,2,3,1.0]", '["1",2,3,4]', "[9223372036854775808,0,0,0]", "\ud800", "[" * 100_000]
)
def test_commit_metadata_of_wrong_types_or_bounds_means_the_beginning_of_the_topic(metadata: str) -> None:
    assert parse_metadata(metadata) == Position()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8), st.integers(0, 5)), max_size=30))
def test_a_position_counts_every_score_and_follows_standing_revision_and_cutovers(
    scores: list[tuple[int, int, int]],
) -> None:
    position, standing, revision = Position(), Standing(), 0
    for epoch, offset, at in scores:
        position = position.after(Decision(epoch, at, offset, f"{offset}"))
        revision = max(revision, at) if standing.is_valid(epoch, offset) else revision
        standing = standing.after(epoch, offset)
    assert (position.standing, position.revision, position.scores_offset) == (standing, revision, len(scores))
    revisions = [at for at, _ in position.cutovers]
    assert revisions == sorted(set(revisions))


def test_the_tail_is_read_from_the_committed_position_unless_the_topic_was_recreated() -> None:
    committed = Position(Standing(3, 40), 2, 50)
    assert start_at(committed, 0, 60) == committed
    assert start_at(committed, 0, 50) == committed
    assert start_at(committed, 55, 60) == committed._replace(scores_offset=55)
    assert start_at(committed, 0, 49) == Position()
    assert start_at(committed, 7, 49) == Position(scores_offset=7)


@pytest.mark.parametrize("headers", [(), [("traceparent", None)], [("traceparent", b"\xff")], [("other", b"x")]])
def test_a_score_without_a_trace_gives_an_empty_carrier(headers: Any) -> None:
    assert trace_of(Told(headers=headers)) == {}
