"""What an operator reads in the logs of two workers: a start, a promotion, a rebalance, bad input and a drain."""

import json
from pathlib import Path
from typing import Any

from support.fleet.fleet import Fleet, until
from support.fleet.payments import payment, put_model
from support.fleet.workers import Worker

PAGES = "/health/live, /health/ready and /metrics"


def logs(folder: Path) -> list[str]:
    """Return the logs of the workers in the order in which they were started."""
    return [path.read_text() for path in sorted(folder.glob("worker-*.log"))]


def live_through_it_all(fleet: Fleet) -> tuple[Worker, str, str]:
    """Start two workers, promote twice, decide and refuse records, and stop both; return the first and the models."""
    first = fleet.worker(WORKER_ID="text-1")
    until(lambda: first.has_joined, "the group is joined")
    digest, next_digest = (put_model(fleet.models, seed=seed) for seed in (0, 1))
    fleet.promote(digest)
    first.await_ready()
    second = fleet.worker(WORKER_ID="json-1", LOG_FORMAT="json")
    second.await_ready()
    first.await_ready()
    fleet.promote(next_digest)
    fleet.publish([payment(number) for number in range(20)])
    fleet.publish([(f"card-{number % 8}", b"no JSON") for number in range(40)])
    fleet.await_scores(20)
    fleet.await_dead_letters(40)
    assert first.terminate() == 0
    until(lambda: "partitions of generation 3" in second.log(), "the second worker has got all partitions")
    second.await_ready()
    assert second.terminate() == 0
    return first, digest, next_digest


def test_the_log_of_a_worker_tells_its_life_as_text_and_as_json(fleet: Fleet, tmp_path: Path) -> None:
    first, digest, next_digest = live_through_it_all(fleet)
    texts, lines = split(logs(tmp_path))
    for part in (
        *("fraudstream 0.1.0", "setting FRAUDSTREAM_BROKERS=", f"serving {PAGES} at http://{first.address}"),
        *("not ready: no model is live", f"revision 1: promoted card 0 ({digest[:12]}), by ", ": test", "ready after "),
        *("partitions of generation", f"revision 2: promoted card 1 ({next_digest[:12]})"),
        *("SIGTERM: draining, at most 20 s", "drained after ", "exit code 0"),
    ):
        assert part in texts, f"{part}\n{texts}"
    events = [line.get("event") for line in lines]
    wanted = ("starting", "setting", "serving", "assigned", "ready", "promote", "draining", "drained")
    assert sorted(wanted, key=events.index) == list(wanted), events
    assert "not_ready" in events
    assert {(line["deployment"], line["worker"]) for line in lines} == {(fleet.environment["DEPLOYMENT"], "json-1")}
    (promoted,) = [line for line in lines if line.get("event") == "promote"]
    assert (promoted["revision"], promoted["digest"], promoted["reason"]) == (2, next_digest, "test")
    assert 1 <= "".join(logs(tmp_path)).count("dead letter not_json: ") <= 10, "not a line for each of the 40"
    assert "Traceback" not in texts


def split(found: list[str]) -> tuple[str, list[dict[str, Any]]]:
    """Return the log that is text, and the lines of the one that is JSON; each of those must be an object."""
    (texts,) = [one for one in found if not one.startswith("{")]
    (structured,) = [one for one in found if one.startswith("{")]
    return texts, [json.loads(line) for line in structured.splitlines()]
