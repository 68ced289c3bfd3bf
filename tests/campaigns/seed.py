"""One seed of a campaign: the fleet goes live, the plan happens under traffic, all settles, everything is checked."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from campaigns.actions import Actions, summary_of
from campaigns.checks import (
    CHECKS,
    CHECKS_OF_LOSSES,
    GRACE_MS,
    LEADERLESS_MS,
    Evidence,
    Result,
    no_worker_ended,
    uses_too_much,
    violations,
)
from campaigns.facts import Letter, Place, Record, Use, answers_of, letters_of, scores_of, verdicts_of
from campaigns.oracle import Fate, Fold, fold
from campaigns.plan import LIVE_FIRST, Plan
from campaigns.witness import NoGoError, built_judge, judged
from campaigns.world import NotWellError, World, servers
from models.commands import CommandKind

LIVE_SECONDS = 90.0
SETTLE_SECONDS = 120.0
DIFF_SECONDS = 180.0
NO_SUCH_COMMAND = 2

Say = Callable[[str], None]


def run_seed(plan: Plan, folder: Path, say: Say) -> Result:
    """Run a seed on servers of its own; the workers' logs go to the folder, and stay if it fails.

    On brokers that others have used, topics would have to be deleted: a controller of Kafka 4.3.1 that does that around
    outages may keep a deleted topic among the replicas in sync, and then lets no broker register any more.

    Raises:
        NoJars: there are no three brokers.
    """
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="campaign-") as temporary, servers(Path(temporary), plan.services) as whole:
        world = World(whole, plan, folder)
        try:
            result = _run(world, say)
        finally:
            world.close()
    if not result.violations:
        world.remove_folder()
    return result


def _run(world: World, say: Say) -> Result:
    actions = Actions(world)
    world.start_workers()
    _go_live(actions)
    say("live")
    world.witness.start()
    world.late_reader.start()
    world.traffic.start()
    unwell: list[str] = []
    try:
        _follow_plan(world, actions, say)
    except NotWellError as error:
        unwell.append(f"in the course of the plan, {error}")
    finally:
        world.traffic.stop()
    unwell += actions.finish()
    say("settling")
    unwell += _settle(world, actions)
    say("checking")
    return _check(world, unwell)


def _go_live(actions: Actions) -> None:
    """Promote some models, so that there are some to go back to."""
    for model in actions.world.servers.models[:LIVE_FIRST]:
        verdict = actions.send(CommandKind.PROMOTE, model, wait=LIVE_SECONDS)
        assert verdict == "accepted", verdict
    actions.world.await_well(actions.accept)


def _follow_plan(world: World, actions: Actions, say: Say) -> None:
    """Do each step at its moment, or as soon as those before it are done; measure the workers before the first."""
    began = time.monotonic()
    for number, step in enumerate(world.plan.steps):
        time.sleep(max(0.0, began + step.at_s - time.monotonic()))
        if number == 0:
            world.measure_workers()
        world.revive()
        say(f"{time.monotonic() - began:.1f}: {step}")
        actions.do(step)
    time.sleep(max(0.0, began + world.plan.seconds - time.monotonic()))


def _settle(world: World, actions: Actions) -> list[str]:
    """Wait until all is committed and all workers are ready; return what is not so in time."""
    world.cluster.start()
    deadline, left = time.monotonic() + SETTLE_SECONDS, ""
    while time.monotonic() < deadline:
        try:
            world.await_well(actions.accept, max(1.0, deadline - time.monotonic()))
        except NotWellError as error:
            return [str(error)]
        behind = world.uncommitted()
        if not behind and not world.reasons():
            return []
        left = f"uncommitted after {SETTLE_SECONDS:g} s: {behind}"
        time.sleep(0.5)
    return [left]


# --- what has come of it


def _check(world: World, unwell: list[str]) -> Result:
    deployment = world.fleet.environment["DEPLOYMENT"]
    records, scores = world.records("transactions"), scores_of(world.read("scores"))
    letters = letters_of(world.read("dead-letters"), deployment)
    verdicts = verdicts_of(world.read("model-events"), deployment)
    folded = fold(world.topic("transactions"), records, scores, letters, verdicts)
    of_labels = [one for one in letters if one.topic == world.topic("labels")]
    evidence = Evidence(
        records,
        folded,
        verdicts,
        world.plan.bounded,
        degrades=world.plan.settings.get("REDIS_DOWN") == "degrade",
        grace_ms=GRACE_MS + LEADERLESS_MS * any(step.action.endswith("_broker") for step in world.plan.steps),
        use=_settled_use(world),
        exits=world.exits,
        unready=unwell,
        diff=_diff(world),
        audit=_audit(world),
        labels=world.records("labels"),
        answers=answers_of(world.read("outcomes"), deployment),
        label_letters=of_labels,
        label_losses=[one for one in verdicts if one.topic == world.topic("labels")],
        warnings=world.warnings,
    )
    loses = world.plan.campaign == "unclean"
    lost_inputs = _lost_inputs(world, records) if loses else ()
    evidence = replace(evidence, anomalies=_anomalies(world), lost_inputs=lost_inputs)
    if not loses:
        world.late_reader.finish()
        evidence = replace(evidence, read_late=world.late_reader.valid)
    checks = CHECKS_OF_LOSSES if loses else CHECKS
    found = violations(evidence, [one for one in checks if not (world.plan.may_end and one is no_worker_ended)])
    if found:
        _keep_topics(world)
        _keep_brokers(world)
    return Result(found, _figures(evidence, folded, letters), tuple(world.notes))


def _keep_topics(world: World) -> None:
    """Write what the topics held beside the logs, a record a line, since the topics are removed."""
    for name in ("transactions", "labels", "scores", "dead-letters", "model-events", "model-control", "outcomes"):
        records = world.records(name) if name in world.history else world.read(name)
        with (world.folder / f"{name}.jsonl").open("w") as file:
            file.writelines(json.dumps(_readable(record)) + "\n" for record in records)


def _keep_brokers(world: World) -> None:
    """Write the brokers' logs beside the workers', and which replicas of the group's commits are in sync."""
    for number, node in world.cluster.nodes.items():
        node.keep_log(world.folder / f"broker-{number}.log")
    try:
        in_sync = {number: sorted(ids) for number, ids in world.cluster.in_sync("__consumer_offsets").items()}
    except AssertionError as error:  # the brokers do not answer, which is no reason to lose the result
        world.notes.append(f"which replicas are in sync is not known: {error}")
        return
    (world.folder / "commits-in-sync.json").write_text(json.dumps(in_sync, indent=1))


def _readable(record: Record) -> dict[str, Any]:
    text = {name: value.decode(errors="backslashreplace") for name, value in record.headers.items()}
    key, value = ((one or b"").decode(errors="backslashreplace") for one in (record.key, record.value))
    return record._asdict() | {"key": key, "headers": text, "value": record.fields or value}


def _settled_use(world: World) -> dict[str, tuple[Use, Use]]:
    """Return what workers used and use, once it no longer is too much."""
    last = world.use_now()
    deadline = time.monotonic() + 15
    while any(map(uses_too_much, last.values())) and time.monotonic() < deadline:
        time.sleep(1)
        last = world.use_now()
    return last


def _anomalies(world: World) -> Sequence[str]:
    """Return what porcupine finds in what the readers of `scores` saw; nothing, and a note, without Go."""
    world.witness.finish()
    history = world.folder / "history.jsonl"
    with history.open("w") as file:
        file.writelines(world.witness.history.lines(world.traffic.published()))
    try:
        return judged(built_judge(), history)
    except NoGoError as reason:
        world.notes.append(f"the history of decisions was not judged: {reason}")
        return ()


def _lost_inputs(world: World, records: Sequence[Record]) -> list[Place]:
    """Return the acknowledged records of `transactions` that are gone, or have another one at their places."""
    there = {record.place: record.value or b"" for record in records}
    acknowledged = [one for one in world.traffic.acknowledged if one[0] == world.topic("transactions")]
    return [
        (0, partition, offset)
        for _, partition, offset, value in acknowledged
        if there.get((0, partition, offset)) != value
    ]


def _diff(world: World) -> Mapping[str, Any]:
    try:
        done = world.fleet.cli("score", "--topic", "--diff", "--json", "--threads", "1", seconds=DIFF_SECONDS)
    except subprocess.TimeoutExpired:
        return {"error": f"not done within {DIFF_SECONDS:g} s"}
    return summary_of(done.stdout or done.stderr)


def _audit(world: World) -> tuple[int, str] | None:
    """Return what `topics audit` says; None if this version has no such command."""
    done = world.fleet.cli("topics", "audit", "--json", seconds=DIFF_SECONDS)
    if done.returncode == NO_SUCH_COMMAND and "No such command" in done.stderr:
        return None
    return done.returncode, done.stdout or done.stderr


def _audited_losses(report: str) -> dict[str, Any]:
    """Return what `topics audit` tells of losses: scores that Kafka lost, and offsets that break the rule."""
    audited = summary_of(report)
    faults = {name: count for name, count in audited.get("fault_counts", {}).items() if count}
    return {"lost_scores": audited.get("lost_scores")} | faults


def _figures(evidence: Evidence, folded: Fold, letters: list[Letter]) -> dict[str, Any]:
    fates = {fate.name.lower(): count for fate in Fate if (count := folded.count(fate))}
    logs = max((record.log for record in evidence.records), default=0)
    return {
        "records": len(evidence.records),
        **fates,
        "logs": logs + 1,
        "void_scores": folded.void,
        "late_letters": folded.late,
        "letters": len(letters),
        "commands": len(evidence.verdicts),
        "labels": len(evidence.labels),
        "more_descriptors": [after.descriptors - before.descriptors for before, after in evidence.use.values()],
        "more_memory_mb": [after.memory_mb - before.memory_mb for before, after in evidence.use.values()],
        "exits": len(evidence.exits),
        "anomalies": len(evidence.anomalies),
        "lost_inputs": len(evidence.lost_inputs),
        "diff": {
            name: evidence.diff.get(name) for name in ("compared", "equal", "explained", "unexplained", "undecided")
        },
        "audit": None if evidence.audit is None else evidence.audit[0],
        "audited_losses": None if evidence.audit is None else _audited_losses(evidence.audit[1]),
    }
