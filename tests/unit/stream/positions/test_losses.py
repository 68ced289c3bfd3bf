"""A partition goes on where everything was read, and waits where records are gone or the topic is another one."""

from collections.abc import Mapping
from types import MappingProxyType

import pytest
from aiokafka.structs import OffsetAndMetadata
from hypothesis import given
from hypothesis import strategies as st

from fraudstream_client.validity import place_of
from models.judge import InputTopic
from models.logs import AcceptedLoss, Logs, TopicLogs
from stream.positions.commit_copies import CommitCopy
from stream.positions.losses import (
    InputPlace,
    Loss,
    Progress,
    Start,
    find_start,
    place_of_labels,
    place_of_predictions,
)

TOPIC, WHERE = "transactions", ("default", "transactions", 3)
OLD, NEW = "id-old", "id-new"
FRESH = Logs()


def logs(numbers: Mapping[str, int], *accepted: AcceptedLoss) -> Logs:
    """Return logs with these numbers, in which losses of the partition were accepted."""
    topic = TopicLogs(MappingProxyType(dict(numbers)), max(numbers.values(), default=0))
    losses = MappingProxyType({WHERE: accepted[-1]} if accepted else {})
    return Logs(MappingProxyType({TOPIC: topic}), losses)


def start(state: InputTopic, progress: Progress, known: Logs = FRESH) -> Start | Loss | str:
    """Return where the partition is read on, without its commit, or why it is not."""
    found = find_start(known, WHERE, state, progress)
    return found._replace(committed=None) if isinstance(found, Start) else found


def test_a_group_that_never_committed_and_has_no_scores_has_lost_nothing() -> None:
    assert start(InputTopic(OLD, 0, 10), Progress(None)) == Start(0, 0)
    assert start(InputTopic(OLD, 60, 100), Progress(None)) == Start(0, 60)


@pytest.mark.parametrize(
    ("committed", "decided", "offset"),
    [(50, -1, 50), (50, 49, 50), (50, 69, 50), (80, 69, 70), (None, 69, 0), (0, -1, 0)],
)
def test_a_partition_goes_on_at_its_commit_but_never_behind_the_last_decision(
    committed: int | None, decided: int, offset: int
) -> None:
    assert start(InputTopic(OLD, 0, 100), Progress(committed, decided)) == Start(0, offset)


def test_a_partition_without_a_commit_is_read_from_the_first_offset_that_is_left_of_what_was_decided() -> None:
    assert start(InputTopic(OLD, 30, 100), Progress(None, 69)) == Start(0, 30)
    assert start(InputTopic(OLD, 70, 100), Progress(None, 69)) == Start(0, 70)


@pytest.mark.parametrize("progress", [Progress(40), Progress(20, 39), Progress(90, 39), Progress(None, 39)])
def test_records_that_were_removed_unread_are_a_loss_of_at_most_their_offsets(progress: Progress) -> None:
    found = start(InputTopic(OLD, 100, 120), progress)
    assert isinstance(found, Loss)
    assert (found.log, found.up_to, found.lost) == (0, 100, 60)
    assert "at most 60 records from offset 40 on were removed before they were read" in found.text
    assert "fraudstream topics accept-loss" in found.text


def test_an_accepted_loss_lets_the_partition_go_on_and_a_later_one_does_not() -> None:
    known = logs({OLD: 0}, AcceptedLoss(0, 100))
    assert start(InputTopic(OLD, 100, 120), Progress(40), known) == Start(0, 100)
    later = start(InputTopic(OLD, 110, 120), Progress(40), known)
    assert isinstance(later, Loss)
    assert (later.up_to, later.lost) == (110, 10)
    assert start(InputTopic(OLD, 100, 200), Progress(150, 149), known) == Start(0, 150)


@pytest.mark.parametrize(
    ("state", "progress"),
    [
        (InputTopic(NEW, 0, 10), Progress(50, 49, OLD)),
        (InputTopic(NEW, 0, 10), Progress(50)),
        (InputTopic(None, 0, 10), Progress(50, 49)),
        (InputTopic(NEW, 0, 500), Progress(50, 49, OLD)),
        (InputTopic(NEW, 0, 500), Progress(50, 49, OLD, same_record=False)),
        (InputTopic(OLD, 0, 500), Progress(50, 49, OLD, same_record=False)),
        (InputTopic(None, 0, 500), Progress(50, 49, same_record=False)),
    ],
)
def test_a_topic_made_anew_is_a_loss_and_the_next_log(state: InputTopic, progress: Progress) -> None:
    found = start(state, progress)
    assert isinstance(found, Loss)
    assert (found.log, found.up_to, found.lost) == (1, 0, None)


def test_a_mirrored_topic_with_the_same_records_at_the_same_offsets_goes_on() -> None:
    assert start(InputTopic(NEW, 0, 500), Progress(50, 49, OLD, same_record=True)) == Start(0, 50)


def test_an_accepted_new_log_is_read_from_where_the_loss_was_accepted() -> None:
    known = logs({NEW: 1}, AcceptedLoss(1, 0))
    assert start(InputTopic(NEW, 0, 10), Progress(50, 49, OLD), known) == Start(1, 0)
    read = Progress(5, place_of(1, 4), NEW, same_record=True, log=1)
    assert start(InputTopic(NEW, 0, 90), read, known) == Start(1, 5)


def test_decisions_in_a_log_that_is_not_known_here_yet_are_waited_for() -> None:
    for progress in (Progress(5, place_of(1, 4)), Progress(5, log=1), Progress(5, 4, OLD, log=1)):
        found = start(InputTopic(None, 0, 90), progress)
        assert found == "it was read in log 1, which is not known here yet"


ANEW, CUT_OFF = logs({NEW: 1}, AcceptedLoss(1, 0)), logs({OLD: 1}, AcceptedLoss(1, 0))


@pytest.mark.parametrize(
    ("known", "state", "progress", "expected"),
    [
        # dead letters and repeats behind the last decision were read, if the commit is of this topic
        (FRESH, InputTopic(OLD, 80, 120), Progress(100, 49, OLD), Start(0, 80, 100)),
        (FRESH, InputTopic(OLD, 100, 120), Progress(100, 49, OLD), Start(0, 100, 100)),
        (FRESH, InputTopic(OLD, 20, 120), Progress(100, 49, OLD, same_record=True), Start(0, 50, 100)),
        (FRESH, InputTopic(OLD, 110, 120), Progress(100, 49, OLD), (0, 110, 10)),
        (FRESH, InputTopic(OLD, 80, 90), Progress(100, 49, OLD), (1, 80, None)),
        (FRESH, InputTopic(NEW, 80, 120), Progress(100, 49, OLD), (1, 80, None)),
        (FRESH, InputTopic(None, 80, 120), Progress(100, 49), (0, 80, 30)),
        (FRESH, InputTopic(OLD, 80, 120), Progress(100, 49), (0, 80, 30)),
        (FRESH, InputTopic(None, 20, 120), Progress(100, 49), Start(0, 50, 100)),
        # in an accepted log a commit counts like a decision, whether or not anything was decided there
        (ANEW, InputTopic(NEW, 0, 6000), Progress(5000, -1, NEW, log=1), Start(1, 5000, 5000)),
        (ANEW, InputTopic(NEW, 4000, 6000), Progress(5000, -1, NEW, log=1), Start(1, 5000, 5000)),
        (ANEW, InputTopic(NEW, 5100, 6000), Progress(5000, -1, NEW, log=1), (1, 5100, 100)),
        (ANEW, InputTopic(NEW, 4000, 6000), Progress(5000, 49, NEW, log=1), Start(1, 5000, 5000)),
        (ANEW, InputTopic(NEW, 0, 6000), Progress(5000, place_of(1, 49), NEW, None, 1), Start(1, 50, 5000)),
        (ANEW, InputTopic(None, 0, 6000), Progress(5000, log=1), Start(1, 5000, 5000)),
        # a commit of an earlier log names other records, also where the end of the same topic was cut off
        (ANEW, InputTopic(NEW, 0, 6000), Progress(5000, 4999, OLD), Start(1, 0)),
        (ANEW, InputTopic(NEW, 0, 6000), Progress(5000, place_of(1, 49), OLD), Start(1, 0)),
        (CUT_OFF, InputTopic(OLD, 0, 6000), Progress(50, 49, OLD, same_record=False), Start(1, 0)),
        (CUT_OFF, InputTopic(OLD, 0, 6000), Progress(50, -1, OLD), Start(1, 0)),
        (CUT_OFF, InputTopic(OLD, 0, 6000), Progress(50, -1, OLD, log=1), Start(1, 50, 50)),
        # who never read a partition has lost nothing of it, in whichever log
        (logs({NEW: 1}), InputTopic(NEW, 30, 90), Progress(None), Start(1, 30)),
        (logs({NEW: 1}), InputTopic("id-third", 30, 90), Progress(None), (2, 30, None)),
        (logs({NEW: 1}), InputTopic(NEW, 30, 90), Progress(0, -1, OLD), (1, 30, None)),
    ],
)
def test_only_what_was_read_of_this_log_counts(
    known: Logs, state: InputTopic, progress: Progress, expected: Start | tuple[int, int, int | None]
) -> None:
    found = find_start(known, WHERE, state, progress)
    assert (found[:3] if isinstance(found, Loss) else found) == expected


@given(
    st.integers(0, 50),
    st.integers(0, 50),
    st.none() | st.integers(0, 100),
    st.integers(-1, 100),
    st.sampled_from([None, True, False]),
)
def test_a_partition_never_goes_on_behind_an_offset_that_was_not_read(
    begin: int,
    size: int,
    committed: int | None,
    decided: int,
    same: bool | None,  # noqa: FBT001 - it is the fact itself
) -> None:
    state = InputTopic(OLD, begin, begin + size)
    found = start(state, Progress(committed, decided, OLD, same if decided >= 0 else None))
    read_to = max(decided + 1, -1 if committed is None else committed) if decided >= 0 else committed
    if isinstance(found, Start) and decided >= 0:
        assert found.offset <= max(decided + 1, begin), "a record behind the last decision may be undecided"
    if isinstance(found, Start) and read_to is not None:
        assert found.offset <= max(read_to, begin)
        assert begin <= read_to <= state.end
    if isinstance(found, Loss) and found.lost is not None:
        assert read_to is not None
        assert found.lost == begin - read_to > 0


@pytest.mark.parametrize(
    ("topic_id", "known", "allowed"),
    [
        (OLD, FRESH, {0, 1}),
        (None, FRESH, {0, 1}),
        (NEW, logs({OLD: 0}), {1}),
        (OLD, logs({OLD: 0, NEW: 1}), {0}),
        (NEW, logs({OLD: 0, NEW: 1}), {1, 2}),  # its end was cut off
        (None, logs({OLD: 0, NEW: 1}), {1, 2}),
        ("id-third", logs({NEW: 1}), {2}),
    ],
)
def test_a_log_has_its_own_number_or_the_next_one(topic_id: str | None, known: Logs, allowed: set[int]) -> None:
    assert {number for number in range(5) if known.may_be(TOPIC, topic_id, number)} == allowed


# --- commits that no worker has made


@pytest.mark.parametrize(
    ("state", "progress", "expected"),
    [
        # what lies between what was read and the commit would be passed over
        (InputTopic(OLD, 0, 100), Progress(None, 39, moved=60), (0, 40, 60)),
        (InputTopic(OLD, 0, 100), Progress(None, 39, moved=100), (0, 40, 100)),
        (InputTopic(OLD, 0, 100), Progress(None, moved=60), (0, 0, 60)),
        (InputTopic(OLD, 30, 100), Progress(None, moved=60), (0, 30, 60)),
        (InputTopic(OLD, 50, 100), Progress(None, 39, moved=60), (0, 40, 60)),
        (InputTopic(OLD, 70, 100), Progress(None, 39, moved=60), (0, 40, 70)),
        # nothing is passed over: it is read again, as where a commit is gone
        (InputTopic(OLD, 0, 100), Progress(None, 39, moved=40), Start(0, 0)),
        (InputTopic(OLD, 20, 100), Progress(None, 39, moved=0), Start(0, 20)),
        (InputTopic(OLD, 0, 100), Progress(None, moved=0), Start(0, 0)),
        # no record is at an offset behind the end
        (InputTopic(OLD, 0, 100), Progress(None, 39, moved=101), Start(0, 0)),
    ],
)
def test_a_commit_that_no_worker_has_made_holds_what_it_would_pass_over(
    state: InputTopic, progress: Progress, expected: Start | tuple[int, int, int]
) -> None:
    found = start(state, progress)
    if not isinstance(expected, tuple) or isinstance(expected, Start):
        assert found == expected
        return
    assert isinstance(found, Loss)
    assert (found.log, found.first, found.up_to) == expected
    assert found.lost == found.up_to - found.first
    assert "fraudstream topics accept-loss" in found.text


def test_a_moved_commit_says_which_records_it_would_pass_over_and_how_they_are_read_all_the_same() -> None:
    found = start(InputTopic(OLD, 0, 100), Progress(None, 39, moved=60))
    assert isinstance(found, Loss)
    assert found.text.startswith(
        "its commit was moved to offset 60, by no worker: at most 20 records from offset 40 to 59 would be passed over "
        "unread; move it to offset 40 or below while no worker runs, and they are read, or accept it with"
    )


@pytest.mark.parametrize(
    ("progress", "offset"),
    [
        (Progress(None, 39, moved=60), 0),  # what was decided is applied again, and the decider leaves the loss out
        (Progress(10, 39, OLD), 10),
        (Progress(None, 69, moved=60), 0),
        (Progress(65, 69, OLD), 65),
        (Progress(None, moved=60), 60),
    ],
)
def test_after_an_accepted_loss_decisions_before_it_that_may_not_be_applied_are_read_again(
    progress: Progress, offset: int
) -> None:
    assert start(InputTopic(OLD, 0, 100), progress, logs({OLD: 0}, AcceptedLoss(0, 60, 40))) == Start(0, offset)


ID, OTHER_ID = (f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2))
MOVED = InputPlace(Progress(None, moved=60))


def commit(offset: int, metadata: str = "") -> OffsetAndMetadata:
    return OffsetAndMetadata(offset, metadata)


def copied(offset: int, note: str) -> CommitCopy:
    return CommitCopy("group", offset, note)


@pytest.mark.parametrize(
    ("made", "topic_id", "copy", "expected"),
    [
        (commit(60, ID), ID, None, InputPlace(Progress(60, topic_id=ID))),
        (commit(60, f"{ID}@2"), ID, None, InputPlace(Progress(60, topic_id=ID, log=2))),
        (commit(60), None, copied(40, ""), InputPlace(Progress(60))),
        (commit(60), ID, copied(40, ID), InputPlace(Progress(40, topic_id=ID), copied(40, ID))),
        (commit(60), ID, copied(40, OTHER_ID), InputPlace(Progress(40, topic_id=OTHER_ID), copied(40, OTHER_ID))),
        (commit(60, "moved by ann"), ID, copied(40, ID), InputPlace(Progress(40, topic_id=ID), copied(40, ID))),
        (commit(60), ID, None, MOVED),
        (commit(60), ID, copied(40, ""), MOVED),
        (commit(-1), ID, copied(40, ID), InputPlace(Progress(40, topic_id=ID), copied(40, ID))),
        (commit(-1), ID, None, InputPlace(Progress(None))),
    ],
)
def test_a_commit_of_labels_counts_if_a_worker_made_it_and_else_the_copy_of_the_last_one_that_did(
    made: OffsetAndMetadata, topic_id: str | None, copy: CommitCopy | None, expected: InputPlace
) -> None:
    assert place_of_labels(made, topic_id, copy) == expected


@pytest.mark.parametrize(
    ("made", "topic_id", "copy", "expected"),
    [
        (commit(60, ID), ID, None, InputPlace(Progress(60, topic_id=ID))),
        (commit(60), ID, copied(40, ID), InputPlace(Progress(40, topic_id=ID), copied(40, ID))),
        (commit(60), ID, None, InputPlace(Progress(60))),
        (commit(60), ID, copied(40, OTHER_ID), InputPlace(Progress(60))),
        (commit(60), None, None, InputPlace(Progress(60))),
        (commit(60, "moved by ann"), ID, None, MOVED),
        (commit(-1), ID, None, InputPlace(Progress(None))),
        (commit(-1), ID, copied(40, OTHER_ID), InputPlace(Progress(None))),
    ],
)
def test_a_commit_of_predictions_without_a_note_counts_where_no_copy_shows_that_workers_write_notes(
    made: OffsetAndMetadata, topic_id: str | None, copy: CommitCopy | None, expected: InputPlace
) -> None:
    """The version before wrote neither."""
    assert place_of_predictions(made, topic_id, copy) == expected
