"""Dead letters are verdicts: for whom each counts, and which are late."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.terms import Term
from stream.contract.codes import DeadLetterCode
from stream.engine.unpacking import FetchedRecord
from stream.positions.dead_letters import DeadLetter, LetterOrigin
from stream.positions.letters import (
    LETTERS_READ,
    NO_EPOCH,
    Claim,
    Letter,
    LetterColumns,
    OffsetSet,
    first_needed,
    letters_read_of,
    read_letter_place,
)
from support.known_letters import is_late, refusal
from support.stream_records import Told

TERM_1 = 2**32


def columns(letters: Sequence[Letter]) -> LetterColumns:
    made = LetterColumns()
    for one in letters:
        made.add(one)
    return made


def kept(letter: DeadLetter, at: int, *, deployment: str, log: int, epoch: int | None) -> FetchedRecord:
    sent = letter.to_record(LetterOrigin(deployment, log, {} if epoch is None else {3: epoch}))
    return FetchedRecord("dead-letters", 0, at, 0, 0, sent.key, sent.value, sent.headers)


def test_a_letter_is_read_as_it_was_written() -> None:
    producers = [("epoch", b"1"), ("source.log", b"9"), ("deployment", b"forged")]
    record = Told(b"x", b"k", 3, 14, producers, "in-transactions")
    written = kept(DeadLetter(record, DeadLetterCode.NOT_JSON, "why"), 5, deployment="blue", log=2, epoch=7_168)
    assert read_letter_place(written) == Letter(5, "in-transactions", 3, 2, 14, 7_168, "blue", "not_json")


def test_a_letter_of_an_earlier_version_is_of_the_first_log_and_of_no_epoch() -> None:
    headers = [("error.code", b"not_json"), ("source.topic", b"transactions"), ("source.partition", b"1")]
    record = FetchedRecord("dead-letters", 0, 3, 0, 0, None, None, [*headers, ("source.offset", b"7")])
    assert read_letter_place(record) == Letter(3, "transactions", 1, 0, 7, NO_EPOCH, "", "not_json")


def test_what_no_worker_wrote_is_no_letter() -> None:
    for headers in ([], [("source.partition", b"x"), ("source.offset", b"1")], [("source.offset", None)]):
        assert read_letter_place(FetchedRecord("dead-letters", 0, 3, 0, 0, None, None, headers)) is None


def test_a_letter_counts_if_the_deployment_that_wrote_it_publishes_in_the_term_of_its_epoch() -> None:
    term = Term(1, "green", ("blue",))
    assert refusal(0, 1, 5, deployment="blue").is_published(term)
    assert refusal(0, 1, TERM_1 + 5, deployment="green").is_published(term)
    assert not refusal(0, 1, 5, deployment="green").is_published(term), "it was silent then"
    assert not refusal(0, 1, TERM_1 + 5, deployment="blue").is_published(term), "it is silent now"
    assert refusal(0, 1, NO_EPOCH, deployment="blue").is_published(term)
    assert not refusal(0, 1, NO_EPOCH, deployment="red").is_published(term)
    assert refusal(0, 1, 5, deployment="red").is_published(Term()), "nobody has published yet"


def test_a_letter_is_late_behind_a_claim_of_a_higher_epoch_that_had_read_up_to_it() -> None:
    claims = [Claim(2_048, 10), Claim(4_096, 20)]
    expected = {
        (9, 1_024): False,  # the new owner has read it
        (10, 1_024): True,
        (10, 2_048): False,  # it is the owner's own
        (19, 2_048): False,
        (20, 2_049): True,
        (20, 4_096): False,
        (99, NO_EPOCH): False,  # a version that wrote no epoch may own the partition again
    }
    found = columns([refusal(at, 1, epoch) for at, epoch in expected]).late(claims)
    assert dict(zip(expected, found.tolist(), strict=True)) == expected


LETTERS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9), st.integers(-1, 6)), max_size=12)
CLAIMS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 40), st.integers(-1, 9)), max_size=6)


@given(LETTERS, CLAIMS)
def test_columns_say_of_each_letter_what_it_says_itself(
    written: list[tuple[int, int, int]], made: list[tuple[int, int, int]]
) -> None:
    letters = [refusal(at, offset, epoch) for at, offset, epoch in sorted(written)]
    claims = [Claim(*one) for one in sorted(made)]
    found = columns(letters)
    late = [is_late(one, claims) for one in letters]
    assert found.late(claims).tolist() == late
    counting = [one for one, void in zip(letters, late, strict=True) if not void]
    assert set(found.offsets(claims)) == {one.offset for one in counting}
    places = found.refused(claims, first=3)
    assert places.keys() == {one.offset for one in counting if one.offset >= 3}
    assert all(place == min(one.at for one in counting if one.offset == at) for at, place in places.items())


@given(LETTERS, CLAIMS)
def test_the_claims_that_are_remembered_make_the_same_letters_late(
    written: list[tuple[int, int, int]], made: list[tuple[int, int, int]]
) -> None:
    letters = columns([refusal(at, offset, epoch) for at, offset, epoch in sorted(written)])
    claims = [Claim(*one) for one in sorted(made)]
    needed = letters.needed(claims)
    assert (letters.late(needed) == letters.late(claims)).all()
    assert needed[-1:] == tuple(claims[-1:]), "what comes later may be late by the last one"
    assert len(columns([]).needed(claims)) == min(1, len(claims))


def test_a_claim_that_was_remembered_is_not_forgotten_by_who_reads_later_letters_alone() -> None:
    claims = [Claim(2_048, 20), Claim(3_072, 60)]
    late = refusal(25, 50, 1_024)
    assert columns([late]).needed(claims) == (claims[0], claims[1])
    later = columns([refusal(70, 80, 3_072)])
    assert later.needed(claims, first=30) == (claims[0], claims[1])
    assert later.needed([Claim(2_048, 30), claims[1]], first=30) == (claims[1],), "it would have made one of these late"


def letter_of(headers: Sequence[tuple[str, bytes | None]]) -> FetchedRecord:
    return FetchedRecord("dead-letters", 0, 40, 0, 0, None, None, headers)


@pytest.mark.parametrize("epoch", [b"1700000000000", b"9" * 5_000, b"9" * 20, b"-1", b"x", b"", None])
def test_what_a_producer_calls_epoch_is_no_workers(epoch: bytes | None) -> None:
    theirs = [("epoch", epoch), ("source.log", b"7"), ("error.code", b"x"), ("source.offset", b"9" * 5_000)]
    original = FetchedRecord("labels", 2, 7, 0, 0, b"c", b"{}", theirs)
    kept = DeadLetter(original, DeadLetterCode.NOT_JSON, "why").to_record(LetterOrigin("blue"))
    before = [one for one in kept.headers if one != ("source.log", b"0")]  # as the version before wrote it
    for headers in (kept.headers, before):
        read = read_letter_place(letter_of(headers))
        assert read == Letter(40, "labels", 2, 0, 7, NO_EPOCH, "blue", "not_json")
    read = read_letter_place(letter_of([*kept.headers, ("epoch", epoch)]))
    assert read is not None
    assert read.epoch == (1_700_000_000_000 if epoch == b"1700000000000" else NO_EPOCH)


@given(st.sets(st.integers(0, 2**44)), st.integers(0, 2**44))
def test_a_set_of_offsets_holds_what_it_was_made_of(offsets: set[int], other: int) -> None:
    made = OffsetSet(np.array(sorted(offsets), np.int64))
    assert all(one in made for one in offsets)
    assert (other in made) == (other in offsets)
    assert (set(made), len(made)) == (offsets, len(offsets))


def test_the_next_owner_reads_letters_from_the_first_about_an_offset_that_it_may_judge() -> None:
    places = {5: 100, 9: 40, 12: 70}
    assert first_needed(places, 6, 200) == 40
    assert first_needed(places, 10, 200) == 70
    assert first_needed(places, 13, 200) == 200


def test_a_score_says_how_far_letters_were_read_by_its_last_header_of_that_name() -> None:
    assert letters_read_of([(LETTERS_READ, b"3"), ("traceparent", b"x"), (LETTERS_READ, b"17")]) == 17
    for odd in ([], [(LETTERS_READ, b"-1")], [(LETTERS_READ, None)], [("other", b"1")]):
        assert letters_read_of(odd) is None
