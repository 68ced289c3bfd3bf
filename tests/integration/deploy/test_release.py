"""A release on a clean machine: from its folder alone, by the README's commands, to a first decision.

The packages that it requires come from the package index, by the lists of the release; where none answers, the test is
skipped.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from fraudstream.demo.services.processes import free_port
from support.fleet.fleet import until
from support.journey.export import write_files
from support.kafka.cluster import Cluster
from support.page_blocks import console_lines
from support.paths import HOUSE
from support.typed_line import typed

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1200)]

FIRST_DECISION_SECONDS = 300
PATIENCE_SECONDS = 600.0
OPTIONAL = " --replication 3"
"""What the README says to leave out with one broker."""


def section(heading: str) -> list[str]:
    """Return the console lines of a section of the README, without the prompts."""
    (text,) = re.findall(rf"^## {heading}\n(.*?)^## ", (HOUSE / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return [line.removeprefix("$ ") for line in console_lines(text)]


class Machine:
    """A folder with the release and files of payments, and what a person types there."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        own = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "PIP_CONFIG_FILE", "LANG"}}
        self._environment = own | {f"FRAUDSTREAM_{name}": value for name, value in settings.items()}

    def start(self, line: str, log: Path) -> "subprocess.Popen[bytes]":
        with log.open("wb") as out:
            return subprocess.Popen(
                ["bash", "-c", f". own/bin/activate && exec {line}"],
                cwd=self.folder,
                env=self._environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def type(self, line: str) -> str:
        """Run a line, and return what it prints.

        Raises:
            AssertionError: it failed.
        """
        active = ". own/bin/activate && " if (self.folder / "own").exists() else ""
        done = typed(f"{active}{line}", self.folder, self._environment, PATIENCE_SECONDS)
        assert done.returncode == 0, f"$ {line}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def machine(tmp_path: Path, kafka: Cluster, redis_url: str, topic_prefix: str) -> Machine:
    name = topic_prefix.rstrip("-")
    settings = {
        "BROKERS": kafka.brokers,
        "REDIS_URL": redis_url,
        "MODELS": "models-repository",
        "TOPIC_PREFIX": topic_prefix,
    }
    settings |= {"DEPLOYMENT": name, "GROUP": name, "HTTP": f"127.0.0.1:{free_port()}"}
    if kafka.kind == "embedded":
        settings["KAFKA_IDEMPOTENCE"] = "false"
    folder = tmp_path / "machine"
    folder.mkdir()
    command = [sys.executable, "deploy/dist.py", "--python", sys.executable, "--out", str(folder / "dist")]
    subprocess.run(command, cwd=HOUSE, check=True, capture_output=True)
    write_files(folder)
    (folder / "payments.csv").rename(folder / "transactions.csv")
    (folder / "today.csv").rename(folder / "payments.csv")
    return Machine(folder, settings)


@pytest.fixture
def following(machine: Machine, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Start commands that end only when they are told to, and end them."""
    running = []

    def start(line: str) -> Path:
        log = tmp_path / f"{len(running)}.log"
        running.append(machine.start(line, log))
        return log

    yield start
    for process in running:
        process.terminate()
        process.wait(30)


def test_a_first_decision_from_the_wheels_alone_within_five_minutes(
    machine: Machine, following: Callable[[str], Path], report: Callable[[str], None]
) -> None:
    lines = [line for line in section("On your own Kafka and Redis") if not line.startswith("export ")]
    venv, packages, wheels, topics, train, worker, promote, backfill, publish, decisions, *_ = lines
    began = time.monotonic()
    machine.type(venv)
    try:
        machine.type(packages)
    except AssertionError as error:
        if "No matching distribution" in str(error) or "Connection" in str(error):
            pytest.skip(f"no package index answers: {str(error)[-300:]}")
        raise
    machine.type(wheels)
    installed = time.monotonic()
    machine.type(topics.replace(OPTIONAL, ""))
    digest = json.loads(machine.type(f"{train.replace('.parquet', '.csv')} --json"))["digest"]
    following(worker)
    machine.type(promote.replace("3f9a02c1", digest[:8]))
    machine.type(backfill.replace(".parquet", ".csv"))
    told = following(f"{decisions} --json")
    following(publish)
    until(lambda: told.read_bytes().startswith(b"{"), "a decision", FIRST_DECISION_SECONDS)
    ended = time.monotonic()
    assert ended < began + FIRST_DECISION_SECONDS
    first = json.loads(told.read_text().splitlines()[0])
    assert first["model"]["digest"] == digest
    assert first["code_version"].startswith("0.1.0b1+g")
    report(f"first decision after {ended - began:.0f} s, of which installation {installed - began:.0f} s")
