import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from aiokafka import ConsumerRecord as AiokafkaRecord
from confluent_kafka import KafkaError, Message
from hypothesis import given
from hypothesis import strategies as st

from fraudstream_client.validity import Headers, Standing, ValidScores, trace_of
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


@pytest.mark.parametrize("headers", [(), [("traceparent", None)], [("traceparent", b"\xff")], [("other", b"x")]])
def test_a_score_without_a_trace_gives_an_empty_carrier(headers: Any) -> None:
    assert trace_of(Told(headers=headers)) == {}
