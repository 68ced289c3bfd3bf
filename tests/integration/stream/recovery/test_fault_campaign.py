"""A short fault campaign: each kind of fault once, in an order drawn by a seed, and everything checked in the end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.campaign.campaign import kinds
from support.campaign.command import run_campaign
from support.kafka.jars import NoJars

SEED = 20_260_705

pytestmark = [pytest.mark.integration, pytest.mark.acceptance]


def test_a_campaign_with_each_fault_once_leaves_one_valid_score_for_each_payment(
    tmp_path: Path, report: Callable[[str], None]
) -> None:
    try:
        done = run_campaign(SEED, len(kinds()), tmp_path, report)
    except NoJars as reason:
        pytest.skip(f"no three brokers of Apache Kafka: {reason}")
    report(json.dumps(done._asdict()))
    assert done.exits == {}
