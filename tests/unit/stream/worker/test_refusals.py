"""What is refused is known from a claim on, and how far dead letters were read is told to whoever comes next."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from fraudstream_client.validity import Standing
from models.logs import Logs, SkippedRange
from stream.positions.letters import LETTERS_READ, SCORES_LOST, Claim
from stream.positions.offsets import Decision, Position, ResumePoint, parse_metadata, read_note
from stream.scoring.facts import LateLetters
from stream.worker.refusals import PartitionRefusals
from support.known_letters import KnownLetters, is_late, refusal

HERE = 3


def refusals(skipped: Any = None) -> tuple[PartitionRefusals, list[Any]]:
    facts: list[Any] = []
    follower: Any = SimpleNamespace(logs=Logs(skipped=skipped or {}))
    return PartitionRefusals(follower, "transactions", facts.append), facts


def settled(*letters: tuple[int, int, int], position: Position = Position(), end: int = 0) -> Any:  # noqa: B008 - frozen
    made, facts = refusals()
    tail: Any = KnownLetters([refusal(*one, partition=HERE) for one in letters], end)
    return made, made.settle(HERE, position, tail, first=5), facts


def test_letters_from_where_the_partition_goes_on_are_known() -> None:
    made, _, _ = settled((0, 4, 1), (1, 5, 1), (2, 9, 1))
    assert made.refused(HERE) == {5: 1, 9: 2}
    assert made.refused(HERE + 1) == {}, "nothing is known of another one"


def test_a_letter_of_another_log_refuses_nothing_here() -> None:
    made, _ = refusals()
    tail: Any = KnownLetters([refusal(0, 7, 1, partition=HERE, log=0), refusal(1, 8, 1, partition=HERE, log=1)])
    made.settle(HERE, Position(log=1), tail, first=0)
    assert made.refused(HERE) == {8: 1}


def test_late_letters_are_void_and_counted_once_however_often_they_are_read() -> None:
    position = Position(claims=(Claim(2_048, 1),))
    made, after, facts = settled((0, 6, 1_024), (1, 7, 1_024), (2, 8, 2_048), position=position)
    assert made.refused(HERE) == {6: 0, 8: 2}
    assert facts == [LateLetters(HERE, 1)]
    tail: Any = KnownLetters([refusal(1, 7, 1_024, partition=HERE)])
    made.settle(HERE, after, tail, first=5)
    assert facts == [LateLetters(HERE, 1)]


def test_the_first_score_of_an_epoch_says_how_far_letters_were_read_and_no_other_does() -> None:
    made, _, _ = settled(end=17)
    assert made.claim_headers(HERE, Standing(1_024, 4), 2_048) == [(LETTERS_READ, b"17")]
    assert made.claim_headers(HERE, Standing(2_048, 5), 2_048) == []
    assert made.claim_headers(HERE + 1, Standing(1_024, 4), 2_048) == []


async def test_the_first_score_after_a_loss_of_scores_says_how_many_are_gone_until_it_is_acknowledged() -> None:
    made, position, _ = settled(end=17)
    reader: Any = None  # asked only about offsets that were skipped
    await made.resume(reader, HERE, ResumePoint(9, position, scores_lost=5), 9)
    lost = (SCORES_LOST, b"5")
    assert made.claim_headers(HERE, Standing(1_024, 4), 2_048) == [lost, (LETTERS_READ, b"17")]
    assert made.claim_headers(HERE, Standing(2_048, 4), 2_048) == [lost], "its write was given up, or not done yet"
    made.claimed(HERE)
    assert made.claim_headers(HERE, Standing(2_048, 5), 2_048) == []


async def test_a_loss_is_told_once_though_the_partition_was_elsewhere_meanwhile() -> None:
    made, _ = refusals()
    reader: Any = None  # asked only about offsets that were skipped
    found = Position(Standing(1_024, 4))
    await made.resume(reader, HERE, ResumePoint(5, found, scores_lost=5), 5)
    await made.resume(reader, HERE, ResumePoint(5, found), 5)
    assert made.claim_headers(HERE, found.standing, 1_024) == [(SCORES_LOST, b"5")], "nobody has written since"
    await made.resume(reader, HERE, ResumePoint(9, Position(Standing(2_048, 8))), 9)
    assert made.claim_headers(HERE, Standing(2_048, 8), 3_072) == [], "the owner between has told of it"


async def test_a_worker_counts_what_is_gone_of_its_own_scores_and_not_by_an_earlier_commit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made, _ = refusals()
    reader: Any = None
    found = Position(Standing(1_024, 4), scores_offset=95)
    made.expect(HERE, 100)
    await made.resume(reader, HERE, ResumePoint(5, found, scores_lost=2), 5)
    assert made.claim_headers(HERE, found.standing, 1_024) == [(SCORES_LOST, b"5")]
    (line,) = caplog.messages
    assert "up to 5 that Kafka had acknowledged are gone" in line
    made.expect(HERE, 95)  # three were written with the header, though their write seemed to fail
    await made.resume(reader, HERE, ResumePoint(5, Position(Standing(1_024, 7), scores_offset=98), scores_lost=2), 5)
    assert made.claim_headers(HERE, Standing(1_024, 7), 1_024) == []
    made.expect(HERE, 98)
    made.begin_assignment()
    await made.resume(reader, HERE, ResumePoint(5, Position(Standing(2_048, 4), scores_offset=95)), 5)
    assert made.claim_headers(HERE, Standing(2_048, 4), 3_072) == [], "another owner may have found it, and noted it"


async def test_the_end_of_letters_that_a_leader_tells_who_has_just_woken_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream.worker.refusals._AGAIN_SECONDS", 0)
    made, _ = refusals()
    made.written(7)
    tail: Any = Waking([1, 1, 8, 9])
    await made.read(tail, Position())
    assert tail.ends == [9], "what we wrote is not missing"
    made, _ = refusals()
    tail = Waking([1, 1, 8, 9])
    await made.read(tail, Position(claims=(Claim(1_024, 90), Claim(2_048, 7))))
    assert tail.ends == [9], "nor what the last owner has read; of owners before it the topic may have been another"


async def test_letters_of_a_topic_that_was_made_anew_are_waited_for_no_longer_than_a_leader_takes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stream.worker.refusals._MOST_REPEATS", 1)
    made, _ = refusals()
    made.written(7)
    tail: Any = Waking([3, 3, 4])
    await made.read(tail, Position())
    assert caplog.messages == ["dead letters end at 3, and ended at 7 before: those from there on are gone"]
    await made.read(tail, Position())
    assert len(caplog.messages) == 1, "it is told once"


class Waking(KnownLetters):
    """Letters whose end is told as an old one at first."""

    def __init__(self, ends: list[int]) -> None:
        super().__init__()
        self.ends = ends

    async def read(self) -> int:
        self.read_to = self.ends.pop(0)
        return self.read_to


def test_a_commit_notes_the_claim_and_from_where_letters_have_to_be_read() -> None:
    made, position, _ = settled((3, 6, 1), (1, 9, 1), end=30)
    noted = made.noted(HERE, position, behind=7)
    assert (noted.letters_from, noted.claims) == (1, ()), "a claim that no score tells of makes nothing late"
    assert made.noted(HERE, position, behind=10).letters_from == 30


def test_what_a_commit_notes_is_read_again_and_versions_before_are_not_told_of_it() -> None:
    position = Position(Standing(2_048, 7), 3, 12, identity="ab", topic_id="id", claims=(Claim(2_048, 30),))
    position = position._replace(letters_from=25)
    with_letters = position.to_metadata(with_letters=True)
    assert parse_metadata(with_letters) == position
    before = position._replace(claims=(), letters_from=0)
    assert parse_metadata(position.to_metadata()) == before
    silent = Position(Standing(1_024, 2)).to_metadata(with_letters=True, term=1, published=position)
    published = read_note(silent).published
    assert published is not None
    assert (published.claims, published.letters_from) == (position.claims, 25)


def test_scores_tell_of_the_claim_under_which_they_were_made() -> None:
    position = Position().after(Decision(1_024, 1, 0, letters_read=4)).after(Decision(1_024, 1, 1, letters_read=9))
    assert position.claims == (Claim(1_024, 4, -1),), "only the first score of an epoch tells it"
    position = position.after(Decision(2_048, 1, 2, letters_read=11)).after(Decision(1_536, 1, 3, letters_read=90))
    assert position.claims == (Claim(1_024, 4, -1), Claim(2_048, 11, 1)), "a zombie's claim is none"


def test_what_the_owner_before_refused_lawfully_counts_though_the_next_one_had_not_read_it() -> None:
    position = Position()
    for place in (54, 55, 58, 60):  # by the owner before; the next one has read letters after 54, and 59 was refused
        position = position.after(Decision(1_024, 1, place))
    position = position.after(Decision(2_048, 1, 55, letters_read=20)).after(Decision(2_048, 1, 61))
    assert (position.standing.last_place, position.void) == (61, 1)
    lawful, zombies = refusal(20, 59, 1_024, partition=HERE), refusal(21, 61, 1_024, partition=HERE)
    assert not is_late(lawful, position.claims)
    assert is_late(zombies, position.claims)


def test_offsets_that_operators_let_pass_are_those_of_the_log_by_whichever_deployment() -> None:
    skipped = {
        ("blue", "transactions", HERE): frozenset({SkippedRange(0, 5), SkippedRange(1, 6)}),
        ("green", "transactions", HERE): frozenset({SkippedRange(1, 7)}),
        ("blue", "labels", HERE): frozenset({SkippedRange(1, 8)}),
    }
    made, _ = refusals(skipped)
    assert made.skipped(HERE, 1) == {6, 7}
    assert made.skipped(HERE, 0) == {5}


@pytest.mark.parametrize("decided", [set(), {5}, {4, 5}])
async def test_what_was_decided_before_it_was_skipped_stays_decided(decided: set[int]) -> None:
    made, _ = refusals({("default", "transactions", HERE): frozenset(SkippedRange(0, one) for one in (2, 4, 5, 9))})
    asked: list[int] = []

    async def find(_partition: int, _log: int, offsets: Iterable[int]) -> frozenset[int]:
        asked.extend(offsets)
        return frozenset(asked) - decided

    reader: Any = SimpleNamespace(undecided=find)
    await made.resume(reader, HERE, ResumePoint(None, Position(Standing(1_024, 7))), first=3)
    assert sorted(asked) == [4, 5], (
        "those before it goes on are not asked for, those behind its decisions are undecided"
    )
    assert made.skipped(HERE, 0) == {4, 5, 9} - decided


async def test_offsets_before_the_one_from_which_a_partition_is_read_on_are_settled_without_their_letters() -> None:
    made, _, _ = settled((0, 4, 1), (1, 6, 1))
    await made.resume(SimpleNamespace(), HERE, ResumePoint(None, Position()), first=5)
    known = made.settled(HERE, 0, None)
    assert (known.first, [offset for offset in range(5, 9) if known.has(offset)]) == (5, [6])
    of_publisher = made.settled(HERE, 0, {7})
    assert [offset for offset in range(5, 9) if of_publisher.has(offset)] == [7]
    assert made.settled(HERE + 1, 0, None).first == 0
