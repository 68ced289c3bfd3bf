"""Checks of what reads the control log and its snapshot: each takes any bytes."""

from contextlib import suppress

from models.command_decoder import read_command
from models.commands import Command, Event, encode, read_event
from models.errors import DamagedSnapshotError
from models.judge import Fleet, HeldArtifact, judge
from models.lineup import Lineup
from models.snapshot import SnapshotScope, SnapshotSeal, lost_revision, plan_restore, read_snapshot
from shadow.history import ChallengerHistory, reported_totals
from support.control_events import MODELS, read
from support.stream_records import LATEST_MS

LARGEST_ANSWER_BYTES = 512 * 1024
"""Half of what a topic takes by default."""


def check_commands(data: bytes) -> None:
    """Read a command and judge it, or list its problems, which have to fit into the answer."""
    command = read_command(data)
    if not isinstance(command, Command):
        assert command.problems
        assert sum(len(problem.detail) for problem in command.problems) <= LARGEST_ANSWER_BYTES
        return
    assert read_command(encode(command)) == command
    held = HeldArtifact(MODELS[0], "f")
    fleet = Fleet(frozenset({"f"}), frozenset({"w-1"}), held, arms=dict.fromkeys(command.arms or (), held))
    judge(Lineup(command.deployment), command, fleet, LATEST_MS)


def check_events(data: bytes) -> None:
    """Fold a log, one event by line, keep it in a snapshot, and plan a restore from that."""
    values = data.split(b"\n")
    log = read(values)
    assert log.next_offset == len(values)
    log.why_untrusted("model-events")
    events = [event for value in values if isinstance(event := read_event(value), Event)]
    assert [read_event(encode(event)) for event in events] == events
    ChallengerHistory.of("default", events).last_term(MODELS[0])
    reported_totals(events, MODELS[0], 0)
    seal = SnapshotSeal(SnapshotScope("here", "model-events", log.fold.lineup.deployment), (b"k" * 32,))
    kept = seal.read(seal.write(log.fold.lineup, tuple(log.kept.values())))
    assert list(kept) == list(log.kept)
    plan_restore("default", kept, log, from_start=True)


def check_snapshots(data: bytes) -> None:
    """Read a snapshot of the control log, which lies in the model repository, and plan a restore from it."""
    with suppress(DamagedSnapshotError):
        snapshot = read_snapshot(data)
        lost_revision(snapshot, Lineup("default"))
        plan_restore("default", snapshot, read([]), from_start=False)
