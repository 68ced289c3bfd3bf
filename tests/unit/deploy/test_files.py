"""The files of deploy/, as far as they can be checked without running them; `make compose-check` runs them."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.check import __main__ as check
from deploy.check.metric_names import prometheus_names
from deploy.check.queries import Span, trace_problem
from deploy.check.records import Scores, not_scored_once
from deploy.dist import LOCKS, PINS
from stream.settings import PREFIX, Settings, read_settings
from stream.telemetry.catalogue import CATALOGUE
from support.paths import HOUSE

DEPLOY = HOUSE / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if "fraudstream" in service["image"]}
DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
INSTRUCTIONS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
STAGES = [words.split() for instruction, words in INSTRUCTIONS if instruction == "FROM"]
RULES = [rule for g in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"] for rule in g["rules"]]
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/fraudstream.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
METRIC = re.compile(r"\bfraudstream_[a-z_]+")


def seconds(duration: str) -> int:
    return int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_to_a_version(name: str) -> None:
    image = re.sub(r"\$\{\w+:-([^}]+)\}", r"\1", SERVICES[name]["image"])
    tag = image.partition(":")[2]
    assert re.search(r"\d+\.\d+", tag)


def test_our_images_run_as_a_user_other_than_root() -> None:
    finals: dict[str, str] = {}
    stage = ""
    for instruction, words in INSTRUCTIONS:
        if instruction == "FROM":
            parent, _, stage = words.split()
            finals[stage] = finals.get(parent, "root")
        if instruction == "USER":
            finals[stage] = words
    assert {finals[target] for target in ("worker", "tools")} == {"65532:65532"}
    assert STAGES[-1][2] == "worker"  # the target of a build that names none


def test_images_install_only_locked_packages() -> None:
    installs = re.findall(r"pip[^&\n]* install ([^&\n]*)", DOCKERFILE)
    assert installs
    assert all("--require-hashes" in options or "--no-deps --no-index" in options for options in installs)
    assert "# syntax" not in DOCKERFILE


def test_the_image_checks_liveness_and_compose_checks_readiness() -> None:
    assert [words for instruction, words in INSTRUCTIONS if instruction == "HEALTHCHECK" and "/health/live" in words]
    assert all("/health/ready" in SERVICES[name]["healthcheck"]["test"][-1] for name in ("worker", "guard", "explain"))
    assert ["STOPSIGNAL", "SIGTERM"] in INSTRUCTIONS


def test_the_stop_grace_period_of_a_worker_exceeds_its_drain_time() -> None:
    drain = read_settings({f"{PREFIX}DRAIN_SECONDS": str(SERVICES["worker"]["environment"][f"{PREFIX}DRAIN_SECONDS"])})
    assert seconds(SERVICES["worker"]["stop_grace_period"]) > drain.drain_seconds


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_minimal_privileges_and_resource_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is (name != "kafka")
    assert {"mem_limit", "cpus", "pids_limit"} <= set(service)
    assert "privileged" not in service
    assert service.get("network_mode") is None
    if name in OURS:
        assert any(mount.startswith("/tmp") for mount in service["tmpfs"])  # noqa: S108 - the container's


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_the_loopback_address_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_kafka_does_not_auto_create_topics_and_redis_persists_and_never_evicts() -> None:
    assert SERVICES["kafka"]["image"] == "apache/kafka:4.3.1"
    assert SERVICES["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert (options["--appendonly"], options["--maxmemory-policy"]) == ("yes", "noeviction")


def test_the_marker_of_kafkas_health_check_does_not_survive_a_restart() -> None:
    emptied = {mount.partition(":")[0] for mount in SERVICES["kafka"]["tmpfs"]}
    marks = re.findall(r"touch (\S+)", SERVICES["kafka"]["healthcheck"]["test"][-1])
    assert marks
    assert {str(Path(mark).parent) for mark in marks} <= emptied


def test_a_worker_traces_only_what_the_publisher_samples() -> None:
    samplers = {name: SERVICES[name]["environment"]["OTEL_TRACES_SAMPLER"] for name in ("worker", "publisher")}
    assert samplers["worker"] == "parentbased_always_off"
    assert "parentbased_always_on" in samplers["publisher"]


def test_every_aggregation_in_an_alert_is_by_job() -> None:
    sums = [
        (rule["alert"], found)
        for rule in RULES
        for found in re.findall(r"\b(?:sum|max|min)\b(?! by \(job\b)[^)]*", rule["expr"])
        if 'up{job="fraudstream"}' not in found
    ]
    assert sums == []


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_are_configured_with_settings_that_exist(name: str) -> None:
    given = {name for name in SERVICES[name].get("environment", {}) if name.startswith(PREFIX)}
    known = {f"{PREFIX}{field.upper()}" for field in Settings.__struct_fields__}
    assert given
    assert given <= known


def test_a_service_depends_only_on_services_that_exist() -> None:
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES
            if how["condition"] == "service_healthy":
                assert "test" in SERVICES[needed]["healthcheck"]


def test_every_volume_is_declared_and_every_mounted_file_exists() -> None:
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", [])]
    assert {source for source, *_ in mounts if not source.startswith(".")} == set(COMPOSE["volumes"])
    assert all((DEPLOY / source).exists() for source, *_ in mounts if source.startswith("."))
    # A worker writes snapshots of the control log and no models.
    assert SERVICES["worker"]["volumes"] == ["models:/models:ro", "control:/models/control"]


def test_a_guard_is_a_job_of_its_own_named_as_the_workers_and_its_checkpoint_is_on_a_volume_of_its_user() -> None:
    jobs = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    asked = {job["job_name"]: job["dns_sd_configs"][0]["names"] for job in jobs}
    assert asked == {
        "fraudstream": ["worker"],
        "fraudstream-green": ["green"],
        "fraudstream-guard": ["guard"],
        "fraudstream-explain": ["explain"],
    }
    *command, checkpoint = SERVICES["guard"]["command"]
    assert command == ["fraudstream", "guard", "--checkpoint"]
    folder = str(Path(checkpoint).parent)
    assert SERVICES["guard"]["volumes"] == [f"guard:{folder}", "models:/models:ro"]
    made = {
        word
        for line in re.findall(r"install -d -o fraudstream -g fraudstream (.*)", DOCKERFILE)
        for word in line.split()
    }
    assert folder in made


def test_the_build_context_is_exactly_what_the_dockerfile_copies() -> None:
    allowed = re.findall(r"^!(.*?)/?$", (HOUSE / ".dockerignore").read_text(), re.MULTILINE)
    copied = [
        source
        for instruction, words in INSTRUCTIONS
        if instruction == "COPY" and not words.startswith("--from")
        for source in words.split()[:-1]
    ]
    assert sorted(allowed) == sorted(set(copied))
    built = {f"dist/{name}" for name in (PINS, *(f"requirements-{lock}.txt" for lock in LOCKS), "*.whl")}
    assert {source for source in copied if not (HOUSE / source).exists()} - built == set()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_has_a_severity_a_summary_an_action_and_known_metrics(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"runbook", "summary", "action"}
    assert all(len(text) > 20 for text in rule["annotations"].values())
    text = json.dumps(rule)
    assert set(METRIC.findall(text)) <= prometheus_names()


def test_alerts_have_unique_names_and_a_test_each() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    fired = set(re.findall(r'alertname="(\w+)"', (DEPLOY / "prometheus/alerts_test.yml").read_text()))
    assert fired == set(names)


@pytest.mark.parametrize("query", QUERIES)
def test_the_dashboard_queries_only_metrics_of_the_catalogue(query: str) -> None:
    found = set(METRIC.findall(query))
    assert found
    assert found <= prometheus_names()


def test_the_dashboard_matches_its_provisioning_and_its_panels_are_distinct() -> None:
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    used = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if "datasource" in panel}
    assert used == {source["uid"]}
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/fraudstream.yaml").read_text())["providers"][0]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(places) == len(set(places))
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))


def test_every_metric_is_in_an_alert_or_on_the_dashboard() -> None:
    asked = set(METRIC.findall(" ".join([*QUERIES, *(rule["expr"] for rule in RULES)])))
    unseen = [name for name in CATALOGUE if not any(found.startswith(name.replace(".", "_")) for found in asked)]
    assert unseen == []


def test_without_a_docker_engine_the_check_prints_that_it_did_not_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert check.main() == 0
    assert capsys.readouterr().out == "not run: no Docker engine\n"


def span(name: str, parent: str | None, **attributes: str) -> Span:
    references = [{"refType": "CHILD_OF", "spanID": parent}] if parent else []
    return {
        "spanID": name,
        "references": references,
        "tags": [{"key": key.replace("_", "."), "value": value} for key, value in attributes.items()],
    }


PRODUCED = span("a", None, span_kind="producer")
WORKED = span("b", "a", span_kind="consumer")
ASKED = span("c", "b", span_kind="client", db_system_name="redis")


def test_a_trace_is_complete_if_redis_is_below_the_worker_and_that_below_the_producer() -> None:
    assert trace_problem([ASKED, WORKED, PRODUCED]) is None
    assert trace_problem([PRODUCED, WORKED, span("d", "b"), span("c", "d", db_system_name="redis")]) is None


@pytest.mark.parametrize(
    ("spans", "what"),
    [
        ([], "no producer"),
        ([WORKED, ASKED], "no producer"),
        ([PRODUCED, span("b", None, span_kind="consumer"), ASKED], "no worker"),
        ([PRODUCED, WORKED], "no span of Redis"),
        ([PRODUCED, WORKED, span("c", "a", db_system_name="redis")], "not below"),
        ([PRODUCED, WORKED, span("c", "gone", db_system_name="redis")], "not below"),
    ],
)
def test_the_missing_part_of_a_trace_is_reported(spans: list[Span], what: str) -> None:
    assert what in (trace_problem(spans) or "")


def test_transactions_without_exactly_one_score_are_counted() -> None:
    scores = Scores({"once": [None], "twice": [None, None]}, void=0, records=3)
    assert not_scored_once(["once"], scores) == {}
    assert not_scored_once(["once", "twice", "never"], scores) == {2: 1, 0: 1}


def test_images_the_chart_pages_and_the_jar_name_the_version_of_the_packages() -> None:
    version = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((DEPLOY / "helm/fraudstream/Chart.yaml").read_text())
    number, _, beta = version.partition("b")
    assert (chart["appVersion"], chart["version"]) == (version, f"{number}-beta.{beta}" if beta else number)
    pages = [DEPLOY / "Dockerfile", DEPLOY / "compose.yaml", DEPLOY / "helm/examples/production.yaml"]
    pages += [HOUSE / f"docs/how-to/{name}.md" for name in ("run-in-containers", "run-on-kubernetes")]
    for page in pages:
        tags = re.findall(r"fraudstream(?:-tools)?(?::|, tag: )([0-9][^\s}]*)", page.read_text())
        assert set(tags) == {version}, page
    for pom in (HOUSE / "clients/java/pom.xml", HOUSE / "examples/java/pom.xml"):
        own = re.findall(r"<artifactId>fraudstream-client</artifactId>\s*<version>(.*)</version>", pom.read_text())
        assert own == [version], pom
