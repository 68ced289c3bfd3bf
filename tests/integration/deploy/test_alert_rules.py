"""Alert rules, configuration and dashboard queries, checked by Prometheus's `promtool`: on PATH, or in its image."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from support.paths import HOUSE

DEPLOY = HOUSE / "deploy"
FOLDER = DEPLOY / "prometheus"

pytestmark = pytest.mark.integration


def promtool() -> list[str]:
    """Return the command that runs promtool on the folder of rules; skip the test if there is none."""
    if shutil.which("promtool"):
        return ["promtool"]
    stated = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["prometheus"]["image"]
    image = re.sub(r"\$\{(\w+):-([^}]+)\}", lambda found: os.environ.get(found[1], found[2]), stated)
    if not shutil.which("docker") or run(["docker", "info"]).returncode:
        pytest.skip("promtool is not on PATH, and no Docker engine answers")
    if run(["docker", "image", "inspect", image]).returncode and run(["docker", "pull", image]).returncode:
        pytest.skip(f"promtool is not on PATH, and the Docker engine cannot pull {image}")
    mount = ["--volume", f"{FOLDER}:{FOLDER}:ro", "--workdir", str(FOLDER), "--network", "none"]
    return ["docker", "run", "--rm", *mount, "--entrypoint", "promtool", image]


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    "words",
    [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ],
    ids=" ".join,
)
def test_promtool_checks_and_rule_tests_pass(words: list[str]) -> None:
    done = run([*promtool(), *words])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rule_tests_fail_for_a_broken_rule(tmp_path: Path) -> None:
    rules = (FOLDER / "alerts.yml").read_text()
    (tmp_path / "alerts.yml").write_text(rules.replace("fraudstream_halted > 0", "fraudstream_halted > 5"))
    (tmp_path / "alerts_test.yml").write_text((FOLDER / "alerts_test.yml").read_text())
    done = run_in(tmp_path, "test", "rules", "alerts_test.yml")
    assert done.returncode != 0
    assert "PartitionHalted" in done.stdout + done.stderr


def test_every_dashboard_query_is_valid_promql(tmp_path: Path) -> None:
    dashboard = json.loads((DEPLOY / "grafana/dashboards/fraudstream.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries)
    ]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = run_in(tmp_path, "check", "rules", "queries.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries)} rules found" in done.stdout


def run_in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run promtool on the test's own folder, made readable for the image's user."""
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)
    tool = [word.replace(str(FOLDER), str(folder)) for word in promtool()]
    return subprocess.run([*tool, *words], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
