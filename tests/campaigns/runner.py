"""Runs seeds one after the other, and keeps the results, so that a campaign can be run in pieces.

Each result is a line of JSON in `results.jsonl` of the folder. A seed that has passed at this commit is not run again.
"""

import json
import os
import subprocess
import time
import traceback
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
from rich.console import Console
from rich.table import Table

from campaigns.checks import Result
from campaigns.plan import Plan

PASSED, FAILED, BROKEN = "passed", "failed", "broken"
"""`broken`: the seed did not come to its end, so that nothing was checked."""
RESULTS = "results.jsonl"

Say = Callable[[str], None]
RunSeed = Callable[[Plan, Path, Say], Result]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the results; `logs` is the folder that was kept of a seed that has not passed."""

    commit: str
    campaign: str
    seed: int
    outcome: str
    seconds: float
    plan: str
    violations: Mapping[str, list[str]] = {}
    figures: Mapping[str, Any] = {}
    notes: Sequence[str] = ()
    logs: str = ""


class Campaign(NamedTuple):
    """A campaign's name, how its plans are drawn, and what runs one of them."""

    name: str
    draw: Callable[[int], Plan]
    run: RunSeed


def seeds_of(text: str) -> list[int]:
    """Read `7`, `1-60` or `1-5,9`."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            raise ArgumentTypeError(f"{text!r} is no list of seeds; write 7, 1-60 or 1-5,9")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def commit_of(checkout: Path) -> str:
    """Return the commit of a checkout; with `+` behind it if files that git tracks differ."""
    said = [
        subprocess.run(["git", *arguments], cwd=checkout, check=True, capture_output=True, text=True).stdout.strip()
        for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    return said[0] + ("+" if said[1] else "")


def read_results(folder: Path) -> list[Line]:
    """Return the results so far; the last line may have been cut off, and does not count then."""
    path = folder / RESULTS
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [line for line in map(_line, lines) if line is not None]


def _line(text: bytes) -> Line | None:
    try:
        return msgspec.json.decode(text, type=Line)
    except msgspec.DecodeError:
        return None


def passed_seeds(results: Iterable[Line], commit: str, campaign: str) -> frozenset[int]:
    """Return the seeds that need not run again; of a checkout with changes none, since nobody knows which."""
    named = (one for one in results if (one.commit, one.campaign) == (commit, campaign))
    return frozenset() if commit.endswith("+") else frozenset(one.seed for one in named if one.outcome == PASSED)


def run_seeds(campaign: Campaign, seeds: Sequence[int], folder: Path, commit: str, say: Say) -> Iterator[Line]:
    """Run seeds, and yield the line of each when it is written; after Ctrl-C the same call goes on where it ended."""
    done = passed_seeds(read_results(folder), commit, campaign.name)
    for seed in seeds:
        if seed not in done:
            line = _run_one(campaign, seed, folder, commit, say)
            _append(folder / RESULTS, msgspec.json.encode(line))
            yield line


def _append(path: Path, line: bytes) -> None:
    """Append a line; one before it that was cut off stays a line of its own."""
    with path.open("a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        file.write((b"" if file.read(1) in {b"", b"\n"} else b"\n") + line + b"\n")


def _run_one(campaign: Campaign, seed: int, folder: Path, commit: str, say: Say) -> Line:
    plan, began = campaign.draw(seed), time.monotonic()
    logs = folder / f"{campaign.name}-{seed}-{int(began)}"
    found: dict[str, Any]
    try:
        result = campaign.run(plan, logs, say)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other seeds go on
        problem = f"{type(error).__name__}: {error}"
        (logs / "traceback.txt").write_text(traceback.format_exc())
        found = {"outcome": BROKEN, "violations": {"the_seed_comes_to_its_end": [problem[:4_000]]}}
    else:
        outcome = FAILED if result.violations else PASSED
        found = {"outcome": outcome, **result._asdict()}
    if found["outcome"] != PASSED:
        found["logs"] = str(logs)
        (logs / "plan.txt").write_text(f"{plan}\n")
        (logs / "violations.json").write_text(json.dumps(found["violations"], indent=1))
    seconds = round(time.monotonic() - began, 1)
    return Line(commit=commit, campaign=campaign.name, seed=seed, seconds=seconds, plan=plan.summary(), **found)


# --- on the terminal


def told(line: Line) -> str:
    """Tell a result in a line, and a failing one's violations in more."""
    names = ("records", "decided", "refused", "repeated", "backfilled", "lost", "void_scores", "late_letters")
    figures = ", ".join(f"{name} {line.figures[name]:,}" for name in names if line.figures.get(name))
    text = f"{line.campaign} {line.seed}: {line.outcome} in {line.seconds:.0f} s; {figures}"
    problems = [f"  {name}: {problem[:600]}" for name, some in line.violations.items() for problem in some]
    return "\n".join([text, *problems, *([f"  plan: {line.plan}", f"  logs: {line.logs}"] if line.logs else [])])


def closing_table(results: Iterable[Line], wanted: Mapping[str, Sequence[int]], commit: str) -> Table:
    """Return a table of the campaigns' last results at a commit: how many seeds passed, and what failed how often."""
    table = Table("campaign", "seeds", "passed", "not passed", "seconds a seed", "violations", title=commit[:12])
    last = {(one.campaign, one.seed): one for one in results if one.commit == commit}
    for name, seeds in wanted.items():
        lines = [last[name, seed] for seed in seeds if (name, seed) in last]
        failing = [one for one in lines if one.outcome != PASSED]
        counts: dict[str, list[int]] = {}
        for one in failing:
            for check in one.violations:
                counts.setdefault(check, []).append(one.seed)
        shown = "\n".join(f"{check}: seeds {', '.join(map(str, some))}" for check, some in counts.items())
        mean = sum(one.seconds for one in lines) / len(lines) if lines else 0.0
        table.add_row(name, str(len(seeds)), str(len(lines) - len(failing)), str(len(failing)), f"{mean:.0f}", shown)
    return table


def show(table: Table) -> None:
    Console(file=click.get_text_stream("stderr")).print(table)
