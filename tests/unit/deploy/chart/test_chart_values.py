"""Values that cannot work are refused with what is wrong and what to do."""

import re
from typing import Any

import pytest

from stream.settings import PREFIX
from support.kubernetes.helm import EXAMPLES, RefusedValues, render
from support.kubernetes.objects import container, environment, templates

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800), pytest.mark.usefixtures("tools")]


TOKENS = {"securityProtocol": "SASL_SSL"}
ENDPOINT = {
    "mechanism": "OAUTHBEARER",
    "oauth": {"tokenEndpoint": "https://idp/token", "caSecret": "idp-ca", "scope": "s"},
}
PROJECTED = {"mechanism": "OAUTHBEARER", "oauth": {"projectedToken": {"audience": "kafka"}}}


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
        (
            {"kafka": TOKENS | {"sasl": {"mechanism": "OAUTHBEARER"}}},
            "needs one of tokenEndpoint, projectedToken.audience",
        ),
        ({"kafka": TOKENS | {"sasl": ENDPOINT}}, "needs a login for worker"),
        ({"kafka": TOKENS | {"sasl": PROJECTED}, "autoscaling": {"by": "keda"}}, "set it to hpa, or"),
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


def test_each_role_asks_a_provider_for_tokens_by_a_secret_of_its_own() -> None:
    secrets = {role: f"login-{role}" for role in ("worker", "guard", "explain", "topics", "scaler")}
    objects = render(
        values={"kafka": TOKENS | {"sasl": ENDPOINT | {"secrets": secrets}}, "autoscaling": {"by": "keda"}}
    )
    parts = templates(objects)
    for name, template in parts.items():
        found = environment(template)
        assert found[f"{PREFIX}KAFKA_OAUTH_TOKEN_ENDPOINT"] == "https://idp/token"
        assert found[f"{PREFIX}KAFKA_OAUTH_CLIENT_SECRET_FILE"] == "/etc/fraudstream/kafka-login/password"
        assert f"{PREFIX}KAFKA_SASL_PASSWORD" not in found
        volumes = {one["name"]: one for one in template["spec"]["volumes"]}
        assert volumes["kafka-login"]["secret"]["secretName"] == f"login-{name}"
    (login,) = (one for one in objects if one["kind"] == "TriggerAuthentication")
    assert [one["parameter"] for one in login["spec"]["env"]] == ["oauthTokenEndpointUri", "scopes"]


def test_a_projected_token_is_for_kafka_alone_and_needs_no_secret() -> None:
    for template in templates(render(values={"kafka": TOKENS | {"sasl": PROJECTED}})).values():
        assert environment(template)[f"{PREFIX}KAFKA_OAUTH_TOKEN_FILE"] == "/var/run/fraudstream/kafka-token/token"
        (volume,) = (one for one in template["spec"]["volumes"] if one["name"] == "kafka-token")
        (source,) = volume["projected"]["sources"]
        assert source["serviceAccountToken"] == {"path": "token", "audience": "kafka", "expirationSeconds": 3600}
        assert template["spec"]["automountServiceAccountToken"] is False


def test_a_password_of_redis_is_a_file_of_workers_alone() -> None:
    parts = templates(render(values={"redis": {"passwordSecret": "redis-login"}}))
    files = {name: environment(template).get(f"{PREFIX}REDIS_PASSWORD_FILE") for name, template in parts.items()}
    assert files.pop("worker") == "/etc/fraudstream/redis-password/password"
    assert set(files.values()) == {None}
