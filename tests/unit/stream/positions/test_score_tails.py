"""After a hand-over a commit of the other side says what is applied, and `scores` are read on from where they were."""

import pytest
from aiokafka.errors import RebalanceInProgressError
from aiokafka.structs import OffsetAndMetadata

from fraudstream_client.validity import Standing
from models.terms import Term
from stream.positions.offsets import CommitNote, Decision, Position, ResumePoint, read_note
from stream.positions.score_tails import noted_on_scores, resume_point
from stream.settings import Settings

GREEN = Settings(deployment="green")
EPOCHS = 2**32
SILENT = Position(Standing(3, 40), 2, 50, identity="i", topic_id="t", log=1)
"""On the topic of the silent deployment."""
PUBLISHED = Position(Standing(7, 44), 0, 60)
"""On `scores`, as a silent deployment notes it."""
BEFORE = Term(0, "blue")
NAMED = Term(1, "green", ("blue",))
BACK = Term(2, "blue", ("blue", "green"))


def commit(position: Position, term: int, published: Position | None = None) -> OffsetAndMetadata:
    return OffsetAndMetadata(41, position.to_metadata(term=term, published=published))


def test_a_silent_deployment_goes_on_behind_its_own_decisions() -> None:
    assert resume_point(GREEN, BEFORE, commit(SILENT, 0, PUBLISHED), None) == ResumePoint(41, SILENT)


def test_a_deployment_that_is_named_reads_scores_on_from_where_it_has_followed_them() -> None:
    followed = Position(Standing(8, 45), 5, 61, identity="j")
    expected = ResumePoint(41, followed._replace(topic_id="t", log=1))
    assert resume_point(GREEN, NAMED, commit(SILENT, 0, PUBLISHED), followed) == expected


def test_a_worker_that_starts_after_the_hand_over_reads_them_on_from_where_the_commit_says() -> None:
    expected = ResumePoint(41, PUBLISHED._replace(topic_id="t", log=1))
    assert resume_point(GREEN, NAMED, commit(SILENT, 0, PUBLISHED), None) == expected
    nothing_noted = OffsetAndMetadata(41, SILENT.to_metadata())
    assert resume_point(GREEN, NAMED, nothing_noted, None) == ResumePoint(41, Position(topic_id="t", log=1))


def test_a_deployment_that_publishes_goes_on_behind_its_own_decisions_whatever_it_followed_before() -> None:
    own = Position(Standing(EPOCHS + 1, 90), 3, 100, identity="k", topic_id="t", term=1)
    assert resume_point(GREEN, NAMED, commit(own, 1), PUBLISHED) == ResumePoint(41, own)


def test_without_a_note_scores_are_read_on_from_where_they_were_followed_to_and_else_from_their_beginning() -> None:
    followed, plain = Position(Standing(2 * EPOCHS, 45), 5, 61, identity="j"), OffsetAndMetadata(41, "")
    for deployment, term in (("green", NAMED), ("blue", BACK)):
        settings = Settings(deployment=deployment)
        assert resume_point(settings, term, plain, followed) == ResumePoint(41, followed)
        assert resume_point(settings, term, plain, None) == ResumePoint(41, Position())
    assert resume_point(GREEN, BACK, plain, None) == ResumePoint(41, Position())


def test_a_deployment_that_is_replaced_goes_on_silently_behind_its_commit_and_follows_scores_from_there() -> None:
    own = Position(Standing(EPOCHS + 1, 90), 3, 100, identity="k", topic_id="t", log=1, term=1)
    assert resume_point(GREEN, BACK, commit(own, 1), None) == ResumePoint(41, Position(topic_id="t", log=1))
    assert noted_on_scores(GREEN, BACK, read_note(commit(own, 1).metadata)) == own
    silent_again = read_note(commit(SILENT, 2, PUBLISHED).metadata)
    assert noted_on_scores(GREEN, BACK, silent_again) == PUBLISHED


def test_a_commit_of_a_term_that_is_not_known_yet_is_read_again() -> None:
    with pytest.raises(RebalanceInProgressError, match="term 1"):
        resume_point(GREEN, BEFORE, commit(SILENT, 1), None)


def test_the_note_of_a_commit_round_trips() -> None:
    for note in (
        CommitNote(SILENT, 0, PUBLISHED),
        CommitNote(SILENT, 3, PUBLISHED._replace(standing=Standing(5 * EPOCHS, -1), term=5)),
        CommitNote(SILENT._replace(term=2), 3),
        CommitNote(SILENT),
    ):
        assert read_note(note.position.to_metadata(term=note.term, published=note.published)) == note
    for odd in ('[3,40,2,50,"i","t",{},[1]]', '[3,40,2,50,"i","t",{},[1,1,1,1,1,1]]', '[3,40,2,50,"i","t",{},[-2,0]]'):
        assert read_note(odd) == CommitNote()
    assert read_note('[3,40,2,50,"i","t",{},[1,1,5]]').published is None


def test_a_term_begins_with_its_own_revisions_and_its_first_offset() -> None:
    blue = [Decision(1, 6, 10), Decision(1, 7, 11)]
    green = [Decision(EPOCHS, 2, 12), Decision(EPOCHS, 3, 13)]
    position = Position()
    for score in (*blue, Decision(EPOCHS, 2, 11), *green):
        position = position.after(score)
    assert (position.term, position.revision, position.handover) == (1, 3, 12)
    assert position.cutovers == ((2, 12), (3, 13))
    assert position.void == 1
    assert (position.revision_in(1), position.revision_in(2)) == (3, 0)


def test_a_void_score_of_the_next_term_leaves_the_revision_to_the_term_before() -> None:
    position = Position().after(Decision(1, 7, 10)).after(Decision(EPOCHS, 2, 10))
    assert (position.term, position.revision, position.handover) == (0, 7, None)
    assert position.revision_in(1) == 0, "the revision of another deployment binds nobody"
