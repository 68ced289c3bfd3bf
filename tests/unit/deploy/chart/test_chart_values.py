"""Values that cannot work are refused with what is wrong and what to do; the schema knows our settings."""

import json
import re
from typing import Any

import msgspec
import pytest

from stream.settings import PREFIX, Settings
from support.kubernetes.helm import CHART, EXAMPLES, RefusedValues, read_yaml, render
from support.kubernetes.objects import container, environment, templates

pytestmark = pytest.mark.timeout(1800)

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
SET_BY_THE_CHART = {
    "brokers",
    "redis_url",
    "models",
    "deployment",
    "group",
    "group_instance",
    "topic_prefix",
    "http",
    "kafka_security_protocol",
    "kafka_sasl_mechanism",
    "kafka_sasl_username",
    "kafka_sasl_password",
    "kafka_ssl_cafile",
    "kafka_ssl_certfile",
    "kafka_ssl_keyfile",
    "redis_cafile",
    "worker_id",
    "incident_webhook",
    "incident_secret",
    "incident_secret_file",
    "command_keys",
    "model_keys",
    "signing_key",
    "snapshot_key_file",
    "hash_key_file",
    "estate",
}
"""Settings that have values of their own in the chart."""


def test_every_setting_is_a_value_or_is_set_by_the_chart() -> None:
    known = set(SCHEMA["properties"]["settings"]["propertyNames"]["enum"])
    fields = {field.name for field in msgspec.structs.fields(Settings)}
    assert known == {name.upper() for name in fields - SET_BY_THE_CHART}
    assert fields >= SET_BY_THE_CHART


def test_the_schema_knows_every_value_and_no_other() -> None:
    (values,) = read_yaml((CHART / "values.yaml").read_text())
    assert paths_of(values) == {path for path in paths_of_schema(SCHEMA) if path != ("global",)}


def paths_of(values: dict[str, Any], above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for name, value in values.items():
        inner = isinstance(value, dict) and name not in OPEN
        found |= paths_of(value, (*above, name)) if inner and value else {(*above, name)}
    return found


OPEN = {
    "requests",
    "limits",
    "labels",
    "podLabels",
    "podAnnotations",
    "annotations",
    "nodeSelector",
    "affinity",
    "settings",
}
"""Values that are mappings from names which are not ours."""


def paths_of_schema(schema: dict[str, Any], above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for name, stated in schema.get("properties", {}).items():
        one = SCHEMA["definitions"][stated["$ref"].rpartition("/")[2]] if "$ref" in stated else stated
        inner = "properties" in one and name not in OPEN
        found |= paths_of_schema(one, (*above, name)) if inner else {(*above, name)}
    return found


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"worker": {"replica": 3}}, "replica"),
        ({"settings": {"CACHE_GB": 1}}, "CACHE_GB"),
        ({"worker": {"replicas": -1}}, "replicas"),
        ({"kafka": {"securityProtocol": "TLS"}}, "securityProtocol"),
        ({"kafka": {"brokers": "kafka"}}, "brokers"),
        ({"redis": {"url": "http://redis"}}, "url"),
        ({"redis": {"url": "redis://:password@redis:6379/0"}}, "url"),
        ({"jobs": {"train": {"schedule": "nightly"}}}, "schedule"),
        ({"worker": {"resources": {"limits": {"memory": "2 GB"}}}}, "memory"),
        ({"autoscaling": {"by": "cpu"}}, "by"),
        ({"autoscaling": {"minReplicas": 0}}, "minReplicas"),
        ({"models": {"claim": ""}}, "models.claim"),
        ({"worker": {"replicas": 13}}, "topics.partitions"),
        ({"autoscaling": {"by": "keda", "maxReplicas": 20}}, "topics.partitions"),
        ({"autoscaling": {"by": "keda", "minReplicas": 5, "maxReplicas": 4}}, "above maxReplicas 4"),
        ({"autoscaling": {"by": "keda", "maxReplicas": 4, "fallbackReplicas": 5}}, "above maxReplicas 4"),
        ({"autoscaling": {"by": "keda"}, "worker": {"staticMembership": True}}, "autoscaling.by to none"),
        ({"worker": {"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}}}, "leave one of them empty"),
        ({"worker": {"terminationGracePeriodSeconds": 20}}, "killed while it drains"),
        ({"settings": {"DRAIN_SECONDS": "soon"}}, "DRAIN_SECONDS"),
        ({"kafka": {"securityProtocol": "SASL_SSL"}}, "needs a login for worker"),
        ({"kafka": {"securityProtocol": "SASL_SSL", "sasl": {"secrets": {"worker": "x"}}}}, "needs a login for topics"),
        ({"explain": {"enabled": True}, "settings": {"SCORE_FEATURES": "none"}}, "no features to explain"),
        ({"guard": {"incidents": {"secret": "x"}}}, "guard.incidents.webhook is empty"),
        ({"guard": {"incidents": {"webhook": "https://x", "webhookSecret": "x"}}}, "both state where to post"),
        ({"jobs": {"predictions": {"enabled": True}}}, "jobs.predictions"),
        ({"keys": {"commandKeysConfigMap": "keys"}}, "keys.signingSecrets.guard"),
        ({"keys": {"modelKeysConfigMap": "keys"}, "jobs": {"train": {"enabled": True}}}, "keys.signingSecrets.jobs"),
        ({"kafka": {"sasl": {"secrets": {"default": "x"}}}}, "default"),
        ({"networkPolicy": {"peers": {"kafka": {"ipBlock": {}}}}}, "kafka"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "topologyKey"),
        ({"estate": "a b"}, "estate"),
    ],
)
def test_values_that_cannot_work_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(RefusedValues, match=re.escape(says)):
        render(values=values)


@pytest.mark.parametrize("stated", [1_048_576, "1048576"])
def test_a_large_number_stays_a_number(stated: object) -> None:
    template = templates(render(values={"settings": {"POLL_RECORDS": stated}}))["worker"]
    assert environment(template)[f"{PREFIX}POLL_RECORDS"] == "1048576"


def test_a_setting_reaches_every_process_once() -> None:
    parts = templates(render(EXAMPLES / "production.yaml", values={"settings": {"LOG_FORMAT": "text", "WATCH": 0.5}}))
    for template in parts.values():
        names = [one["name"] for one in container(template)["env"]]
        assert names.count(f"{PREFIX}LOG_FORMAT") == names.count(f"{PREFIX}WATCH") == 1
        assert environment(template)[f"{PREFIX}LOG_FORMAT"] == "text"
        assert environment(template)[f"{PREFIX}WATCH"] == "0.5"


def test_an_image_is_named_by_its_digest_if_one_is_stated() -> None:
    digest = "sha256:" + "0" * 64
    parts = templates(render(values={"image": {"repository": "registry.example/x", "digest": digest}}))
    assert {container(template)["image"] for template in parts.values()} == {f"registry.example/x@{digest}"}


def test_a_small_release_has_neither_guard_nor_network_policy() -> None:
    objects = render(EXAMPLES / "small.yaml")
    assert {(one["kind"], one["metadata"]["name"]) for one in objects} == {
        ("Deployment", "fs-worker"),
        ("Job", "fs-topics"),
        ("PodDisruptionBudget", "fs-worker"),
        ("Service", "fs-worker"),
    }
