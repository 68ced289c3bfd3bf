"""The chart's objects are what an API server takes, and fit together."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from fraudstream.cli.main import main as cli
from stream.settings import PREFIX, near_misses, read_settings
from stream.telemetry.catalogue import CATALOGUE
from support.command_lines import find_command
from support.kubernetes.helm import EXAMPLES, KubernetesObject, lint, render
from support.kubernetes.objects import COMPONENT, container, environment, of_kind, only, referenced, templates
from support.kubernetes.schemas import NEWEST, OLDEST, faults
from support.paths import HOUSE

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800), pytest.mark.usefixtures("tools")]  # it may build Helm

PRODUCTION = EXAMPLES / "production.yaml"


@pytest.mark.parametrize("name", ["default", *sorted(path.stem for path in EXAMPLES.glob("*.yaml"))])
def test_helm_finds_no_fault_with_the_chart(name: str) -> None:
    done = lint(*([] if name == "default" else [EXAMPLES / f"{name}.yaml"]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[ERROR]" not in done.stdout


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
def test_an_api_server_takes_every_object_as_it_is(objects: list[KubernetesObject], kubernetes: str) -> None:
    assert [fault for one in objects for fault in faults(one, kubernetes)] == []


def test_the_oldest_version_is_the_one_that_the_chart_states() -> None:
    chart = yaml.safe_load((HOUSE / "deploy/helm/fraudstream/Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"


def test_names_are_unique_and_belong_to_the_release(objects: list[KubernetesObject]) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(set(names)) == len(names)
    assert all(name == "fs" or name.startswith("fs-") for _, name in names)


def test_two_releases_in_one_namespace_share_no_object_and_select_no_pod_of_the_other() -> None:
    blue, green = render(PRODUCTION, release="blue"), render(PRODUCTION, release="green")
    assert {(one["kind"], one["metadata"]["name"]) for one in blue}.isdisjoint(
        (one["kind"], one["metadata"]["name"]) for one in green
    )
    labels = [template["metadata"]["labels"] for template in templates(green).values()]
    for selector in selectors(blue).values():
        assert not any(selector.items() <= pod.items() for pod in labels)


def selectors(objects: list[KubernetesObject]) -> dict[tuple[str, str], dict[str, str]]:
    """Return by which labels each object finds pods."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for one in objects:
        spec = one.get("spec", {})
        selector: Mapping[str, Any] = spec.get("podSelector") or spec.get("selector") or {}
        if selector and one["kind"] != "ServiceMonitor":
            found[one["kind"], one["metadata"]["name"]] = dict(selector.get("matchLabels", selector))
    return found


def test_every_selector_finds_the_pods_of_its_component_alone(objects: list[KubernetesObject]) -> None:
    pods = {name: template["metadata"]["labels"] for name, template in templates(objects).items()}
    for (kind, name), selector in selectors(objects).items():
        found = {part for part, labels in pods.items() if selector.items() <= labels.items()}
        expected = set(pods) if kind == "NetworkPolicy" else {name.removeprefix("fs-")}
        assert found == expected, (kind, name)


def test_every_mount_has_its_volume_and_every_volume_a_mount(objects: list[KubernetesObject]) -> None:
    claims = {
        claim["metadata"]["name"] for one in objects for claim in one.get("spec", {}).get("volumeClaimTemplates", [])
    }
    for part, template in templates(objects).items():
        mounts = [mount["name"] for mount in container(template)["volumeMounts"]]
        volumes = [volume["name"] for volume in template["spec"]["volumes"]]
        assert set(mounts) - (claims if part == "guard" else set()) == set(volumes), part
        paths = [mount["mountPath"] for mount in container(template)["volumeMounts"]]
        assert len(set(paths)) == len(paths)
        assert len(set(volumes)) == len(volumes)


def test_every_process_accepts_its_settings(objects: list[KubernetesObject]) -> None:
    for part, template in templates(objects).items():
        stated = environment(template)
        stand_ins = dict.fromkeys(referenced(template), "stand-in")
        if f"{PREFIX}REDIS_URL" in stand_ins:
            stand_ins[f"{PREFIX}REDIS_URL"] = "rediss://:password@redis:6380/0"
        if f"{PREFIX}INCIDENT_WEBHOOK" in stand_ins:
            stand_ins[f"{PREFIX}INCIDENT_WEBHOOK"] = "https://incidents.example/fraudstream?token=of-a-secret"
        names = [one["name"] for one in container(template)["env"]]
        assert len(set(names)) == len(names), part
        settings = read_settings(stated | stand_ins)
        assert near_misses(stated | stand_ins) == (), part
        assert settings.group.endswith(settings.deployment)


def test_every_command_parses(objects: list[KubernetesObject]) -> None:
    for part, template in templates(objects).items():
        one = container(template)
        words = [*one.get("command", []), *one["args"]]
        if words[0] == "sh":
            words = shlex.split(
                re.sub(r"\$\(.*?\)", "2026-01-01T00:00:00Z", words[-1].replace("\\\n", " ")), comments=True
            )
        assert words.pop(0) == "fraudstream", part
        context, rest = find_command(cli, words)
        context.command.parse_args(context, rest)


def test_files_that_a_setting_names_are_mounted(objects: list[KubernetesObject]) -> None:
    for template in templates(objects).values():
        mounts = {mount["mountPath"] for mount in container(template)["volumeMounts"]}
        named = {value.rsplit("/", 1)[0] for value in environment(template).values() if value.startswith("/etc/")}
        assert named <= mounts


def test_scraped_jobs_are_those_that_the_alerts_know() -> None:
    objects = render(PRODUCTION, release="fraudstream")
    jobs = {
        relabel["replacement"]
        for one in of_kind(objects, "ServiceMonitor")
        for endpoint in one["spec"]["endpoints"]
        for relabel in endpoint["relabelings"]
    }
    assert jobs == {"fraudstream", "fraudstream-guard", "fraudstream-explain"}
    rules = only(objects, "PrometheusRule")["spec"]["groups"]
    assert rules == yaml.safe_load((HOUSE / "deploy/prometheus/alerts.yml").read_text())["groups"]


def test_alerts_of_another_release_are_about_its_own_jobs() -> None:
    objects = render(PRODUCTION, release="green")
    rules = only(objects, "PrometheusRule")["spec"]["groups"]
    named = set(re.findall(r'job=~?"([^"]*)"', " ".join(rule["expr"] for group in rules for rule in group["rules"])))
    assert named
    assert {one for one in named if "fraudstream" in one} == set()
    assert "green" in named


def test_service_monitors_find_their_services() -> None:
    objects = render(PRODUCTION)
    services = {one["metadata"]["name"]: one for one in of_kind(objects, "Service")}
    monitors = of_kind(objects, "ServiceMonitor")
    assert {one["metadata"]["name"] for one in monitors} == set(services)
    for monitor in monitors:
        service = services[monitor["metadata"]["name"]]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_the_dashboard_is_the_one_of_the_compose_stack() -> None:
    (board,) = (one for one in of_kind(render(PRODUCTION), "ConfigMap"))
    expected = json.loads((HOUSE / "deploy/grafana/dashboards/fraudstream.json").read_text())
    assert json.loads(board["data"]["fraudstream.json"]) == expected
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_horizontal_autoscaler_reads_a_gauge_that_workers_have() -> None:
    scaler = only(render(EXAMPLES / "adapter.yaml"), "HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"].replace("_", ".") in CATALOGUE
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "1500"}


def test_topics_are_created_before_workers_of_the_same_release_start(objects: list[KubernetesObject]) -> None:
    job = only(objects, "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["metadata"]["labels"][COMPONENT] == "topics"
