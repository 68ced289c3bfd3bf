"""A snapshot holds the events of a log, and a restore that would lose or contradict any is not planned."""

from collections.abc import Callable
from typing import Any

import pytest

from models.errors import DamagedSnapshotError, UnsealedSnapshotError
from models.lineup import Lineup
from models.snapshot import SnapshotScope, SnapshotSeal, lost_revision, plan_restore, read_snapshot
from support.control_events import accepted, event, read

SCOPE = SnapshotScope("here", "eu.model-events", "default")
PLAIN = SnapshotSeal(SCOPE)
NEW, OLD, OTHER = b"n" * 32, b"o" * 32, b"x" * 32
PROMOTED = [accepted(revision) for revision in range(1, 5)]


def kept(*events: Any) -> Any:
    return read(events).kept


def test_a_snapshot_is_read_as_it_was_written() -> None:
    events = kept(*PROMOTED)
    text = PLAIN.write(read(PROMOTED).fold.lineup, tuple(events.values()))
    assert read_snapshot(text) == PLAIN.read(text) == events
    head = b'{"schema":"snapshot/1","topic":"eu.model-events","deployment":"default","revision":4,"events":4,'
    assert text.split(b"\n")[0] == head + b'"estate":"here"}'
    assert PLAIN.read(PLAIN.write(Lineup("default"), ())) == {}
    assert SCOPE.file_name == "here@eu.model-events.default.jsonl"


def test_one_that_any_of_the_keys_has_sealed_is_used() -> None:
    events = kept(*PROMOTED)
    sealed = SnapshotSeal(SCOPE, (OLD,)).write(read(PROMOTED).fold.lineup, tuple(events.values()))
    assert SnapshotSeal(SCOPE, (NEW, OLD), required=True).read(sealed) == events
    assert PLAIN.read(sealed) == events, "a worker without keys uses any"
    with pytest.raises(UnsealedSnapshotError, match="its seal is not that of a key in FRAUDSTREAM_SNAPSHOT_KEY_FILE"):
        SnapshotSeal(SCOPE, (NEW, OTHER)).read(sealed)


@pytest.mark.parametrize(
    "forged",
    [
        lambda text: text.replace(b'"revision":4', b'"revision":5'),
        lambda text: text.replace(b"e-4-default", b"e-9-default"),
        lambda text: text.replace(b'"seal":"', b'"seal":"0'),
        lambda _: SnapshotSeal(SCOPE, (OTHER,)).write(Lineup("default"), ()),
        lambda _: PLAIN.write(Lineup("default"), ()),
    ],
)
def test_one_that_somebody_without_the_key_wrote_or_changed_is_not_used(forged: Callable[[bytes], bytes]) -> None:
    seal = SnapshotSeal(SCOPE, (NEW,))
    text = seal.write(read(PROMOTED).fold.lineup, tuple(kept(*PROMOTED).values()))
    assert forged(text) != text
    with pytest.raises(UnsealedSnapshotError):
        seal.read(forged(text))


def test_a_seal_holds_for_the_first_line_as_well_as_for_the_events() -> None:
    lineup, events = read(PROMOTED).fold.lineup, tuple(kept(*PROMOTED).values())
    elsewhere = SnapshotSeal(SCOPE._replace(estate="there"), (NEW,)).write(lineup, events)
    for text, said, forged in (
        (elsewhere, b'"estate":"there"', b'"estate":"here"'),
        (SnapshotSeal(SCOPE, (NEW,)).write(lineup, events), b'"revision":4,"events"', b'"revision":5,"events"'),
    ):
        changed = text.replace(said, forged)
        assert changed.split(b"\n")[0] != text.split(b"\n")[0]
        assert changed.split(b"\n")[1:] == text.split(b"\n")[1:]
        with pytest.raises(UnsealedSnapshotError, match="its seal is not that of a key"):
            SnapshotSeal(SCOPE, (NEW,)).read(changed)


@pytest.mark.parametrize("elsewhere", [SCOPE._replace(**{name: "other"}) for name in SCOPE._fields], ids=SCOPE._fields)
@pytest.mark.parametrize("keys", [(), (NEW,)], ids=["plain", "sealed"])
def test_one_of_another_place_is_not_used(elsewhere: SnapshotScope, keys: tuple[bytes, ...]) -> None:
    text = SnapshotSeal(elsewhere, keys).write(Lineup(elsewhere.deployment), ())
    with pytest.raises(
        UnsealedSnapshotError, match=r"and not of eu\.model-events of deployment default in estate here"
    ):
        SnapshotSeal(SCOPE, keys).read(text)


def test_where_commands_are_signed_and_there_is_no_key_none_is_used() -> None:
    required = PLAIN._replace(required=True)
    with pytest.raises(
        UnsealedSnapshotError, match="FRAUDSTREAM_SNAPSHOT_KEY_FILE, which would tell whose it is, is not set"
    ):
        required.read(required.write(Lineup("default"), ()))


def test_one_of_a_version_before_estates_is_read_where_no_seal_is_asked_for() -> None:
    text = b'{"schema":"snapshot/1","topic":"eu.model-events","deployment":"default","revision":0,"events":0}\n'
    assert PLAIN.read(text) == {}


def test_an_event_of_several_lines_becomes_one_line() -> None:
    text = PLAIN.write(Lineup("default"), (b'{"event_id":\n"e",\n"kind":"x"}',))
    assert read_snapshot(text) == {"e": b'{"event_id":"e","kind":"x"}'}


@pytest.mark.parametrize("cut", [0, 5, 120, 400, -2])
def test_a_snapshot_that_is_cut_or_something_else_is_refused(cut: int) -> None:
    text = PLAIN.write(read(PROMOTED).fold.lineup, tuple(kept(*PROMOTED).values()))
    with pytest.raises(DamagedSnapshotError):
        PLAIN.read(text[:cut])


def test_a_revision_that_only_the_snapshot_has_is_lost() -> None:
    assert lost_revision(kept(*PROMOTED), read(PROMOTED[:3]).fold.lineup) == 4
    assert lost_revision(kept(*PROMOTED), read(PROMOTED).fold.lineup) is None
    assert lost_revision({}, Lineup("default")) is None
    assert lost_revision(kept(*PROMOTED), Lineup("other")) is None


def problems(snapshot: Any, log: Any, begin: int = 0) -> tuple[str, ...]:
    return plan_restore("default", kept(*snapshot), read(log, begin=begin), from_start=begin == 0).problems


def test_a_restore_that_lacks_a_revision_is_refused() -> None:
    lost = "revision 3 of default is neither in the snapshot nor in the log"
    assert problems(PROMOTED[:2], PROMOTED[3:], begin=3) == (lost,)
    assert problems(PROMOTED[:2], [event("cutover", 3, "e")], begin=9) == (lost,), "though nothing else says so"
    assert problems(PROMOTED[:2], [event("cutover", 2, "e")], begin=9) == ()
    other = accepted(2, deployment="other")
    assert problems([*PROMOTED[:2]], [other], begin=2) == (
        "revision 1 of other is neither in the snapshot nor in the log",
    )


def test_a_restore_into_a_log_that_was_begun_anew_is_refused() -> None:
    anew = accepted(1, event_id="anew")
    assert problems(PROMOTED, [anew]) == (
        "revision 1 of default is event e-1-default in the snapshot and anew in the log: the log was begun anew",
    )
    assert problems(PROMOTED, PROMOTED[:2]) == ()
    assert problems(PROMOTED, [accepted(5)]) == (), "a judge that still knew the old log went on in the new one"


def test_nothing_is_restored_where_nothing_is_missing() -> None:
    assert not plan_restore("default", kept(*PROMOTED[:2]), read(PROMOTED), from_start=True).needed
    assert not plan_restore("default", {}, read([]), from_start=True).needed
    assert plan_restore("default", kept(*PROMOTED), read([]), from_start=True).missing == 4
