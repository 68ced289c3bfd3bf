"""Each alert has a page that is about it, and the pages use tools that a test can run."""

import re
import shlex
from itertools import pairwise
from typing import Any

import pytest
import yaml

from deploy.check.metric_names import prometheus_names
from support.paths import HOUSE
from support.runbook_pages import OPERATE, PROCEDURES, TOOLS, console_commands

RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((HOUSE / "deploy/prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PAGES = sorted(path.name for path in OPERATE.glob("*.md") if path.name != "index.md")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_has_a_page_that_says_what_it_means_where_to_look_and_what_to_do(rule: dict[str, Any]) -> None:
    page = HOUSE / rule["annotations"]["runbook"]
    text = page.read_text()
    assert text.startswith(f"# {rule['alert']}\n\nSeverity `{rule['labels']['severity']}`. ")
    assert [heading for heading in re.findall(r"^## (.+)$", text, re.MULTILINE) if heading in ("Look", "Do")] == [
        "Look",
        "Do",
    ]
    assert console_commands(page.name), "somebody who is woken gets a command"


def test_each_page_is_of_an_alert_or_a_procedure() -> None:
    of_alerts = {rule["annotations"]["runbook"].rpartition("/")[2] for rule in RULES}
    assert set(PAGES) == of_alerts | PROCEDURES
    assert len(of_alerts) == len(RULES)


def test_the_index_states_the_severity_of_each_alert() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(([\w-]+\.md)\) \| `(\w+)` \|$", (OPERATE / "index.md").read_text(), re.MULTILINE)
    expected = {
        (rule["alert"], rule["annotations"]["runbook"].rpartition("/")[2], rule["labels"]["severity"]) for rule in RULES
    }
    assert set(rows) == expected
    assert len(rows) == len(RULES)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_uses_tools_that_the_tests_run(page: str) -> None:
    for command in console_commands(page):
        words = shlex.split(command)
        pipes = [words[0], *(after for before, after in pairwise(words) if before == "|")]
        assert set(pipes) <= TOOLS, command


@pytest.mark.parametrize("page", PAGES)
def test_a_page_looks_for_metrics_that_are_there(page: str) -> None:
    metrics = prometheus_names()
    for prefix in re.findall(r"(?:-e|grep) (fraudstream_\w+)", "\n".join(console_commands(page))):
        assert any(metric.startswith(prefix) for metric in metrics), prefix
