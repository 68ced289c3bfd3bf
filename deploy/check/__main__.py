"""The stack, from building it to taking it down: this is the page to read first.

A thousand transactions go through it and are looked for wherever they must show; a worker is killed among the next.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass

import yaml

from deploy.check.asking import Jaeger, Prometheus, trouble, until
from deploy.check.compose import HOUSE, Stack, build, docker, engine
from deploy.check.naming import prometheus_names
from deploy.check.outcomes import CheckError, Outcomes
from deploy.check.records import Ends, Scores, Sent, ends, not_once, read_scores, sent_since
from stream.demo.services.processes import free_port

PART = 1_000
"""What `publish-cards 1` publishes."""
RATE = 100
WORKERS = 2
KILLED = 128 + signal.SIGKILL
PUBLISHER = ("run", "--rm", "--no-deps", "-T", "publisher", "/opt/fraudstream/deploy/publish-cards")


@dataclass(frozen=True, slots=True)
class Check:
    """One run: the stack, where its parts are reached from here, and what was found."""

    stack: Stack
    brokers: str
    prometheus: Prometheus
    jaeger: Jaeger
    found: Outcomes


def main() -> int:
    """Check, and return the exit code: 0 where everything was as it must be, or could not be run at all."""
    version = engine()
    if not version:
        print("not run: no Docker engine")  # noqa: T201 - a command's answer
        return 0
    found = Outcomes()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ports = {name: free_port() for name in ("KAFKA_PORT", "JAEGER_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")}
    project = f"fraudstream-check-{os.getpid()}"
    images = {"WORKER_IMAGE": f"{project}-worker:check", "TOOLS_IMAGE": f"{project}-tools:check"}
    settings = {**images, **{name: str(port) for name, port in ports.items()}, "PUBLISH_RATE": str(RATE)}
    stack = Stack(project, settings)
    check = Check(
        stack,
        f"127.0.0.1:{ports['KAFKA_PORT']}",
        Prometheus(f"127.0.0.1:{ports['PROMETHEUS_PORT']}"),
        Jaeger(f"127.0.0.1:{ports['JAEGER_PORT']}"),
        found,
    )
    found.say(f"Docker {version}")
    try:
        run(check, images)
    except CheckError as error:
        found.expect(holds=False, text=str(error))
    finally:
        take_down(check, images)
    found.say(f"{len(found.misses)} misses" if found.misses else "everything as it must be")
    return 1 if found.misses else 0


def run(check: Check, images: dict[str, str]) -> None:
    """Go through all steps.

    Raises:
        CheckError: the next steps would mean nothing.
    """
    build(images["WORKER_IMAGE"], "worker")
    build(images["TOOLS_IMAGE"], "tools")
    check.found.say("ok    images built")
    bring_up(check)
    since = ends(check.brokers, "transactions")
    check.stack.compose(*PUBLISHER, "1")
    scores = await_decisions(check, since)
    told = check.stack.compose("logs", "--no-log-prefix", "decisions")
    check.found.expect("decided (" in told, "the log of `decisions` tells of them", told[-300:])
    look_for_metrics(check, scores)
    look_for_traces(check, sent_since(check.brokers, since))
    kill_a_worker(check)
    with_one_worker(check)


def bring_up(check: Check) -> None:
    """Start everything, and have the past published that histories need."""
    check.stack.compose("up", "--detach", "--scale", "publisher=0")
    # `run` waits for what the publisher depends on: a model that is live, and workers that are ready with it
    check.stack.compose("run", "--rm", "-T", "publisher", PUBLISHER[-1], "0")
    health = [container["Health"] for container in check.stack.containers("worker")]
    check.found.expect(health == ["healthy"] * WORKERS, f"{WORKERS} workers are ready with a first model", health)


def await_decisions(check: Check, since: Ends) -> Scores:
    """Wait for the decisions of what was published behind `since`, and say whether each is there once."""
    names = [sent.name for sent in sent_since(check.brokers, since)]
    scores = until(lambda: read_scores(check.brokers), lambda scores: not not_once(names, scores), seconds=60)
    wrong = not_once(names, scores)
    check.found.expect(len(set(names)) == PART, f"{PART} transactions were published", len(set(names)))
    check.found.expect(not wrong, f"each has exactly one valid score ({scores.void} void)", f"scores: {dict(wrong)}")
    return scores


def look_for_metrics(check: Check, scores: Scores) -> None:
    """Find the decisions, the workers and the rules in Prometheus."""
    asked, found = check.prometheus, check.found
    up = until(lambda: asked.value('sum(up{job="fraudstream"})'), lambda value: value == WORKERS, seconds=30)
    found.expect(up == WORKERS, f"Prometheus reaches {WORKERS} workers", up)
    ready = until(lambda: asked.value("sum(fraudstream_ready)"), lambda value: value == WORKERS, seconds=30)
    found.expect(ready == WORKERS, f"{WORKERS} say that they are ready", ready)
    written = scores.records
    counted = until(lambda: asked.value("sum(fraudstream_decisions_total)"), lambda value: value == written, seconds=30)
    found.expect(counted == written, f"it counts the {written} decisions that are on the topic", counted)
    strange = asked.names() - prometheus_names()
    found.expect(not strange, "every metric that it has of us is in the catalogue", sorted(strange))
    declared = yaml.safe_load((HOUSE / "deploy/prometheus/alerts.yml").read_text())["groups"]
    wanted = {rule["alert"]: "ok" for group in declared for rule in group["rules"]}
    rules = until(asked.rules, lambda rules: rules == wanted, seconds=30)
    found.expect(rules == wanted, f"{len(wanted)} alert rules are loaded and can be evaluated", rules)
    firing = asked.labels('ALERTS{alertstate="firing"}', "alertname")
    found.expect(not firing, "no alert fires", sorted(firing))


def look_for_traces(check: Check, sent: list[Sent]) -> None:
    """Find each transaction's trace in Jaeger, with producer, worker and Redis in it."""
    wanted = {record.trace.lstrip("0") for record in sent if record.trace}
    check.found.expect(len(wanted) == len(sent), "each record names a trace of its own", len(wanted))
    if not wanted:
        return

    def lacking() -> dict[str, str | None]:
        traces = {name.lstrip("0"): spans for name, spans in check.jaeger.traces("publisher", 2 * PART).items()}
        troubles = {name: trouble(traces[name]) if name in traces else "not in Jaeger" for name in wanted}
        return {name: what for name, what in troubles.items() if what}

    missing = until(lacking, lambda missing: not missing, seconds=60)
    text = f"Jaeger has {len(wanted)} traces with producer, worker and Redis, each below the one before"
    check.found.expect(not missing, text, f"{len(missing)} that are not so, {sorted(set(missing.values()), key=str)}")


def kill_a_worker(check: Check) -> None:
    """Kill one worker in the middle of a publication, and find each decision once all the same."""
    since = ends(check.brokers, "transactions")
    with check.stack.background(*PUBLISHER, "1") as publishing:
        begun = until(
            lambda: sum(ends(check.brokers, "transactions").values()) - sum(since.values()),
            lambda count: count > PART // 5,
            seconds=60,
        )
        victim = check.stack.containers("worker")[-1]["Name"]
        docker("kill", victim)
        check.found.say(f"      {victim} was killed after {begun} transactions of {PART}")
        output, _ = publishing.communicate(timeout=120)
    check.found.expect(publishing.returncode == 0, "the publisher took no notice", output[-500:])
    await_decisions(check, since)


def with_one_worker(check: Check) -> None:
    """See that the loss is noticed, and that the worker that is left ends in order."""
    pending = until(
        lambda: check.prometheus.labels("ALERTS", "alertname"), lambda names: "WorkerLost" in names, seconds=30
    )
    check.found.expect("WorkerLost" in pending, "Prometheus notices that a worker is lost", sorted(pending))
    check.stack.compose("stop", "worker")
    codes = sorted(container["ExitCode"] for container in check.stack.containers("worker"))
    check.found.expect(codes == [0, KILLED], "the other drains and ends with 0 when it is told to stop", codes)


def take_down(check: Check, images: dict[str, str]) -> None:
    """Remove everything but what the builds keep for the next time; on a miss, show the end of the logs first."""
    try:
        if check.found.misses:
            check.found.say("the logs end with:\n" + check.stack.compose("logs", "--tail", "15", "--no-color"))
        check.stack.down()
        docker("image", "rm", "--force", *images.values())
        check.found.say("ok    taken down")
    except CheckError as error:
        check.found.expect(holds=False, text=f"the stack could not be taken down: {error}")


if __name__ == "__main__":
    sys.exit(main())
