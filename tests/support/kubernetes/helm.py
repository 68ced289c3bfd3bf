"""Helm, built from its Go module, and what the chart of deploy/ renders with it."""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from support.paths import HOUSE

VERSION = "4.3.1"
CHART = HOUSE / "deploy/helm/fraudstream"
EXAMPLES = HOUSE / "deploy/helm/examples"
CACHE = HOUSE / ".cache" / f"helm-{VERSION}"
REQUIRED = "FRAUDSTREAM_TEST_HELM"
"""The environment variable that makes a machine without Go an error in place of a skip."""
BUILD_SECONDS = 1500.0
"""Four minutes of CPU, once."""

KubernetesObject = dict[str, Any]


class NoGo(Exception):  # noqa: N818 - a state of the machine
    """There is no Go, or it could not fetch a module."""


class RefusedValues(Exception):  # noqa: N818 - a result, in most tests
    """Helm does not render the chart with these values; the text is its error."""


def _go(*words: str, folder: Path, **environment: str) -> str:
    if shutil.which("go") is None:
        raise NoGo("no go on PATH, from whose modules Helm and the schemas come")
    done = subprocess.run(
        ["go", *words],
        cwd=folder,
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
    )
    if done.returncode != 0:
        raise NoGo(f"go {' '.join(words)}: {done.stderr[-500:]}{done.stdout[-500:]}")
    return done.stdout


def helm() -> Path:
    """Return the Helm command; the first call builds it, others wait for that.

    Raises:
        NoGo: there is no `go` on the path, or it could not build Helm.
    """
    command = CACHE / "helm"
    if command.exists():
        return command
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=CACHE) as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not command.exists():
            _go("install", f"helm.sh/helm/v4/cmd/helm@v{VERSION}", folder=Path(folder), GOBIN=folder)
            (Path(folder) / "helm").rename(command)
    return command


def go_module_files(module: str, version: str, names: Iterable[str]) -> list[Path]:
    """Return files of a Go module, copied to the cache by the first call.

    Raises:
        NoGo: there is no `go` on the path, or it could not fetch the module.
        FileNotFoundError: the module has no such file.
    """
    kept = CACHE.parent / f"{module.rsplit('/', 1)[-1]}-{version}"
    paths = {name: kept / Path(name).name for name in names}
    if not all(path.exists() for path in paths.values()):
        kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept) as folder:
            _go("mod", "init", "fetched", folder=Path(folder))
            found = json.loads(_go("mod", "download", "-json", f"{module}@{version}", folder=Path(folder)))
            for name, path in paths.items():
                copy = Path(folder) / path.name
                copy.write_bytes((Path(found["Dir"]) / name).read_bytes())
                copy.rename(path)
    return list(paths.values())


def _run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    # Outside a cluster, and with no configuration of whoever runs the tests.
    environment = {"PATH": os.environ["PATH"], "HELM_CONFIG_HOME": str(CACHE), "HOME": str(CACHE)}
    return subprocess.run(
        [str(helm()), *words], env=environment, input=stdin, check=False, capture_output=True, text=True, timeout=60
    )


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice, of which an API server would drop one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - as its base
        """Return the mapping, or raise for a key that stands twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"keys stand twice: {sorted(twice)}", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(text: str) -> list[Any]:
    """Return the documents of a text, the empty ones left out.

    Raises:
        yaml.YAMLError: it is no YAML, or a key stands twice.
    """
    return [one for one in yaml.load_all(text, _UniqueKeys) if one]


def render(
    *files: Path, values: Mapping[str, object] | None = None, kubernetes: str = "1.37.0", release: str = "fs"
) -> list[KubernetesObject]:
    """Return the objects that the chart makes of its own values, of `files` over them, and of `values` over these.

    Raises:
        RefusedValues: Helm refuses the values.
    """
    words = ["template", release, str(CHART), "--kube-version", kubernetes, "--namespace", "payments"]
    for file in files:
        words += ["--values", str(file)]
    done = _run(*words, "--values", "-", stdin=yaml.safe_dump(dict(values or {})))
    if done.returncode != 0:
        raise RefusedValues(done.stderr)
    return read_yaml(done.stdout)


def in_cluster(kubeconfig: Path, *words: str) -> str:
    """Run a command of Helm in a cluster, such as `install RELEASE CHART`, and return what it printed.

    Raises:
        RefusedValues: Helm or the API server refuses it.
    """
    done = _run("--kubeconfig", str(kubeconfig), *words)
    if done.returncode != 0:
        raise RefusedValues(done.stderr)
    return done.stdout


def lint(*files: Path) -> subprocess.CompletedProcess[str]:
    """Return what `helm lint --strict` says."""
    return _run("lint", "--strict", str(CHART), *(word for file in files for word in ("--values", str(file))))
