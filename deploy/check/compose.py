"""Runs commands of `docker` and `docker compose` on a project of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.check.report import CheckError

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / "deploy/compose.yaml"
LOG_LINES = 25


def docker(*words: str, seconds: float = 600.0, environment: Mapping[str, str] | None = None) -> str:
    """Run `docker …` and return what it printed.

    Raises:
        CheckError: it failed, or did not end in time.
    """
    try:
        done = subprocess.run(  # noqa: S603 - fixed commands
            ["docker", *words],  # noqa: S607 - the one on PATH is the user's
            cwd=REPOSITORY,
            env={**os.environ, "DOCKER_BUILDKIT": "1", **(environment or {})},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        end = "\n".join((error.stdout + error.stderr).splitlines()[-LOG_LINES:])
        raise CheckError(f"`docker {' '.join(words)}` failed with exit code {error.returncode}:\n{end}") from error
    except subprocess.TimeoutExpired as error:
        raise CheckError(f"`docker {' '.join(words)}` took more than {seconds:.0f} s") from error
    except OSError as error:
        raise CheckError(f"docker cannot be run: {error}") from error
    return done.stdout


def engine() -> str:
    """Return the version of the Docker engine; empty if none answers."""
    try:
        return docker("version", "--format", "{{.Server.Version}}", seconds=30).strip()
    except CheckError:
        return ""


def build(image: str, target: str) -> None:
    """Build one image of the Dockerfile, with pip's configuration if the environment names one.

    The build uses the host's network, so it reaches the package index as this machine does.
    """
    pip = os.environ.get("PIP_CONFIG_FILE")
    secret = ["--secret", f"id=pip.conf,src={pip}"] if pip and Path(pip).is_file() else []
    options = ["--file", "deploy/Dockerfile", "--target", target, "--tag", image]
    docker("build", "--network", "host", "--quiet", *options, *secret, ".", seconds=1800)


class Stack:
    """One run of compose.yaml, separated from others by its project name."""

    def __init__(self, project: str, environment: Mapping[str, str]) -> None:
        self._project = project
        self._environment = dict(environment)

    def compose(self, *words: str, seconds: float = 600.0) -> str:
        """Run `docker compose …` on this project.

        Raises:
            CheckError: as `docker` does.
        """
        project = ("compose", "--project-name", self._project, "--file", str(FILE))
        return docker(*project, *words, seconds=seconds, environment=self._environment)

    @contextmanager
    def background(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Run `docker compose …` on this project in the background; it is killed at the end of the context."""
        command = ["docker", "compose", "--project-name", self._project, "--file", str(FILE), *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        with subprocess.Popen(command, env={**os.environ, **self._environment}, text=True, **pipes) as running:  # type: ignore[call-overload] # noqa: S603
            try:
                yield running
            finally:
                running.kill()

    def containers(self, service: str) -> list[dict[str, Any]]:
        """Return the descriptions of a service's containers, stopped ones included."""
        lines = self.compose("--profile", "*", "ps", "--all", "--format", "json", service).splitlines()
        return [json.loads(line) for line in lines if line]

    def down(self) -> None:
        """Remove the containers, networks and volumes of this project."""
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "30")
