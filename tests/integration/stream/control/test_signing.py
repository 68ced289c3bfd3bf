"""Two persons make a model live on a real Kafka, by the command line, though the worker between them is replaced."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

from support.fleet.fleet import Fleet, until
from support.fleet.payments import put_model

Done = CompletedProcess[str]


class Desk:
    """Persons who have made keys by the command line, and send commands with them."""

    def __init__(self, fleet: Fleet, folder: Path, roles: dict[str, str]) -> None:
        self._fleet, self._folder = fleet, folder
        self.keys = folder / "keys.toml"
        self.keys.write_text("".join(self._new_key(person, role) for person, role in roles.items()))

    def _new_key(self, person: str, role: str) -> str:
        made = self._fleet.cli("keys", "new", str(self._folder / f"{person}.pem"), "--person", person, "--role", role)
        assert made.returncode == 0, made.stderr
        return made.stdout

    def send(self, person: str, *arguments: str, **settings: str) -> Done:
        own = {"SIGNING_KEY": str(self._folder / f"{person}.pem"), "ACTOR": person, "TWO_PERSONS": "true"}
        return self._fleet.cli("model", *arguments, **own, **settings)


def codes(refused: Done) -> Sequence[str]:
    assert refused.returncode == 1, refused.stdout + refused.stderr
    return [problem["code"] for problem in json.loads(refused.stdout)["problems"]]


def test_a_promotion_counts_once_another_person_has_countersigned_it(fleet: Fleet, tmp_path: Path) -> None:
    desk = Desk(fleet, tmp_path, {"ann": "operator", "bob": "operator", "robot": "guard"})
    trusted = {"COMMAND_KEYS": str(desk.keys), "TWO_PERSONS": "true"}
    digest, worker = put_model(fleet.models), fleet.worker(**trusted)
    until(lambda: worker.has_joined, "the group is joined")
    assert codes(fleet.cli("model", "promote", digest, "--json")) == ["unsigned"]
    for_elsewhere = desk.send("ann", "promote", digest, "--json", ESTATE="staging")
    assert codes(for_elsewhere) == ["wrong_signature"], "the workers' estate is the id of this cluster"
    with ThreadPoolExecutor(1) as pool:
        promotion = pool.submit(desk.send, "ann", "promote", digest, "--reason", "test", "--json")
        until(lambda: bool(fleet.events("candidate")), "the promotion waits for somebody")
        (command_id,) = {event["command_id"] for event in fleet.events("candidate")}
        assert codes(desk.send("ann", "countersign", command_id, "--yes", "--json")) == ["same_person"]
        assert codes(desk.send("robot", "countersign", command_id, "--yes", "--json")) == ["not_permitted"]
        assert worker.terminate() == 0
        successor = fleet.worker(**trusted)
        until(lambda: successor.has_joined, "the group has another worker")
        approved = desk.send("bob", "countersign", command_id, "--yes", "--reason", "read the report")
        promoted = promotion.result(60)
    assert [one.returncode for one in (approved, promoted)] == [0, 0], approved.stderr + promoted.stderr
    assert f"model: {digest}" in approved.stderr
    assert f"fraudstream model countersign {command_id}" in promoted.stderr
    verdict = json.loads(promoted.stdout)
    assert (verdict["revision"], verdict["actor"], verdict["countersigned_by"]) == (1, "ann", "bob")
    successor.await_ready()
    history = fleet.cli("model", "history").stdout
    assert f"countersign {command_id}\n  by bob: read the report" in history
    assert "by ann, countersigned by bob: test" in history
    assert "claimed: ann, wrongly signed: no reason given" in history
