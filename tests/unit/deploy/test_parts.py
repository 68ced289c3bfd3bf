"""Bills of what is shipped have each locked part and its licence; known vulnerabilities have answers that hold."""

from datetime import date

import click
import pytest

from deploy.parts import SHIPPED, Finding, bill_of, findings_of, licence_problems, licences_of, locked, unanswered
from support.paths import HOUSE

LOCK = """\
Some_Part==1.0 \\
    --hash=sha256:00
other==2.0 ; sys_platform == 'win32' \\
third==3.0 ; python_full_version < '3.12' \\
third==3.1 ; python_full_version >= '3.12' \\
"""


def part(name: str, version: str, *licences: dict[str, object]) -> dict[str, object]:
    return {"bom-ref": f"{name}=={version}", "name": name, "version": version, "licenses": list(licences)}


def test_a_lock_files_parts_are_those_of_this_machine() -> None:
    assert locked(LOCK) == {"some-part": "1.0", "third": "3.0"}
    for name in SHIPPED:
        found = locked((HOUSE / f"requirements/{name}.txt").read_text())
        assert len(found) > 50
        assert {"aiokafka", "lightgbm", "cryptography"} <= found.keys()


def test_a_bill_has_the_locked_parts_alone_and_what_they_depend_on() -> None:
    everything = {
        "bomFormat": "CycloneDX",
        "components": [part("some.part", "1.0"), part("third", "3.0"), part("tool", "9")],
        "dependencies": [
            {"ref": "some.part==1.0", "dependsOn": ["third==3.0", "tool==9"]},
            {"ref": "third==3.0"},
            {"ref": "tool==9", "dependsOn": ["third==3.0"]},
        ],
    }
    bill = bill_of(everything, locked(LOCK))
    assert bill["bomFormat"] == "CycloneDX"
    assert [one["name"] for one in bill["components"]] == ["some.part", "third"]
    assert bill["dependencies"] == [
        {"ref": "some.part==1.0", "dependsOn": ["third==3.0"]},
        {"ref": "third==3.0", "dependsOn": []},
    ]
    with pytest.raises(click.ClickException, match=r"does not have missing 1, third 2: run `make setup`"):
        bill_of(everything, {"missing": "1", "third": "2", "some-part": "1.0"})


def test_a_part_without_an_allowed_licence_is_named() -> None:
    by_id, by_name = {"license": {"id": "MIT"}}, {"license": {"name": "License :: OSI Approved :: BSD License"}}
    by_expression = {"expression": "GPL-3.0-only OR MIT"}
    assert licences_of(part("a", "1", by_id, by_name)) == ["MIT", "BSD License"]
    parts = [part("a", "1", by_id), part("b", "2", by_expression), part("c", "3"), part("d", "4")]
    found = licence_problems(parts, {"MIT", "BSD License"}, {"d": "MIT"})
    assert found == ["b 2: GPL-3.0-only OR MIT", "c 3: it declares none"]


def test_what_an_audit_found_needs_an_answer_that_is_not_over_and_what_was_not_asked_is_told() -> None:
    audit = {
        "dependencies": [
            {
                "name": "a",
                "version": "1",
                "vulns": [{"id": "V-1", "fix_versions": ["2"]}, {"id": "V-2", "fix_versions": []}],
            },
            {"name": "b", "version": "1", "vulns": []},
            {"name": "c", "skip_reason": "not found"},
        ]
    }
    found, unasked = findings_of(audit)
    assert found == [Finding("a", "1", "V-1", ["2"]), Finding("a", "1", "V-2", [])]
    assert unasked == ["c"]
    today = date(2026, 6, 1)
    assert list(unanswered(found, {}, today)) == [
        "a 1: V-1, fixed in 2: no answer in requirements/parts.toml",
        "a 1: V-2, fixed in no version: no answer in requirements/parts.toml",
    ]
    answers = {"V-1": {"until": date(2026, 5, 31)}, "V-2": {"until": today}}
    assert list(unanswered(found, answers, today)) == ["a 1: V-1, fixed in 2: its answer was good until 2026-05-31"]
