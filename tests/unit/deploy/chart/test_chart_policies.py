"""What an administrator of a cluster asks of every workload, and what scaling and rolling must keep."""

import re
from typing import Any

import pytest

from stream.settings import PREFIX, read_settings
from support.kubernetes.helm import EXAMPLES, KubernetesObject, render
from support.kubernetes.objects import container, environment, of_kind, only, pod_template, referenced, templates

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800), pytest.mark.usefixtures("tools")]

UNITS = {"Mi": 1, "Gi": 1024}
LONG_RUNNING = {"worker", "guard", "explain"}
JOBS = ("train", "score", "predictions")


def mebibytes(quantity: str) -> int:
    found = re.fullmatch(r"(\d+)(Mi|Gi)", quantity)
    assert found is not None, quantity
    return int(found[1]) * UNITS[found[2]]


def test_pods_satisfy_the_restricted_pod_security_standard(objects: list[KubernetesObject]) -> None:
    for part, template in templates(objects).items():
        spec, security = template["spec"], container(template)["securityContext"]
        assert spec["securityContext"]["runAsNonRoot"] is True, part
        assert spec["securityContext"]["runAsUser"] == 65532
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all(volume.keys().isdisjoint({"hostPath"}) for volume in spec["volumes"])
        assert all("hostPort" not in port for port in container(template).get("ports", []))


def test_pods_hold_no_token_of_the_cluster(objects: list[KubernetesObject]) -> None:
    for template in templates(objects).values():
        assert template["spec"]["automountServiceAccountToken"] is False
        assert template["spec"]["enableServiceLinks"] is False
        assert "serviceAccountName" not in template["spec"]
    assert not {"Role", "ClusterRole", "RoleBinding", "Secret"} & {one["kind"] for one in objects}


def test_private_keys_are_mounted_for_their_role_alone_and_for_no_other_user() -> None:
    objects = render(EXAMPLES / "production.yaml")
    for part, template in templates(objects).items():
        volumes = {one["name"]: one["secret"] for one in template["spec"]["volumes"] if "secret" in one}
        assert all(one["defaultMode"] == 0o400 for one in volumes.values()), part
        stated = environment(template)
        signs = {"guard": "fraudstream-guard-key"}.get(part, "fraudstream-train-key" if part in JOBS else None)
        assert (volumes.get("signing") or {}).get("secretName") == signs, part
        assert (f"{PREFIX}SIGNING_KEY" in stated) == (signs is not None)
        assert ("snapshot-key" in volumes) == (f"{PREFIX}SNAPSHOT_KEY_FILE" in stated) == (part == "worker")
        assert ("hash-key" in volumes) == (f"{PREFIX}HASH_KEY_FILE" in stated) == (part in {"worker", "guard"})
        assert stated[f"{PREFIX}ESTATE"] == "production"


def test_pods_are_placed_and_named_as_stated() -> None:
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    spread = {"maxSkew": 2, "topologyKey": "example/rack", "whenUnsatisfiable": "DoNotSchedule"}
    values = {
        "affinity": affinity,
        "tolerations": [{"key": "payments", "operator": "Exists"}],
        "topologySpreadConstraints": [spread],
        "serviceAccountName": "fraudstream",
        "annotations": {"owner": "risk"},
    }
    objects = render(EXAMPLES / "production.yaml", values=values)
    for part, template in templates(objects).items():
        spec = template["spec"]
        assert (spec["affinity"], spec["tolerations"]) == (affinity, values["tolerations"]), part
        assert spec["serviceAccountName"] == "fraudstream"
        assert spec["automountServiceAccountToken"] is False
        if part in LONG_RUNNING:
            (found,) = spec["topologySpreadConstraints"]
            selected = found.pop("labelSelector")["matchLabels"]
            assert found == spread
            assert selected.items() <= template["metadata"]["labels"].items()
    for kind in ("Deployment", "StatefulSet", "CronJob"):
        assert all(one["metadata"]["annotations"] == {"owner": "risk"} for one in of_kind(objects, kind)), kind


def test_a_policy_names_the_peers_that_are_stated_and_else_ports_alone() -> None:
    kafka = [{"ipBlock": {"cidr": "10.0.0.0/16"}}]
    values = {"networkPolicy": {"peers": {"kafka": kafka}}}
    policy = only(render(EXAMPLES / "production.yaml", values=values), "NetworkPolicy")
    by_port = {one["port"]: rule.get("to") for rule in policy["spec"]["egress"] for one in rule["ports"]}
    assert by_port == {
        53: None,
        9093: kafka,
        6380: [{"podSelector": {"matchLabels": {"app": "redis"}}}],
        443: None,
        4318: None,
    }


def test_where_incidents_are_posted_may_be_a_secret() -> None:
    template = templates(render(EXAMPLES / "production.yaml"))["guard"]
    stated = next(one for one in container(template)["env"] if one["name"] == f"{PREFIX}INCIDENT_WEBHOOK")
    assert stated["valueFrom"] == {"secretKeyRef": {"name": "fraudstream-incidents", "key": "url"}}


def test_memory_and_disks_are_limited_and_the_processor_is_not(objects: list[KubernetesObject]) -> None:
    for part, template in templates(objects).items():
        resources = container(template)["resources"]
        assert mebibytes(resources["requests"]["memory"]) <= mebibytes(resources["limits"]["memory"]), part
        assert "cpu" in resources["requests"]
        assert "cpu" not in resources["limits"], "a worker that is throttled misses its deadline"
        for volume in template["spec"]["volumes"]:
            assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""})


def test_a_workers_memory_is_requested_as_it_is_limited(objects: list[KubernetesObject]) -> None:
    template = templates(objects)["worker"]
    resources = container(template)["resources"]
    stated = environment(template)
    if f"{PREFIX}CACHE_MB" not in stated:  # the trial's machine is small
        assert resources["requests"]["memory"] == resources["limits"]["memory"]


@pytest.mark.parametrize(
    ("settings", "mebi"),
    [
        ({}, 400 + 512 + 6 * 64 + (256 + 6 * 64) + 1024),
        ({"CACHE_MB": 128, "SHADOW_MEMORY_MB": 512}, 400 + 128 + 6 * 64 + (128 + 6 * 64) + 512),
        ({"REDIS_DOWN": "degrade"}, 400 + 512 + 6 * 64 + (512 + 300) + 1024),
        ({"REDIS_DOWN": "degrade", "BATCH_MB": "256"}, 400 + 512 + 6 * 256 + (256 + 6 * 256) + 1024),
    ],
)
def test_a_workers_memory_follows_its_settings(settings: dict[str, object], mebi: int) -> None:
    resources = container(templates(render(values={"settings": settings}))["worker"])["resources"]
    assert resources["limits"]["memory"] == f"{mebi}Mi"


def test_a_pod_gets_longer_to_end_than_its_process_takes_to_drain(objects: list[KubernetesObject]) -> None:
    for part, template in templates(objects).items():
        if part not in LONG_RUNNING - {"guard"}:
            continue
        stated = {name: value for name, value in environment(template).items() if name.endswith("DRAIN_SECONDS")}
        settings = read_settings(stated)
        assert template["spec"]["terminationGracePeriodSeconds"] >= settings.drain_seconds + 10, part


@pytest.mark.parametrize(("drain", "grace"), [("20", 35), ("1 min", 75), ("2.5s", 18), (90, 105), ("1500 ms", 17)])
def test_durations_are_read_as_the_settings_read_them(drain: object, grace: int) -> None:
    template = templates(render(values={"settings": {"DRAIN_SECONDS": drain}}))["worker"]
    assert template["spec"]["terminationGracePeriodSeconds"] == grace


def test_pods_are_probed_on_the_health_pages(objects: list[KubernetesObject]) -> None:
    for part, template in templates(objects).items():
        probes = {name: one for name, one in container(template).items() if name.endswith("Probe")}
        if part not in LONG_RUNNING:
            assert probes == {}
            continue
        paths = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
        assert paths == {
            "startupProbe": "/health/live",
            "livenessProbe": "/health/live",
            "readinessProbe": "/health/ready",
        }
        (port,) = container(template)["ports"]
        assert {probe["httpGet"]["port"] for probe in probes.values()} == {port["name"]}
        assert environment(template)[f"{PREFIX}HTTP"] == f"0.0.0.0:{port['containerPort']}"


def test_no_secret_stands_in_an_object(objects: list[KubernetesObject]) -> None:
    secret = re.compile("PASSWORD|USERNAME|SECRET$")
    for template in templates(objects).values():
        assert [name for name in environment(template) if secret.search(name)] == []
        for name, source in referenced(template).items():
            if secret.search(name):
                assert source.keys() == {"secretKeyRef"}


def test_each_role_logs_in_as_itself() -> None:
    parts = templates(render(EXAMPLES / "production.yaml"))
    logins = {
        part: referenced(template)[f"{PREFIX}KAFKA_SASL_PASSWORD"]["secretKeyRef"]["name"]
        for part, template in parts.items()
    }
    assert logins == {
        "worker": "fraudstream-kafka-worker",
        "guard": "fraudstream-kafka-guard",
        "explain": "fraudstream-kafka-explain",
        "topics": "fraudstream-kafka-operator",
        "train": "fraudstream-kafka-teacher",
        "score": "fraudstream-kafka-teacher",
        "predictions": "fraudstream-kafka-teacher",
    }


def test_who_only_reads_models_cannot_write_them(objects: list[KubernetesObject]) -> None:
    for part, template in templates(objects).items():
        for mount in container(template)["volumeMounts"]:
            if mount["mountPath"] == "/models":
                assert mount["readOnly"] is (part != "train")


def allowed_ports(policy: KubernetesObject) -> set[int]:
    return {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        ({}, {53, 9092, 6379}),
        ({"redis": {"url": "redis+cluster://a:7001,b:7002"}}, {53, 9092, 7001, 7002}),
        ({"redis": {"url": "rediss://redis:6380/1"}}, {53, 9092, 6380}),
        ({"redis": {"url": "redis+sentinel://a:26379,b:26379/cards/0"}}, {53, 9092, 26379, 6379}),
        ({"kafka": {"brokers": "a:9093,b:9094"}}, {53, 9093, 9094, 6379}),
        ({"models": {"url": "s3://bucket/models"}}, {53, 9092, 6379, 443}),
        ({"otel": {"endpoint": "http://collector:4318"}}, {53, 9092, 6379, 4318}),
        ({"otel": {"endpoint": "https://collector"}}, {53, 9092, 6379, 443}),
        ({"guard": {"incidents": {"webhook": "https://incidents.example/x"}}}, {53, 9092, 6379, 443}),
        ({"guard": {"incidents": {"webhook": "http://incidents.example:8080/x"}}}, {53, 9092, 6379, 8080}),
    ],
)
def test_pods_reach_the_services_that_the_values_name_and_no_other(values: dict[str, Any], ports: set[int]) -> None:
    assert allowed_ports(only(render(values=values), "NetworkPolicy")) == ports


def test_only_the_metrics_port_is_open_to_others() -> None:
    (rule,) = only(render(), "NetworkPolicy")["spec"]["ingress"]
    assert rule["ports"] == [{"port": 6066, "protocol": "TCP"}]
    (scraped,) = only(render(EXAMPLES / "production.yaml"), "NetworkPolicy")["spec"]["ingress"]
    assert scraped["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_at_most_one_worker_is_evicted_at_a_time() -> None:
    budget = only(render(), "PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    stated = only(render(EXAMPLES / "named-workers.yaml"), "PodDisruptionBudget")["spec"]
    assert stated["minAvailable"] == 3
    assert "maxUnavailable" not in stated


def test_a_rolling_update_takes_no_worker_away_before_another_is_ready() -> None:
    worker = next(one for one in of_kind(render(), "Deployment") if one["metadata"]["name"] == "fs-worker")
    assert worker["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_pods_are_spread_over_machines_and_zones(objects: list[KubernetesObject]) -> None:
    for one in objects:
        template = pod_template(one)
        if template is not None and one["kind"] in ("Deployment", "StatefulSet"):
            spread = template["spec"]["topologySpreadConstraints"]
            assert [rule["topologyKey"] for rule in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
            labels = template["metadata"]["labels"]
            assert all(rule["labelSelector"]["matchLabels"].items() <= labels.items() for rule in spread)


def test_keda_scales_on_the_lag_of_payments_alone() -> None:
    objects = render(EXAMPLES / "production.yaml", values={"topicPrefix": "bank."})
    scaled = only(objects, "ScaledObject")["spec"]
    (trigger,) = scaled["triggers"]
    assert trigger["metadata"]["topic"] == "bank.transactions"
    assert trigger["metadata"]["consumerGroup"] == environment(templates(objects)["worker"])[f"{PREFIX}GROUP"]
    assert trigger["metadata"]["ensureEvenDistributionOfPartitions"] == "true"
    assert trigger["metadata"]["allowIdleConsumers"] == "false"
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"], scaled["fallback"]["replicas"]) == (3, 24, 24)
    down = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 300
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 120}]
    login = only(objects, "TriggerAuthentication")["spec"]["secretTargetRef"]
    assert {(one["parameter"], one["name"]) for one in login} == {
        ("username", "fraudstream-kafka-scaler"),
        ("password", "fraudstream-kafka-scaler"),
        ("ca", "kafka-ca"),
    }


@pytest.mark.parametrize("by", ["keda", "hpa"])
def test_an_autoscaled_deployment_states_no_replicas(by: str) -> None:
    worker = next(
        one
        for one in of_kind(render(values={"autoscaling": {"by": by}}), "Deployment")
        if one["metadata"]["name"] == "fs-worker"
    )
    assert "replicas" not in worker["spec"], "an upgrade would undo the autoscaler's number"


def test_named_workers_keep_their_membership_over_a_restart() -> None:
    worker = next(
        one
        for one in of_kind(render(EXAMPLES / "named-workers.yaml"), "StatefulSet")
        if one["metadata"]["name"] == "fs-worker"
    )
    names = referenced(worker["spec"]["template"])
    assert names[f"{PREFIX}GROUP_INSTANCE"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert worker["spec"]["serviceName"] in {
        one["metadata"]["name"] for one in of_kind(render(EXAMPLES / "named-workers.yaml"), "Service")
    }


def test_a_guard_keeps_its_checkpoint_over_a_restart() -> None:
    guard = next(one for one in of_kind(render(), "StatefulSet") if one["metadata"]["name"] == "fs-guard")
    (claim,) = guard["spec"]["volumeClaimTemplates"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container(guard["spec"]["template"])["volumeMounts"]}
    checkpoint = container(guard["spec"]["template"])["args"][-1]
    assert checkpoint.startswith(mounts[claim["metadata"]["name"]] + "/")


def test_jobs_do_not_overtake_themselves() -> None:
    jobs = of_kind(render(EXAMPLES / "production.yaml"), "CronJob")
    assert {one["metadata"]["name"] for one in jobs} == {"fs-train", "fs-score", "fs-predictions"}
    for job in jobs:
        assert job["spec"]["concurrencyPolicy"] == "Forbid"
        assert job["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0
        template = job["spec"]["jobTemplate"]["spec"]["template"]
        assert template["spec"]["restartPolicy"] == "Never"
        assert "fraudstream-tools" in container(template)["image"]
