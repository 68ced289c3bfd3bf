"""Every command of the runbooks runs against real workers, a guard, `explain`, Kafka and Redis."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from support.fleet.fleet import Fleet
from support.fleet.incidents import running_receiver
from support.fleet.workers import EXPLAIN_COMMAND, GUARD_COMMAND
from support.runbook_pages import OPERATE, console_commands
from support.runbooks import Stack, has_tools, some_payments, tool_folder

pytestmark = [pytest.mark.integration, pytest.mark.acceptance, pytest.mark.timeout(1500)]

STANDS_LAST = ("rebuild --here", "--alter")
"""What changes the stack for the others: a rebuild while no worker runs, and then the number of partitions."""


@pytest.mark.skipif(not has_tools(), reason="needs bash, curl, grep, redis-cli and a JDK")
def test_every_command_of_the_runbooks_runs(apart: Fleet, tmp_path: Path, report: Callable[[str], None]) -> None:
    commands = list(dict.fromkeys(one for page in sorted(OPERATE.glob("*.md")) for one in console_commands(page.name)))
    commands.sort(key=lambda command: max(at * (one in command) for at, one in enumerate(STANDS_LAST, 1)))
    (worker,) = apart.go_live()
    with running_receiver() as receiver:
        guard = apart.worker(GUARD_COMMAND, INCIDENT_WEBHOOK=receiver.receiver.url)
        explain = apart.worker(EXPLAIN_COMMAND)
        some_payments(apart)
        with Redis.from_url(apart.environment["REDIS_URL"]) as client:
            client.flushall()  # an incident, of which the commands tell
        some_payments(apart, first=60)
        stack = Stack(apart, {"6066": worker, "6076": guard, "6086": explain}, tool_folder(tmp_path / "tools"))
        failed = {}
        for command in commands:
            if "rebuild --here" in command:
                assert worker.terminate() == 0
                time.sleep(float(apart.environment["SESSION_TIMEOUT"]) + 2)  # then its group knows for certain
            if said := stack.fault_of(command):
                failed[command] = said
    report(f"{len(commands)} commands of {len(list(OPERATE.glob('*.md')))} pages")
    assert not failed, "\n".join(f"$ {command}\n{said}" for command, said in failed.items())
