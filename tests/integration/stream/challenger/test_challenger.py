"""The challenger compares every decision, and a faulty challenger does not disturb decisions."""

import json
from typing import Any

import numpy as np
import psutil
import pytest

from benchmarks.parts.faulty import Fault
from benchmarks.parts.hampered import hampered_command
from fraudstream_client.outputs import Score
from models.loading import Model
from models.policy import bands
from shadow.comparison import Comparison, encode_comparison, read_comparison
from support.acceptance import cases
from support.fleet.fleet import Fleet, feed, sources, until
from support.fleet.payments import FEATURES, loaded_model, payment, put_model
from support.fleet.workers import Worker


def challenge(fleet: Fleet, digest: str) -> None:
    done = fleet.cli("model", "challenge", digest, "--json")
    assert done.returncode == 0, done.stdout + done.stderr


def read(record: Any) -> Comparison:
    return read_comparison(record.value)


def report(fleet: Fleet, *arguments: str) -> dict[str, Any]:
    done = fleet.cli("shadow", "report", "--json", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def vector(score: Score) -> np.ndarray:
    assert score.features is not None
    return np.array([[np.nan if score.features[name] is None else score.features[name] for name in FEATURES.names]])


def children(worker: Worker) -> list[psutil.Process]:
    return psutil.Process(worker.pid).children(recursive=True)


def go_live(fleet: Fleet, fault: Fault, **settings: str) -> Worker:
    """Start a worker whose challengers have that fault, and make a first model live."""
    worker = fleet.worker(command=hampered_command(fault), **settings)
    until(lambda: worker.has_joined, "the group is joined")
    fleet.promote(put_model(fleet.models))
    worker.await_ready()
    return worker


def assert_equals_scoring(one: Comparison, score: Score, model: Model) -> None:
    """Assert that a comparison equals the challenger's scoring of the score's features, to the last bit."""
    expected = model.score(vector(score))
    assert (one.live.score, one.live.decision, one.revision) == (score.score, score.decision, score.revision)
    assert (one.challenger.digest, one.challenger.score) == (model.digest, expected[0])
    assert one.challenger.band == bands(expected)[0]
    assert [one.challenger.decision] == model.policy.decide(expected)
    assert one.decision_changed == (one.live.decision != one.challenger.decision)


def test_each_decision_is_compared_with_the_challengers_score_of_the_same_features(standing: Fleet) -> None:
    fleet, (worker,) = standing, standing.workers
    assert children(worker) == []
    challenger = put_model(fleet.models, seed=1)
    challenge(fleet, challenger)
    fleet.publish(payment(number) for number in range(400))
    valid = list(fleet.await_decisions(f"t-{number}" for number in range(400)).values())
    records = fleet.await_records("shadow-scores", 400)
    found = {(one.source.partition, one.source.offset): one for one in map(read, records)}
    assert set(found) == set(sources(valid))
    assert all(record.partition == read(record).source.partition for record in records)
    assert all(record.key.decode() == read(record).card_id for record in records)
    model = loaded_model(fleet.models, challenger)
    for score in valid:
        assert_equals_scoring(found[score.source.partition, score.source.offset], score, model)
    (child,) = children(worker)
    assert child.nice() == 10
    assert fleet.cli("model", "withdraw").returncode == 0
    until(lambda: children(worker) == [], "the challenger's process ends with its last model")
    assert fleet.events("shadow") == []


def test_the_report_counts_each_comparison_once_even_after_the_challenger_is_withdrawn(standing: Fleet) -> None:
    fleet, known = standing, sum(standing.ends("shadow-scores").values())
    challenger = put_model(fleet.models, seed=2)
    challenge(fleet, challenger)
    fleet.publish(payment(number) for number in range(1_000, 1_200))
    valid = fleet.await_decisions(f"t-{number}" for number in range(1_000, 1_200)).values()
    every = map(read, fleet.await_records("shadow-scores", known + 200))
    found = [one for one in every if one.challenger.digest == challenger]
    fleet.publish(((one.card_id, encode_comparison(one)) for one in found), topic="shadow-scores")
    assert fleet.cli("model", "withdraw").returncode == 0
    data = report(fleet, "--digest", challenger[:8])
    assert (data["challenger"], data["in_shadow"]) == (challenger, False)
    assert [data[name] for name in ("eligible", "compared", "skipped", "failed", "unexplained")] == [200, 200, 0, 0, 0]
    assert data["changed"] == sum(one.decision_changed for one in found)
    assert sum(swap["amount_minor"]["EUR"] for swap in data["swaps"]) == sum(one.amount_minor for one in valid)
    text = fleet.cli("shadow", "report", "--digest", challenger[:8], "--minutes", "10").stdout
    assert challenger[:12] in text
    assert "100.00" in text
    refused = fleet.cli("shadow", "report")
    assert (refused.returncode, challenger[:12] in refused.stderr) == (1, True)


def p99_ms(scores: list[Score]) -> float:
    return float(np.percentile([score.latency_ms for score in scores], 99))


RATE = 200
FAULTS: dict[Fault, tuple[str, dict[str, str]]] = {
    "slow": ("skipped", {"SHADOW_QUEUE": "64"}),
    "raising": ("failed", {}),
    "hungry": ("failed", {"SHADOW_MEMORY_MB": "400"}),
    "dying": ("failed", {}),
    "hanging": ("failed", {"SHADOW_TIMEOUT": "1"}),
}


@pytest.mark.parametrize("fault", cases(FAULTS, short=("hanging",)))
def test_a_faulty_challenger_does_not_delay_decisions_and_the_report_counts_its_misses(
    fleet: Fleet, fault: Fault
) -> None:
    reason, settings = FAULTS[fault]
    worker = go_live(fleet, fault, **settings)
    for second in range(2):
        feed(fleet, second, RATE)
    before = fleet.await_scores(2 * RATE)
    challenger = put_model(fleet.models, seed=1)
    challenge(fleet, challenger)
    for second in range(2, 6):
        feed(fleet, second, RATE)
    valid = fleet.await_scores(6 * RATE)
    assert set(sources(valid).values()) == {1}
    after = valid_since(valid, before)
    assert p99_ms(after) < 3 * p99_ms(before) + 100
    until(lambda: fleet.events("shadow") != [], "the worker says that it misses some")
    assert worker.readiness() == (True, [])
    processes = children(worker)
    assert worker.terminate() == 0
    assert [child for child in processes if child.is_running()] == []
    data = report(fleet)
    assert data["eligible"] == len(after) == 4 * RATE
    assert data[reason] > 0
    assert data["unexplained"] == 0
    assert data["compared"] + data["skipped"] + data["failed"] == 4 * RATE
    assert (data["compared"] > 0) == (fault == "slow")
    last = fleet.events("shadow")[-1]
    assert (last["model"], last["skipped"] + last["failed"]) == (challenger, 4 * RATE - data["compared"])


def valid_since(valid: list[Score], before: list[Score]) -> list[Score]:
    known = {score.transaction_id for score in before}
    return [score for score in valid if score.transaction_id not in known]


def test_a_hanging_challenger_process_ends_when_its_worker_is_killed(fleet: Fleet) -> None:
    worker = go_live(fleet, "hanging")
    challenge(fleet, put_model(fleet.models, seed=1))
    fleet.publish(payment(number) for number in range(10))
    fleet.await_scores(10)
    (child,) = children(worker)
    worker.kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the challenger's process ends")


@pytest.mark.acceptance
def test_after_a_promotion_the_previous_model_is_the_challenger_until_the_watch_ends(fleet: Fleet) -> None:
    (worker,) = fleet.go_live(SHADOW_QUEUE="100000")
    first = fleet.events("accepted")[0]["model"]
    second = put_model(fleet.models, seed=1)
    verdict = fleet.promote(second, "--watch", "15 s")
    assert verdict["watch_until"] > verdict["at"]
    until(lambda: children(worker) != [], "the challenger's process is there")
    listed = json.loads(fleet.cli("model", "list", "--json").stdout)["models"]
    assert {row["role"] for row in listed if row["digest"] == first} == {"challenger"}

    def compared() -> bool:
        numbers = iter(range(10 * len(fleet.read("transactions")), 10**6))
        fleet.publish(payment(next(numbers)) for _ in range(5))
        return fleet.read("shadow-scores") != []

    until(compared, "the model before is compared")
    one = read(fleet.read("shadow-scores")[0])
    assert (one.live.digest, one.challenger.digest) == (second, first)
    until(lambda: children(worker) == [], "the watch is over, and its process ended")
    many = len(fleet.read("shadow-scores"))
    fleet.publish(payment(number) for number in range(10**6, 10**6 + 50))
    fleet.await_scores(len(fleet.read("transactions")))
    assert len(fleet.read("shadow-scores")) == many
    assert fleet.cli("model", "withdraw").returncode == 1
    data = report(fleet, "--digest", first[:8])
    assert data["compared"] == many
    assert data["eligible"] < len(fleet.read("transactions"))
