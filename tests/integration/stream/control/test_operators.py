"""Several operators at once, and judges that come back from the dead: one verdict counts, and all go by it."""

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from support.fleet.arms import assert_whole, rollouts
from support.fleet.fleet import Fleet, until
from support.fleet.load import Load
from support.fleet.payments import put_model
from support.fleet.workers import Worker

pytestmark = pytest.mark.acceptance

RATE = 200
ROUNDS, MOST_TRIES = 3, 9
SESSION = "8"
"""Seconds: so long a judge waits for a member that is stopped, before the fleet is without it."""
Answer = subprocess.CompletedProcess[str]


class Named:
    """A fleet whose workers have names, so that an event tells which of them wrote it."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.first = put_model(fleet.models)
        self.workers = {f"w-{at}": fleet.worker(WORKER_ID=f"w-{at}", SESSION_TIMEOUT=SESSION) for at in range(3)}
        until(lambda: all(worker.has_joined for worker in self.workers.values()), "the group is joined")
        fleet.promote(self.first)
        for worker in self.workers.values():
            worker.await_ready()

    def command(self, *arguments: str) -> Answer:
        """Send a command as an operator does, with the patience for a judge that is replaced meanwhile."""
        return self.fleet.cli("model", *arguments, "--reason", "test", "--wait", "60")

    def asked(self, model: str) -> dict[str, Any] | None:
        """Return the event by which a judge asks whether a model can be served, if one did."""
        return next((event for event in self.fleet.events("candidate") if event["model"] == model), None)

    def terminate(self) -> None:
        assert [worker.terminate() for worker in self.workers.values()] == [0] * len(self.workers)


def at_once(*sent: Callable[[], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(len(sent)) as pool:
        return list(pool.map(lambda send: send(), sent))


def verdicts(fleet: Fleet) -> dict[str, list[str]]:
    """Return the kinds of all verdicts on each command, in the order of the log."""
    found: dict[str, list[str]] = {}
    for record in fleet.read("model-events"):
        event = json.loads(record.value)
        if event["kind"] in ("accepted", "refused"):
            found.setdefault(event["command_id"], []).append(event["kind"])
    return found


def test_of_commands_that_operators_send_at_once_one_is_accepted_for_each_revision(fleet: Fleet) -> None:
    named = Named(fleet)
    second, third = put_model(fleet.models, seed=1), put_model(fleet.models, seed=2)
    with Load(fleet, RATE) as load:
        load.await_decisions(time.monotonic())
        for number in range(ROUNDS):
            share = f"{number + 1}%"
            canaries = [partial(named.command, "canary", model, "--share", share) for model in (second, third)]
            answers = at_once(*canaries, partial(named.command, "challenge", third))
            assert any(answer.returncode == 0 for answer in answers), [one.stderr for one in answers]
            assert all(answer.returncode == 0 or "refused" in answer.stdout for answer in answers)
            done = named.command("end-canary")
            assert done.returncode == 0 or "no_canary" in done.stdout, done.stdout
        load.await_decisions(time.monotonic())
    assert_whole(fleet, fleet.await_scores(len(load.sent)), len(load.sent))
    accepted = Counter(event["revision"] for event in fleet.events("accepted"))
    assert accepted == dict.fromkeys(range(1, len(accepted) + 1), 1)
    assert all(len(kinds) == 1 for kinds in verdicts(fleet).values())
    named.terminate()


def test_a_judge_that_was_stopped_with_a_command_in_its_hands_changes_nothing_when_it_goes_on(
    fleet: Fleet, report: Callable[[str], None]
) -> None:
    named = Named(fleet)
    second_verdicts, tried = list[int](), 0
    with Load(fleet, RATE) as load:
        while len(second_verdicts) < ROUNDS:
            tried += 1
            assert tried <= MOST_TRIES, "the judge was never stopped in time"
            load.await_decisions(time.monotonic())
            found = zombie_round(named, put_model(fleet.models, seed=tried))
            second_verdicts += [] if found is None else [found]
            done = named.command("end-canary")
            assert done.returncode == 0, done.stderr
        load.await_decisions(time.monotonic())
    assert_whole(fleet, fleet.await_scores(len(load.sent)), len(load.sent))
    by_revision = rollouts(fleet)
    assert list(by_revision) == list(range(1, 2 * tried + 2))
    assert len({one.canary for one in by_revision.values()} - {None}) == tried
    late = sum(count > 0 for count in second_verdicts)
    report(f"{ROUNDS} judges stopped with a command in their hands, {late} wrote a second verdict")
    named.terminate()


def zombie_round(named: Named, model: str) -> int | None:
    """Stop a judge that waits for a member, until another gave the verdict; return how many verdicts came late.

    None if it was stopped too late: it had given the verdict itself.
    """
    before = named.fleet.events("accepted")[-1]["worker"]
    member = next(one for name, one in named.workers.items() if name != before)  # not the judge, if that has not moved
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        with stopped(member):
            sent = pool.submit(named.command, "canary", model, "--share", "20%")
            until(lambda: named.asked(model) is not None, "a judge asks whether the model can be served")
            judge = str((named.asked(model) or {})["worker"])
            stack.enter_context(stopped(zombie := named.workers[judge]))
        answer = sent.result()
        time.sleep(0.5)  # for the fleet to go on under the new revision while the judge is still stopped
    assert answer.returncode == 0, answer.stderr
    last = named.fleet.events("accepted")[-1]
    assert last["model"] == model
    until(lambda: knows(zombie, last["revision"]), "the judge that was stopped knows the verdict")
    zombie.await_ready()
    kinds = verdicts(named.fleet)[last["command_id"]]
    assert kinds[0] == "accepted"
    return None if last["worker"] == judge else len(kinds) - 1


@contextmanager
def stopped(worker: Worker) -> Iterator[None]:
    """Stop a worker; it goes on at the end."""
    worker.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.signal(signal.SIGCONT)


def knows(worker: Worker, revision: int) -> bool:
    """Tell whether a worker has folded a revision."""
    return f"\nfraudstream_revision {revision}.0\n" in worker.get("/metrics")[1]
