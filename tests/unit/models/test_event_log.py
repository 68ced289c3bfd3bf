"""A log is trusted only where no record of it is lost, and again after a complete restore."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.commands import encode
from models.limits import Limits
from models.snapshot import plan_restore
from support.control_events import accepted, event, logs, read, restore_of

PROMOTED = [accepted(revision) for revision in range(1, 5)]


def values(events: Any) -> list[bytes]:
    return [encode(one) for one in events]


def test_a_log_from_its_first_record_is_trusted() -> None:
    log = read(PROMOTED)
    assert (log.trusted, log.lost, log.fold.lineup.revision, log.next_offset) == (True, 0, 4, 4)
    assert log.why_untrusted("model-events") is None
    assert read([]).trusted


def test_a_log_whose_beginning_is_gone_is_not_trusted_and_says_what_to_do() -> None:
    log = read(PROMOTED[2:], begin=2)
    assert (log.trusted, log.lost) == (False, 2)
    assert log.why_untrusted("model-events") == (
        "model-events has lost 2 records before offset 2 that were not read, so it does not say which model is live: "
        "restore them by `fraudstream model restore`"
    )
    assert read([], begin=9).lost == 9, "nothing is left of it"


@pytest.mark.parametrize(
    "left",
    [[accepted(3)], [accepted(1), accepted(3)], [event("shadow", 2, "e")], [accepted(1), event("ready", 2, "e")]],
)
def test_a_log_that_lost_records_within_is_not_trusted(left: Any) -> None:
    """As compaction does, or a topic that was made anew while a judge went on."""
    log = read(left)
    assert not log.trusted
    assert "lacks the record of revision" in str(log.why_untrusted("model-events"))
    assert read([*left, *restore_of(values(PROMOTED))]).trusted


def test_a_log_with_an_acceptance_of_a_later_version_is_not_trusted_once_its_revision_is_named() -> None:
    """As a version without `limits` reads them: it must not go on as if they were not there."""
    unknown = encode(accepted(2, "limits", limits=Limits(0.02))).replace(b'"limits"', b'"of_a_later_version"')
    assert read([accepted(1), unknown]).fold.lineup.revision == 1
    log = read([accepted(1), unknown, event("cutover", 2, "e", partition=0, offset=0)])
    assert "lacks the record of revision 2, or a newer version wrote it" in str(log.why_untrusted("model-events"))


def test_a_complete_restore_makes_a_log_whole_from_there_on() -> None:
    log = read([*values(PROMOTED[2:]), *restore_of(values(PROMOTED)), encode(accepted(5))], begin=2)
    assert (log.trusted, log.lost) == (True, 0)
    assert log.fold.lineup == read([*PROMOTED, accepted(5)]).fold.lineup
    assert list(log.kept) == [f"e-{revision}-default" for revision in range(1, 6)]
    begun = 4
    log.seek(begun, 20)
    assert log.lost == 0, "what lies before the restore is not needed any more"
    log.seek(begun + 1, 20)
    assert (log.lost, log.trusted) == (1, True), "this reader has read it, one that starts now cannot"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda block: [*block[:3], encode(event("cutover", 0, "x")), *block[3:]],
        lambda block: [*block[:3], *block[4:]],
        lambda block: block[:-1],
        lambda block: block[1:],
        lambda block: [*list(restore_of(values(PROMOTED), "r-2"))[:-1], block[-1]],
        lambda block: [*block[:2], *block],
        lambda block: [block[0], *block[2:-1], encode(event("restored", 0, "x", command_id="r-1", records=3))],
    ],
)
def test_an_incomplete_restore_or_one_with_other_records_in_it_is_not_trusted(spoil: Any) -> None:
    block = list(restore_of(values(PROMOTED)))
    spoiled = spoil(block)
    log = read([*values(PROMOTED[2:]), *spoiled], begin=2)
    assert log.trusted is (spoiled[2:] == block), "but one that was begun again is"


def test_a_running_reader_stays_at_its_lineup_through_a_restore() -> None:
    log = read(PROMOTED)
    before = log.fold.lineup
    log.seek(3, 4)
    assert (log.lost, log.trusted) == (3, True)
    for value in restore_of(values(PROMOTED)):
        log.add(log.next_offset, value)
        assert log.fold.lineup == before
    assert (log.lost, log.trusted) == (0, True)


def test_records_that_were_lost_unread_are_noticed_and_a_topic_made_anew_is_read_from_its_beginning() -> None:
    log = read(PROMOTED[:2])
    assert log.seek(2, 9) == 2
    assert log.seek(4, 9) == 4
    assert (log.lost, log.trusted) == (4, False)
    log = read(PROMOTED[:2])
    assert log.seek(0, 1) == 0
    log.add(0, encode(accepted(3)))
    assert (log.fold.lineup.revision, log.trusted) == (3, True)


def test_events_of_an_unknown_kind_are_kept_to_be_restored_and_what_is_no_event_is_not() -> None:
    later = b'{"schema":"event/1","event_id":"later","kind":"handed_over","deployment":"default"}'
    log = read([later, b"no event", b"[]", encode(event("ready", 0, "r")), b'{"event_id":"c","kind":"cutover"}'])
    assert dict(log.kept) == {"later": later}


@given(logs(), st.data())
def test_a_restore_from_any_snapshot_that_reaches_to_the_loss_gives_the_lineup_before(events: Any, data: Any) -> None:
    lost = data.draw(st.integers(0, len(events)), "records that are gone")
    saved = data.draw(st.integers(lost, len(events)), "records that the snapshot covers")
    snapshot = read(events[:saved]).kept
    for deployment in ("default", "other"):
        whole, left = read(events, deployment=deployment), read(events[lost:], begin=lost, deployment=deployment)
        plan = plan_restore(deployment, snapshot, left, from_start=lost == 0)
        assert plan.problems == ()
        assert plan.lineup == whole.fold.lineup
        assert plan.needed is bool(lost)
        after = read([*values(events[lost:]), *restore_of(plan.events.values())], begin=lost, deployment=deployment)
        assert after.fold.lineup == whole.fold.lineup
        assert after.trusted
        assert list(after.kept) == list(whole.kept)
        again = plan_restore(deployment, snapshot, after, from_start=False)
        assert (again.needed, again.missing) == (False, 0)


def test_an_acceptance_of_a_hand_over_that_came_too_late_counts_as_unsaid() -> None:
    """Its judge reads that another deployment was faster, and answers the same command again: with a refusal."""
    faster = accepted(1, "cut_over", deployment="green", term=1)
    late = accepted(4, "cut_over", term=1, event_id="e-late")
    log = read([accepted(1, deployment="blue"), *PROMOTED, faster, late])
    assert log.fold.term.publisher == "green"
    assert late.command_id not in log.fold.lineup.answers
    assert late.event_id not in log.kept
    refused = event("refused", 4, "e-refused", command_id=late.command_id)
    assert (
        read([accepted(1, deployment="blue"), *PROMOTED, faster, late, refused]).fold.lineup.answers[
            str(late.command_id)
        ]
        == refused
    )
