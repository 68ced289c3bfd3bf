"""A short campaign of hand-overs with each kind of fault once, in an order drawn by a seed, checked from `scores`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.campaign.hand_overs import FAULTS
from support.campaign.hand_overs_command import run_on_three_brokers
from support.kafka.jars import NoJars

SEED = 20261127
CUT_OVERS = 8
"""With two without a fault, each kind comes once."""


pytestmark = [pytest.mark.integration, pytest.mark.acceptance, pytest.mark.timeout(1_800)]


def test_hand_overs_with_a_fault_around_each_lose_nothing_and_decide_nothing_twice(
    tmp_path: Path, report: Callable[[str], None]
) -> None:
    try:
        done = run_on_three_brokers((SEED, CUT_OVERS), tmp_path, report)
    except NoJars as reason:
        pytest.skip(f"no three brokers of Apache Kafka: {reason}")
    report(json.dumps(done._asdict()))
    assert (done.undecided, done.decided_twice, done.changed_more_than_once) == (0, 0, 0)
    assert done.cut_overs == CUT_OVERS
    assert set(done.faults) == {"nothing", *(fault.__name__ for fault in FAULTS)}
