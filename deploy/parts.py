"""Says what is shipped: bills of materials (CycloneDX 1.6), licences, and known vulnerabilities of all parts.

`make parts` runs it. For each lock file of what is shipped it writes a bill to `build/parts`, fails if a part has a
licence that `requirements/parts.toml` does not allow, and if a known vulnerability has no answer there. Where the
service that knows vulnerabilities cannot be asked, it says so: nobody has looked then.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click

SHIPPED = ("worker", "demo")
"""The lock files of what is shipped: of the image `worker`, and of `tools`. Our own two distributions are in none."""
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)", re.MULTILINE)
_NEVER_HERE = re.compile(r"; .*(?:sys_platform == 'win32'|python_full_version >= '3\.1[2-9]')")
_SECONDS = 300


class Finding(NamedTuple):
    """A known vulnerability of a part, and the versions that have it no more."""

    part: str
    version: str
    name: str
    fixed: Sequence[str]

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.part} {self.version}: {self.name}, fixed in {', '.join(self.fixed) or 'no version'}"


def normalised(name: str) -> str:
    """Return a package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(text: str) -> dict[str, str]:
    """Return the versions of a lock file's packages, without those that are only for other machines."""
    lines = [line for line in text.splitlines() if not _NEVER_HERE.search(line)]
    return {normalised(name): version for name, version in _PIN.findall("\n".join(lines))}


def bill_of(everything: Mapping[str, Any], pins: Mapping[str, str]) -> dict[str, Any]:
    """Return the bill of an environment, with these packages of it alone.

    Raises:
        click.ClickException: the environment lacks one, or has another version.
    """
    parts = [one for one in everything["components"] if normalised(one["name"]) in pins]
    found = {normalised(one["name"]): one["version"] for one in parts}
    if wrong := [f"{name} {version}" for name, version in pins.items() if found.get(name) != version]:
        raise click.ClickException(f"the environment does not have {', '.join(wrong)}: run `make setup` first")
    kept = {one["bom-ref"] for one in parts}
    links = [
        {"ref": one["ref"], "dependsOn": [name for name in one.get("dependsOn", ()) if name in kept]}
        for one in everything["dependencies"]
        if one["ref"] in kept
    ]
    return {**everything, "components": parts, "dependencies": links}


def licences_of(part: Mapping[str, Any]) -> list[str]:
    """Return what a part declares: SPDX expressions or ids, or names of classifiers."""
    stated = part.get("licenses", ())
    found = [one.get("expression") or one["license"].get("id") or one["license"].get("name") for one in stated]
    return [text.removeprefix("License :: ").removeprefix("OSI Approved :: ") for text in found]


def licence_problems(
    parts: Sequence[Mapping[str, Any]], allowed: Collection[str], known: Mapping[str, str]
) -> list[str]:
    """Return the parts of which no licence is allowed; `known` are those of parts that declare none themselves."""
    found = []
    for part in parts:
        stated = licences_of(part) or [known[part["name"]]] if part["name"] in known else licences_of(part)
        if not any(one in allowed for one in stated):
            found.append(f"{part['name']} {part['version']}: {', '.join(stated) or 'it declares none'}")
    return found


def findings_of(audit: Mapping[str, Any]) -> tuple[list[Finding], list[str]]:
    """Return what an audit found, and the parts of which nobody could be asked."""
    found, unasked = list[Finding](), list[str]()
    for part in audit["dependencies"]:
        if "skip_reason" in part:
            unasked.append(part["name"])
        found += [
            Finding(part["name"], part["version"], one["id"], one["fix_versions"]) for one in part.get("vulns", ())
        ]
    return found, unasked


def unanswered(found: Sequence[Finding], answers: Mapping[str, Mapping[str, Any]], today: date) -> Iterator[str]:
    """Yield the findings without an answer, or with one that is over: an answer says why, and until when it holds."""
    for one in found:
        answer = answers.get(one.name)
        if answer is None:
            yield f"{one}: no answer in requirements/parts.toml"
        elif answer["until"] < today:
            yield f"{one}: its answer was good until {answer['until']}"


def _run(tool: str, *arguments: str) -> str:
    """Run a tool of this environment, and return what it prints; an audit ends with 1 if it finds something."""
    command = [str(Path(sys.executable).with_name(tool)), *arguments]
    done = subprocess.run(  # noqa: S603 - tools of this environment
        command, capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    if not done.stdout:
        raise click.ClickException(f"{tool} ended with {done.returncode}: {done.stderr[-1_000:]}")
    return done.stdout


@click.command()
@click.option("--environment", type=click.Path(path_type=Path), default=Path(".venv"), help="That has all parts.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/parts"), help="For the bills.")
def main(environment: Path, out: Path) -> None:
    """Write the bills, and check licences and vulnerabilities."""
    rules = tomllib.loads(Path("requirements/parts.toml").read_text())
    everything = json.loads(
        _run("cyclonedx-py", "environment", str(environment), "--pyproject", "pyproject.toml", "--output-reproducible")
    )
    out.mkdir(parents=True, exist_ok=True)
    problems = list[str]()
    for name in SHIPPED:
        lock = Path(f"requirements/{name}.txt")
        bill = bill_of(everything, locked(lock.read_text()))
        (out / f"{name}.cdx.json").write_text(json.dumps(bill, indent=1))
        problems += licence_problems(bill["components"], rules["licences"], rules["known"])
        audit = _run("pip-audit", "-r", str(lock), "--no-deps", "--disable-pip", "--format", "json")
        found, unasked = findings_of(json.loads(audit))
        problems += unanswered(found, rules["answers"], datetime.now(UTC).date())  # noqa: TID251 - an answer is dated
        asked = len(bill["components"]) - len(unasked)
        click.echo(
            f"{name}: {len(bill['components'])} parts, {len(found)} known vulnerabilities of {max(asked, 0)} parts"
        )
        if unasked:
            click.echo(f"{name}: NOT ASKED about {len(unasked)} parts: the service does not answer here", err=True)
    if problems:
        raise click.ClickException("\n".join(dict.fromkeys(problems)))


if __name__ == "__main__":
    main()
