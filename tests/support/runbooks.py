"""Commands of the runbooks, and a world in which each of them can be run as it stands.

Words in capitals are filled in, addresses and names of topics and groups are those of the test's fleet, and what a
command needs is prepared before it: a canary that it ends, a dead letter that it shows.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from aiokafka import ConsumerRecord

from models.times import format_time
from stream.clock import now_ms
from support.fleet.fleet import Fleet, until
from support.fleet.payments import PARTITIONS, payment, put_model
from support.fleet.shipments import java_classpath, librdkafka_producer
from support.fleet.workers import Worker
from support.runbook_pages import JAVA_TOOLS

SECONDS = 120.0
_OPEN_MS = 900_000
_TOPICS = "transactions|scores|labels|outcomes|explanations|incidents|model-events|model-control|dead-letters"


def tool_folder(folder: Path) -> Path:
    """Return a folder with the commands that are not on every path: Kafka's tools by their names, and ours."""
    folder.mkdir()
    java = f'exec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "{java_classpath()}"'
    programs = {name: f'{java} {program} "$@"' for name, program in JAVA_TOOLS.items()}
    for name, program in {**programs, "fraudstream": f'exec {sys.executable} -m fraudstream.cli "$@"'}.items():
        (folder / name).write_text(f"#!/bin/sh\n{program}\n")
        (folder / name).chmod(0o755)
    return folder


class Stack:
    """Workers with a live model, a guard and `explain`, and what commands need beside them.

    Args:
        fleet: its topics and settings.
        processes: one of each, by the port that the pages give it.
        tools: `tool_folder`.
    """

    def __init__(self, fleet: Fleet, processes: dict[str, Worker], tools: Path) -> None:
        self.fleet = fleet
        self._addresses = {port: process.address for port, process in processes.items()}
        self._processes = processes
        self._tools = tools
        self._models = [put_model(fleet.models, seed=seed) for seed in range(1, 4)]
        self._card = fleet.folder / "card.toml"
        self._card.write_text('owner = "fraud team"\nreview_by = "2027-06-30"\n')

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Prepare what a command needs, and run it as an operator's shell does."""
        for needs, prepare in self._preparations():
            if re.search(needs, command):
                prepare()
        named = {f"FRAUDSTREAM_{name}": value for name, value in self.fleet.environment.items()}
        path = f"{self._tools}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", self.filled(command)],
            cwd=self.fleet.folder,
            env=os.environ | named | {"PATH": path},
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def fault_of(self, command: str) -> str:
        """Run a command; return why it, or what it needs, failed; empty if nothing did."""
        try:
            done = self.run(command)
        except AssertionError as failed:
            return f"not prepared: {failed}"
        return "" if done.returncode == 0 else f"{done.returncode}: {done.stdout[-400:]}{done.stderr[-400:]}"

    def filled(self, command: str) -> str:
        """Return a command with the addresses, names and places of this stack."""
        fleet = self.fleet
        for port, address in self._addresses.items():
            command = command.replace(f"127.0.0.1:{port}", address)
        command = re.sub(rf"(--topic|--entity-name) ({_TOPICS})\b", rf"\1 {fleet.prefix}\2", command)
        command = command.replace("fraudstream-default", fleet.environment["GROUP"])
        place = cache(lambda: self._place(command))  # most commands name none, and it reads topics
        words: dict[str, Callable[[], str]] = {
            "MODEL": lambda: self._model(command),
            "INCIDENT": self._incident,
            "PAYMENT": lambda: self.fleet.scores()[0][0].transaction_id,
            "TOPIC": lambda: place()[0],
            "PARTITION": lambda: str(place()[1]),
            "OFFSET": lambda: str(place()[2]),
            "FILE": lambda: str(self._card if "--record" in command else fleet.folder / "scored"),
            "TIME": lambda: format_time(now_ms()),
            "N": lambda: self._number(command, lambda: place()[2]),
        }
        return re.sub(rf"\b({'|'.join(words)})\b", lambda found: words[found[1]](), command)

    # --- what commands need

    def _preparations(self) -> tuple[tuple[str, Callable[[], None]], ...]:
        return (
            (r"model (end-canary|canary)", self._end_split),
            (r"model_review_days", self._make_a_reviewed_model_live),
            (r"model end-canary", self._begin_canary),
            (r"model (canary|promote|rollback|challenge|end-split)", self._end_canary),
            (r"model (promote|rollback|canary)", self._end_split),
            (r"model end-split", self._begin_split),
            (r"model withdraw", self._begin_challenge),
            (r"shadow report", self._begin_challenge),
            (r"model challenge", self._withdraw),
            (r"model rollback", self._promote_another),
            (r"dead-letters show", self._send_what_is_refused),
            (r"kafka-transactions.sh .* abort", self._open_transaction),
        )

    def _say(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.fleet.cli("model", *words, "--reason", "a test prepares the next command")

    def _must(self, *words: str) -> None:
        done = self._say(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"

    def _model(self, command: str) -> str:
        digest = self._another() if re.search(r"model (promote|challenge|canary)", command) else self._live()
        return digest[:12]

    def _live(self) -> str:
        done = self.fleet.cli("model", "list", "--json")
        assert done.returncode == 0, done.stderr
        (found,) = (row["digest"] for row in json.loads(done.stdout)["models"] if row["role"] == "live")
        return str(found)

    def _another(self) -> str:
        live = self._live()
        return next(one for one in self._models if one != live)

    def _promote_another(self) -> None:
        self._must("promote", self._another())

    def _make_a_reviewed_model_live(self) -> None:
        model = self._another()
        done = self.fleet.cli("model", "card", model, "--record", str(self._card))
        assert done.returncode == 0, done.stderr
        self._must("promote", model)
        worker = self._processes["6066"]
        until(lambda: "fraudstream_model_review_days" in worker.get("/metrics")[1], "the review of the live model")

    def _begin_canary(self) -> None:
        self._must("canary", self._another(), "--share", "5%")

    def _end_canary(self) -> None:
        self._say("end-canary")

    def _begin_split(self) -> None:
        self._must("split", "--arm", f"new={self._another()}:10%")

    def _end_split(self) -> None:
        self._say("end-split", "--winner", "live")

    def _begin_challenge(self) -> None:
        self._say("challenge", self._another(), "--yes")  # a promotion before it may be watched

    def _withdraw(self) -> None:
        self._say("withdraw")

    def _send_what_is_refused(self) -> None:
        if not self.fleet.dead_letters():
            self.fleet.publish([("card-1", b'{"transaction_id": 1')])
            self.fleet.await_dead_letters(1)

    def _incident(self) -> str:
        def known() -> list[ConsumerRecord[bytes, bytes]]:
            return self.fleet.read("incidents")

        until(lambda: bool(known()), "an incident", 180)
        found: str = json.loads(known()[0].value or b"")["incident_id"]
        return found

    def _open_transaction(self) -> None:
        topic = f"{self.fleet.prefix}transactions"
        self._open_at = self.fleet.ends("transactions")[0]
        self._producer = librdkafka_producer(
            self.fleet.brokers, transactional_id=f"{topic}-open", transaction_ms=_OPEN_MS
        )
        self._producer.init_transactions()
        self._producer.begin_transaction()
        self._producer.produce(topic, key=b"card-1", value=b"{}", partition=0)
        self._producer.flush()

    def _place(self, command: str) -> tuple[str, int, int]:
        """Return the topic, partition and offset that a command is about."""
        prefix = self.fleet.prefix
        if "dead-letters show" in command:
            headers = dict(self.fleet.dead_letters()[0].headers)
            where = {name.rpartition(".")[2]: value.decode() for name, value in headers.items()}
            return where["topic"], int(where["partition"]), int(where["offset"])
        if "abort" in command:
            return f"{prefix}transactions", 0, self._open_at
        first = next(score for score in self.fleet.scores()[0])
        return f"{prefix}transactions", first.source.partition, first.source.offset

    def _number(self, command: str, offset: Callable[[], int]) -> str:
        if "--expected-revision" in command:
            return str(max(event["revision"] for event in self.fleet.events("accepted")))
        if "--offsets" in command:
            return str(offset() + 1)
        return str(PARTITIONS + ("--alter" in command))


def has_tools() -> bool:
    """Tell whether this machine has what the pages use."""
    return all(shutil.which(one) for one in ("bash", "curl", "grep", "redis-cli", "javac"))


def some_payments(fleet: Fleet, count: int = 60, first: int = 0) -> None:
    """Publish payments, and wait until all so far are decided."""
    fleet.publish(payment(number) for number in range(first, first + count))
    fleet.await_scores(first + count)
