"""Headers that cannot be passed on are left out and named, in time that is proportional to their number."""

import time
from collections.abc import Sequence

import pytest

from stream.contract.transaction import BACKFILL_HEADER
from stream.engine.unpacking import LARGEST_HEADER_COUNT, FetchedRecord
from stream.positions.letters import LETTERS_READ, SCORES_LOST
from stream.scoring.decode import without_impassable_headers

MIB = 1024 * 1024
Header = tuple[str, bytes | None]


def record(headers: Sequence[Header], left_out: Sequence[str] = (), more: int = 0) -> FetchedRecord:
    return FetchedRecord("transactions", 0, 7, 0, 0, b"card", b"{}", headers, left_out, more)


def test_a_million_and_a_half_empty_headers_take_less_than_a_tenth_of_a_second() -> None:
    one = record([("", None)] * 1_500_000)
    began = time.thread_time()
    passable, named = without_impassable_headers(one)
    assert time.thread_time() - began < 0.1
    assert len(passable.headers) == LARGEST_HEADER_COUNT
    assert named == (*["headers."] * 20, "headers: 1498980 more")


def test_headers_that_all_fit_are_passed_on_as_they_are() -> None:
    one = record([("a", b"1"), ("a", b"1")] * (LARGEST_HEADER_COUNT // 2))
    assert without_impassable_headers(one) == (one, ())


@pytest.mark.parametrize("large", [0, 1, 2])
def test_of_several_headers_with_one_name_the_one_that_does_not_fit_is_left_out(large: int) -> None:
    headers: list[Header] = [("same", b"1"), ("same", b"2"), ("same", b"3")]
    headers[large] = ("same", b"x" * 2 * MIB)
    passable, named = without_impassable_headers(record(headers))
    assert passable.headers == tuple(headers[:large] + headers[large + 1 :])
    assert named == ("headers.same",)


def test_the_largest_are_left_out_first_and_identifiers_last_and_they_are_named_in_their_order() -> None:
    half = MIB // 2
    headers = [("b", b"x" * half), ("traceparent", b"x" * (MIB - 100)), ("c", b"x" * (half + 1)), ("d", b"")]
    passable, named = without_impassable_headers(record(headers))
    assert [name for name, _ in passable.headers] == ["traceparent", "d"]
    assert named == ("headers.b", "headers.c")
    passable, named = without_impassable_headers(record([headers[0], headers[2], headers[3]]))
    assert ([name for name, _ in passable.headers], named) == (["b", "d"], ("headers.c",))


@pytest.mark.parametrize("mark", [(), (BACKFILL_HEADER, b"c" * 16 + b":1")], ids=["decided", "filled in"])
def test_headers_with_which_a_worker_speaks_to_readers_are_left_out_of_what_a_producer_wrote(mark: Header) -> None:
    kept: list[Header] = [("scores-lost-", b"1"), *([mark] if mark else [])]
    own: list[Header] = [(SCORES_LOST, b"1000"), (LETTERS_READ, b"0"), (SCORES_LOST, None)]
    passable, named = without_impassable_headers(record([own[0], *kept, *own[1:]]))
    assert passable.headers == tuple(kept)
    assert named == ("headers.scores-lost", "headers.letters-read", "headers.scores-lost")


def test_what_was_not_read_is_named_before_what_does_not_fit_and_counted_with_it() -> None:
    headers: list[Header] = [("kept", b"1"), ("large", b"x" * 2 * MIB)]
    passable, named = without_impassable_headers(record(headers, ["\\xff"]))
    assert passable.headers == (("kept", b"1"),)
    assert named == ("headers.\\xff", "headers.large")
    assert without_impassable_headers(record(headers, ["\\xff"], 5))[1] == (*named, "headers: 5 more")


def test_a_card_number_in_the_name_of_a_header_that_is_left_out_is_redacted_before_it_is_cut() -> None:
    _, named = without_impassable_headers(record([("x" * 52 + "4532015112830366", b"x" * 2 * MIB)]))
    assert named == ("headers." + "x" * 52 + "[redacted]",)
