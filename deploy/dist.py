"""Builds a release into `dist/`: wheels, sdists, the lists of what they need, sums, and where it all comes from.

`make dist` runs it. The locked tools of `requirements/build.txt` build both distributions, dated as their commit, so
that the same commit, tools and compiler give the same bytes. The provenance is a statement of in-toto with SLSA's
predicate; nobody signs it here. It names a commit, so a checkout that differs from its commit gets none.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click

PROJECTS = (Path("clients/python"), Path())
"""The folders of the distributions, each built before one that requires it."""
LOCKS = ("worker", "demo")
"""What a machine needs beside the wheels: to decide, and to train and publish from files as well."""
BUILD_LOCK = Path("requirements/build.txt")
PINS, SUMS, PROVENANCE = "fraudstream.txt", "SHA256SUMS", "provenance.json"
BUILD_TYPE = "urn:fraudstream:make-dist:1"
_SECONDS = 600


class Source(NamedTuple):
    """What is built: its commit, when that was made in seconds of Unix time, whether the checkout is that."""

    commit: str
    made_s: int
    is_clean: bool


def run(*words: str, folder: Path = Path(), environment: Mapping[str, str] | None = None) -> str:
    """Run a program, and return what it prints.

    Raises:
        click.ClickException: it failed, or is not there; the message has the end of what it said.
    """
    try:
        done = subprocess.run(  # noqa: S603 - git, and Python of the environment of the tools
            words,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except OSError as error:
        raise click.ClickException(
            f"{words[0]} cannot be run: {error.strerror}; `make dist` installs the tools that build"
        ) from error
    if done.returncode:
        raise click.ClickException(f"`{' '.join(words)}` ended with {done.returncode}: {done.stderr[-2_000:].strip()}")
    return done.stdout


def source_of_checkout() -> Source:
    """Ask git."""
    commit, made_s = run("git", "log", "-1", "--format=%H %ct").split()
    return Source(commit, int(made_s), not run("git", "status", "--porcelain"))


def sum_of(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sums_of(files: Iterable[Path]) -> str:
    """Return the text that `sha256sum --check` reads."""
    return "".join(f"{sum_of(path)}  {path.name}\n" for path in files)


def pins_of(wheels: Iterable[Path]) -> str:
    """Return a list for `pip install --require-hashes` with these wheels alone."""
    lines = [
        "# The wheels of this release: pip install --require-hashes --no-deps --no-index --find-links FOLDER -r FILE\n"
    ]
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        lines.append(f"{name.replace('_', '-')}=={version} --hash=sha256:{sum_of(wheel)}\n")
    return "".join(lines)


def statement_of(
    subjects: Sequence[Path], inputs: Sequence[Path], source: Source, tools: Mapping[str, str], began: datetime
) -> dict[str, Any]:
    """Return the statement: what was made, from which commit and lists, by which tools."""
    parts = [{"name": path.as_posix(), "digest": {"sha256": sum_of(path)}} for path in inputs]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": path.name, "digest": {"sha256": sum_of(path)}} for path in subjects],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"command": "make dist"},
                "internalParameters": {**tools, "SOURCE_DATE_EPOCH": str(source.made_s)},
                "resolvedDependencies": [{"name": "checkout", "digest": {"gitCommit": source.commit}}, *parts],
            },
            "runDetails": {
                "builder": {"id": "urn:fraudstream:a-checkout"},
                "metadata": {
                    "startedOn": began.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "finishedOn": _now().strftime("%Y-%m-%dT%H:%M:%SZ"),
                },
            },
        },
    }


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - a statement is dated


def tools_of(python: str) -> dict[str, str]:
    """Return the versions of what builds: Python, the C compiler of the kernels, the machine."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    told = run(compiler, "--version") if compiler else run(python, "-m", "ziglang", "version")
    return {
        "python": platform.python_version(),
        "compiler": told.splitlines()[0] if compiler else f"zig {told.strip()}",
        "platform": f"{platform.system()}-{platform.machine()}-{'-'.join(platform.libc_ver())}",
    }


def build(python: str, out: Path, source: Source) -> list[Path]:
    """Build both distributions into an empty folder, and return their files."""
    for project in PROJECTS:
        command = (python, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(out.absolute()))
        run(*command, folder=project, environment={"SOURCE_DATE_EPOCH": str(source.made_s)})
    return sorted(out.iterdir())


@click.command()
@click.option("--python", default=sys.executable, help="Of the environment with the tools that build.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("dist"), help="Emptied first.")
def main(python: str, out: Path) -> None:
    """Build the release."""
    began, source, python = _now(), source_of_checkout(), str(Path(python).absolute())
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    packed = build(python, out, source)
    lists = [Path(f"requirements/{name}.txt") for name in LOCKS]
    locks = [Path(shutil.copy(path, out / f"requirements-{path.name}")) for path in lists]
    pins = out / PINS
    pins.write_text(pins_of(path for path in packed if path.suffix == ".whl"))
    subjects = [*packed, pins, *locks]
    if source.is_clean:
        statement = statement_of(subjects, [BUILD_LOCK, *lists], source, tools_of(python), began)
        (out / PROVENANCE).write_text(json.dumps(statement, indent=1) + "\n")
    else:
        click.echo(
            "no provenance: the checkout differs from its commit (`git status`); commit first for a release", err=True
        )
    (out / SUMS).write_text(sums_of(sorted(out.iterdir())))
    for path in sorted(out.iterdir()):
        click.echo(f"{path}: {path.stat().st_size / 1024:,.0f} KiB")


if __name__ == "__main__":
    main()
