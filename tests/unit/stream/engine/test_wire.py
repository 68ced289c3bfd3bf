"""Requests to fetch and to produce are those of aiokafka to the byte, and answers are read as aiokafka reads them."""

from collections import deque
from io import BytesIO
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest, FetchResponse_v11
from aiokafka.protocol.produce import ProduceRequest, ProduceResponse_v7
from hypothesis import given
from hypothesis import strategies as st

from stream.engine.wire import (
    FETCH,
    FETCH_VERSION,
    PRODUCE,
    PRODUCE_VERSION,
    FetchOptions,
    fetch_body,
    fetched,
    produce_body,
    produced,
    speaks,
    write,
)
from support.broker_connection import VERSIONS, open_connection

INT16 = st.integers(-(2**15), 2**15 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(min_size=1, max_size=12)


class Kept:
    """A receiver that keeps what it gets."""

    def __init__(self) -> None:
        self.result: Any = None
        self.error: BaseException | None = None

    def done(self) -> bool:
        return self.result is not None or self.error is not None

    def set_result(self, result: Any) -> None:
        self.result = result

    def set_exception(self, error: BaseException) -> None:
        self.error = error


def as_aiokafka_writes(request: Any, client_id: str | None) -> bytes:
    made = request.prepare(VERSIONS)
    message = made.build_request_header(correlation_id=1, client_id=client_id).encode() + made.encode()
    return len(message).to_bytes(4, "big") + bytes(message)


@given(
    st.dictionaries(NAMES, st.lists(st.tuples(INT32, st.binary(max_size=40)), max_size=4), max_size=3),
    st.sampled_from([-1, 1]),
    INT32,
    st.none() | NAMES,
)
async def test_a_request_to_produce_is_aiokafkas_to_the_byte(
    topics: dict[str, list[tuple[int, bytes]]], acks: int, timeout_ms: int, client_id: str | None
) -> None:
    with open_connection(client_id) as open_one:
        write(open_one, (PRODUCE, PRODUCE_VERSION), produce_body(acks, timeout_ms, topics), produced, Kept())
        expected = as_aiokafka_writes(ProduceRequest(None, acks, timeout_ms, list(topics.items())), client_id)
        assert open_one._writer.written == [expected]


@given(
    st.lists(st.tuples(NAMES, st.lists(st.tuples(INT32, INT64, INT32), max_size=4)), max_size=3),
    st.builds(FetchOptions, INT32, INT32, INT32, st.sampled_from([0, 1]), st.sampled_from(["", "rack-a"])),
)
async def test_a_request_to_fetch_is_aiokafkas_to_the_byte(
    topics: list[tuple[str, list[tuple[int, int, int]]]], options: FetchOptions
) -> None:
    with open_connection() as open_one:
        write(open_one, (FETCH, FETCH_VERSION), fetch_body(options, topics), fetched, Kept())
        *some, rack = options
        expected = as_aiokafka_writes(FetchRequest(*some, topics, rack_id=rack), "fraudstream-1")
        assert open_one._writer.written == [expected]


PRODUCED = st.tuples(INT32, INT16, INT64, INT64, INT64)
FETCHED = st.tuples(
    INT32,
    INT16,
    INT64,
    INT64,
    INT64,
    st.none() | st.lists(st.tuples(INT64, INT64), max_size=3),
    INT32,
    st.none() | st.binary(max_size=40),
)


def answered(open_one: Any, answer: bytes) -> None:
    """Let a connection read the answer to its only request."""
    open_one._handle_frame((1).to_bytes(4, "big") + answer)


@given(st.dictionaries(NAMES, st.lists(PRODUCED, max_size=4, unique_by=lambda one: one[0]), max_size=3))
async def test_an_answer_to_a_request_to_produce_is_read_as_aiokafka_reads_it(
    topics: dict[str, list[tuple[int, ...]]],
) -> None:
    kept = Kept()
    with open_connection() as open_one:
        write(open_one, (PRODUCE, PRODUCE_VERSION), produce_body(-1, 100, {}), produced, kept)
        answered(open_one, ProduceResponse_v7(list(topics.items()), 0).encode())
        assert kept.result == {(topic, part[0]): part[1:] for topic, parts in topics.items() for part in parts}
        assert open_one._requests == deque()


@given(st.lists(st.tuples(NAMES, st.lists(FETCHED, max_size=4)), max_size=3), INT16)
async def test_an_answer_to_a_request_to_fetch_is_read_as_aiokafka_reads_it(
    topics: list[tuple[str, list[tuple[Any, ...]]]], code: int
) -> None:
    kept = Kept()
    with open_connection() as open_one:
        write(open_one, (FETCH, FETCH_VERSION), fetch_body(FetchOptions(1, 1, 1, 0, ""), ()), fetched, kept)
        answer = FetchResponse_v11(0, code, 0, topics).encode()
        answered(open_one, answer)
        assert kept.result == FetchResponse_v11.decode(BytesIO(answer)).topics
        assert kept.result == topics


# --- what goes wrong


async def test_an_answer_with_another_number_is_an_error_and_closes_the_connection() -> None:
    kept = Kept()
    with open_connection() as open_one:
        write(open_one, (PRODUCE, PRODUCE_VERSION), produce_body(-1, 100, {}), produced, kept)
        open_one._handle_frame((2).to_bytes(4, "big") + ProduceResponse_v7([], 0).encode())
        assert "do not match" in str(kept.error)
        assert not open_one.connected()


async def test_a_request_that_cannot_be_written_is_an_error_and_closes_the_connection() -> None:
    kept = Kept()
    with open_connection() as open_one:
        open_one._writer.fails = True
        write(open_one, (PRODUCE, PRODUCE_VERSION), produce_body(-1, 100, {}), produced, kept)
        assert isinstance(kept.error, KafkaConnectionError)
        assert "broken pipe" in str(kept.error.__cause__)
        assert not open_one.connected()


@pytest.mark.parametrize("versions", [{}, {PRODUCE: (0, 6)}, {PRODUCE: (8, 12)}, None])
async def test_a_version_that_the_broker_does_not_offer_is_not_spoken(versions: dict[int, tuple[int, int]]) -> None:
    with open_connection() as open_one:
        assert speaks(open_one, PRODUCE, PRODUCE_VERSION)
        open_one._versions = versions
        assert not speaks(open_one, PRODUCE, PRODUCE_VERSION)
