"""Commands change the live model in order and once, and every score records its revision."""

import json
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest

from fraudstream_client.outputs import Score
from support.fleet import slow_store
from support.fleet.fleet import Fleet, feed, sources, until
from support.fleet.odd_amount_worker import COMMAND as CRASHING_WORKER
from support.fleet.odd_amount_worker import CRASHING_SEED
from support.fleet.payments import payment, put_model


def revisions_by_partition(scores: list[Score]) -> dict[int, list[tuple[int, int]]]:
    """Return (offset, revision) in the order of the offsets, by partition."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for score in scores:
        found[score.source.partition].append((score.source.offset, score.revision))
    return {partition: sorted(pairs) for partition, pairs in found.items()}


@contextmanager
def continuous_payments(fleet: Fleet, rate: int) -> Iterator[list[int]]:
    """Publish until the block ends, and for two seconds more; yield the number published in each second."""
    published: list[int] = []
    left = threading.Event()

    def publish() -> None:
        behind = 0
        while behind < 2:
            behind += left.is_set()
            feed(fleet, len(published), rate)
            published.append(rate)

    feeding = threading.Thread(target=publish)
    feeding.start()
    try:
        yield published
    finally:
        left.set()
        feeding.join()


def test_a_promotion_under_load_gives_each_offset_one_revision_and_none_decreases(fleet: Fleet) -> None:
    fleet.go_live(workers=3)
    second = put_model(fleet.models, seed=1)
    with continuous_payments(fleet, rate=2_000) as published:
        fleet.await_scores(3_000)
        assert fleet.promote(second)["revision"] == 2
    valid = fleet.await_scores(sum(published))
    assert set(sources(valid).values()) == {1}
    cutovers = {(event["partition"], event["offset"]) for event in fleet.events("cutover") if event["revision"] == 2}
    for partition, pairs in revisions_by_partition(valid).items():
        revisions = [revision for _, revision in pairs]
        assert revisions == sorted(revisions)
        first = next(offset for offset, revision in pairs if revision == 2)
        assert (partition, first) in cutovers
    deciders = {(score.revision, score.model.digest) for score in valid if score.model}
    assert {revision for revision, _ in deciders} == {1, 2}
    assert len(deciders) == 2


def live_model(fleet: Fleet) -> tuple[int, str]:
    """Return the last accepted revision and its model."""
    last = fleet.events("accepted")[-1]
    return last["revision"], last["model"]


def decided(fleet: Fleet, transaction: str) -> Score:
    fleet.publish([payment(1, transaction_id=transaction)])
    return fleet.await_decisions([transaction])[transaction]


def test_a_rollback_restores_the_previous_model_and_a_demotion_quarantines_the_live_one(standing: Fleet) -> None:
    revision, first = live_model(standing)
    second = put_model(standing.models, seed=1)
    standing.promote(second)
    assert json.loads(standing.cli("model", "rollback", "--json").stdout)["kind"] == "accepted"
    score = decided(standing, "rolled-back")
    assert score.model is not None
    assert (score.revision, score.model.digest) == (revision + 2, first)
    standing.promote(second)
    assert json.loads(standing.cli("model", "demote", "--json").stdout)["kind"] == "accepted"
    refused = standing.cli("model", "promote", second, "--json")
    assert refused.returncode == 1
    assert [problem["code"] for problem in json.loads(refused.stdout)["problems"]] == ["quarantined"]
    assert standing.workers[0].readiness() == (True, [])
    assert_history_says_who_why_and_what(standing, first, second)


def assert_history_says_who_why_and_what(fleet: Fleet, first: str, second: str) -> None:
    told = fleet.cli("model", "history", "--json").stdout.splitlines()
    history = [json.loads(line) for line in told[-5:]]
    changes = [(one["before"]["live"], one["after"]["live"]) for one in history]
    assert [tuple(live and live["digest"] for live in change) for change in changes] == [
        (first, second),
        (second, first),
        (first, second),
        (second, first),
        (first, first),
    ]
    assert [one["kind"] for one in history] == ["accepted"] * 4 + ["refused"]
    assert [one["reason"] for one in history] == ["test", "", "test", "", ""]
    assert {one["actor"] for one in history} == {getuser()}
    assert [one["digest"] for one in history[-1]["after"]["quarantined"]] == [second]
    shown = fleet.cli("model", "show", second[:8])
    assert f"  by {getuser()}: test" in shown.stdout.splitlines(), shown.stderr
    assert f"quarantined, at revision {live_model(fleet)[0]}" in shown.stdout


def test_a_bad_command_is_refused_with_all_its_problems_and_changes_nothing(standing: Fleet) -> None:
    revision, live = live_model(standing)
    cases = {
        ("0123456789abcdef", "--expected-revision", "77"): {"wrong_revision", "unknown_model"},
        (put_model(standing.models, seed=3, fingerprint="f" * 64),): {"wrong_fingerprint"},
        (live,): {"already_live"},
    }
    for arguments, codes in cases.items():
        refused = standing.cli("model", "promote", *arguments, "--json")
        assert refused.returncode == 1
        assert {problem["code"] for problem in json.loads(refused.stdout)["problems"]} == codes
    assert standing.cli("model", "withdraw").returncode == 1
    assert decided(standing, "after-a-bad-command").revision == revision


def test_a_repeated_command_gets_its_first_verdict_again(standing: Fleet) -> None:
    revision, _ = live_model(standing)
    answered, command = standing.events("accepted"), standing.read("model-control")[0]
    standing.publish([("again", command.value)], topic="model-control")
    until(lambda: len(standing.events("accepted")) > len(answered), "a second answer")
    again = standing.events("accepted")[-1]
    assert (again["revision"], again["command_id"]) == (answered[0]["revision"], answered[0]["command_id"])
    assert decided(standing, "after-a-repetition").revision == revision


@pytest.mark.acceptance
def test_a_worker_that_lacks_the_live_artifact_is_not_ready_until_it_is_there(fleet: Fleet, tmp_path: Path) -> None:
    (worker,) = fleet.go_live()
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(fleet.models, elsewhere)
    second = put_model(fleet.models, seed=1)
    lacking = fleet.worker(MODELS=str(elsewhere))
    lacking.await_ready()
    refused = fleet.cli("model", "promote", second, "--json")
    assert refused.returncode == 1
    (problem,) = json.loads(refused.stdout)["problems"]
    assert problem["code"] == "not_ready"
    assert f"missing_artifact: no artifact {second} in {elsewhere}" in problem["detail"]
    fleet.promote(second, "--force")
    reasons = lacking.await_not_ready()
    assert second[:12] in str(reasons)
    shutil.copytree(Path(fleet.models) / second, elsewhere / second)
    lacking.await_ready()
    worker.await_ready()
    fleet.publish(payment(number) for number in range(200))
    valid = fleet.await_scores(200)
    assert {score.revision for score in valid} == {2}


def test_after_a_model_crashes_on_a_record_a_rollback_lets_the_previous_model_decide_it(fleet: Fleet) -> None:
    (worker,) = fleet.go_live()
    fleet.promote(put_model(fleet.models, seed=CRASHING_SEED))
    worker.terminate()
    crashing = [fleet.worker(command=CRASHING_WORKER) for _ in range(2)]
    crashing[0].await_ready()
    fleet.publish([*(payment(number) for number in range(20)), payment(20, amount_minor=666), payment(21)])
    until(lambda: all(one.exit_code is not None for one in crashing), "every worker that meets the record dies")
    sent = threading.Thread(target=lambda: fleet.cli("model", "rollback", "--wait", "50"))
    sent.start()
    until(lambda: len(fleet.read("model-control")) == 3, "the roll-back is on the control topic")
    last = fleet.worker(command=CRASHING_WORKER)
    valid = fleet.await_scores(22)
    sent.join()
    assert last.exit_code is None
    (victim,) = [score for score in valid if score.amount_minor == 666]
    assert (victim.revision, victim.decided_by) == (3, "model")
    assert fleet.scores()[1].void == 0


def test_while_the_model_repository_hangs_a_rollback_is_judged_at_once_and_a_promotion_refused_at_its_deadline(
    fleet: Fleet, report: Callable[[str], None]
) -> None:
    url, digests = slow_store.url_of(fleet.models), [put_model(fleet.models, seed=seed) for seed in range(3)]
    worker = fleet.worker(command=slow_store.WORKER, MODELS=url)
    until(lambda: worker.has_joined, "the group is joined")
    for digest in digests[:2]:
        fleet.promote(digest)
    worker.await_ready()
    slow_store.hang(fleet.models)
    refused: list[Any] = []
    promotion = threading.Thread(
        target=lambda: refused.append(fleet.cli("model", "promote", digests[2], "--wait", "30", "--json"))
    )
    promotion.start()
    until(lambda: len(fleet.read("model-control")) == 3, "the promotion is on the control topic")
    for kind, verdict in (("rollback", "accepted"), ("withdraw", "refused")):
        started = time.monotonic()
        done = fleet.cli("model", kind, "--wait", "30", "--json")
        report(f"{kind} with a repository that hangs: {time.monotonic() - started:.1f} s, the command's start included")
        assert json.loads(done.stdout)["kind"] == verdict
    assert fleet.events("accepted")[-1]["model"] == digests[0]
    fleet.publish([payment(1)])
    assert fleet.await_scores(1)[0].revision == 3
    promotion.join()
    problems = {problem["code"]: problem["detail"] for problem in json.loads(refused[0].stdout)["problems"]}
    assert problems.keys() == {"repository_unavailable", "wrong_revision"}
    assert problems["repository_unavailable"].startswith(f"{url}: no answer within 3 s")
    listed = fleet.cli("model", "list", command=slow_store.CLI, MODELS=url)
    assert (listed.returncode, f"{url}: no answer within 3 s" in listed.stderr) == (1, True)
    assert worker.terminate() == 0, "a hanging request does not delay the end"
