"""Does a stage of a decision cost more than its budget, and would it be noticed if one did?

It needs no server and is not among the unit tests: to count takes ten seconds. `make test` runs it.
"""

import time

import pytest

from benchmarks.budgets import (
    DEARER_CPU,
    MOST_PASSES,
    PASSES,
    cpu_problems,
    name_of,
    problems,
    processor_here,
    python_here,
    read_budgets,
)
from benchmarks.stage_costs import BATCHES, LARGE, STAGES, Bytecodes, CpuTimes, Key, Replay

RECORD = "record them with `python -m benchmarks.budgets --record`"
QUARTER, TWO_FIFTHS = 0.25, 0.4
BYTECODES_OF_A_ROUND = 3


@pytest.fixture(scope="module")
def replay() -> Replay:
    return Replay.prepared()


@pytest.fixture(scope="module")
def bytecodes(replay: Replay) -> Bytecodes:
    return Bytecodes(replay)


@pytest.fixture(scope="module")
def counted(bytecodes: Bytecodes) -> dict[Key, float]:
    return bytecodes.count()


def test_no_stage_executes_more_bytecodes_than_its_budget(counted: dict[Key, float]) -> None:
    recorded = read_budgets().bytecodes
    if python_here() not in recorded:
        pytest.skip(f"no bytecodes are recorded for {python_here()}: {RECORD}")
    assert not problems(counted, recorded[python_here()], exact=True)


@pytest.mark.acceptance  # beside tests on all cores a stage takes up to 1.3 times the CPU; bytecodes are counted always
def test_no_stage_takes_more_cpu_than_its_budget(replay: Replay) -> None:
    recorded = read_budgets().cpu
    if processor_here() not in recorded:
        pytest.skip(f"no CPU is recorded for {processor_here()}: {RECORD}")
    assert not cpu_problems(replay, recorded[processor_here()])


@pytest.mark.acceptance
def test_a_quarter_more_bytecodes_in_any_stage_are_found_and_a_count_repeats_exactly(
    bytecodes: Bytecodes, counted: dict[Key, float]
) -> None:
    budget = {name_of(key): cost for key, cost in counted.items()}

    def plant(size: int, stage: str) -> None:
        for _ in range(round(counted[size, stage] * QUARTER / BYTECODES_OF_A_ROUND)):
            pass

    found = problems(bytecodes.count(plant), budget, exact=True)
    assert [line.split(" costs")[0] for line in found] == [f"{stage} of {size}" for size in BATCHES for stage in STAGES]
    assert bytecodes.count() == counted


@pytest.mark.acceptance
def test_two_fifths_more_cpu_in_any_stage_are_found(replay: Replay) -> None:
    plain, slower = CpuTimes(replay), CpuTimes(replay)
    plain.add_passes(PASSES)

    def plant(_size: int, stage: str) -> None:
        until = time.thread_time_ns() + plain.ns(stage) * TWO_FIFTHS
        while time.thread_time_ns() < until:
            pass

    for _ in range(MOST_PASSES // PASSES):
        slower.add_passes(PASSES, plant)
        ratios = plain.ratios()
        if all(ratio > DEARER_CPU * ratios[key] for key, ratio in slower.ratios().items()):
            return
        plain.add_passes(PASSES)
    pytest.fail(f"{slower.ratios()} are not {DEARER_CPU} times {plain.ratios()}")


def test_a_stage_that_became_far_cheaper_needs_a_new_budget() -> None:
    measured = {(LARGE, "score"): 70.0, (LARGE, "encode"): 100.0}
    budget = {f"score of {LARGE}": 100.0, f"encode of {LARGE}": 100.0}
    assert problems(measured, budget, exact=True) == [f"score of {LARGE} costs 0.700 times its budget: record it anew"]
    assert problems(measured, budget, exact=False) == []
