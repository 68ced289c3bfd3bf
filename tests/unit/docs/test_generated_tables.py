"""Tables in the documentation are those generated from the code; run this file as a script to rewrite them."""

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from functools import partial
from itertools import pairwise
from pathlib import Path

import click
import msgspec
import pytest

from features.declaration import DAY_MS
from fraudstream.cli.main import main
from fraudstream.lab.rescoring.reasons import Reason
from fraudstream.lab.training.vectors_file import COLUMNS
from guards.ladder import RolloutPhase
from guards.specs import Action, GuardKind, default_guards
from models.commands import Capability, EventKind
from models.problems import ProblemCode
from stream.contract.codes import DeadLetterCode
from stream.deciding_settings import EFFECTS
from stream.fates import TABLE, ErrorFate, Handling, Phase, name_of
from stream.kafka.topics import LAYOUTS, UNLIMITED
from stream.settings import PREFIX, Settings
from stream.telemetry.attributes import MEANINGS
from stream.telemetry.catalogue import CATALOGUE, prometheus_name

sys.path.append(str(Path(__file__).parents[2]))  # run as a script, this file has to find `support`
from support import asyncapi_page
from support.features import page as features_page
from support.incidents_page import incidents
from support.paths import HOUSE
from support.records_page import records
from support.versions_page import versions


def documented(module: str, name: str) -> dict[str, str]:
    """Return the docstrings under the fields of a class."""
    tree = ast.parse((HOUSE / module).read_text())
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    found = {}
    for field, below in pairwise(body):
        target = getattr(field, "target", None) or next(iter(getattr(field, "targets", ())), None)
        if isinstance(target, ast.Name) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[target.id] = " ".join(str(below.value.value).split())
    return found


def table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def settings() -> str:
    meanings = documented("stream/settings.py", "Settings")
    rows = (
        (f"`{PREFIX}{field.name.upper()}`", default_of(field), meanings[field.name])
        for field in msgspec.structs.fields(Settings)
    )
    return table(("variable", "default", "meaning"), rows)


def effects() -> str:
    rows = ((f"`{PREFIX}{name.upper()}`", "yes" if one.decides else "no", one.why) for name, one in EFFECTS.items())
    return table(("variable", "can change a decision", "why"), rows)


def default_of(field: msgspec.structs.FieldInfo) -> str:
    match field.default:
        case "":
            return ""
        case bool():
            return f"`{str(field.default).lower()}`"
        case float():
            return f"`{field.default:g}` s"
        case default:
            return f"`{default}`"


def members(module: str, kind: type[StrEnum], heading: str) -> Callable[[], str]:
    def write() -> str:
        meanings = documented(module, kind.__name__)
        return table((heading, "meaning"), ((f"`{member}`", meanings[member.name]) for member in kind))

    return write


def metrics() -> str:
    columns = ("metric, and for Prometheus", "kind, unit", "attributes", "meaning", "look at it when")
    rows = (
        (
            f"`{name}`<br>`{prometheus_name(name)}`",
            f"{metric.kind}, `{metric.unit}`",
            ", ".join(f"`{attribute}`" for attribute in metric.attributes),
            metric.meaning,
            metric.look_when,
        )
        for name, metric in CATALOGUE.items()
    )
    return table(columns, rows)


def attributes() -> str:
    return table(("attribute", "what it says"), ((f"`{name}`", meaning) for name, meaning in MEANINGS.items()))


def shown(kind: type[Exception] | str) -> str:
    package, _, path = name_of(kind).partition(".")
    if package in {"fraudstream_client", "fraudstream", "stream", "features", "models", "shadow", "guards", "metrics"}:
        return f"`{path.rpartition('.')[2]}`"
    return {"Exception": "any other", "KafkaError": "Kafka's errors"}.get(path.rpartition(".")[2], path)


def fate(row: ErrorFate) -> str:
    phases = {other: [phase for phase in Phase if row.otherwise.get(phase) is other] for other in Handling}
    others = (f"{', '.join(during)}: {other}" for other, during in phases.items() if during)
    return "; ".join((row.handling, *others))


def guards() -> str:
    rows = (
        (f"`{kind}`", f"{one.alpha:g}", f"{one.factor:g}", f"`{one.action}`") for kind, one in default_guards().items()
    )
    return table(("kind", "alpha", "factor", "action"), rows)


def vectors() -> str:
    return table(("column", "meaning"), ((f"`{name}`", meaning) for name, meaning in COLUMNS.items()))


def fates() -> str:
    rows = ((", ".join(map(shown, kinds)), row.cause, fate(row), row.details) for kinds, row in TABLE.items())
    return table(("error", "cause", "fate", "details"), rows)


def command_line() -> str:
    """Write the help of every command, families of commands before their members."""
    return "\n\n".join(helped(context_of(main, "fraudstream", None)))


def context_of(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    settings = {"terminal_width": HELP_COLUMNS, **command.context_settings}
    return click.Context(command, info_name=name, parent=parent, **settings)


def helped(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f"## `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```"
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        found = command.get_command(context, name)
        assert found is not None
        yield from helped(context_of(found, name, context))


HELP_COLUMNS = 100
REFERENCE = "docs/reference"
ASYNCAPI = HOUSE / REFERENCE / "asyncapi.yaml"
PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("docs/architecture.md", "fates"): fates,
    ("docs/architecture.md", "handlings"): members("stream/fates.py", Handling, "fate"),
    (f"{REFERENCE}/settings.md", "settings"): settings,
    (f"{REFERENCE}/settings.md", "effects"): effects,
    (f"{REFERENCE}/command-line.md", "commands"): command_line,
    (f"{REFERENCE}/dead-letter-codes.md", "codes"): members("stream/contract/codes.py", DeadLetterCode, "code"),
    (f"{REFERENCE}/features.md", "aggregates"): partial(features_page.aggregates, table),
    (f"{REFERENCE}/features.md", "default"): partial(features_page.default, table),
    (f"{REFERENCE}/features.md", "extended"): partial(features_page.extended, table),
    (f"{REFERENCE}/features.md", "default_2"): partial(features_page.default_2, table),
    (f"{REFERENCE}/vectors-file.md", "vectors"): vectors,
    (f"{REFERENCE}/asyncapi.md", "channels"): partial(asyncapi_page.channels, table),
    ("docs/how-to/secure.md", "acls"): asyncapi_page.access_rules,
    ("docs/how-to/secure.md", "rights"): partial(asyncapi_page.rights, table),
    ("docs/how-to/secure.md", "roles"): partial(asyncapi_page.roles, table),
    (f"{REFERENCE}/commands-and-events.md", "events"): members("models/commands.py", EventKind, "kind"),
    (f"{REFERENCE}/commands-and-events.md", "capabilities"): members("models/commands.py", Capability, "capability"),
    (f"{REFERENCE}/commands-and-events.md", "problems"): members("models/problems.py", ProblemCode, "code"),
    (f"{REFERENCE}/guards.md", "kinds"): members("guards/specs.py", GuardKind, "kind"),
    (f"{REFERENCE}/guards.md", "actions"): members("guards/specs.py", Action, "action"),
    (f"{REFERENCE}/guards.md", "guards"): guards,
    (f"{REFERENCE}/guards.md", "phases"): members("guards/ladder.py", RolloutPhase, "phase"),
    (f"{REFERENCE}/metrics-and-spans.md", "attributes"): attributes,
    (f"{REFERENCE}/metrics-and-spans.md", "metrics"): metrics,
    (f"{REFERENCE}/records-and-topics.md", "records"): partial(records, table),
    (f"{REFERENCE}/versioning.md", "versions"): partial(versions, table),
    ("docs/how-to/hear-of-incidents.md", "incidents"): partial(incidents, table),
    ("docs/how-to/score-and-compare.md", "reasons"): members("fraudstream/lab/rescoring/reasons.py", Reason, "reason"),
}


def place(part: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- generated from \S+ by \S+: {part} -->\n)(.*?)(<!-- end -->)", re.DOTALL)


@pytest.mark.parametrize(("page", "part"), PARTS, ids=[f"{page}-{part}" for page, part in PARTS])
def test_a_generated_table_is_up_to_date(page: str, part: str) -> None:
    found = place(part).search((HOUSE / page).read_text())
    assert found is not None
    assert found[2].strip() == PARTS[page, part](), f"rewrite it: python {Path(__file__).relative_to(HOUSE)}"


def test_the_generated_parts_of_the_pages_are_those_that_this_file_writes() -> None:
    pages = [HOUSE / "README.md", *sorted((HOUSE / "docs").rglob("*.md"))]
    written = {
        (str(page.relative_to(HOUSE)), part)
        for page in pages
        for part in re.findall(r"<!-- generated from \S+ by \S+: (\S+) -->", page.read_text())
    }
    assert written == set(PARTS)


def test_the_asyncapi_document_is_up_to_date() -> None:
    assert ASYNCAPI.read_text() == asyncapi_page.reference_text()


@pytest.mark.parametrize("page", ["README.md", f"{REFERENCE}/records-and-topics.md"])
def test_a_page_lists_the_topics_with_the_codes_partitions_and_retention(page: str) -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|[^|]*\| (N|1) \| ([^|]+) \|", (HOUSE / page).read_text(), re.MULTILINE)
    made = {
        (
            layout.name,
            "N" if layout.partitioned else "1",
            "for ever" if layout.retention_ms == UNLIMITED else f"{layout.retention_ms // DAY_MS} days",
        )
        for layout in LAYOUTS
    }
    assert set(rows) == made


def write_all() -> None:
    """Write every table into its page, and the AsyncAPI document."""
    ASYNCAPI.write_text(asyncapi_page.reference_text())
    for (page, part), give in PARTS.items():
        text = (HOUSE / page).read_text()
        found = place(part).search(text)
        if found is None:
            raise SystemExit(f"{page} has no place for {part}")
        start, end = found.span(2)
        (HOUSE / page).write_text(f"{text[:start]}{give()}\n{text[end:]}")


if __name__ == "__main__":
    write_all()
