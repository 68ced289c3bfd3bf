"""`python -m benchmarks.budgets`: what each stage of a decision costs beside its budget; `--record` writes it anew.

`budgets.json` has a batch's bytecodes by version of Python, which are exact everywhere, and its CPU as a ratio to a
reference, by version and processor. tests/integration/benchmarks/test_budgets.py fails where a stage exceeds its
budget.
"""

import platform
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.stage_costs import Bytecodes, CpuTimes, Key, Replay
from features.vector import vectorise

FILE = Path(__file__).with_name("budgets.json")
DEARER, DEARER_CPU = 1.12, 1.25
"""A stage that costs more than so many times its budget fails: bytecodes are exact, CPU has a spread."""
CHEAPER = 0.8
"""One that executes fewer bytecodes than this share of its budget needs a new one, or it could grow back unseen."""
PASSES, MOST_PASSES = 8, 96
"""Passes for the CPU at first, and before a stage counts as dearer: each comes nearer to what it really costs."""
_RECORDED_PASSES = 40

Measured = Mapping[Key, float]


class Budgets(msgspec.Struct, frozen=True):
    """Recorded costs of a batch, by where they hold and then by `name_of` size and stage."""

    bytecodes: dict[str, dict[str, float]]
    cpu: dict[str, dict[str, float]]


def name_of(key: Key) -> str:
    """Return how the file calls a batch size and stage."""
    size, stage = key
    return f"{stage} of {size}"


def python_here() -> str:
    """Return which Python this is, and whether compiled code takes part: of what bytecodes depend on."""
    version = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    return version if vectorise.KERNEL else f"{version} without the kernel"


def processor_here() -> str:
    """Return Python and the make of the processor: of what CPU depends on. `/proc/cpuinfo` has its numbers on Linux."""
    return f"{python_here()} on {_processor(Path('/proc/cpuinfo'))}"


def _processor(path: Path) -> str:
    if not path.exists():
        return platform.processor() or platform.machine()
    lines = (line.partition(":") for line in path.read_text().splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    known = [fields[name] for name in ("vendor_id", "cpu family", "model", "stepping") if name in fields]
    return " ".join(known) or platform.machine()


def read_budgets() -> Budgets:
    """Read the recorded budgets."""
    return msgspec.json.decode(FILE.read_bytes(), type=Budgets)


def problems(measured: Measured, budget: Mapping[str, float], *, exact: bool) -> list[str]:
    """Say which stages cost more than their budget allows; where costs are `exact`, also which cost far less."""
    found = []
    most = DEARER if exact else DEARER_CPU
    for key, cost in measured.items():
        times = cost / budget[name_of(key)]
        if times > most:
            found.append(f"{name_of(key)} costs {times:.3f} times its budget, at most {most} are allowed")
        if exact and times < CHEAPER:
            found.append(f"{name_of(key)} costs {times:.3f} times its budget: record it anew")
    return found


def cpu_problems(replay: Replay, budget: Mapping[str, float]) -> list[str]:
    """Say which stages take more CPU than their budget allows, after as many passes as it takes to be sure."""
    times = CpuTimes(replay)
    times.add_passes(PASSES)
    passes = PASSES
    while (found := problems(times.ratios(), budget, exact=False)) and passes < MOST_PASSES:
        times.add_passes(PASSES)
        passes += PASSES
    return found


def record(replay: Replay) -> None:
    """Write what the stages cost here into the file; what it says of other versions and processors stays."""
    times, before = CpuTimes(replay), read_budgets()
    times.add_passes(_RECORDED_PASSES)
    bytecode = {name_of(key): round(cost, 1) for key, cost in Bytecodes(replay).count().items()}
    cpu = {name_of(key): round(ratio, 3) for key, ratio in times.ratios().items()}
    budgets = Budgets(before.bytecodes | {python_here(): bytecode}, before.cpu | {processor_here(): cpu})
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(budgets, order="sorted")) + b"\n")


def _rows(measured: Measured, budget: Mapping[str, float]) -> Iterable[tuple[str, str, str, str]]:
    for key, cost in measured.items():
        recorded = budget.get(name_of(key))
        times = "none" if recorded is None else f"{recorded:,.1f}", "" if recorded is None else f"{cost / recorded:.3f}"
        yield name_of(key), f"{cost:,.1f}", *times


def main() -> None:
    """Print what each stage costs beside its budget, or record it."""
    parser = ArgumentParser(description="Compare what each stage of a decision costs with its budget.")
    parser.add_argument("--record", action="store_true", help="write the budgets of this Python and processor anew")
    recording, replay = parser.parse_args().record, Replay.prepared()
    if recording:
        record(replay)
    budgets, times = read_budgets(), CpuTimes(replay)
    times.add_passes(PASSES)
    for title, measured, recorded, where in (
        ("bytecodes", Bytecodes(replay).count(), budgets.bytecodes, python_here()),
        ("CPU, times the reference", times.ratios(), budgets.cpu, processor_here()),
    ):
        table = Table("stage, payments in a batch", title, "budget", "times the budget", title=where)
        for row in _rows(measured, recorded.get(where, {})):
            table.add_row(*row)
        Console().print(table)


if __name__ == "__main__":
    main()
