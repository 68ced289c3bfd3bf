"""Write access to the model repository makes no model live: no new worker and no restore believes a forged event."""

import json
import shutil
from pathlib import Path

import msgspec

from models.commands import EventKind, encode
from models.lineup import Lineup
from models.snapshot import SnapshotScope, SnapshotSeal, read_snapshot
from stream.control.announcements import new_origin
from support.fleet.fleet import Fleet, until
from support.fleet.payments import put_model

ESTATE = "tests"


def forge(snapshot: Path, scope: SnapshotScope, digest: str) -> None:
    """Add a promotion by ann to a snapshot, as somebody can who may write to the repository."""
    kept = read_snapshot(snapshot.read_bytes())
    event = new_origin("w").event(scope.deployment, EventKind.ACCEPTED, 2, command_id="forged", model=digest)
    event = msgspec.structs.replace(event, command="promote", actor="ann", reason="it is better")
    lineup = Lineup(scope.deployment, revision=2)
    snapshot.write_bytes(SnapshotSeal(scope).write(lineup, (*kept.values(), encode(event))))


def test_a_forged_promotion_in_the_snapshot_makes_nothing_live(fleet: Fleet, tmp_path: Path) -> None:
    made = fleet.cli("keys", "new", str(tmp_path / "ann.pem"), "--person", "ann")
    (tmp_path / "keys.toml").write_text(made.stdout)
    (tmp_path / "snapshot.key").write_text(f"{'5a' * 32}\n")
    fleet.environment |= {
        "ESTATE": ESTATE,
        "COMMAND_KEYS": str(tmp_path / "keys.toml"),
        "SNAPSHOT_KEY_FILE": str(tmp_path / "snapshot.key"),
        "SIGNING_KEY": str(tmp_path / "ann.pem"),
        "ACTOR": "ann",
    }
    (worker,) = fleet.go_live()
    other = put_model(fleet.models, seed=1)
    scope = SnapshotScope(ESTATE, f"{fleet.prefix}model-events", fleet.environment["DEPLOYMENT"])
    snapshot = Path(fleet.models) / "control" / scope.file_name
    until(lambda: snapshot.exists() and b'"revision":1' in snapshot.read_bytes(), "the snapshot is written")
    assert worker.terminate() == 0
    forge(snapshot, scope, other)
    forged = Path(shutil.copy(snapshot, tmp_path / "forged.jsonl"))  # the judge replaces it
    successor = fleet.worker()
    successor.await_ready()
    assert "is not used: its seal is missing" in successor.log()
    refused = fleet.cli("model", "restore", "--yes", "--reason", "test", "--from", str(forged))
    assert (refused.returncode, "--force takes it all the same" in refused.stderr) == (1, True), refused.stderr
    # An operator who trusts the file all the same is told what it holds, and that nobody asked for it.
    left_out = fleet.cli("model", "restore", "--force", "--reason", "test", "--from", str(forged))
    assert left_out.returncode == 1
    assert "by ann: it is better" in left_out.stderr
    assert "not proved, and taken by --force: its command forged is not on model-control" in left_out.stderr
    verdicts = [json.loads(line) for line in fleet.cli("model", "history", "--json").stdout.splitlines()]
    assert [one["revision"] for one in verdicts] == [1]
