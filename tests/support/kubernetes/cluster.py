"""A real API server: its objects by HTTP, with the address and the token of a kubeconfig."""

import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from support.kubernetes.helm import KubernetesObject

KUBECONFIG = "FRAUDSTREAM_TEST_KUBECONFIG"
"""The environment variable that names the kubeconfig of an API server in which tests may make namespaces."""
SECONDS = 30.0
RESTRICTED = "pod-security.kubernetes.io/enforce"
"""The label of a namespace by which its pods are admitted."""


class RefusedObject(Exception):  # noqa: N818 - a result, in most tests
    """The API server does not take an object; the text is its message."""


class ApiServer:
    """The API server of a kubeconfig whose user has a token."""

    def __init__(self, kubeconfig: Path) -> None:
        read = yaml.safe_load(kubeconfig.read_text())
        self.kubeconfig = kubeconfig
        self._address: str = read["clusters"][0]["cluster"]["server"]
        self._token: str = read["users"][0]["user"]["token"]
        self._tls = ssl._create_unverified_context()  # noqa: S323 - on loopback, by a certificate of its own

    def ask(self, path: str, body: object = None, method: str = "") -> Any:
        """Return the answer to a request, which is a POST if there is a body and nothing else is said.

        Raises:
            RefusedObject: the server does not do it.
        """
        request = urllib.request.Request(  # noqa: S310 - an address of the tests
            f"{self._address}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            method=method or ("GET" if body is None else "POST"),
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS, context=self._tls) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise RefusedObject(json.load(error)["message"]) from error

    def create(self, one: KubernetesObject, namespace: str = "", *, dry_run: bool = False) -> KubernetesObject:
        """Create an object, with every field known, and return it as the server keeps it, defaults included.

        Raises:
            RefusedObject: the server does not take it.
        """
        options = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        created: KubernetesObject = self.ask(f"{self._collection(one, namespace)}{options}", one)
        return created

    def _collection(self, one: KubernetesObject, namespace: str) -> str:
        version, kind = one["apiVersion"], one["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        (found,) = (each for each in self.ask(root)["resources"] if each["kind"] == kind and "/" not in each["name"])
        return f"{root}/namespaces/{namespace}/{found['name']}" if found["namespaced"] else f"{root}/{found['name']}"

    @contextmanager
    def namespace(self, name: str) -> Iterator[str]:
        """Make a namespace that admits only pods of the restricted standard; at the end it is marked as deleted."""
        labels = {RESTRICTED: "restricted", f"{RESTRICTED}-version": "latest"}
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        # A controller would make it, and the server admits no pod without it.
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        self.create(account, name)
        try:
            yield name
        finally:
            self.ask(f"/api/v1/namespaces/{name}", method="DELETE")


def api_server() -> ApiServer | None:
    """Return the API server that the environment names; None: it names none."""
    named = os.environ.get(KUBECONFIG)
    return ApiServer(Path(named)) if named else None
