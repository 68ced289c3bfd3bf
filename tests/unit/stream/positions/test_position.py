"""The worker's position on the scores topic: what a commit holds, and where it is read on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream_client.validity import Standing
from models.decline_cap import MOST_NOTED_ARMS, DeclineWindow
from stream.positions.offsets import Decision, Position, identity_of, parse_metadata, read_topic_note, topic_note
from stream.positions.score_tails import start_at

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
