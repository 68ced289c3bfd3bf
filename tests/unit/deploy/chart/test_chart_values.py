"""Values that cannot work are refused with what is wrong and what to do."""

import re
from typing import Any

import pytest

from stream.settings import PREFIX
from support.kubernetes.helm import EXAMPLES, RefusedValues, render
from support.kubernetes.objects import container, environment, templates

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800), pytest.mark.usefixtures("tools")]


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
