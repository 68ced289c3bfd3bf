"""The whole check, from building the images to removing the stack: this is the page to read first.

It publishes a thousand transactions and looks for them in scores, metrics and traces; while it publishes others, it
hands over to a second fleet, and kills a worker.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

import yaml

from deploy.check.compose import REPOSITORY, Stack, build, docker, engine
from deploy.check.hand_over import BLUE, GREEN, HandOverCheck
from deploy.check.metric_names import prometheus_names
from deploy.check.queries import Jaeger, Prometheus, trace_problem, until
from deploy.check.records import EndOffsets, Scores, SentTransaction, ends, not_scored_once, read_scores, sent_since
from deploy.check.report import CheckError, CheckReport
from fraudstream.demo.services.processes import free_port

BATCH = 1_000
"""Transactions that `publish-cards 1` publishes."""
RATE = 100
WORKERS = 2
KILLED_EXIT_CODE = 128 + signal.SIGKILL
PUBLISHER = ("run", "--rm", "--no-deps", "-T", "publisher", "/opt/fraudstream/deploy/publish-cards")


@dataclass(frozen=True, slots=True)
class Check:
    """One run: the stack, the addresses of its services on this machine, and the report."""

    stack: Stack
    brokers: str
    prometheus: Prometheus
    jaeger: Jaeger
    report: CheckReport


def main() -> int:
    """Run the check, and return the exit code: 0 if all expectations hold, or if there is no Docker engine."""
    version = engine()
    if not version:
        print("not run: no Docker engine")  # noqa: T201 - a command's answer
        return 0
    report = CheckReport()
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
        report,
    )
    report.say(f"Docker {version}")
    try:
        run(check, images)
    except CheckError as error:
        report.expect(holds=False, text=str(error))
    finally:
        take_down(check, images)
    report.say(f"{len(report.failures)} failed" if report.failures else "all passed")
    return 1 if report.failures else 0


def run(check: Check, images: dict[str, str]) -> None:
    """Run all steps.

    Raises:
        CheckError: the next steps cannot be run.
    """
    build(images["WORKER_IMAGE"], "worker")
    build(images["TOOLS_IMAGE"], "tools")
    check.report.say("ok    images built")
    bring_up(check)
    check_confinement(check)
    since = ends(check.brokers, "transactions")
    check.stack.compose(*PUBLISHER, "1")
    scores = wait_for_decisions(check, since)
    log = check.stack.compose("logs", "--no-log-prefix", "decisions")
    check.report.expect("decided (" in log, "the service `decisions` logs them", log[-300:])
    check_metrics(check, scores)
    check_traces(check, sent_since(check.brokers, since))
    check_hand_over(check)
    check_after_kill(check)
    check_shutdown(check)


def bring_up(check: Check) -> None:
    """Start all services, and publish the past transactions that histories need."""
    check.stack.compose("up", "--detach", "--scale", "publisher=0")
    # `run` waits for what the publisher depends on: a live model, and workers that are ready with it
    check.stack.compose("run", "--rm", "-T", "publisher", PUBLISHER[-1], "0")
    health = [container["Health"] for container in check.stack.containers("worker")]
    check.report.expect(health == ["healthy"] * WORKERS, f"{WORKERS} workers are ready with a first model", health)
    guards = [container["Health"] for container in check.stack.containers("guard")]
    check.report.expect(guards == ["healthy"], "a guard is ready to watch", guards)


def check_confinement(check: Check) -> None:
    """Check that workers and guard run as the chart's pods do, able to change nothing, with the compiled kernels."""
    wanted = {"Uid": "65532", "Gid": "65532", "CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1"}
    asked = "from features.vector import vectorise as f; from models import tree_kernel as m; print(f.KERNEL, m.KERNEL)"
    kernels = check.stack.compose("exec", "-T", "worker", "python3", "-c", asked).strip()
    both = "WindowKernel" in kernels and "TreeKernel" in kernels
    check.report.expect(both, "features and margins are computed by the kernels in C", kernels)
    for service in ("worker", "guard"):
        for container in check.stack.containers(service):
            status = docker("exec", container["ID"], "cat", "/proc/self/status").splitlines()
            found = {
                name: text.split()[0] for name, _, text in (line.partition(":") for line in status) if name in wanted
            }
            read_only = docker("inspect", "--format", "{{.HostConfig.ReadonlyRootfs}}", container["ID"]).strip()
            check.report.expect(
                found == wanted and read_only == "true",
                f"{container['Name'].split('-', 3)[-1]} runs as user 65532, read-only, without capabilities",
                (found, read_only),
            )


def wait_for_decisions(check: Check, since: EndOffsets, batches: int = 1) -> Scores:
    """Wait for the decisions on the transactions after `since`, and report whether each has exactly one."""
    names = [sent.name for sent in sent_since(check.brokers, since)]
    scores = until(lambda: read_scores(check.brokers), lambda scores: not not_scored_once(names, scores), seconds=60)
    wrong = not_scored_once(names, scores)
    count = batches * BATCH
    check.report.expect(len(set(names)) == count, f"{count} transactions were published", len(set(names)))
    check.report.expect(not wrong, f"each has exactly one valid score ({scores.void} void)", f"scores: {dict(wrong)}")
    return scores


def check_metrics(check: Check, scores: Scores) -> None:
    """Check the decisions, the workers and the alert rules in Prometheus."""
    prometheus, report = check.prometheus, check.report
    up = until(lambda: prometheus.value('sum(up{job="fraudstream"})'), lambda value: value == WORKERS, seconds=30)
    report.expect(up == WORKERS, f"Prometheus reaches {WORKERS} workers", up)
    ready = until(lambda: prometheus.value("sum(fraudstream_ready)"), lambda value: value == WORKERS, seconds=30)
    report.expect(ready == WORKERS, f"{WORKERS} workers report ready", ready)
    guards = until(lambda: prometheus.value('sum(up{job="fraudstream-guard"})'), lambda value: value == 1, seconds=30)
    report.expect(guards == 1, "Prometheus reaches the guard", guards)
    written = scores.records
    counted = until(
        lambda: prometheus.value("sum(fraudstream_decisions_total)"), lambda value: value == written, seconds=30
    )
    report.expect(counted == written, f"Prometheus counts the {written} decisions that are on the topic", counted)
    unknown = prometheus.names() - prometheus_names()
    report.expect(not unknown, "each of its metrics of fraudstream is in the catalogue", sorted(unknown))
    declared = yaml.safe_load((REPOSITORY / "deploy/prometheus/alerts.yml").read_text())["groups"]
    wanted = {rule["alert"]: "ok" for group in declared for rule in group["rules"]}
    rules = until(prometheus.rules, lambda rules: rules == wanted, seconds=30)
    report.expect(rules == wanted, f"{len(wanted)} alert rules are loaded and can be evaluated", rules)
    firing = prometheus.labels('ALERTS{alertstate="firing"}', "alertname")
    report.expect(not firing, "no alert fires", sorted(firing))


def check_traces(check: Check, sent: list[SentTransaction]) -> None:
    """Check that Jaeger has a trace of each transaction, with spans of producer, worker and Redis."""
    wanted = {record.trace.lstrip("0") for record in sent if record.trace}
    check.report.expect(len(wanted) == len(sent), "each record carries a trace id of its own", len(wanted))
    if not wanted:
        return

    def problems() -> dict[str, str | None]:
        traces = {name.lstrip("0"): spans for name, spans in check.jaeger.traces("publisher", 2 * BATCH).items()}
        found = {name: trace_problem(traces[name]) if name in traces else "not in Jaeger" for name in wanted}
        return {name: problem for name, problem in found.items() if problem}

    left = until(problems, lambda left: not left, seconds=60)
    text = f"Jaeger has {len(wanted)} traces with producer, worker and Redis, each a descendant of the one before"
    check.report.expect(not left, text, f"{len(left)} that do not: {sorted(set(left.values()), key=str)}")


def check_hand_over(check: Check) -> None:
    """Start a second fleet, hand over to it while transactions are published, and hand back."""
    fleets = HandOverCheck(check.stack, check.report)
    fleets.start_green()
    since = ends(check.brokers, "transactions")
    check.stack.compose(*PUBLISHER, "1")
    wait_for_decisions(check, since)
    during_publishing(check, lambda: fleets.cut_over(GREEN), batches=4)  # its gates take longer than one batch
    for name in (GREEN, BLUE):
        if name == BLUE:
            fleets.cut_over(BLUE)
        since = ends(check.brokers, "transactions")
        check.stack.compose(*PUBLISHER, "1")
        scores = wait_for_decisions(check, since)
        fleets.expect_decided_by(name, [sent.name for sent in sent_since(check.brokers, since)], scores)
    fleets.stop_green()


def check_after_kill(check: Check) -> None:
    """Kill one worker while transactions are published, and check that each still has exactly one decision."""

    def kill() -> None:
        victim = check.stack.containers("worker")[-1]["Name"]
        docker("kill", victim)
        check.report.say(f"      {victim} was killed")

    during_publishing(check, kill)


def during_publishing(check: Check, work: Callable[[], None], batches: int = 1) -> None:
    """Do something while batches of transactions are published, and check that each has exactly one decision."""
    since = ends(check.brokers, "transactions")
    with check.stack.background(*PUBLISHER, str(batches)) as publishing:
        sent = until(
            lambda: sum(ends(check.brokers, "transactions").values()) - sum(since.values()),
            lambda count: count > BATCH // 5,
            seconds=60,
        )
        check.report.say(f"      {sent} transactions of {batches * BATCH} are published")
        work()
        output, _ = publishing.communicate(timeout=240)
    check.report.expect(publishing.returncode == 0, "the publisher is not affected", output[-500:])
    wait_for_decisions(check, since, batches)


def check_shutdown(check: Check) -> None:
    """Check that the loss raises an alert, and that the remaining worker and the guard shut down cleanly."""
    pending = until(
        lambda: check.prometheus.labels("ALERTS", "alertname"), lambda names: "WorkerLost" in names, seconds=30
    )
    check.report.expect("WorkerLost" in pending, "the alert WorkerLost is pending or fires", sorted(pending))
    check.stack.compose("stop", "worker")
    codes = sorted(container["ExitCode"] for container in check.stack.containers("worker"))
    check.report.expect(
        codes == [0, KILLED_EXIT_CODE], "the other worker drains and exits with 0 when it is stopped", codes
    )
    check.stack.compose("stop", "guard")
    codes = [container["ExitCode"] for container in check.stack.containers("guard")]
    check.report.expect(codes == [0], "the guard exits with 0 when it is stopped", codes)


def take_down(check: Check, images: dict[str, str]) -> None:
    """Remove everything but the build cache; after a failure, show the end of the logs first."""
    try:
        if check.report.failures:
            check.report.say("the logs end with:\n" + check.stack.compose("logs", "--tail", "15", "--no-color"))
        check.stack.down()
        docker("image", "rm", "--force", *images.values())
        check.report.say("ok    stack removed")
    except CheckError as error:
        check.report.expect(holds=False, text=f"the stack could not be removed: {error}")


if __name__ == "__main__":
    sys.exit(main())
