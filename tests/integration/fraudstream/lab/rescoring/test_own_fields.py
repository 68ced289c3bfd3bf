"""Fields of one's own, from `attributes` on Kafka to a model and back: each decision comes out again to the bit."""

import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.own_fields import DeclaredFields, category_code
from fraudstream.lab.training.rules_file import read_rules
from fraudstream_client.outputs import Score
from models.artifact import read_artifact, with_policy, write_artifact
from models.repository import Repository
from support.acceptance import sized
from support.features.own_fields_set import FIELDS, fields_of, is_fraud
from support.features.own_fields_set_2 import ADDED, DROPPED
from support.features.own_fields_set_2 import FIELDS as NEXT_FIELDS
from support.fleet.fleet import Fleet, until
from support.fleet.payments import payment
from support.paths import HOUSE
from support.redis.own import OwnRedis
from support.training_files import trained

MODULE, NEXT = "support.features.own_fields_set", "support.features.own_fields_set_2"
BOTH = f"{MODULE},{NEXT}"
PARTS = 6
COUNT = sized(2_400, 200_000)
ROWS = 6_000
HOUR_MS = 3_600_000
RULES = """
[[rules]]
name = "far"
action = "review"
[rules.fields]
ip_country = { among = ["NG", "VN"] }
three_ds = { is = false }
ip_distance = { above = 200.5 }
"""
LATER = [one for one in NEXT_FIELDS if one.name == ADDED]
CATEGORIES = [one.name for one in FIELDS if one.kind.value == "category"]


def stream(first: int, count: int) -> list[dict[str, Any]]:
    payments = [payment(number, cards=400, merchants=40, **fields_of(number)) for number in range(first, first + count)]
    for at, one in enumerate(payments):
        one["attributes"][ADDED] = at % 90_000 / 100
    return payments


def as_file(path: Path, payments: list[dict[str, Any]]) -> Path:
    """Write payments an hour apart as a transactions file, each declared field in a column; wrong ones are absent."""
    by_name = {one.name: one for one in (*FIELDS, *LATER)}
    columns: dict[str, list[Any]] = {
        name: [one[name] for one in payments]
        for name in ("transaction_id", "card_id", "merchant_id", "amount_minor", "currency", "mcc", "channel")
    }
    columns |= {name: [one[name] for one in payments] for name in ("merchant_country", "card_country")}
    columns["occurred_at"] = [1_767_225_600_000 + at * HOUR_MS // 4 for at in range(len(payments))]
    columns["fraud"] = [is_fraud(one) for one in payments]
    for name, field in by_name.items():
        raw = [one["attributes"][name] for one in payments]
        columns[name] = [None if one is None or field.read(one) is None else one for one in raw]
    pq.write_table(pa.table(columns), path)
    return path


def with_rules(contents: dict[str, bytes], file: Path) -> dict[str, bytes]:
    """Return the files of a model with rules beside it."""
    file.write_text(RULES)
    rules, given = read_rules(file, DeclaredFields(FIELDS)), read_artifact(contents)
    manifest = with_policy(given.manifest, given.manifest.policy, None, rules, None)
    return write_artifact(msgspec.structs.replace(given, manifest=manifest))


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The files of two models that were trained with the fields, of one version and the next."""
    folder = tmp_path_factory.mktemp("training")
    file = as_file(folder / "payments.parquet", stream(10**6, ROWS))
    first, second = (trained(folder, module, file) for module in (MODULE, NEXT))
    for found in (first, second):
        manifest = json.loads(found["manifest.json"])
        assert manifest["metrics"]["average_precision"] > 0.8, manifest["metrics"]
        assert set(manifest["categories"]) >= {f"own_{name}" for name in CATEGORIES}
    return with_rules(first, folder / "rules.toml"), second


@pytest.mark.full_size
@pytest.mark.timeout(3_000)
def test_own_fields_are_decided_by_and_come_out_again(
    apart: Fleet,
    own_redis: OwnRedis,
    contents: tuple[dict[str, bytes], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    report: Callable[[str], None],
) -> None:
    """A worker is killed, Redis emptied, a field added and one dropped by rolling restarts, and all taken back."""
    monkeypatch.setenv("PYTHONPATH", str(HOUSE / "tests"))  # workers import the modules from there
    apart.environment["FEATURES"] = MODULE
    workers = [apart.worker() for _ in range(2)]
    until(lambda: all(worker.has_joined for worker in workers), "the group is joined")
    first, second = (Repository(apart.models).put(one) for one in contents)
    payments = stream(0, COUNT)
    parts = [payments[at * COUNT // PARTS : (at + 1) * COUNT // PARTS] for at in range(PARTS)]

    def decide(worker: int, modules: str, *, killed: bool = False) -> None:
        """Publish a part; in its midst a worker ends and comes back with these modules."""
        part, ended = parts.pop(0), workers.pop(worker)
        apart.publish(part[: len(part) // 2])
        if killed:
            ended.signal(signal.SIGKILL)
        else:
            assert ended.terminate() == 0
        workers.insert(worker, apart.worker(FEATURES=modules))
        apart.publish(part[len(part) // 2 :])
        apart.await_scores(COUNT - sum(map(len, parts)), seconds=60 + COUNT / 200)

    def make_live(digest: str) -> None:
        for worker in workers:
            worker.await_ready()
        apart.promote(digest)

    apart.promote(first)
    for worker in workers:
        worker.await_ready()
    decide(1, MODULE, killed=True)
    own_redis.client.flushall()
    decide(0, BOTH)
    decide(1, BOTH)
    make_live(second)
    decide(0, BOTH, killed=True)
    make_live(first)
    decide(0, MODULE)
    decide(1, MODULE)
    valid = apart.await_scores(COUNT)
    assert {one.transaction_id for one in valid} == {one["transaction_id"] for one in payments}
    by_model = Counter(one.model.digest for one in valid if one.model is not None)
    assert by_model[second] >= COUNT // PARTS * 0.9, by_model
    for one in valid[:: COUNT // 500]:
        says_what_was_sent(one, payments[int(one.transaction_id.removeprefix("t-"))])
    assert any(one.decision != "approve" for one in valid)
    assert any(is_ruled(one) for one in valid)
    out = apart.folder / "out.parquet"
    arguments = ("score", "--topic", "--diff", "--json", "--threads", "2", "--out", str(out))
    done = apart.cli(*arguments, seconds=120 + COUNT / 500, FEATURES=BOTH)
    found = json.loads(done.stdout)
    report(", ".join(f"{name} {found[name]}" for name in ("compared", "equal", "explained", "unexplained", "void")))
    assert (found["compared"], found["unexplained"]) == (COUNT, 0), json.dumps(found["examples"], indent=1)[:3000]
    assert found["equal"] >= 0.95 * COUNT
    for one in (valid[-1], next(one for one in valid if is_ruled(one))):
        replayed = apart.cli("replay", one.transaction_id, "--json")
        assert json.loads(replayed.stdout)["equal"], replayed.stdout + replayed.stderr
    known = duckdb.connect().execute(f"SELECT count(own_ip_country) FROM '{out}'").fetchall()  # noqa: S608
    assert known[0][0] > 0.9 * COUNT


def is_ruled(score: Score) -> bool:
    return score.overruled is not None and score.overruled.by == "rule:far"


def says_what_was_sent(score: Score, sent: dict[str, Any]) -> None:
    """Check features, categories and dropped fields of one score."""
    given, features = sent["attributes"], score.features
    assert features is not None
    came = {one.name: one.read(given[one.name]) for one in FIELDS if given[one.name] is not None}
    assert set(score.dropped) == {f"attributes.{name}" for name, value in came.items() if value is None}
    texts = {name: came[name] for name in CATEGORIES if came.get(name) is not None}
    assert score.attributes == texts
    for name in CATEGORIES:
        expected = float(category_code(name, str(texts[name]))) if name in texts else None
        assert features[f"own_{name}"] == expected
    assert (ADDED in str(features), DROPPED in str(features)) in {(True, False), (False, True)}
    if ADDED in str(features):
        assert features[f"own_{ADDED}"] == given[ADDED]
        assert not is_ruled(score)
    elif score.decided_by == "model":
        distance, passed = came.get("ip_distance"), came.get("three_ds")
        matches = texts.get("ip_country") == "NG" and passed == 0 and isinstance(distance, int) and distance > 2_005
        assert matches or not is_ruled(score)
        assert not matches or is_ruled(score) or score.decision != "approve"
    assert features["own_amount"] == sent["amount_minor"] / 100
    assert features["own_card_country"] == category_code("card_country", sent["card_country"])
    country = texts.get("ip_country")
    assert features["is_abroad"] == (None if country is None else float(country != sent["card_country"]))
    tokens = [str(came[name]) for name in ("ip", "email_hash") if came.get(name) is not None]
    assert not any(one in str(score) for one in tokens if one != "wrong")
