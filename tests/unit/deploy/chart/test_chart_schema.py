"""The schema of the chart's values knows each setting, and each value of the chart; this needs no Helm."""

import json
from typing import Any

import msgspec

from stream.settings import Settings
from support.kubernetes.helm import CHART, read_yaml

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
    "kafka_oauth_token_endpoint",
    "kafka_oauth_client_id",
    "kafka_oauth_client_secret",
    "kafka_oauth_client_secret_file",
    "kafka_oauth_scope",
    "kafka_oauth_audience",
    "kafka_oauth_cafile",
    "kafka_oauth_token_file",
    "kafka_oauth_aws_region",
    "kafka_oauth_extensions",
    "redis_password_file",
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
