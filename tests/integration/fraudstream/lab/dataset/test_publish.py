"""`fraudstream publish` writes a file to the topics at the given rate and reports the number of records."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from fraudstream.demo.services.processes import Child, free_port
from support.fleet.fleet import Fleet
from support.training_files import transactions, write


def test_a_file_is_published_at_the_given_rate_with_card_ids_as_keys(fleet: Fleet, tmp_path: Path) -> None:
    path = write(tmp_path / "payments.parquet", transactions(rows=200))
    done = fleet.cli("publish", str(path), "--rate", "100", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["sent"] == 200
    assert 5 < facts["rate"] <= 101  # never faster; slower on a busy machine, without effect on the timestamps below
    found = fleet.read("transactions")
    assert len(found) == 200
    assert all(record.key.decode() == json.loads(record.value)["card_id"] for record in found)
    keys = {record.key: record.partition for record in found}
    assert all(keys[record.key] == record.partition for record in found)
    times = sorted(record.timestamp for record in found)
    assert [stamp - times[0] for stamp in times] == pytest.approx([10 * number for number in range(200)], abs=2)


def test_labels_go_to_their_own_topic(fleet: Fleet, tmp_path: Path) -> None:
    columns = transactions(rows=100)
    path = write(tmp_path / "payments.csv", columns)
    done = fleet.cli("publish", str(path), "--labels", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sent"] == 100
    found = [json.loads(record.value) for record in fleet.read("labels")]
    assert {label["transaction_id"]: label["fraud"] for label in found} == dict(
        zip(columns["transaction_id"], columns["fraud"], strict=True)
    )
    assert fleet.read("transactions") == []


def test_labels_of_another_file_are_sent_between_the_payments_when_they_become_known(
    fleet: Fleet, tmp_path: Path
) -> None:
    columns = transactions(rows=200, days=30)
    past, today = ({name: values[part] for name, values in columns.items()} for part in (slice(150), slice(100, 200)))
    files = [str(write(tmp_path / name, some)) for name, some in (("today.csv", today), ("past.csv", past))]
    done = fleet.cli("publish", files[0], "--labels-from", files[1], "--rate", "200", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    sent = [(record.timestamp, json.loads(record.value)) for record in fleet.read("labels")]
    payments = {
        one["transaction_id"]: record.timestamp
        for record in fleet.read("transactions")
        for one in [json.loads(record.value)]
    }
    occurred = dict(zip(columns["transaction_id"], columns["occurred_at"], strict=True))
    known = {one["transaction_id"] for _, one in sent}
    assert facts["transactions"] == len(payments) == 100
    assert facts["labels"] == len(sent) == len(known) > 100
    for at, one in sent:
        behind = [sent_at for name, sent_at in payments.items() if occurred[name] > one["labelled_at"]]
        assert not behind or at <= min(behind)
    assert all(one["labelled_at"] <= max(occurred.values()) for _, one in sent)


def test_an_invalid_file_and_an_unreachable_broker_exit_with_1_and_a_message(fleet: Fleet, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.csv", transactions(rows=3) | {"amount_minor": [1, -2, 3]})
    done = fleet.cli("publish", str(bad))
    assert done.returncode == 1
    assert "amount_minor is not a whole number" in done.stderr
    good = write(tmp_path / "good.csv", transactions(rows=3))
    away = fleet.cli("publish", str(good), BROKERS=f"127.0.0.1:{free_port()}")
    assert away.returncode == 1
    assert "no broker can be used: 127.0.0.1:" in away.stderr
    assert "Traceback" not in away.stderr
    assert fleet.read("transactions") == []


def test_ctrl_c_ends_publishing_without_a_traceback(fleet: Fleet, tmp_path: Path) -> None:
    path = write(tmp_path / "payments.parquet", transactions(rows=200))
    named = {f"FRAUDSTREAM_{name}": value for name, value in fleet.environment.items()}
    command = (sys.executable, "-m", "fraudstream.cli", "publish", str(path), "--rate", "1")
    child = Child(command, tmp_path / "publish.log", os.environ | named)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits SIG_IGN
    try:
        child.start()
    finally:
        signal.signal(signal.SIGINT, before)
    child.await_ready(lambda: len(fleet.read("transactions")) > 0, 60)
    child.signal(signal.SIGINT)
    assert child.wait(20) != 0
    assert "Traceback" not in child.tail()
