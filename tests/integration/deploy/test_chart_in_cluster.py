"""The chart on a real API server: installed into a namespace that admits pods of the restricted standard alone.

No controller runs there, so nothing starts: each pod that one would make is offered to the server by the test.
"""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from support.kubernetes.cluster import KUBECONFIG, ApiServer, RefusedObject, api_server
from support.kubernetes.helm import CHART, EXAMPLES, KubernetesObject, in_cluster, render
from support.kubernetes.objects import templates
from support.kubernetes.schemas import definitions

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]  # the first test may build Helm

VALUES = {"default": ()} | {path.stem: (path,) for path in sorted(EXAMPLES.glob("*.yaml"))}
KEY_MODE = 0o400
SIGNING = "/etc/fraudstream/signing"


@pytest.fixture(scope="module")
def cluster() -> ApiServer:
    server = api_server()
    if server is None:
        pytest.skip(f"{KUBECONFIG} names no kubeconfig of an API server in which namespaces may be made")
    known = {one["metadata"]["name"] for one in server.ask(CRDS)["items"]}
    for definition in definitions():
        if definition["metadata"]["name"] not in known:
            server.create(definition)
    return server


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def namespace(cluster: ApiServer) -> Iterator[str]:
    with cluster.namespace(f"fs-{uuid4().hex[:12]}") as name:
        yield name


def pods(objects: list[KubernetesObject]) -> dict[str, KubernetesObject]:
    """Return the pod that a controller would make, for each component."""
    return {
        part: {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**template["metadata"], "name": f"pod-{part}"},
            "spec": template["spec"],
        }
        for part, template in templates(objects).items()
    }


@pytest.mark.parametrize("name", sorted(VALUES))
def test_a_restricted_namespace_takes_the_chart_and_each_of_its_pods(
    cluster: ApiServer, namespace: str, name: str
) -> None:
    values = [word for path in VALUES[name] for word in ("--values", str(path))]
    # A hook would be waited for, and no controller runs its job.
    in_cluster(cluster.kubeconfig, "install", "fs", str(CHART), "--namespace", namespace, "--no-hooks", *values)
    objects = render(*VALUES[name])
    for one in objects:
        if "helm.sh/hook" in one["metadata"].get("annotations", {}):
            cluster.create({**one, "metadata": {**one["metadata"], "namespace": namespace}}, namespace)
    admitted = {part: cluster.create(without_claims(pod), namespace) for part, pod in pods(objects).items()}
    assert set(admitted) == set(templates(objects))
    keys = [volume for pod in admitted.values() for volume in signing_volumes(pod)]
    assert bool(keys) == (name == "production")
    assert {volume["secret"]["defaultMode"] for volume in keys} <= {KEY_MODE}
    in_cluster(cluster.kubeconfig, "upgrade", "fs", str(CHART), "--namespace", namespace, "--no-hooks", *values)
    in_cluster(cluster.kubeconfig, "uninstall", "fs", "--namespace", namespace, "--no-hooks")


def without_claims(pod: KubernetesObject) -> KubernetesObject:
    """Return a pod with the volumes that a StatefulSet would add for its claims."""
    spec = pod["spec"]
    named = {volume["name"] for volume in spec["volumes"]}
    mounted = {mount["name"] for one in spec["containers"] for mount in one["volumeMounts"]}
    added = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in sorted(mounted - named)]
    return {**pod, "spec": {**spec, "volumes": [*spec["volumes"], *added]}}


def signing_volumes(pod: KubernetesObject) -> list[dict[str, Any]]:
    """Return the volumes of a pod that hold a private key."""
    mounts = [mount for one in pod["spec"]["containers"] for mount in one["volumeMounts"]]
    names = {mount["name"] for mount in mounts if mount["mountPath"] == SIGNING}
    return [volume for volume in pod["spec"]["volumes"] if volume["name"] in names]


def test_the_namespace_refuses_what_the_chart_avoids(cluster: ApiServer, namespace: str) -> None:
    pod = pods(render())["worker"]
    (container,) = pod["spec"]["containers"]
    lax = {**container, "securityContext": {**container["securityContext"], "allowPrivilegeEscalation": True}}
    with pytest.raises(RefusedObject, match="restricted"):
        cluster.create({**pod, "spec": {**pod["spec"], "containers": [lax]}}, namespace, dry_run=True)
    with pytest.raises(RefusedObject, match="unknown field"):
        cluster.create({**pod, "spec": {**pod["spec"], "serviceAcount": "x"}}, namespace, dry_run=True)
