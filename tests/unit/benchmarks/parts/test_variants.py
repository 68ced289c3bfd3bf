"""Variants of a worker are summarised by medians and by their ratios to the first, and each codec is a variant."""

import pytest

from benchmarks.parts.variants import DecisionCost, VariantRound, summarise
from fraudstream.bench.worker import Latency


def measured(per_second: float, cpu_us: float, score_bytes: float | None) -> VariantRound:
    latency = Latency(100.0, 800, per_second / 100, 9.0, 10.0)
    return VariantRound(per_second, latency, DecisionCost(cpu_us, score_bytes), DecisionCost(10 * cpu_us, score_bytes))


def test_cpu_and_bytes_are_medians_with_their_ratios_to_the_first_variant() -> None:
    found = summarise(
        {
            "none": [measured(1_000, 100, 2_000), measured(3_000, 120, 2_200), measured(2_000, 900, 2_100)],
            "zstd": [measured(1_000, 150, 525)] * 3,
        }
    )
    assert found["none"]["CPU µs, backlog"] == 120
    assert found["none"]["bytes a score, paced"] == 2_100
    assert {value for what, value in found["none"].items() if what.endswith("to the first")} == {1.0}
    assert found["zstd"]["CPU µs, paced to the first"] == 1.25
    assert found["zstd"]["bytes a score, backlog to the first"] == 0.25
    assert found["zstd"]["p50, ms to the first"] == 0.5


def test_ratios_are_those_within_a_round_though_the_machine_becomes_slower() -> None:
    slowness = (1.0, 2.0, 8.0)
    rounds = {
        "off": [measured(8_000 / one, 100 * one, None) for one in slowness],
        "on": [measured(8_000 / one, 110 * one, None) for one in (*slowness[:2], 100.0)],
    }
    found = summarise(rounds)["on"]
    assert found["CPU µs, backlog"] == 220
    assert found["CPU µs, backlog to the first"] == pytest.approx(1.1)
    assert found["decisions/s to the first"] == pytest.approx(1.0)
