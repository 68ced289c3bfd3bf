"""Three seeds of each campaign, as `python -m tests.campaigns` runs them: nothing that must not be is found.

They begin before all other long tests (`conftest.py`), so that one process runs them in turn.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from campaigns.plan import FIRST_SEEDS
from campaigns.plans import CAMPAIGNS
from campaigns.runner import PASSED, Campaign, commit_of, run_seeds, told
from campaigns.seed import run_seed
from campaigns.world import missing
from support.paths import HOUSE

SEEDS = {"outages": (8, 10, 12), "clocks": (1, 4, 5)}
"""Outages of each kind, one of them for two writes that are given up; clocks with and without a bound of timestamps."""

pytestmark = [pytest.mark.integration, pytest.mark.acceptance, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    ("name", "seed"), [(name, seed) for name in CAMPAIGNS for seed in SEEDS.get(name, FIRST_SEEDS)]
)
def test_a_seed_of_a_campaign_finds_no_violation(
    name: str, seed: int, tmp_path: Path, report: Callable[[str], None]
) -> None:
    if lacking := missing(name):
        pytest.skip(lacking)
    campaign = Campaign(name, CAMPAIGNS[name], run_seed)
    (line,) = run_seeds(campaign, (seed,), tmp_path, commit_of(HOUSE), lambda _: None)
    report(told(line).splitlines()[0])
    assert line.outcome == PASSED, told(line)
