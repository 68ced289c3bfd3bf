"""Parts of rendered Kubernetes objects, by what they are called there."""

from typing import Any

from support.kubernetes.helm import KubernetesObject

COMPONENT = "app.kubernetes.io/component"


def of_kind(objects: list[KubernetesObject], kind: str) -> list[KubernetesObject]:
    """Return the objects of a kind."""
    return [one for one in objects if one["kind"] == kind]


def only(objects: list[KubernetesObject], kind: str) -> KubernetesObject:
    """Return the one object of a kind.

    Raises:
        ValueError: there is none, or more than one.
    """
    (one,) = of_kind(objects, kind)
    return one


def pod_template(one: KubernetesObject) -> dict[str, Any] | None:
    """Return the template of the pods that an object makes; None: it makes none."""
    spec = one.get("spec", {})
    template: dict[str, Any] | None = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return template


def templates(objects: list[KubernetesObject]) -> dict[str, dict[str, Any]]:
    """Return the template of the pods of each component."""
    found = {}
    for one in objects:
        template = pod_template(one)
        if template is not None:
            found[template["metadata"]["labels"][COMPONENT]] = template
    return found


def container(template: dict[str, Any]) -> dict[str, Any]:
    """Return the only container of a pod's template."""
    (one,) = template["spec"]["containers"]
    found: dict[str, Any] = one
    return found


def environment(template: dict[str, Any]) -> dict[str, str]:
    """Return the variables of a pod that have a stated value."""
    return {one["name"]: one["value"] for one in container(template)["env"] if "value" in one}


def referenced(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the variables of a pod whose value stands elsewhere, and where."""
    return {one["name"]: one["valueFrom"] for one in container(template)["env"] if "valueFrom" in one}
