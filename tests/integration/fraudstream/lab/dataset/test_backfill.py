"""`fraudstream backfill` on real Kafka and Redis, with a worker killed in the middle and histories lost afterwards."""

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.times import format_time
from support.fleet.fleet import Fleet, sources, until
from support.fleet.payments import PARTITIONS
from support.fleet.recounted_payments import Payments, Season, a_season, differing, recounted
from support.redis.own import OwnRedis
from support.training_files import write

BEFORE, DURING, AFTER = 1_200, 400, 200
COLUMNS = ("transaction_id", "card_id", "merchant_id", "amount_minor", "currency")


def past_of(season: Season, path: Path) -> Path:
    """Write the payments before the stream with their labels as a file."""
    labels = {one["transaction_id"]: one for one in (*season.early_labels, *season.late_labels)}
    rows = [labels.get(one["transaction_id"], {}) for one in season.before]
    columns: dict[str, list[Any]] = {name: [one[name] for one in season.before] for name in COLUMNS}
    columns["occurred_at"] = [format_time(one["occurred_at"]) for one in season.before]
    columns["fraud"] = [row.get("fraud") for row in rows]
    columns["labelled_at"] = [format_time(row["labelled_at"]) if row else None for row in rows]
    return write(path, columns)


def backfilled(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def is_whole(fleet: Fleet, redis: OwnRedis) -> bool:
    key = f"fraudstream:{fleet.environment['DEPLOYMENT']}:epoch"
    whole = redis.client.get(f"{key}:whole") or b""
    return whole.split(b" ")[0] == (redis.client.get(key) or b"none")


def fill_with_a_killed_worker(fleet: Fleet, path: Path) -> dict[str, Any]:
    """Run a backfill, and kill one of two workers when a part of it is applied."""
    fleet.environment["POLL_RECORDS"] = "16"
    killed, _ = fleet.go_live(2)
    with ThreadPoolExecutor(1) as pool:
        filling = pool.submit(fleet.cli, "backfill", str(path), "--json")
        until(lambda: sum(fleet.ends("outcomes").values()) > BEFORE // 10, "a part of the labels is applied")
        killed.kill()
        fleet.worker()
        return backfilled(filling.result())


def compared(fleet: Fleet) -> dict[str, Any]:
    done = fleet.cli("score", "--topic", "--diff", "--json", "--threads", "2")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def sent(fleet: Fleet, payments: Payments) -> None:
    """Publish payments to the partitions that the backfill chooses for their cards."""
    columns = {name: [one[name] for one in payments] for name in (*COLUMNS, "occurred_at")}
    done = fleet.cli("publish", str(write(fleet.folder / "live.parquet", columns)))
    assert done.returncode == 0, done.stderr


def published(fleet: Fleet, payments: Payments, count: int) -> None:
    sent(fleet, payments)
    fleet.await_scores(count, seconds=90)


@pytest.mark.acceptance
def test_decisions_behind_a_backfill_see_all_of_it_through_a_kill_and_a_loss_of_redis(
    apart: Fleet, own_redis: OwnRedis, tmp_path: Path, report: Callable[[str], None]
) -> None:
    season = a_season(BEFORE, DURING, AFTER, seed=27)
    path = past_of(season, tmp_path / "past.parquet")
    done = fill_with_a_killed_worker(apart, path)
    assert (done["payments"], done["labels"], done["written"], done["found"]) == (BEFORE, BEFORE, 2 * BEFORE, 0)
    report(f"{done['written']} records written in {done['write_seconds']} s, applied {done['apply_seconds']} s later")
    assert (apart.scores()[0], apart.read("dead-letters")) == ([], [])
    assert apart._answered_labels() == BEFORE

    again = backfilled(apart.cli("backfill", str(path), "--json"))
    assert (again["written"], again["found"], sum(apart.ends("transactions").values())) == (0, 2 * BEFORE, BEFORE)

    own_redis.client.flushall()
    until(lambda: is_whole(apart, own_redis), "the histories are whole again, of backfilled payments alone")
    published(apart, season.during, DURING)
    own_redis.client.flushall()
    sent(apart, season.before[-40:])  # they were filled in, so they are repeated
    published(apart, season.after, DURING + AFTER)
    check_live(apart, [one["transaction_id"] for one in (*season.during, *season.after)])


def check_live(fleet: Fleet, names: list[str]) -> None:
    """Check that these payments alone are decided, from features that equal a recount and are reproduced."""
    valid, _ = fleet.scores()
    assert set(sources(valid).values()) == {1}
    assert sorted(score.transaction_id for score in valid) == sorted(names)
    assert {score.degraded for score in valid} == {()}
    assert differing(valid, recounted(fleet)) == []
    shares = [(score.features or {})["merchant_fraud_share_delayed_30d"] or 0 for score in valid]
    assert sum(share > 0 for share in shares) > AFTER
    found = compared(fleet)
    assert (found["compared"], found["unexplained"], found["undecided"]) == (len(names), 0, 0)
    assert found["equal"] == found["compared"]
    assert fleet.read("dead-letters") == []


@pytest.mark.acceptance
def test_histories_lost_while_no_worker_ran_are_rebuilt_although_nothing_was_decided_or_nothing_since(
    apart: Fleet, own_redis: OwnRedis, tmp_path: Path
) -> None:
    season = a_season(1_200, 50, 50, seed=3)
    first, second = season._replace(before=season.before[:200]), season._replace(before=season.before[200:])
    (worker,) = apart.go_live()
    backfilled(apart.cli("backfill", str(past_of(first, tmp_path / "first.csv")), "--json"))
    assert worker.terminate() == 0
    own_redis.client.flushall()
    rebuilt = apart.cli("features", "rebuild", "--here", "--json")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert json.loads(rebuilt.stdout)["applied"] == 400
    own_redis.client.flushall()
    worker = apart.worker()
    published(apart, season.during, 50)
    assert differing(apart.scores()[0], recounted(apart)) == []

    backfilled(apart.cli("backfill", str(past_of(second, tmp_path / "second.csv")), "--json"))
    assert worker.terminate() == 0
    own_redis.client.flushall()
    sent(apart, season.after)  # some are decided while the backlog behind another partition's last decision is read
    apart.worker(POLL_RECORDS="16")
    valid = apart.await_scores(100)
    assert differing([one for one in valid if one.transaction_id.startswith("p-2-")], recounted(apart)) == []


def test_a_topic_fills_histories_as_a_file_does_and_what_the_stream_overlaps_is_refused(
    fleet: Fleet, tmp_path: Path
) -> None:
    season = a_season(200, 50, 1, seed=5)
    path = past_of(season, tmp_path / "past.csv")
    archive = f"{fleet.prefix}archive-"
    assert fleet.cli("topics", "apply", "--partitions", "2", TOPIC_PREFIX=archive).returncode == 0
    for arguments in ((), ("--labels",)):
        assert fleet.cli("publish", str(path), *arguments, TOPIC_PREFIX=archive).returncode == 0
    topics = ("--topic", f"{archive}transactions", "--labels-topic", f"{archive}labels")
    done = backfilled(fleet.cli("backfill", *topics, "--no-wait", "--json"))
    assert (done["payments"], done["labels"], done["written"], done["apply_seconds"]) == (200, 200, 400, None)
    assert backfilled(fleet.cli("backfill", *topics, "--no-wait", "--json"))["written"] == 0
    fleet.go_live()
    published(fleet, season.during, 50)
    assert differing(fleet.scores()[0], recounted(fleet)) == []
    write_later = {**season._asdict(), "before": [*season.before, season.during[0]]}
    refused = fleet.cli("backfill", str(past_of(Season(**write_later), tmp_path / "later.csv")))
    assert refused.returncode == 1
    assert "the stream has begun before it ends" in refused.stderr
    assert f"--until {format_time(season.during[0]['occurred_at'])}" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert sum(fleet.ends("transactions").values()) == 250


@pytest.mark.parametrize("command", [("backfill", "--no-wait"), ("publish",)])
def test_a_record_above_its_topics_limit_is_left_out_and_named_and_all_others_are_written(
    fleet: Fleet, tmp_path: Path, command: tuple[str, ...]
) -> None:
    season = a_season(200, 1, 1, seed=6)
    columns = {name: [one[name] for one in season.before] for name in (*COLUMNS, "occurred_at")}
    columns["occurred_at"] = [format_time(one) for one in columns["occurred_at"]]
    columns["device_id"] = ["d-1"] * 200
    columns["device_id"][20] = "".join(map(chr, np.random.default_rng(1).integers(48, 123, 1_500_000)))
    path = write(tmp_path / "past.parquet", columns)
    done = fleet.cli(command[0], str(path), *command[1:], "--json")
    assert done.returncode == 1
    name = columns["transaction_id"][20]
    assert f"{path} row 21, transaction '{name}': 1," in done.stderr
    assert "transactions takes 1,048,588" in done.stderr
    assert sum(fleet.ends("transactions").values()) == 199
    assert name not in {json.loads(one.value or b"")["transaction_id"] for one in fleet.read("transactions")}


@pytest.mark.parametrize("topic", ["transactions", "absent"])
def test_a_backfill_without_its_topics_exits_with_1_and_names_them(fleet: Fleet, tmp_path: Path, topic: str) -> None:
    path = past_of(a_season(5, 1, 1, seed=1), tmp_path / "past.csv")
    arguments = (str(path),) if topic == "transactions" else ("--topic", f"{fleet.prefix}{topic}")
    prefix = {"TOPIC_PREFIX": f"{fleet.prefix}none-"} if topic == "transactions" else {}
    refused = fleet.cli("backfill", *arguments, "--no-wait", **prefix)
    assert refused.returncode == 1
    assert topic in refused.stderr
    assert "Traceback" not in refused.stderr
    assert fleet.ends("transactions") == dict.fromkeys(range(PARTITIONS), 0)
