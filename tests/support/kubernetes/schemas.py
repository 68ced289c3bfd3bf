"""Schemas of Kubernetes and of what is added to it: does an API server take an object, with no field unknown?"""

from functools import lru_cache
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from support.kubernetes.helm import KubernetesObject, go_module_files

OLDEST, NEWEST = "1.27", "1.37"
"""What Chart.yaml states, and the newest whose schemas the package has."""
_OPERATOR = "example/prometheus-operator-crd/monitoring.coreos.com_"
_DEFINITIONS = (
    (
        "github.com/kedacore/keda/v2",
        "v2.21.0",
        ("config/crd/bases/keda.sh_scaledobjects.yaml", "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    ),
    (
        "github.com/prometheus-operator/prometheus-operator",
        "v0.92.1",
        (f"{_OPERATOR}servicemonitors.yaml", f"{_OPERATOR}prometheusrules.yaml"),
    ),
)


def faults(one: KubernetesObject, kubernetes: str) -> list[str]:
    """Return why an API server of a version would not take an object, or would drop fields of it."""
    name = f"{one['kind']} {one['metadata']['name']}"
    if (one["apiVersion"], one["kind"]) in custom_schemas():
        schema = custom_schemas()[one["apiVersion"], one["kind"]]
        found = jsonschema.Draft202012Validator(schema).iter_errors(one)
        return [f"{name}: {error.json_path}: {error.message}" for error in found]
    try:
        kubernetes_validate.validate(one, kubernetes, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{name}: {list(error.path)}: {error.message}"]
    return []


@lru_cache
def custom_schemas() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the schemas of KEDA's and of the Prometheus operator's kinds, from their own definitions."""
    schemas = {}
    for definition in definitions():
        spec = definition["spec"]
        for served in spec["versions"]:
            schema = _closed(served["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            schemas[f"{spec['group']}/{served['name']}", spec["names"]["kind"]] = schema
    return schemas


def definitions() -> list[KubernetesObject]:
    """Return the definitions of KEDA's and of the Prometheus operator's kinds, as their projects publish them."""
    return [
        yaml.safe_load(path.read_text())
        for module, version, names in _DEFINITIONS
        for path in go_module_files(module, version, names)
    ]


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that refuses fields it does not name, which an API server would drop."""
    closed = dict(schema)
    if "properties" in schema:
        closed["properties"] = {name: _closed(one) for name, one in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            closed[key] = _closed(schema[key])
    return closed
