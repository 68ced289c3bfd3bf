"""The values that pages show are taken by the chart, and what the page says of its numbers is so."""

import re
from typing import Any

import pytest

from fraudstream.bench.scaling import lag_per_worker
from support.kubernetes.helm import CHART, read_yaml, render
from support.kubernetes.objects import of_kind, only
from support.page_blocks import blocks
from support.paths import HOUSE

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800), pytest.mark.usefixtures("tools")]

PAGES = ("run-on-kubernetes.md", "predict-from-storage.md")
VALUES: dict[str, Any] = read_yaml((CHART / "values.yaml").read_text())[0]


def shown(page: str) -> list[dict[str, Any]]:
    """Return the YAML that a page shows."""
    text = (HOUSE / "docs/how-to" / page).read_text()
    return [one for block in blocks(text, "yaml") for one in read_yaml(block)]


EXAMPLES = [(page, at, one) for page in PAGES for at, one in enumerate(shown(page)) if set(one) <= set(VALUES)]


@pytest.mark.parametrize(("page", "at", "values"), EXAMPLES)
def test_the_chart_takes_the_values_of_a_page(page: str, at: int, values: dict[str, Any]) -> None:
    assert of_kind(render(values=values), "Deployment"), (page, at)


def test_the_adapters_rule_names_the_metric_that_the_autoscaler_reads() -> None:
    (rule,) = (one for one in shown(PAGES[0]) if "rules" in one)
    (metric,) = only(render(values={"autoscaling": {"by": "hpa"}}), "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert rule["rules"][0]["name"]["as"] == metric["pods"]["metric"]["name"]
    assert metric["pods"]["metric"]["name"] in rule["rules"][0]["metricsQuery"]


def test_the_formula_of_the_page_is_the_one_that_is_measured_with() -> None:
    text = (HOUSE / "docs/how-to" / PAGES[0]).read_text()
    (factor,) = re.findall(r"lagPerWorker = (0\.\d+) x decisions a second", text)
    assert lag_per_worker(10_000, 1.0) == float(factor) * 10_000
    assert f"{VALUES['worker']['resources']['limits']['memory'] or '2,960 MiB'} by default" in text.replace("\n", " ")
