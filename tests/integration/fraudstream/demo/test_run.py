"""Short runs of the demo: it succeeds, reports failures, stops on signals, and leaves no process or file behind."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from support.acceptance import cases

pytestmark = pytest.mark.integration
SHORT = ("--seconds", "8", "--rate", "100", "--cards", "800")
"""Histories as long as in training: over shorter ones the models' decisions depend on the day of the test."""
SIGNALS = (
    ("  source /", signal.SIGINT, 130),
    ("simulate", signal.SIGHUP, 129),
    ("simulate", signal.SIGTERM, 143),
    ("$ fraudstream train", signal.SIGTERM, 143),
    ("fill the histories", signal.SIGINT, 130),
    ("fill the histories", signal.SIGTERM, 143),
    ("better goes live", signal.SIGTERM, 143),
)
KILLING = ("--chaos", "--seconds", "20", "--rate", "60")
"""Long enough for payments to continue while the worker is down; later options override those in `SHORT`."""


class Running:
    """A demo in a process of its own, with its temporary files in a folder of the test's."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder / "tmp"
        self.folder.mkdir()
        self._errors = folder / "stderr"
        with self._errors.open("wb") as errors, (folder / "stdout").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fraudstream.cli", "demo", *SHORT, *options],
                env=os.environ | {"TMPDIR": str(self.folder), "COLUMNS": "200"},
                stdout=output,
                stderr=errors,
            )
        self._output = folder / "stdout"
        self.looked: subprocess.CompletedProcess[str] | None = None
        """What the demo says to look at, typed in another shell while it ran."""
        self.children: set[psutil.Process] = set()
        self.commands: dict[psutil.Process, str] = {}
        """The last command line of each child: `die_with_parent.py` becomes the command in its arguments."""

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def until(self, holds: Callable[[], bool], seconds: float = 240.0) -> None:
        """Wait until a condition holds, and record every child process that is seen meanwhile."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.output + self.errors
            self.look()
            time.sleep(0.05)

    def look(self) -> None:
        try:
            now = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return
        self.children |= set(now)
        for child in now:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.commands[child] = " ".join(child.cmdline()) or self.commands.get(child, "")

    def end(self, seconds: float = 300.0) -> int:
        """Wait for the end and return the exit code."""
        self.until(lambda: self.process.poll() is not None, seconds)
        assert self.process.returncode is not None
        return self.process.returncode

    def named(self, part: str) -> psutil.Process:
        """Return the child whose command line contains this."""
        (found,) = (child for child in self.children if child.is_running() and part in " ".join(child.cmdline()))
        return found

    def left(self) -> list[str]:
        """Return the processes and files that are still there."""
        _, alive = psutil.wait_procs(self.children, 10)
        files = [path.name for path in self.folder.iterdir() if path.name.startswith("fraudstream")]
        return [str(process) for process in alive] + files


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def run(*options: str) -> Running:
        started.append(Running(tmp_path, *options))
        return started[-1]

    yield run
    for running in started:
        running.process.kill()
        running.process.wait()


def type_in_another_terminal(shown: str, command: str) -> subprocess.CompletedProcess[str]:
    """Type the line with `source` that a demo has shown, and a command, into a shell without settings of its own."""
    source = re.search(r"^(?:\$| ) (source \S+)$", shown, re.MULTILINE)
    assert source is not None, shown
    return subprocess.run(
        ["bash", "-c", f"{source[1]} && {command}"],
        env={"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A demo that has ended, for the tests that only read what it left; meanwhile what it says to look at was typed."""
    demo = Running(tmp_path_factory.mktemp("demo"), "--json")
    try:
        demo.until(lambda: demo.process.poll() is not None or "a challenger in the shadow:" in demo.errors)
        (look,) = re.findall(r"the first model goes live: .*look: (fraudstream .*)$", demo.errors, re.MULTILINE)
        demo.looked = type_in_another_terminal(demo.errors, f"{look} --json")
        demo.end()
        yield demo
    finally:
        demo.process.kill()
        demo.process.wait()


def test_the_demo_succeeds_and_leaves_no_process_or_file(ended: Running) -> None:
    assert ended.process.returncode == 0, ended.errors
    facts = json.loads(ended.output)
    assert facts["ok"] is True
    assert facts["problems"] == []
    assert facts["decided"] == facts["published"] >= facts["warm"] + 800
    assert (facts["void"], facts["fallbacks"], facts["chaos"]) == (0, 0, None)
    assert facts["latency"]["p50"] <= facts["round_trip"]["p50"]
    assert sum(revision["decided"] for revision in facts["revisions"]) == facts["published"] - facts["warm"]
    assert set(facts["first_offsets"]) == {"0", "1", "2", "3"}
    assert "all checks passed" in ended.errors
    assert len(ended.children) >= 4
    assert ended.left() == []


def test_a_command_that_the_demo_prints_answers_in_another_terminal_while_it_runs(ended: Running) -> None:
    assert ended.looked is not None
    assert ended.looked.returncode == 0, ended.looked.stderr
    roles = {model["version"]: model["role"] for model in json.loads(ended.looked.stdout)["models"]}
    assert {"plain", "better", "bad"} == set(roles)
    assert roles["plain"] == "live"
    facts = json.loads(ended.output)
    (promoted,) = re.findall(r"^  \$ fraudstream model promote (\w+)$", ended.errors, re.MULTILINE)
    assert facts["commands"][2]["model"].startswith(promoted)
    assert facts["audit"]["decided"] == sum(facts["audit"].values()) == facts["published"]
    assert facts["evidence_equal"] in (True, None)


def test_the_demo_runs_a_shadow_a_promotion_a_watch_a_rollback_and_a_canary_that_the_guard_ends(ended: Running) -> None:
    assert ended.process.returncode == 0, ended.errors
    facts = json.loads(ended.output)
    plain, better, _, _, bad, _ = (command["model"] for command in facts["commands"])
    assert [(command["kind"], command["verdict"], command["model"]) for command in facts["commands"]] == [
        ("promote", "accepted", plain),
        ("challenge", "accepted", better),
        ("promote", "accepted", better),
        ("roll_back", "accepted", plain),
        ("rollout", "accepted", bad),
        ("end_canary", "accepted", facts["commands"][5]["model"]),
    ]
    assert [command["revision"] for command in facts["commands"]] == [1, 2, 3, 4, 5, 6]
    assert len({plain, better, bad}) == 3
    assert all("demo-worker" in command["ready_ms"] for command in facts["commands"][:3])
    assert 0 <= facts["rollback_ms"] < 5_000
    decided = {revision["revision"]: revision["model"] for revision in facts["revisions"]}
    assert [decided[revision] for revision in range(2, 7)] == [plain, better, plain, plain, plain]
    assert all(list(firsts.values()) == sorted(firsts.values()) for firsts in facts["first_offsets"].values())
    canary = facts["canary"]
    assert (canary["model"], canary["share_bp"], canary["breached"]) == (bad, 1_000, ["declined"])
    assert canary["evidence"] >= canary["bound"] == 200
    assert canary["decided"] >= canary["declined"] >= canary["first_declines"][0] > 0
    assert canary["after_breach_ms"] is not None
    comparisons = {comparison["revision"]: comparison for comparison in facts["shadow"]}
    assert (comparisons[2]["live"], comparisons[2]["challenger"]) == (plain, better)
    assert (comparisons[3]["live"], comparisons[3]["challenger"]) == (better, plain)
    assert all(comparison["compared"] > 0 and comparison["coverage"] > 0 for comparison in comparisons.values())


@pytest.mark.acceptance
def test_chaos_kills_the_worker_and_no_payment_is_lost_or_decided_twice(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    demo = start(*KILLING, "--json", "--picture", str(tmp_path / "demo.svg"))
    assert demo.end() == 0, demo.errors
    facts = json.loads(demo.output)
    assert facts["problems"] == []
    assert facts["decided"] == facts["published"] >= facts["warm"] + 1200
    assert facts["void"] == 0
    assert facts["chaos"]["waited"] > 0
    assert 0 < facts["chaos"]["gap_ms"] <= facts["chaos"]["caught_up_ms"]
    assert facts["chaos"]["longest_wait_ms"] > facts["latency"]["p99"]
    assert "worker killed (SIGKILL): back after" in demo.errors
    workers = [child for child in demo.commands.values() if "fraudstream.cli worker" in child]
    assert len(workers) == 2
    assert demo.left() == []
    drawn = (tmp_path / "demo.svg").read_text()
    assert "killed" in drawn
    assert len(drawn) < 200_000


@pytest.mark.acceptance
def test_a_second_fleet_takes_over_and_hands_back_and_each_partition_changes_its_fleet_at_one_offset(
    start: Callable[..., Running],
) -> None:
    demo = start("--blue-green", "--json")
    assert demo.end(480) == 0, demo.errors
    facts = json.loads(demo.output)
    assert facts["problems"] == []
    assert (facts["decided"], facts["canary"]) == (facts["published"], None)
    act = facts["blue_green"]
    assert [(one["term"], one["deployment"]) for one in act["terms"]] == [(0, "demo"), (1, "green"), (2, "demo")]
    assert [(one["to"], one["problem"]) for one in act["hand_overs"]] == [("green", ""), ("demo", "")]
    assert "0 unexplained and 200 equal of 200" in act["hand_overs"][0]["gates"]["reproduces"]
    assert "differences" not in act["hand_overs"][1]["gates"]
    assert act["compared"] >= 600
    assert act["ready_ms"] > 0
    assert facts["void"] == sum(one["late"] for one in act["terms"])
    for partition in map(str, range(4)):
        firsts = [one["first_offsets"][partition] for one in act["terms"]]
        assert firsts == sorted(set(firsts))
        assert all(partition in one["pause_ms"] for one in act["terms"][1:])
    assert {revision["term"] for revision in facts["revisions"]} == {0, 1, 2}
    assert "green takes over: go by 7 gates" in demo.errors
    commands = list(demo.commands.values())
    # a process that one of them starts may be seen before it has another command line
    assert sum("fraudstream.cli worker" in one for one in commands) >= 2
    assert len({one for one in commands if "deployment cut-over" in one}) == 2
    assert demo.left() == []


@pytest.mark.acceptance
def test_a_demo_stopped_while_its_killed_worker_is_down_leaves_no_process_or_file(
    start: Callable[..., Running],
) -> None:
    demo = start(*KILLING)
    demo.until(lambda: "$ fraudstream model challenge" in demo.output)
    before = demo.named("fraudstream.cli worker")
    demo.until(lambda: not before.is_running() or before.status() == psutil.STATUS_ZOMBIE)
    demo.process.send_signal(signal.SIGTERM)
    assert demo.end(30) == 143, demo.errors
    assert demo.left() == []


@pytest.mark.parametrize(("moment", "number", "code"), cases(SIGNALS, short=SIGNALS[:1]))
def test_a_signal_stops_the_demo_cleanly_with_its_exit_code(
    start: Callable[..., Running], moment: str, number: signal.Signals, code: int
) -> None:
    demo = start()
    demo.until(lambda: moment in demo.output)
    demo.until(lambda: len(demo.children) >= 2)
    demo.process.send_signal(number)
    assert demo.end(30) == code, demo.errors
    assert "stopped; nothing is left running" in demo.errors
    assert "Traceback" not in demo.errors
    assert demo.left() == []


@pytest.mark.acceptance
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux's kernel ends the children of the killed")
@pytest.mark.parametrize("moment", ["fill the histories", "better goes live"])
def test_no_process_outlives_a_killed_demo(start: Callable[..., Running], moment: str) -> None:
    demo = start()
    demo.until(lambda: moment in demo.output)
    demo.process.kill()
    demo.process.wait()
    assert not psutil.wait_procs(demo.children, 10)[1]


@pytest.mark.acceptance
def test_the_demo_fails_and_reports_it_when_its_worker_dies(start: Callable[..., Running]) -> None:
    demo = start()
    demo.until(lambda: "fill the histories" in demo.output)
    demo.named("fraudstream.cli worker").kill()
    assert demo.end(60) == 1
    assert "the demo cannot go on: the worker ended with -9; its log ends with:" in demo.errors
    assert demo.left() == []


@pytest.mark.acceptance
def test_keep_leaves_the_demo_running_and_prints_settings_and_without_a_terminal_plain_lines(
    start: Callable[..., Running],
) -> None:
    demo = start("--keep")
    demo.until(lambda: "still running" in demo.output)
    demo.until(lambda: "until this ends" in demo.output)
    looked = type_in_another_terminal(demo.output, "fraudstream model history --json")
    assert [json.loads(line)["revision"] for line in looked.stdout.splitlines()] == [1, 2, 3, 4, 5, 6]
    assert "\x1b" not in demo.output
    assert re.search(r"^train two models: [\d.]+ s", demo.output, re.MULTILINE)
    assert re.search(r"tx/s .* latency p50 \d+ p99 \d+ ms .* revision [1-6]$", demo.output, re.MULTILINE)
    demo.process.send_signal(signal.SIGINT)
    assert demo.end(30) == 0, demo.errors
    assert demo.left() == []
