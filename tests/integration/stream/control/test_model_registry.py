"""Signed models alone go live on a real Kafka, and a prune keeps what its topics name."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from models.repository import Repository
from support.fleet.fleet import Fleet, until
from support.fleet.payments import payment, put_model


def age(fleet: Fleet, digest: str) -> None:
    os.utime(Path(fleet.models) / digest / "manifest.json", (1_600_000_000, 1_600_000_000))


def prune(fleet: Fleet, *arguments: str, **settings: str) -> dict[str, Any]:
    done = fleet.cli("model", "prune", "--own-prefix", "--json", *arguments, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_an_unsigned_promotion_is_refused_a_signed_one_goes_live_and_survives_a_restart(
    fleet: Fleet, tmp_path: Path
) -> None:
    key = str(tmp_path / "mo.pem")
    made = fleet.cli("keys", "new", key, "--person", "mo", "--role", "model")
    (tmp_path / "keys.toml").write_text(made.stdout)
    trusted = {"MODEL_KEYS": str(tmp_path / "keys.toml")}
    worker, digest = fleet.worker(**trusted), put_model(fleet.models)
    until(lambda: worker.has_joined, "the group is joined")
    for force in ((), ("--force",)):
        refused = fleet.cli("model", "promote", digest, "--reason", "test", "--json", *force)
        assert refused.returncode == 1
        assert [one["code"] for one in json.loads(refused.stdout)["problems"]] == ["unsigned_model"]
    signed = fleet.cli("model", "sign", digest, "--key", key)
    assert signed.returncode == 0, signed.stderr
    assert fleet.promote(digest)["revision"] == 1
    worker.await_ready()
    assert worker.terminate() == 0
    for file in (Path(fleet.models) / "signatures" / digest).iterdir():
        file.unlink()
    again = fleet.worker(**trusted)
    until(lambda: f"{digest} is not signed" in again.get("/health/ready")[1], "the worker says what is wrong")
    assert fleet.cli("model", "sign", digest, "--key", key).returncode == 0
    again.await_ready()


@pytest.mark.acceptance
def test_one_worker_that_asks_for_signatures_keeps_an_unsigned_model_from_the_whole_group(
    fleet: Fleet, tmp_path: Path
) -> None:
    made = fleet.cli("keys", "new", str(tmp_path / "mo.pem"), "--person", "mo", "--role", "model")
    (tmp_path / "keys.toml").write_text(made.stdout)
    trusting = fleet.worker()
    until(lambda: trusting.has_joined, "the group is joined")
    asking = fleet.worker(MODEL_KEYS=str(tmp_path / "keys.toml"))
    until(lambda: asking.has_joined, "the group is joined")
    digest = put_model(fleet.models)
    refused = fleet.cli("model", "promote", digest, "--reason", "test", "--json")
    assert refused.returncode == 1
    (problem,) = json.loads(refused.stdout)["problems"]
    assert "unsigned_model" in (problem["code"], *problem["detail"].split(": ")), "as judge, or as another's answer"
    assert asking.terminate() == 0
    until(lambda: fleet.cli("model", "promote", digest, "--reason", "test").returncode == 0, "the other one accepts it")


@pytest.mark.acceptance
def test_a_prune_keeps_what_decided_and_was_named_and_deletes_the_rest(fleet: Fleet) -> None:
    (worker,) = fleet.go_live(1)
    live = fleet.events("accepted")[0]["model"]
    second, refused, left = (put_model(fleet.models, seed=seed) for seed in (1, 2, 3))
    fleet.publish([payment(number) for number in range(20)])
    fleet.await_scores(20)
    fleet.promote(second)
    assert fleet.cli("model", "withdraw", "--reason", "test").returncode in (0, 1)
    assert fleet.cli("model", "promote", refused[:10], "--reason", "t", "--expected-revision", "99").returncode == 1
    for digest in (live, second, refused, left):
        age(fleet, digest)
    planned = prune(fleet)
    assert [one["digest"] for one in planned["unnamed"]] == [left]
    reasons = {one["digest"]: one["reasons"] for one in planned["kept"]}
    assert f"decisions on {fleet.prefix}scores" in reasons[live]
    assert any(one.startswith("promote at revision 1") for one in reasons[live])
    assert f"live of {fleet.environment['DEPLOYMENT']}" in reasons[second]
    assert reasons[refused]
    assert planned["read"][f"{fleet.prefix}scores"] >= 20
    unreachable = fleet.cli("model", "prune", "--apply", BROKERS="127.0.0.1:1")
    assert (unreachable.returncode, "nothing is deleted" in unreachable.stderr) == (1, True)
    assert prune(fleet, "--apply")["deleted"] == [left]
    assert set(Repository(fleet.models).digests()) == {live, second, refused}
    assert worker.terminate() == 0
