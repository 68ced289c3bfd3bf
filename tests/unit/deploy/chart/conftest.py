"""What the chart renders: with its own values, and with each of the examples."""

import os
from pathlib import Path

import pytest

from support.kubernetes.helm import EXAMPLES, REQUIRED, KubernetesObject, NoGo, helm, render
from support.kubernetes.schemas import custom_schemas

VALUES: dict[str, tuple[Path, ...]] = {"default": ()} | {path.stem: (path,) for path in sorted(EXAMPLES.glob("*.yaml"))}


@pytest.fixture(scope="session")
def tools() -> None:
    """Build Helm and fetch the schemas, once; without Go skip, or fail where the environment requires them."""
    try:
        helm()
        custom_schemas()
    except NoGo as missing:
        if os.environ.get(REQUIRED):
            raise
        pytest.skip(f"the chart is not checked: {missing}")


@pytest.fixture(scope="session")
def rendered() -> dict[str, list[KubernetesObject]]:
    """Return the objects of each set of values."""
    return {name: render(*files) for name, files in VALUES.items()}


@pytest.fixture(params=sorted(VALUES))
def objects(request: pytest.FixtureRequest, rendered: dict[str, list[KubernetesObject]]) -> list[KubernetesObject]:
    """Return the objects of one set of values after another."""
    return rendered[request.param]
