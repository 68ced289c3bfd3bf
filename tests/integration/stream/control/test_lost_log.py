"""Records of the control log that Kafka loses are told of, and restored; nobody waits for them for ever."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from support.fleet.fleet import Fleet, until
from support.fleet.payments import payment, put_model
from support.fleet.workers import Worker
from support.kafka.operations import configuration, configure, delete_records, delete_topic

ESTATE = "tests"


@pytest.fixture(autouse=True)
def estate(fleet: Fleet) -> None:
    fleet.environment["ESTATE"] = ESTATE


def snapshot_of(fleet: Fleet) -> Path:
    name = f"{ESTATE}@{fleet.prefix}model-events.{fleet.environment['DEPLOYMENT']}.jsonl"
    return Path(fleet.models) / "control" / name


def await_snapshot(fleet: Fleet, revision: int) -> None:
    """Wait until the judge has written a revision to the snapshot."""
    path = snapshot_of(fleet)
    until(
        lambda: path.exists() and json.loads(path.read_text().splitlines()[0])["revision"] == revision,
        f"the snapshot has revision {revision}",
    )


def gauge(worker: Worker, name: str) -> float:
    lines = worker.get("/metrics")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def restored(fleet: Fleet, *arguments: str) -> dict[str, Any]:
    done = fleet.cli("model", "restore", "--reason", "test", "--json", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def without_lists(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in {"lacking", "live_now"}}


def history_of(fleet: Fleet) -> list[tuple[int, str, str | None]]:
    done = fleet.cli("model", "history", "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    verdicts = [event for event in events if event["kind"] != "restoring"]
    return [(event["revision"], event["command"], event.get("model")) for event in verdicts]


def assert_roles_are_unknown(fleet: Fleet) -> None:
    listed = fleet.cli("model", "list", "--json")
    assert "fraudstream model restore" in listed.stderr
    assert (listed.returncode, json.loads(listed.stdout)["roles_known"]) == (1, False)


@pytest.mark.acceptance
def test_a_log_that_lost_its_beginning_stops_no_running_worker_and_is_restored_for_those_that_start(
    fleet: Fleet,
) -> None:
    (worker,) = fleet.go_live()
    second = put_model(fleet.models, seed=1)
    fleet.promote(second)
    assert fleet.cli("model", "rollback").returncode == 0
    before = history_of(fleet)
    await_snapshot(fleet, 3)
    gone = delete_records(fleet.brokers, f"{fleet.prefix}model-events")
    started = fleet.worker()
    lost = f"{fleet.prefix}model-events has lost {gone} records"
    until(lambda: str(started.readiness()[1]).startswith(f"['{lost}"), "the loss is the reason")
    until(lambda: gauge(worker, "fraudstream_control_log_lost") == gone, "the running worker reports the loss")
    assert worker.readiness() == (True, [])
    assert_roles_are_unknown(fleet)
    assert fleet.promote(second, "--expected-revision", "3")["revision"] == 4, "commands are judged meanwhile"
    await_snapshot(fleet, 4)
    assert fleet.cli("model", "restore", "--json").returncode == 1, "a dry run says what would be written"
    expected = {"needed": True, "written": True, "events": 4, "missing": 3, "revision": 4, "live": second}
    written = restored(fleet, "--yes")
    assert without_lists(written) == expected
    assert [one["not_proved"] for one in written["lacking"]] == [None] * 3
    assert written["live_now"] is None, "the log does not say"
    assert "events: test" in fleet.cli("model", "history").stdout, "the restore stands there as itself"
    started.await_ready()
    until(lambda: gauge(worker, "fraudstream_control_log_lost") == 0, "the log is whole")
    assert gauge(started, "fraudstream_revision") == gauge(worker, "fraudstream_revision") == 4
    assert history_of(fleet) == [*before, (4, "promote", second)]
    assert restored(fleet, "--yes")["needed"] is False
    assert worker.terminate() == 0
    assert json.loads(fleet.cli("model", "rollback", "--json").stdout)["revision"] == 5


@pytest.mark.acceptance
def test_a_log_that_was_made_anew_is_told_from_a_new_deployments_and_restored_from_a_file(
    fleet: Fleet, tmp_path: Path
) -> None:
    (worker,) = fleet.go_live()
    second = put_model(fleet.models, seed=1)
    fleet.promote(second)
    await_snapshot(fleet, 2)
    before = history_of(fleet)
    assert worker.terminate() == 0
    copy = Path(shutil.copy(snapshot_of(fleet), tmp_path / "copy.jsonl"))
    delete_topic(fleet.brokers, f"{fleet.prefix}model-events")
    assert fleet.cli("topics", "apply", "--partitions", "4").returncode == 0
    worker = fleet.worker()
    reasons = worker.await_not_ready()
    until(lambda: "revision 2" in str(worker.readiness()[1]), f"the snapshot is the reason, not {reasons}")
    snapshot_of(fleet).unlink()
    refused = fleet.cli("model", "restore", "--yes", "--from", str(tmp_path / "worker-0.log"))
    assert (refused.returncode, "no snapshot of the control log" in refused.stderr) == (1, True)
    assert restored(fleet, "--yes", "--from", str(copy))["events"] == 2
    worker.await_ready()
    assert history_of(fleet) == before
    fleet.publish([payment(1)])
    assert fleet.await_scores(1)[0].revision == 2
    await_snapshot(fleet, 2)


async def abort_command(brokers: str, topic: str) -> None:
    """Send a command in a transaction, and abort it: the log ends with two offsets that hold no command."""
    producer = AIOKafkaProducer(bootstrap_servers=brokers, transactional_id=topic)
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"{}", partition=0)
        await producer.abort_transaction()
    finally:
        await producer.stop()


@pytest.mark.acceptance
def test_commands_that_are_lost_unjudged_and_offsets_without_a_command_are_passed_over(fleet: Fleet) -> None:
    """A worker waited for them for ever, and decided nothing."""
    (worker,) = fleet.go_live()
    control = f"{fleet.prefix}model-control"
    assert worker.terminate() == 0
    unjudged = fleet.cli("model", "withdraw", "--wait", "6")
    assert unjudged.returncode == 1
    nobody = f"no worker of deployment {fleet.environment['DEPLOYMENT']} is in the group {fleet.environment['GROUP']}"
    assert unjudged.stderr.startswith(nobody)
    assert "start one by `fraudstream worker`" in unjudged.stderr
    assert "no verdict within 6 s; command " in unjudged.stderr
    gone = delete_records(fleet.brokers, control)
    asyncio.run(abort_command(fleet.brokers, control))
    worker = fleet.worker()
    worker.await_ready()
    judged = fleet.cli("model", "withdraw", "--json")
    assert (json.loads(judged.stdout)["kind"], judged.stderr) == ("refused", "")
    assert f"commands from offset {gone - 1} to {gone} of " in worker.log()
    fleet.publish([payment(1)])
    assert fleet.await_scores(1)[0].revision == 1


def test_settings_that_delete_records_are_told_of_and_mended_by_topics_apply(fleet: Fleet) -> None:
    events, scores = f"{fleet.prefix}model-events", f"{fleet.prefix}scores"
    configure(fleet.brokers, events, retention_ms="604800000", max_message_bytes="2000000")
    configure(fleet.brokers, scores, cleanup_policy="compact,delete", retention_bytes="1000000", retention_ms="-1")
    worker = fleet.worker()
    until(lambda: "no model is live" in str(worker.readiness()[1]), "the worker starts all the same")
    for said in (
        f"{events}: retention.ms is 604800000 instead of -1",
        f"--entity-name {events} --add-config retention.ms=-1",
        f"{scores}: cleanup.policy is compact,delete instead of delete",
        f"{scores}: retention.bytes is 1000000 instead of -1",
    ):
        assert said in worker.log()
    assert gauge(worker, "fraudstream_topics_deviating") == 3
    mended = fleet.cli("topics", "apply", "--partitions", "4", "--json")
    assert mended.returncode == 0, mended.stderr
    assert {(one["topic"], one["setting"], one["wanted"]) for one in json.loads(mended.stdout)["mended"]} == {
        (events, "retention.ms", "-1"),
        (scores, "cleanup.policy", "delete"),
        (scores, "retention.bytes", "-1"),
    }
    assert configuration(fleet.brokers, events)["retention.ms"] == "-1"
    assert configuration(fleet.brokers, events)["max.message.bytes"] == "2000000", "other settings are left alone"
    assert configuration(fleet.brokers, scores)["cleanup.policy"] == "delete"
    again = fleet.cli("topics", "apply", "--partitions", "4")
    assert (again.returncode, again.stdout.strip()) == (0, "all topics exist")
