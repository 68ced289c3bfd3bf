"""Three seeds of each campaign, as `python -m tests.campaigns` runs them: nothing that must not be is found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from campaigns.plans import CAMPAIGNS
from campaigns.runner import PASSED, Campaign, commit_of, run_seeds, told
from campaigns.seed import run_seed
from campaigns.world import missing
from support.paths import HOUSE

SEEDS = {"outages": (8, 10, 12), "clocks": (1, 4, 5)}
"""Outages of each kind, one of them for two writes that are given up; clocks with and without a bound of timestamps."""
FIRST_SEEDS = (1, 2, 3)

pytestmark = [pytest.mark.integration, pytest.mark.acceptance, pytest.mark.timeout(900)]


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_three_seeds_of_a_campaign_find_no_violation(name: str, tmp_path: Path, report: Callable[[str], None]) -> None:
    if lacking := missing(name):
        pytest.skip(lacking)
    campaign = Campaign(name, CAMPAIGNS[name], run_seed)
    lines = list(run_seeds(campaign, SEEDS.get(name, FIRST_SEEDS), tmp_path, commit_of(HOUSE), lambda _: None))
    for line in lines:
        report(told(line).splitlines()[0])
    failing = [told(line) for line in lines if line.outcome != PASSED]
    assert not failing, "\n".join(failing)
