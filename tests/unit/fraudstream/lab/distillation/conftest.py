"""Fewer draws and calls than a report of the product has: what is tested does not depend on how many there are."""

from collections.abc import Iterator

import pytest

from metrics.bootstrap import BootstrapPlan


@pytest.fixture(scope="module", autouse=True)
def few_draws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fraudstream.lab.distillation.comparison.SUMS_PLAN", BootstrapPlan(draws=80))
        patch.setattr("fraudstream.lab.distillation.comparison.RANKING_PLAN", BootstrapPlan(draws=20))
        patch.setattr("fraudstream.lab.distillation.speed._SINGLE_ROUNDS", 60)
        patch.setattr("fraudstream.lab.distillation.speed._BATCH_ROUNDS", 20)
        yield
